//! Events of a run as they come from a server or from the embedded node, and the reader of `text/event-stream`.

use serde_json::Value;

/// One event of a run (cli-and-api §7.4).
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `<seq>`, or `<seq>.<n>` for a piece of a model's answer that is not journaled.
    pub id: String,
    /// `task_status` and its like.
    pub name: String,
    /// The event's fields.
    pub data: Value,
}

impl Event {
    /// The last event of a run.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        matches!(self.name.as_str(), "complete" | "error")
    }

    /// A text field of the data, or nothing.
    #[must_use]
    pub fn text(&self, field: &str) -> &str {
        self.data.get(field).and_then(Value::as_str).unwrap_or_default()
    }

    /// A number field of the data, or 0.
    #[must_use]
    pub fn number(&self, field: &str) -> u64 {
        self.data.get(field).and_then(Value::as_u64).unwrap_or_default()
    }
}

/// Longest line of a stream, bytes; a server that sends more is not one of ours.
const LONGEST_LINE: usize = 64 << 20;

/// Reads `text/event-stream` piece by piece (WHATWG HTML, "Server-sent events").
#[derive(Debug, Default)]
pub struct Reader {
    buffer: Vec<u8>,
    id: String,
    name: String,
    data: Vec<String>,
}

impl Reader {
    /// Takes the next bytes and gives the events they complete; `None` if a line grows beyond all bounds.
    pub fn feed(&mut self, bytes: &[u8]) -> Option<Vec<Event>> {
        let mut events = Vec::new();
        self.buffer.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.buffer.get(start..)?.iter().position(|byte| *byte == b'\n') {
            let line = String::from_utf8_lossy(self.buffer.get(start..start + length)?).into_owned();
            events.extend(self.line(line.trim_end_matches('\r')));
            start += length + 1;
        }
        self.buffer.drain(..start);
        (self.buffer.len() <= LONGEST_LINE).then_some(events)
    }

    fn line(&mut self, line: &str) -> Option<Event> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.id),
            "event" => value.clone_into(&mut self.name),
            "data" => self.data.push(value.to_owned()),
            // `retry` and comments (`: ping`).
            _ => {}
        }
        None
    }

    fn dispatch(&mut self) -> Option<Event> {
        let (name, data) = (std::mem::take(&mut self.name), std::mem::take(&mut self.data));
        if name.is_empty() && data.is_empty() {
            return None;
        }
        let text = data.join("\n");
        let data = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Some(Event { id: self.id.clone(), name, data })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn events_are_read_however_they_are_cut() {
        let text = "retry: 2000\n\nid: 1\nevent: task_start\ndata: {\"a\":\ndata: 1}\n\n: ping\n\r\nid:2.1\r\nevent:llm_chunk\r\ndata: häh\r\n\r\nid: 3\nevent: complete\ndata: {}";
        let expected = vec![
            Event { id: "1".into(), name: "task_start".into(), data: json!({"a": 1}) },
            Event { id: "2.1".into(), name: "llm_chunk".into(), data: json!("häh") },
        ];
        for size in [1, 2, 7, text.len()] {
            let mut reader = Reader::default();
            let events: Vec<Event> =
                text.as_bytes().chunks(size).flat_map(|bytes| reader.feed(bytes).unwrap()).collect();
            assert_eq!(events, expected, "pieces of {size}");
        }
    }
}
