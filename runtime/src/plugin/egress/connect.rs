//! Resolving a target once, checking every address, and connecting to a checked one.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::pattern::{Host, Pattern, Target};
use super::peer::Peer;

/// Longest wait for one connection, TLS included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Turns names into addresses.
#[async_trait]
pub trait Resolver: Send + Sync + fmt::Debug {
    /// All addresses of `name`. Called once per connection.
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

/// The operating system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemResolver;

#[async_trait]
impl Resolver for SystemResolver {
    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// What all requests of the process share: the resolver and the TLS settings.
pub struct Network {
    resolver: Arc<dyn Resolver>,
    /// Certificates to trust instead of the public ones; for tests.
    roots: Option<rustls::RootCertStore>,
    tls: OnceLock<Result<tokio_rustls::TlsConnector, String>>,
    /// Answers in place of everybody out there.
    peer: Option<Arc<dyn Peer>>,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Network").field("resolver", &self.resolver).finish_non_exhaustive()
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new(Arc::new(SystemResolver))
    }
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name has no address, or the resolver failed.
    #[error("the name cannot be resolved: {0}")]
    Resolve(String),
    /// An address of the target is not one that the pattern allows.
    #[error("it resolves to {0}, which is not a public address")]
    Prohibited(IpAddr),
    /// No address answered.
    #[error("no connection: {0}")]
    Connect(io::Error),
    /// No connection within the time allowed.
    #[error("no connection within {0:?}")]
    Timeout(Duration),
    /// The TLS handshake failed.
    #[error("TLS: {0}")]
    Tls(String),
}

/// An open connection.
pub(crate) type Stream = Box<dyn Duplex>;

/// Bytes both ways.
pub(crate) trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

impl Network {
    /// A network that asks `resolver`.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolver>) -> Self {
        Self { resolver, roots: None, tls: OnceLock::new(), peer: None }
    }

    /// No network: `peer` answers every request that is granted.
    #[must_use]
    pub fn played(peer: Arc<dyn Peer>) -> Self {
        Self { peer: Some(peer), ..Self::default() }
    }

    /// Who answers in place of the network. An address that `pattern` would not lead to is prohibited here too.
    pub(crate) fn peer(&self, target: &Target, pattern: &Pattern) -> Result<Option<&Arc<dyn Peer>>, Error> {
        match (&self.peer, &target.host) {
            (Some(_), Host::Address(address)) if !pattern.allows_address(*address) => Err(Error::Prohibited(*address)),
            (peer, _) => Ok(peer.as_ref()),
        }
    }

    /// Trusts `roots` instead of the public certificate authorities.
    #[must_use]
    pub fn with_roots(mut self, roots: rustls::RootCertStore) -> Self {
        self.roots = Some(roots);
        self
    }

    /// Connects to `target`, which `pattern` covers, within `timeout` (at most 10 s).
    pub(crate) async fn connect(
        &self,
        target: &Target,
        pattern: &Pattern,
        timeout: Option<Duration>,
    ) -> Result<Stream, Error> {
        let timeout = timeout.map_or(CONNECT_TIMEOUT, |wished| wished.min(CONNECT_TIMEOUT));
        let connecting = async {
            let addresses = self.checked_addresses(target, pattern).await?;
            let stream = open(&addresses, target.port).await?;
            if target.tls { self.secure(stream, &target.host).await } else { Ok(Box::new(stream) as Stream) }
        };
        tokio::time::timeout(timeout, connecting).await.map_err(|_| Error::Timeout(timeout))?
    }

    /// Addresses of `target`. One bad address spoils all: an answer that mixes public and private ones is an attack.
    async fn checked_addresses(&self, target: &Target, pattern: &Pattern) -> Result<Vec<IpAddr>, Error> {
        let addresses = match &target.host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                self.resolver.resolve(name).await.map_err(|error| Error::Resolve(error.kind().to_string()))?
            }
        };
        match addresses.iter().find(|address| !pattern.allows_address(**address)) {
            Some(address) => Err(Error::Prohibited(*address)),
            None if addresses.is_empty() => Err(Error::Resolve("no address".into())),
            None => Ok(addresses),
        }
    }

    async fn secure(&self, stream: TcpStream, host: &Host) -> Result<Stream, Error> {
        let connector = self.tls.get_or_init(|| connector(self.roots.clone())).clone().map_err(Error::Tls)?;
        let name = match host {
            Host::Address(address) => ServerName::from(*address),
            Host::Name(name) => ServerName::try_from(name.clone()).map_err(|error| Error::Tls(error.to_string()))?,
        };
        let stream = connector.connect(name, stream).await.map_err(|error| Error::Tls(error.to_string()))?;
        Ok(Box::new(stream))
    }
}

async fn open(addresses: &[IpAddr], port: u16) -> Result<TcpStream, Error> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(*address, port)).await {
            Ok(stream) => {
                // Requests are written whole: waiting for more to send only delays them.
                drop(stream.set_nodelay(true));
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(Error::Connect(last))
}

fn connector(roots: Option<rustls::RootCertStore>) -> Result<tokio_rustls::TlsConnector, String> {
    let roots = roots.unwrap_or_else(|| rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.into() });
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(tokio_rustls::TlsConnector::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::IpAddr;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::{Error, Network, Resolver};
    use crate::plugin::egress::pattern::{Pattern, Target};

    /// Answers with one list after the other, as a hostile name server would.
    #[derive(Debug)]
    struct Flipping {
        answers: Vec<Vec<&'static str>>,
        asked: AtomicUsize,
    }

    #[async_trait]
    impl Resolver for Flipping {
        async fn resolve(&self, _name: &str) -> io::Result<Vec<IpAddr>> {
            let turn = self.asked.fetch_add(1, Ordering::SeqCst);
            Ok(self.answers[turn.min(self.answers.len() - 1)].iter().map(|text| text.parse().unwrap()).collect())
        }
    }

    async fn outcome(pattern: &str, url: (&str, &str), answers: &[&[&'static str]]) -> (Result<(), Error>, usize) {
        let resolver =
            Arc::new(Flipping { answers: answers.iter().map(|list| list.to_vec()).collect(), asked: 0.into() });
        let network = Network::new(resolver.clone());
        let target = Target::parse(url.0, url.1).unwrap();
        let pattern = Pattern::parse(pattern).unwrap();
        let connected = network.connect(&target, &pattern, Some(std::time::Duration::from_secs(2))).await.map(drop);
        (connected, resolver.asked.load(Ordering::SeqCst))
    }

    #[tokio::test]
    async fn no_connect_to_a_name_that_resolves_inside() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = format!("rebind.test:{}", listener.local_addr().unwrap().port());
        let pattern = format!("http://*:{}", listener.local_addr().unwrap().port());
        for answers in [
            &[&["127.0.0.1"][..]][..],
            &[&["93.184.216.34", "127.0.0.1"]],
            &[&["127.0.0.1", "93.184.216.34"]],
            &[&["::ffff:127.0.0.1"]],
            &[&["::1"]],
            &[&["169.254.169.254"]],
        ] {
            let (result, asked) = outcome(&pattern, ("http", &authority), answers).await;
            assert!(matches!(result, Err(Error::Prohibited(_))), "{answers:?}");
            assert_eq!(asked, 1, "the name is resolved once");
        }
        let quiet = tokio::time::timeout(std::time::Duration::from_millis(50), listener.accept()).await;
        assert!(quiet.is_err(), "nothing ever connected");
    }

    #[tokio::test]
    async fn the_checked_address_is_the_one_connected_to() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // The second answer would lead elsewhere; it is never asked for.
        let (result, asked) = outcome(
            &format!("http://localhost:{port}"),
            ("http", &format!("localhost:{port}")),
            &[&["127.0.0.1"], &["10.0.0.1"]],
        )
        .await;
        assert!(result.is_ok());
        assert_eq!(asked, 1);
        listener.accept().await.unwrap();
    }

    #[tokio::test]
    async fn literal_private_addresses_need_that_very_pattern() {
        for (pattern, authority) in [
            ("http://*:9", "127.0.0.1:9"),
            ("http://*:9", "0x7f.1:9"),
            ("http://*:9", "[::1]:9"),
            ("http://*:9", "[::ffff:10.0.0.1]:9"),
        ] {
            let (result, asked) = outcome(pattern, ("http", authority), &[&["8.8.8.8"]]).await;
            assert!(matches!(result, Err(Error::Prohibited(_))), "{authority}");
            assert_eq!(asked, 0);
        }
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let (result, _) = outcome(&format!("http://{authority}"), ("http", &authority), &[&[]]).await;
        assert!(result.is_ok());
    }
}
