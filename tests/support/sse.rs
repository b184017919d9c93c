//! A reader of `text/event-stream` (WHATWG HTML, "Server-sent events").

use std::io::{self, BufRead, BufReader};

use serde_json::Value;

use super::http;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Event {
    pub(crate) fn is_terminal(&self) -> bool {
        matches!(self.name.as_str(), "complete" | "error")
    }

    /// The journal number; `None` for a piece of a model's answer.
    pub(crate) fn seq(&self) -> Option<u64> {
        self.id.parse().ok()
    }
}

/// An open stream.
#[derive(Debug)]
pub(crate) struct Stream {
    lines: BufReader<http::Body>,
    /// The value of `retry:`, if it came.
    pub(crate) retry: Option<String>,
}

impl Stream {
    /// Opens a stream; `last` is sent as `Last-Event-ID`.
    pub(crate) fn open(address: &str, path: &str, last: Option<&str>) -> io::Result<Self> {
        let mut headers = vec![("accept", "text/event-stream")];
        headers.extend(last.map(|last| ("last-event-id", last)));
        let (status, headers, body) = http::open(address, "GET", path, &headers, None)?;
        assert_eq!(status, 200, "GET {path}");
        assert_eq!(http::header(&headers, "content-type"), Some("text/event-stream"));
        Ok(Self { lines: BufReader::new(body), retry: None })
    }

    /// The next event; `None` when the server closes the stream.
    pub(crate) fn next(&mut self) -> io::Result<Option<Event>> {
        let (mut id, mut name, mut data) = (String::new(), String::new(), Vec::new());
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line)? == 0 {
                return Ok(None);
            }
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                if name.is_empty() && data.is_empty() {
                    continue;
                }
                let text = data.join("\n");
                let data = serde_json::from_str(&text).unwrap_or(Value::String(text));
                return Ok(Some(Event { id, name, data }));
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "id" => id = value.to_owned(),
                "event" => name = value.to_owned(),
                "data" => data.push(value.to_owned()),
                "retry" => self.retry = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    /// Every event until the server closes the stream.
    pub(crate) fn rest(mut self) -> io::Result<Vec<Event>> {
        let mut events = Vec::new();
        while let Some(event) = self.next()? {
            events.push(event);
        }
        Ok(events)
    }
}
