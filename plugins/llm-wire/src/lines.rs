//! Lines out of bytes that arrive cut anywhere: JSON values, one a line (<https://github.com/ndjson/ndjson-spec>).

use compozy_plugin::Result;

use crate::failure;

/// Bytes of one line.
const LINE_LIMIT: usize = 4 << 20;

/// Collects bytes and gives whole lines that are not empty.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    unfinished: Vec<u8>,
}

impl Lines {
    /// Takes the next bytes and returns the lines that they complete.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        let mut lines = Vec::new();
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            self.unfinished.extend_from_slice(piece);
            if self.unfinished.len() > LINE_LIMIT {
                return Err(failure::malformed(format!("a line is longer than {LINE_LIMIT} bytes")));
            }
            if pieces.peek().is_some() {
                lines.extend(self.end());
            }
        }
        Ok(lines)
    }

    /// The line that the end of the stream completes.
    pub(crate) fn end(&mut self) -> Option<String> {
        let line = std::mem::take(&mut self.unfinished);
        let line = String::from_utf8_lossy(&line);
        let line = line.trim();
        (!line.is_empty()).then(|| line.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::{LINE_LIMIT, Lines};

    #[test]
    fn lines_survive_any_cut() {
        let text = "{\"a\": \"é…\"}\r\n\n{\"b\": 1}\n  \n{\"c\": 2}";
        for cut in 0..=text.len() {
            let (left, right) = text.as_bytes().split_at(cut);
            let mut lines = Lines::default();
            let mut found = lines.feed(left).expect("short");
            found.extend(lines.feed(right).expect("short"));
            found.extend(lines.end());
            assert_eq!(found, ["{\"a\": \"é…\"}", "{\"b\": 1}", "{\"c\": 2}"], "cut at {cut}");
        }
    }

    #[test]
    fn an_endless_line_is_refused() {
        let mut lines = Lines::default();
        assert!(lines.feed(&vec![b'x'; LINE_LIMIT]).is_ok());
        assert_eq!(lines.feed(b"x").expect_err("too long").code, "provider_malformed");
    }
}
