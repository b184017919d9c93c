//! What a connection may do before and beside a request.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::support::{server, server_with};
use crate::api::Settings;

#[tokio::test(flavor = "multi_thread")]
async fn slow_headers_are_cut_off() {
    let settings = Settings { read_header_timeout: Duration::from_millis(300), ..Settings::default() };
    let server = server_with(settings).await;
    for head in ["GET /healthz HTTP/1.1\r\nHost: local", "P", ""] {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
        assert!(read.is_ok(), "the connection stays open after {head:?}");
    }
    assert_eq!(server.get("/healthz").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_may_outlive_every_read_timeout() {
    let limit = Duration::from_millis(300);
    let server =
        server_with(Settings { read_header_timeout: limit, body_idle_timeout: limit, ..Settings::default() }).await;
    let reply = server.post("/api/v0/workflows/slow/executions/sync", r#"{"timeout": 0.9}"#).await;
    assert_eq!((reply.status, reply.json()["code"].as_str()), (408, Some("sync_timeout")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_stops_arriving_is_refused() {
    let settings = Settings { body_idle_timeout: Duration::from_millis(60), ..Settings::default() };
    let server = server_with(settings).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = "POST /api/v0/workflows/quick/executions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
                Content-Length: 20\r\nConnection: close\r\n\r\n{";
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400") && answer.contains("invalid_request"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_2_is_spoken_too() {
    let server = server().await;
    let stream = TokioIo::new(TcpStream::connect(server.address).await.unwrap());
    let (mut sender, connection) = hyper::client::conn::http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("http://{}/api/v0", server.address)).body(Empty::<bytes::Bytes>::new());
    let response = sender.send_request(request.unwrap()).await.unwrap();
    assert_eq!((response.status().as_u16(), response.version()), (200, http::Version::HTTP_2));
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(body.starts_with(br#"{"status":200,"message":"Success","data":{"name":"compozy""#));
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_limited() {
    let mut settings = Settings::default();
    settings.limits.connections = 1;
    let server = server_with(settings).await;
    let first = TcpStream::connect(server.address).await.unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(60), server.get("/healthz")).await;
    assert!(waits.is_err(), "a second connection is served beside the first");
    drop(first);
    assert_eq!(server.get("/healthz").await.status, 200);
}
