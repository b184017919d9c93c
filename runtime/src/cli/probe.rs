//! One GET over a connection of its own: no proxy, no redirect, no header that could carry a secret, and no TLS setup
//! that would slow down a command that finds no server.

use std::net::SocketAddr;
use std::time::Duration;

use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Longest wait for a connection.
const CONNECT: Duration = Duration::from_millis(300);
/// Longest wait for the whole answer.
const ANSWER: Duration = Duration::from_secs(1);
/// Largest answer read, bytes.
const LARGEST: usize = 64 << 10;

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoAnswer {
    /// Nothing listens there.
    Refused,
    /// Something may be there and says nothing in time.
    Silent,
    /// Something else than an HTTP server is there.
    Foreign,
}

/// Status and body of `GET path` at `address`.
///
/// # Errors
/// Why there is none, within little more than a second.
pub async fn get(address: SocketAddr, path: &str) -> Result<(u16, bytes::Bytes), NoAnswer> {
    let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => return Err(NoAnswer::Refused),
        Ok(Err(_)) | Err(_) => return Err(NoAnswer::Silent),
    };
    tokio::time::timeout(ANSWER, exchange(stream, address, path)).await.unwrap_or(Err(NoAnswer::Silent))
}

async fn exchange(stream: TcpStream, address: SocketAddr, path: &str) -> Result<(u16, bytes::Bytes), NoAnswer> {
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|_| NoAnswer::Silent)?;
    let connection = tokio::spawn(connection);
    let request = http::Request::get(path)
        .header(http::header::HOST, address.to_string())
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|_| NoAnswer::Foreign)?;
    let answer = match sender.send_request(request).await {
        Ok(response) => {
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), LARGEST).collect().await;
            body.map(|body| (status, body.to_bytes())).map_err(|_| NoAnswer::Foreign)
        }
        // What does not speak HTTP is foreign; what hangs up without a word may be starting.
        Err(error) if error.is_parse() => Err(NoAnswer::Foreign),
        Err(_) => Err(NoAnswer::Silent),
    };
    connection.abort();
    answer
}
