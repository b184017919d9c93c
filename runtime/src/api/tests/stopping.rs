//! Shutdown in its order (cli-and-api §6.3).

use std::time::Duration;

use http_body_util::BodyExt as _;
use serde_json::json;

use super::support::{Server, server, url};
use crate::storage::row::RunFilter;

/// Waits until so many runs are stored.
async fn stored(server: &Server, runs: u64) {
    let filter = RunFilter { limit: 1, count: true, ..RunFilter::default() };
    while server.storage.runs(&filter).await.unwrap().total < Some(runs) {
        server.app.clock.sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn everyone_is_answered() {
    let server = server().await;
    let exec_id = server.start("slow").await;
    let (_, _, mut stream) = server.open("GET", &format!("{}/stream", url(&exec_id)), &[], "").await;
    let waiter = server.post("/api/v0/workflows/slow/executions/sync", "{}");
    let stop = async {
        stored(&server, 2).await;
        server.app.shutdown().drain();
        while tokio::net::TcpStream::connect(server.address).await.is_ok() {
            server.app.clock.sleep(Duration::from_millis(5)).await;
        }
        assert!(!server.serving.is_finished());
        server.app.shutdown().close();
    };
    let (reply, ()) = tokio::join!(waiter, stop);
    assert_eq!((reply.status, reply.json()["code"].clone()), (503, json!("shutting_down")));
    assert!(reply.json()["exec_id"].is_string());
    let mut text = String::new();
    while let Some(Ok(frame)) = stream.frame().await {
        text.push_str(std::str::from_utf8(frame.data_ref().unwrap()).unwrap());
    }
    assert!(text.starts_with("retry: 2000\n\n"), "{text}");
    assert!(text.ends_with(&format!("event: server_shutdown\ndata: {{\"exec_id\":\"{exec_id}\"}}\n\n")), "{text}");
    tokio::time::timeout(Duration::from_secs(5), server.serving).await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_ends_while_draining_is_answered() {
    let server = server().await;
    let waiter = server.post("/api/v0/workflows/quick/executions/sync", "{}");
    let drain = async {
        stored(&server, 1).await;
        server.app.shutdown().drain();
    };
    let (reply, ()) = tokio::join!(waiter, drain);
    assert_eq!((reply.status, reply.header("compozy-status")), (200, Some("SUCCESS")));
    server.app.shutdown().close();
    server.serving.await.unwrap();
}
