//! The listening socket and its connections.
//!
//! Binding and serving are two steps: the port is taken before the database is opened, and nothing is answered before
//! the node is ready (cli-and-api §6.1).

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use super::patience::Patient;
use super::settings::Settings;
use super::shutdown::Phase;
use super::{AppState, guard};

/// How long connections may take to end after the last phase began.
const GRACE: Duration = Duration::from_secs(2);
/// Pause after a failed accept (out of descriptors, mostly).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Room for a head beyond the limit, so that it is refused with a problem document; what is longer still is cut off.
const HEAD_SLACK: usize = 64 << 10;

/// A bound socket that answers nothing yet.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    address: SocketAddr,
}

/// Why an address could not be bound.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// Something listens there.
    #[error("port {port} of {host} is in use")]
    PortInUse {
        /// Host as configured.
        host: String,
        /// Port as configured.
        port: u16,
    },
    /// The host is no address of this machine, or its name is unknown.
    #[error("'{host}' is not an address of this machine: {reason}")]
    NoSuchHost {
        /// Host as configured.
        host: String,
        /// What the system said.
        reason: String,
    },
    /// Anything else, ports below 1024 without the right among it.
    #[error("cannot listen on {host}:{port}: {reason}")]
    Refused {
        /// Host as configured.
        host: String,
        /// Port as configured.
        port: u16,
        /// What the system said.
        reason: String,
    },
}

/// Binds the server's address.
///
/// # Errors
/// [`BindError::PortInUse`] is exit 6 on the command line.
pub async fn bind(settings: &Settings) -> Result<Listener, BindError> {
    let (host, port) = (settings.host.clone(), settings.port);
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let bound = match TcpListener::bind((bare, port)).await {
        Ok(socket) => socket.local_addr().map(|address| Listener { socket, address }),
        Err(error) => Err(error),
    };
    bound.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => BindError::PortInUse { host, port },
        io::ErrorKind::AddrNotAvailable => BindError::NoSuchHost { host, reason: error.to_string() },
        // Name resolution fails with a kind of its own that is not stable.
        _ if error.raw_os_error().is_none() => BindError::NoSuchHost { host, reason: error.to_string() },
        _ => BindError::Refused { host, port, reason: error.to_string() },
    })
}

impl Listener {
    /// Address it is bound to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Port it is bound to.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// URL under which this machine reaches it, without path: wildcard addresses become loopback.
    #[must_use]
    pub fn url(&self) -> String {
        let ip = match self.address.ip() {
            ip if !ip.is_unspecified() => ip,
            std::net::IpAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            std::net::IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        format!("http://{}", SocketAddr::new(ip, self.address.port()))
    }
}

/// Serves until [`Phase::Closing`] is reached and the last answer is out.
///
/// Stops accepting when [`Phase::Draining`] is reached; requests in flight go on.
pub async fn serve(listener: Listener, app: Arc<AppState>) {
    let router = super::router(Arc::clone(&app));
    let builder = builder(&app.settings);
    let places = Arc::new(Semaphore::new(app.settings.limits.connections.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = app.shutdown.reached(Phase::Draining) => break,
            accepted = accept(&listener.socket, &places) => accepted,
        };
        while connections.try_join_next().is_some() {}
        match accepted {
            Ok((stream, place)) => {
                let connection = connection(stream, builder.clone(), router.clone(), Arc::clone(&app));
                connections.spawn(async move {
                    connection.await;
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!("cannot accept a connection: {error}");
                app.clock.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    let deadline = async {
        app.shutdown.reached(Phase::Closing).await;
        app.clock.sleep(GRACE).await;
    };
    tokio::select! {
        () = all => app.shutdown.reached(Phase::Closing).await,
        () = deadline => {}
    }
    connections.abort_all();
}

type Place = tokio::sync::OwnedSemaphorePermit;

/// The next connection, once there is a place for it.
async fn accept(socket: &TcpListener, places: &Arc<Semaphore>) -> io::Result<(TcpStream, Place)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = socket.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

fn builder(settings: &Settings) -> auto::Builder<TokioExecutor> {
    let limits = &settings.limits;
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(settings.read_header_timeout)
        .max_buf_size(limits.header_bytes + limits.uri_bytes + HEAD_SLACK);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(256)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX).saturating_mul(2));
    builder
}

async fn connection(stream: TcpStream, builder: auto::Builder<TokioExecutor>, router: Router, app: Arc<AppState>) {
    let io = TokioIo::new(Patient::new(stream, app.clock.clone(), app.settings.write_stall_timeout));
    let (clock, shutdown) = (app.clock.clone(), app.shutdown.clone());
    let first_head = app.settings.read_header_timeout;
    let asked = Arc::new(AtomicBool::new(false));
    let asks = Arc::clone(&asked);
    let service = service_fn(move |request: Request<Incoming>| {
        asks.store(true, Ordering::Relaxed);
        let answer = guard::handle(Arc::clone(&app), router.clone(), request.map(Body::new));
        async move { Ok::<_, Infallible>(answer.await) }
    });
    let connection = builder.serve_connection(io, service);
    tokio::pin!(connection);
    // While it is open which HTTP is spoken, hyper's own header timeout does not run yet.
    let silent = clock.sleep(first_head);
    tokio::pin!(silent);
    let (mut begun, mut draining) = (false, false);
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = shutdown.reached(Phase::Draining), if !draining => {
                draining = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut silent, if !begun => {
                begun = asked.load(Ordering::Relaxed);
                if !begun {
                    return;
                }
            }
        }
    };
    if let Err(error) = ended {
        // Peers that go away, are too slow or send rubbish; nothing of it is the operator's concern.
        tracing::debug!("a connection ended early: {error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_is_bound_once() {
        let mut settings = Settings { port: 0, ..Settings::default() };
        let first = bind(&settings).await.unwrap();
        settings.port = first.port();
        assert!(matches!(bind(&settings).await, Err(BindError::PortInUse { port, .. }) if port == first.port()));
        assert_eq!(first.url(), format!("http://127.0.0.1:{}", first.port()));
    }

    #[tokio::test]
    async fn unknown_hosts_are_named() {
        for host in ["192.0.2.1", "host.invalid"] {
            let settings = Settings { host: host.into(), port: 0, ..Settings::default() };
            assert!(matches!(bind(&settings).await, Err(BindError::NoSuchHost { .. })), "{host}");
        }
    }
}
