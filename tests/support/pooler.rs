//! A pooler in transaction mode, as plain as they come: it knows no prepared statements, refuses startup parameters that
//! it does not know, and resets nothing. Whoever leaves something in a session leaves it to a stranger.
//!
//! It owns a few connections to the server. A client has one from its first message until the server is out of
//! transactions; the next time it gets the one that rested longest. (PostgreSQL documentation, chapter "Frontend/Backend
//! Protocol", version 3.)

#![allow(dead_code, reason = "each test binary uses its own part")]

use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Read as _, Result, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// What a client may say about its session; anything else is refused.
const KNOWN: [&str; 7] =
    ["user", "database", "client_encoding", "application_name", "datestyle", "timezone", "standard_conforming_strings"];

/// Tags of the messages, and codes that stand in the place of a protocol version.
const SSL_REQUEST: i32 = 80_877_103;
const READY: u8 = b'Z';

/// A pooler; it serves until the process ends.
#[derive(Debug)]
pub(crate) struct Pooler {
    port: u16,
    name: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    server: String,
    startup: Vec<u8>,
    idle: Mutex<VecDeque<Option<TcpStream>>>,
    freed: Condvar,
    transactions: Mutex<u64>,
}

impl Pooler {
    /// Before `url`, `postgres://user@host:port/name` of a server that trusts us, with so many connections.
    pub(crate) fn start(url: &str, connections: usize) -> Self {
        let (_, rest) = url.split_once("://").expect("a URL");
        let (login, rest) = rest.split_once('@').expect("a user");
        let (server, name) = rest.split_once('/').expect("a database");
        let user = login.split(':').next().unwrap_or(login);
        let mut startup = 196_608_i32.to_be_bytes().to_vec();
        for text in ["user", user, "database", name, "application_name", "pooler"] {
            startup.extend(text.bytes().chain([0]));
        }
        startup.push(0);
        let idle = Mutex::new((0..connections).map(|_| None).collect());
        let (freed, transactions, server) = (Condvar::new(), Mutex::new(0), server.to_owned());
        let shared = Arc::new(Shared { server, startup, idle, freed, transactions });
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("its port").port();
        let all = Arc::clone(&shared);
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&all);
                std::thread::spawn(move || drop(serve(&shared, client)));
            }
        });
        Self { port, name: name.to_owned(), shared }
    }

    /// URL of the database behind it.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{}", self.port, self.name)
    }

    /// How often a connection was given out.
    pub(crate) fn transactions(&self) -> u64 {
        *lock(&self.shared.transactions)
    }
}

impl Shared {
    fn take(&self) -> Result<TcpStream> {
        let mut idle = lock(&self.idle);
        let taken = loop {
            match idle.pop_front() {
                Some(taken) => break taken,
                None => idle = self.freed.wait(idle).unwrap_or_else(PoisonError::into_inner),
            }
        };
        drop(idle);
        *lock(&self.transactions) += 1;
        taken.map_or_else(|| self.connect().inspect_err(|_| self.give_back(None)), Ok)
    }

    fn give_back(&self, connection: Option<TcpStream>) {
        lock(&self.idle).push_back(connection);
        self.freed.notify_one();
    }

    fn connect(&self) -> Result<TcpStream> {
        let mut server = TcpStream::connect(&self.server)?;
        server.set_nodelay(true)?;
        write_untagged(&mut server, &self.startup)?;
        while read(&mut server)?.0 != READY {}
        Ok(server)
    }
}

/// Serves one client.
fn serve(shared: &Shared, mut client: TcpStream) -> Result<()> {
    client.set_nodelay(true)?;
    greet(&mut client)?;
    loop {
        let first = read(&mut client)?;
        if first.0 == b'X' {
            return Ok(());
        }
        let mut server = shared.take()?;
        match transact(&mut client, &mut server, first) {
            Ok(()) => shared.give_back(Some(server)),
            Err(error) => {
                shared.give_back(None);
                return Err(error);
            }
        }
    }
}

/// From the first message of a client until the server is out of transactions.
fn transact(client: &mut TcpStream, server: &mut TcpStream, first: (u8, Vec<u8>)) -> Result<()> {
    let mut message = first;
    loop {
        write(server, &message)?;
        // These two are answered until the server is ready; whatever comes before belongs to them.
        if matches!(message.0, b'Q' | b'S') {
            loop {
                let answer = read(server)?;
                write(client, &answer)?;
                if answer.0 == READY {
                    if answer.1 == b"I" {
                        return Ok(());
                    }
                    break;
                }
            }
        }
        message = read(client)?;
        if message.0 == b'X' {
            return Err(ErrorKind::ConnectionAborted.into());
        }
    }
}

fn greet(client: &mut TcpStream) -> Result<()> {
    let parameters = loop {
        let body = read_body(client)?;
        let (code, rest) = body.split_at_checked(4).ok_or(ErrorKind::InvalidData)?;
        if code == SSL_REQUEST.to_be_bytes() {
            client.write_all(b"N")?;
            continue;
        }
        break rest.to_vec();
    };
    let texts: Vec<&str> =
        parameters.split(|byte| *byte == 0).map(|text| std::str::from_utf8(text).unwrap_or("?")).collect();
    for pair in texts.chunks(2) {
        let [key, _] = pair else { continue };
        if !key.is_empty() && !KNOWN.contains(&key.to_ascii_lowercase().as_str()) {
            let text = format!("SFATAL\0C08P01\0Munsupported startup parameter: {key}\0\0");
            write(client, &(b'E', text.into_bytes()))?;
            return Err(Error::other("refused"));
        }
    }
    write(client, &(b'R', vec![0; 4]))?;
    for (key, value) in [
        ("server_version", "16.0"),
        ("client_encoding", "UTF8"),
        ("standard_conforming_strings", "on"),
        ("integer_datetimes", "on"),
        ("DateStyle", "ISO, MDY"),
        ("TimeZone", "UTC"),
    ] {
        write(client, &(b'S', format!("{key}\0{value}\0").into_bytes()))?;
    }
    write(client, &(b'K', vec![0; 8]))?;
    write(client, &(READY, b"I".to_vec()))
}

fn read(from: &mut TcpStream) -> Result<(u8, Vec<u8>)> {
    let mut tag = [0];
    from.read_exact(&mut tag)?;
    Ok((tag[0], read_body(from)?))
}

fn read_body(from: &mut TcpStream) -> Result<Vec<u8>> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_be_bytes(length)).ok().and_then(|length| length.checked_sub(4));
    let mut body = vec![0; length.ok_or(ErrorKind::InvalidData)?];
    from.read_exact(&mut body)?;
    Ok(body)
}

fn write(to: &mut TcpStream, (tag, body): &(u8, Vec<u8>)) -> Result<()> {
    let mut bytes = vec![*tag];
    bytes.extend(framed(body));
    to.write_all(&bytes)
}

fn write_untagged(to: &mut TcpStream, body: &[u8]) -> Result<()> {
    to.write_all(&framed(body))
}

fn framed(body: &[u8]) -> Vec<u8> {
    let length = i32::try_from(body.len() + 4).expect("a message of usual size");
    length.to_be_bytes().into_iter().chain(body.iter().copied()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
