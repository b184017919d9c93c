//! A connection to the server that stays open.

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes asked of the socket at once.
const PIECE: usize = 16 << 10;

/// A connection to the server that stays open.
pub(crate) struct Connection {
    address: String,
    stream: TcpStream,
    received: Vec<u8>,
}

/// An answer of the server.
pub(crate) struct Answer {
    pub(crate) status: u16,
    body: Vec<u8>,
}

impl Answer {
    /// Its body.
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.body).context("read the answer")
    }

    /// Fails unless it has this status.
    pub(crate) fn expect(self, status: u16) -> Result<Self> {
        ensure!(self.status == status, "{}: {}", self.status, String::from_utf8_lossy(&self.body));
        Ok(self)
    }
}

impl Connection {
    /// Connects to `127.0.0.1:PORT`.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await.context("connect")?;
        stream.set_nodelay(true).context("connect")?;
        Ok(Self { address: address.to_owned(), stream, received: Vec::new() })
    }

    /// One request and its answer.
    pub(crate) async fn send(&mut self, method: &str, path: &str, body: &str) -> Result<Answer> {
        let address = &self.address;
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        self.stream.write_all(format!("{head}{body}").as_bytes()).await.context("send")?;
        self.receive().await.with_context(|| format!("{method} {path}"))
    }

    /// Reads one answer with a length.
    async fn receive(&mut self) -> Result<Answer> {
        loop {
            if let Some((end, status, length)) = self.head() {
                while self.received.len() < end + length {
                    self.more().await?;
                }
                let body = self.received.get(end..end + length).unwrap_or_default().to_vec();
                self.received.drain(..end + length);
                return Ok(Answer { status, body });
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<()> {
        self.received.reserve(PIECE);
        let read = self.stream.read_buf(&mut self.received).await.context("receive")?;
        ensure!(read > 0, "receive: the connection was closed");
        Ok(())
    }

    /// Where the head ends, the status, and how long the body is.
    fn head(&self) -> Option<(usize, u16, usize)> {
        let end = self.received.windows(4).position(|window| window == b"\r\n\r\n")?;
        let head = std::str::from_utf8(self.received.get(..end)?).ok()?;
        let status = head.split(' ').nth(1)?.parse().ok()?;
        let length = head
            .lines()
            .find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok());
        Some((end + 4, status, length.unwrap_or(0)))
    }
}
