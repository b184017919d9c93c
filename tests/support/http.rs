//! A client of one request per connection: it shows what went over the wire and fails when the peer dies.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

/// Names and values in the order they came, names in lower case.
pub(crate) type Headers = Vec<(String, String)>;

/// An answer read to its end.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    pub(crate) status: u16,
    pub(crate) headers: Headers,
    pub(crate) body: Vec<u8>,
}

impl Response {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {} {}", self.status, self.text()))
    }

    /// The member `data` of the envelope.
    pub(crate) fn data(&self) -> Value {
        self.json()["data"].clone()
    }
}

pub(crate) fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// Sends a request and reads the whole answer.
pub(crate) fn send(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<Response> {
    let (status, headers, mut reader) = open(address, method, path, headers, body)?;
    let mut body = Vec::new();
    if method != "HEAD" && status != 204 && status != 304 {
        reader.read_to_end(&mut body)?;
    }
    Ok(Response { status, headers, body })
}

/// Sends a request and reads the head of the answer.
pub(crate) fn open(
    address: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&[u8]>,
) -> io::Result<(u16, Headers, Body)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_secs(90)))?;
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\n");
    if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("host")) {
        head.push_str(&format!("host: {address}\r\n"));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    if let Some(body) = body {
        head.push_str(&format!("content-length: {}\r\n", body.len()));
    }
    head.push_str("\r\n");
    let mut request = head.into_bytes();
    request.extend_from_slice(body.unwrap_or_default());
    stream.write_all(&request)?;
    let mut reader = BufReader::new(stream);
    let (line, headers) = read_head(&mut reader)?;
    let status = line
        .split(' ')
        .nth(1)
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| io::Error::other(format!("status line {line:?}")))?;
    let framing = Framing::of(&headers);
    Ok((status, headers, Body { reader, framing }))
}

/// The first line and the headers of a message.
pub(crate) fn read_head(reader: &mut impl BufRead) -> io::Result<(String, Headers)> {
    let first = read_line(reader)?;
    let mut headers = Vec::new();
    loop {
        let line = read_line(reader)?;
        if line.is_empty() {
            return Ok((first, headers));
        }
        if let Some((name, value)) = line.split_once(':') {
            headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

fn read_line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// How the end of a body is known.
#[derive(Debug)]
pub(crate) enum Framing {
    Length(u64),
    /// Bytes left of the present chunk; `None` before the first and after the last byte of one.
    Chunked(Option<u64>),
    UntilClose,
}

impl Framing {
    pub(crate) fn of(headers: &[(String, String)]) -> Self {
        if header(headers, "transfer-encoding").is_some_and(|value| value.contains("chunked")) {
            return Self::Chunked(None);
        }
        header(headers, "content-length").and_then(|value| value.parse().ok()).map_or(Self::UntilClose, Self::Length)
    }
}

/// A body as it comes.
#[derive(Debug)]
pub(crate) struct Body {
    reader: BufReader<TcpStream>,
    framing: Framing,
}

impl Read for Body {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = match &mut self.framing {
            Framing::UntilClose => return self.reader.read(buffer),
            Framing::Length(left) => left,
            Framing::Chunked(chunk) => {
                let left = match chunk {
                    Some(left) => left,
                    None => {
                        let size = read_line(&mut self.reader)?;
                        let size = size.split(';').next().unwrap_or_default();
                        let size = u64::from_str_radix(size, 16).map_err(io::Error::other)?;
                        if size == 0 {
                            self.framing = Framing::Length(0);
                            return Ok(0);
                        }
                        chunk.insert(size)
                    }
                };
                let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
                let read = self.reader.read(&mut buffer[..wanted])?;
                if read == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                *left -= read as u64;
                if *left == 0 {
                    read_line(&mut self.reader)?;
                    *chunk = None;
                }
                return Ok(read);
            }
        };
        if *left == 0 {
            return Ok(0);
        }
        let wanted = buffer.len().min(usize::try_from(*left).unwrap_or(usize::MAX));
        let read = self.reader.read(&mut buffer[..wanted])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        *left -= read as u64;
        Ok(read)
    }
}
