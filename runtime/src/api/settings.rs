//! What the server needs to know of the project's settings, as plain data (cli-and-api §5).

use std::time::Duration;

use sha2::{Digest as _, Sha256};

/// Settings of the server.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Host to bind.
    pub host: String,
    /// Port to bind; 0 lets the system choose.
    pub port: u16,
    /// Further names that the Host header may have.
    pub allowed_hosts: Vec<String>,
    /// Cross-origin access; `None`: off.
    pub cors: Option<Cors>,
    /// Authentication; `None`: every caller is admin.
    pub auth: Option<Auth>,
    /// Caps.
    pub limits: Limits,
    /// Longest header read of one request.
    pub read_header_timeout: Duration,
    /// Longest pause within a body.
    pub body_idle_timeout: Duration,
    /// Longest time a peer may leave a full buffer unread.
    pub write_stall_timeout: Duration,
    /// How long a sync call waits when it does not say.
    pub sync_timeout: Duration,
    /// The longest a sync call may ask for.
    pub sync_timeout_max: Duration,
    /// How long an idempotency key is kept at least.
    pub idempotency_ttl: Duration,
    /// Every model is replaced by the mock; stated in `/health`.
    pub mock_llm: bool,
}

/// `server.cors`.
#[derive(Debug, Clone)]
pub struct Cors {
    /// Exact origins, `https://app.example`, or `*`.
    pub allowed_origins: Vec<String>,
    /// Whether browsers may send credentials.
    pub allow_credentials: bool,
    /// How long a browser may remember the answer.
    pub max_age: Duration,
}

/// `server.auth`.
#[derive(Clone)]
pub struct Auth {
    /// SHA-256 of the admin key; the key itself is not kept.
    admin_key: Option<[u8; 32]>,
    /// Workflows that anonymous callers may start.
    pub workflow_exceptions: Vec<String>,
}

/// Caps of the server.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of the body of a start.
    pub start_body_bytes: usize,
    /// Bytes of all header names and values.
    pub header_bytes: usize,
    /// Bytes of path and query.
    pub uri_bytes: usize,
    /// Nesting of JSON bodies.
    pub json_depth: usize,
    /// Open connections.
    pub connections: usize,
    /// Open event streams.
    pub streams: usize,
    /// Calls that wait for the end of a run.
    pub sync_waiters: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            host: "127.0.0.1".into(),
            port: 8080,
            allowed_hosts: Vec::new(),
            cors: None,
            auth: None,
            limits: Limits::default(),
            read_header_timeout: Duration::from_secs(10),
            body_idle_timeout: Duration::from_secs(30),
            write_stall_timeout: Duration::from_secs(30),
            sync_timeout: Duration::from_secs(60),
            sync_timeout_max: Duration::from_secs(3_600),
            idempotency_ttl: Duration::from_secs(24 * 3_600),
            mock_llm: false,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            body_bytes: 1 << 20,
            start_body_bytes: 10 << 20,
            header_bytes: 32 << 10,
            uri_bytes: 8 << 10,
            json_depth: 64,
            connections: 4_096,
            streams: 1_024,
            sync_waiters: 256,
        }
    }
}

impl Auth {
    /// Authentication by the admin key, where there is one.
    #[must_use]
    pub fn new(admin_key: Option<&str>, workflow_exceptions: Vec<String>) -> Self {
        Self { admin_key: admin_key.map(|key| Sha256::digest(key).into()), workflow_exceptions }
    }

    /// Whether `key` is the admin key. Takes the same time for every wrong key of a length.
    pub(super) fn is_admin(&self, key: &str) -> bool {
        let given: [u8; 32] = Sha256::digest(key).into();
        let known = self.admin_key.unwrap_or_default();
        let differs = given.iter().zip(known).fold(0, |differs, (a, b)| differs | (a ^ b));
        self.admin_key.is_some() && differs == 0
    }
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Auth").field("workflow_exceptions", &self.workflow_exceptions).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::Auth;

    #[test]
    fn only_the_admin_key_is_admin() {
        let key = "0123456789abcdef0123456789abcdef";
        let auth = Auth::new(Some(key), Vec::new());
        assert!(auth.is_admin(key));
        for wrong in ["", "0123456789abcdef0123456789abcdeF", &format!("{key} ")] {
            assert!(!auth.is_admin(wrong), "{wrong}");
        }
        assert!(!Auth::new(None, Vec::new()).is_admin(""));
        assert!(!format!("{auth:?}").contains("admin_key"));
    }
}
