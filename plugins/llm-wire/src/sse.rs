//! Server-sent events out of bytes that arrive cut anywhere.
//! Source: <https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation>.

use compozy_plugin::Result;

use crate::failure;

/// Bytes of one event.
const EVENT_LIMIT: usize = 4 << 20;

/// Collects bytes and gives the data of whole events.
#[derive(Debug, Default)]
pub(crate) struct Splitter {
    /// Bytes of the unfinished line.
    line: Vec<u8>,
    /// Data lines of the unfinished event, joined by line ends.
    data: Option<String>,
    /// The last byte was a carriage return, so a line feed that follows belongs to it.
    after_return: bool,
}

impl Splitter {
    /// Takes the next bytes and returns the data of the events that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        let mut events = Vec::new();
        for &byte in bytes {
            let belongs_to_return = byte == b'\n' && self.after_return;
            self.after_return = byte == b'\r';
            match byte {
                _ if belongs_to_return => {}
                b'\n' | b'\r' => events.extend(self.end_line()),
                _ => self.line.push(byte),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > EVENT_LIMIT {
                return Err(failure::malformed(format!("an event is longer than {EVENT_LIMIT} bytes")));
            }
        }
        Ok(events)
    }

    /// The data of an event that the end of the stream completes, for servers that leave out the last empty line.
    pub(crate) fn end(&mut self) -> Option<String> {
        self.end_line().or_else(|| self.data.take())
    }

    fn end_line(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.line);
        if line.is_empty() {
            return self.data.take();
        }
        // Other fields (`event`, `id`, `retry`) and comments mean nothing in this protocol.
        let value = line.strip_prefix(b"data:")?;
        let value = String::from_utf8_lossy(value.strip_prefix(b" ").unwrap_or(value)).into_owned();
        self.data = Some(match self.data.take() {
            Some(data) => format!("{data}\n{value}"),
            None => value,
        });
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{EVENT_LIMIT, Splitter};

    /// Cuts the stream at every place and into single bytes: the events must be the same.
    fn check(stream: &str, expected: &[&str]) {
        let bytes = stream.as_bytes();
        let run = |pieces: &[&[u8]]| {
            let mut splitter = Splitter::default();
            let mut events = Vec::new();
            for piece in pieces {
                events.extend(splitter.feed(piece).expect("short"));
            }
            events.extend(splitter.end());
            events
        };
        for cut in 0..=bytes.len() {
            let (left, right) = bytes.split_at(cut);
            assert_eq!(run(&[left, right]), expected, "cut at {cut}");
        }
        let single: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(run(&single), expected);
    }

    #[test]
    fn events_survive_any_cut() {
        check("data: a\n\ndata: b\n\n", &["a", "b"]);
        check("data: é…\r\n\r\ndata:b\r\n\r\n", &["é…", "b"]);
        check("data: a\r\rdata: b\r\r", &["a", "b"]);
        check(": ping\n\nevent: x\nid: 1\ndata: a\ndata: b\n\n", &["a\nb"]);
        check("data: a\n\ndata: [DONE]", &["a", "[DONE]"]);
        check("data: a\n\ndata: b\n", &["a", "b"]);
        check("\n\n\n", &[]);
        check("nonsense\n\n", &[]);
        check("data:\n\n", &[""]);
    }

    #[test]
    fn an_endless_event_is_refused() {
        let mut splitter = Splitter::default();
        let piece = vec![b'x'; EVENT_LIMIT];
        assert!(splitter.feed(&piece).is_ok());
        assert_eq!(splitter.feed(b"x").expect_err("too long").code, "provider_malformed");
    }
}
