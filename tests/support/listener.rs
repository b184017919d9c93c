//! A small HTTP server of ours: one thread and one request per connection, and the handler writes the raw answer, so
//! that it can also write a wrong one.

use std::io::{BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{http, wait};

/// A request read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

/// A listening server; it lives as long as the test's process.
#[derive(Debug)]
pub(crate) struct Listener {
    /// `127.0.0.1:PORT`.
    pub(crate) address: String,
    open: Arc<AtomicUsize>,
}

impl Listener {
    /// Serves `handler` on a free port.
    pub(crate) fn serve(handler: impl Fn(&Request, &mut TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address").to_string();
        let open = Arc::new(AtomicUsize::new(0));
        let (handler, counter) = (Arc::new(handler), Arc::clone(&open));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                counter.fetch_add(1, Ordering::SeqCst);
                let (handler, counter) = (Arc::clone(&handler), Arc::clone(&counter));
                std::thread::spawn(move || {
                    converse(stream, &*handler);
                    counter.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, open }
    }

    /// Waits until no request is being handled: a peer that was killed may have left one on its way.
    pub(crate) fn quiet(&self) {
        wait::until("quiet listener", || (self.open.load(Ordering::SeqCst) == 0).then_some(()));
    }
}

fn converse(stream: TcpStream, handler: &dyn Fn(&Request, &mut TcpStream)) {
    let Ok(mut writer) = stream.try_clone() else { return };
    let mut reader = BufReader::new(stream);
    // A peer that dies half-way has asked for nothing.
    let Ok((line, headers)) = http::read_head(&mut reader) else { return };
    let length = http::header(&headers, "content-length").and_then(|value| value.parse().ok());
    let body = match length {
        Some(length) => {
            let mut body = vec![0; length];
            if reader.read_exact(&mut body).is_err() {
                return;
            }
            body
        }
        None if http::header(&headers, "transfer-encoding").is_some() => match chunked(&mut reader) {
            Some(body) => body,
            None => return,
        },
        None => Vec::new(),
    };
    let mut words = line.split(' ').map(str::to_owned);
    let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    handler(&Request { method, path, headers, body }, &mut writer);
    let _ = writer.shutdown(std::net::Shutdown::Both);
}

fn chunked(reader: &mut impl std::io::BufRead) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let size = usize::from_str_radix(line.trim().split(';').next()?, 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(body);
        }
        chunk.truncate(size);
        body.append(&mut chunk);
    }
}

/// Writes a whole answer.
pub(crate) fn answer(stream: &mut TcpStream, status: u16, headers: &[(&str, &str)], body: &[u8]) {
    let mut head = format!("HTTP/1.1 {status} -\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    // The peer may be dead by now; then nobody misses the answer.
    let _ = stream.write_all(&bytes);
}
