//! Somebody who answers requests in place of the network: plugins are tried out without one.
//!
//! Grants are checked and placeholders exchanged before, as for a real request; only names are not resolved.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;

/// Answers every request of the plugins whose [`Network`](super::connect::Network) it stands in for.
#[async_trait]
pub trait Peer: Send + Sync + fmt::Debug {
    /// Answers one request; `None`: the connection is refused. Called once per request, after it was granted.
    async fn answer(&self, request: Asked) -> Option<Answered>;
}

/// A request as it would go over the wire.
#[derive(Debug, Clone)]
pub struct Asked {
    /// In upper case.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}

/// An answer.
#[derive(Debug, Clone)]
pub struct Answered {
    /// 100 to 599.
    pub status: u16,
    /// Names and values; those that HTTP does not allow are left out.
    pub headers: Vec<(String, String)>,
    /// The whole body.
    pub body: Bytes,
}
