//! From bytes to pieces: lines of the NDJSON form, or the members of the JSON document. Nothing larger than
//! [`PIECE`] is ever held, and nothing deeper than [`DEPTH`] is looked into.

use super::Error;

/// Largest line or object: a payload of the largest size with its quotes escaped.
const PIECE: usize = 64 << 20;
/// Deepest nesting of a header or row.
const DEPTH: u32 = 8;
/// Longest name of a table.
const NAME: usize = 64;

/// A piece of a file.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// A line of the NDJSON form.
    Line(Vec<u8>),
    /// The header of a document.
    Header(Vec<u8>),
    /// A table of a document begins.
    Table(String),
    /// A row of it.
    Row(Vec<u8>),
    /// It ends.
    TableEnd,
    /// The footer of a document.
    Footer(Vec<u8>),
}

/// Where in a document reading is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Neither form is known.
    Start,
    Lines,
    /// Before the value of `header`.
    Header,
    /// Before `tables`.
    Tables,
    /// Before the name of a table, or the end of them.
    Name {
        first: bool,
    },
    /// Before a row, or the end of the table.
    Element {
        first: bool,
    },
    /// Before `footer`.
    Footer,
    /// Before the last brace.
    Last,
    Done,
}

/// How far an object has been looked through.
#[derive(Debug, Default)]
struct Object {
    length: usize,
    depth: u32,
    text: bool,
    escape: bool,
}

/// Finds the pieces.
#[derive(Debug)]
pub(super) struct Scanner {
    buffer: Vec<u8>,
    at: usize,
    /// Bytes before `buffer`.
    offset: u64,
    line: u64,
    ended: bool,
    state: State,
    object: Object,
    place: String,
}

impl Scanner {
    pub(super) fn new() -> Self {
        Self {
            buffer: Vec::new(),
            at: 0,
            offset: 0,
            line: 0,
            ended: false,
            state: State::Start,
            object: Object::default(),
            place: "the file".to_owned(),
        }
    }

    /// Takes more bytes.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.offset += self.at as u64;
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// There are no more bytes.
    pub(super) fn end(&mut self) {
        self.ended = true;
    }

    /// Where the last piece was.
    pub(super) fn place(&self) -> &str {
        &self.place
    }

    /// The next piece; `None`: it needs more bytes, or this was all.
    ///
    /// # Errors
    /// [`Error::Invalid`] for what is neither form, and for what is too large or too deep.
    pub(super) fn next(&mut self) -> Result<Option<Piece>, Error> {
        loop {
            let before = (self.state, self.at);
            let piece = self.step()?;
            if piece.is_some() || before == (self.state, self.at) {
                return Ok(piece);
            }
        }
    }

    /// Whether a document came to its end.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.state, State::Lines | State::Done)
    }

    fn step(&mut self) -> Result<Option<Piece>, Error> {
        match self.state {
            State::Lines => self.lines(),
            State::Start => {
                if let Some(key) = self.keyed(b'{', false)? {
                    self.state = match key.as_str() {
                        "header" => State::Header,
                        "kind" => {
                            // From the beginning again, as a line.
                            self.at = 0;
                            State::Lines
                        }
                        _ => return Err(self.strange("it begins neither with a header line nor with a header")),
                    };
                }
                Ok(None)
            }
            State::Header => Ok(self.whole(State::Tables)?.map(Piece::Header)),
            State::Tables => {
                if let Some(key) = self.keyed(b',', true)? {
                    self.must(key == "tables", "'tables' must follow the header")?;
                    self.state = State::Name { first: true };
                }
                Ok(None)
            }
            State::Name { first } => self.name(first),
            State::Element { first } => self.element(first),
            State::Footer => {
                if let Some(key) = self.keyed(b',', false)? {
                    self.must(key == "footer", "'footer' must follow the tables")?;
                    self.object = Object::default();
                    self.state = State::Last;
                }
                Ok(None)
            }
            State::Last => Ok(self.whole(State::Done)?.map(Piece::Footer)),
            State::Done => {
                match self.peek() {
                    None | Some(b'}') => {}
                    Some(_) => return Err(self.strange("something follows the end")),
                }
                self.at = self.buffer.len().min(self.at + 1);
                Ok(None)
            }
        }
    }

    fn lines(&mut self) -> Result<Option<Piece>, Error> {
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let Some(length) = rest.iter().skip(self.object.length).position(|byte| *byte == b'\n') else {
            self.object.length = rest.len();
            self.place = format!("line {}", self.line + 1);
            self.bounded(rest.len())?;
            // A last line may have lost its line break; any other was cut off.
            if !self.ended || rest.last() != Some(&b'}') {
                return Ok(None);
            }
            let line = rest.to_vec();
            self.at = self.buffer.len();
            self.line += 1;
            return Ok(Some(Piece::Line(line)));
        };
        let length = self.object.length + length;
        self.object.length = 0;
        let line = rest.get(..length).unwrap_or_default().to_vec();
        self.at += length + 1;
        self.line += 1;
        self.place = format!("line {}", self.line);
        self.bounded(line.len())?;
        Ok(Some(Piece::Line(line)))
    }

    fn name(&mut self, first: bool) -> Result<Option<Piece>, Error> {
        let Some(byte) = self.peek() else { return Ok(None) };
        if byte == b'}' {
            self.at += 1;
            self.state = State::Footer;
            return Ok(None);
        }
        let start = self.at;
        if !first {
            self.must(byte == b',', "a comma must stand between two tables")?;
            self.at += 1;
        }
        let Some(name) = self.key()? else {
            self.at = start;
            return Ok(None);
        };
        match self.peek() {
            None => {
                self.at = start;
                Ok(None)
            }
            Some(b'[') => {
                self.at += 1;
                self.state = State::Element { first: true };
                self.mark();
                Ok(Some(Piece::Table(name)))
            }
            Some(_) => Err(self.strange("a table must be a list of rows")),
        }
    }

    fn element(&mut self, first: bool) -> Result<Option<Piece>, Error> {
        let Some(byte) = self.peek() else { return Ok(None) };
        if byte == b']' {
            self.at += 1;
            self.state = State::Name { first: false };
            return Ok(Some(Piece::TableEnd));
        }
        // An object under way has its comma behind it.
        if !first && self.object.length == 0 && byte == b',' {
            self.at += 1;
            self.object = Object::default();
            self.state = State::Element { first: true };
            return Ok(None);
        }
        self.must(first, "a comma must stand between two rows")?;
        Ok(self.whole(State::Element { first: false })?.map(Piece::Row))
    }

    /// `<before> "key" :` and, if wanted, `{`; the key. `None`: it needs more bytes.
    fn keyed(&mut self, before: u8, open: bool) -> Result<Option<String>, Error> {
        let start = self.at;
        let Some(byte) = self.peek() else { return Ok(None) };
        self.must(byte == before, "this is no export of compozy")?;
        self.at += 1;
        let key = self.key()?;
        if key.is_some() && open {
            match self.peek() {
                Some(byte) => {
                    self.must(byte == b'{', "an object must stand here")?;
                    self.at += 1;
                    return Ok(key);
                }
                None => {
                    self.at = start;
                    return Ok(None);
                }
            }
        }
        if key.is_none() {
            self.at = start;
        }
        Ok(key)
    }

    /// `"key" :`, without escapes in it. `None`: it needs more bytes.
    fn key(&mut self) -> Result<Option<String>, Error> {
        let Some(byte) = self.peek() else { return Ok(None) };
        self.must(byte == b'"', "a name must stand here")?;
        let rest = self.buffer.get(self.at + 1..).unwrap_or_default();
        let Some(length) = rest.iter().take(NAME + 1).position(|byte| *byte == b'"') else {
            self.must(rest.len() <= NAME, "a name is too long")?;
            return Ok(None);
        };
        let name = String::from_utf8_lossy(rest.get(..length).unwrap_or_default()).into_owned();
        self.at += length + 2;
        let Some(byte) = self.peek() else { return Ok(None) };
        self.must(byte == b':', "a colon must follow a name")?;
        self.at += 1;
        Ok(Some(name))
    }

    /// A whole object, after which reading is at `then`. `None`: it needs more bytes.
    fn whole(&mut self, then: State) -> Result<Option<Vec<u8>>, Error> {
        let Some(byte) = self.peek() else { return Ok(None) };
        if self.object.length == 0 {
            self.mark();
            self.must(byte == b'{', "an object must stand here")?;
        }
        let rest = self.buffer.get(self.at..).unwrap_or_default();
        let object = &mut self.object;
        while let Some(byte) = rest.get(object.length) {
            object.length += 1;
            match (object.text, byte) {
                (true, _) if object.escape => object.escape = false,
                (true, b'\\') => object.escape = true,
                (true, b'"') => object.text = false,
                (true, _) => {}
                (false, b'"') => object.text = true,
                (false, b'{' | b'[') => object.depth += 1,
                (false, b'}' | b']') => object.depth = object.depth.saturating_sub(1),
                (false, _) => {}
            }
            if object.depth > DEPTH {
                return Err(Error::at(&self.place, format!("nested more than {DEPTH} levels deep")));
            }
            if object.depth == 0 {
                let bytes = rest.get(..object.length).unwrap_or_default().to_vec();
                self.at += object.length;
                self.object = Object::default();
                self.state = then;
                return Ok(Some(bytes));
            }
        }
        self.bounded(self.object.length).map(|()| None)
    }

    /// The next byte that is no space.
    fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.buffer.get(self.at) {
            if !byte.is_ascii_whitespace() {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    fn mark(&mut self) {
        self.place = format!("byte {}", self.offset + self.at as u64);
    }

    fn bounded(&self, length: usize) -> Result<(), Error> {
        if length <= PIECE {
            return Ok(());
        }
        Err(Error::at(&self.place, format!("longer than {} MiB", PIECE >> 20)))
    }

    fn must(&mut self, so: bool, otherwise: &str) -> Result<(), Error> {
        if so { Ok(()) } else { Err(self.strange(otherwise)) }
    }

    fn strange(&mut self, message: &str) -> Error {
        self.mark();
        Error::at(&self.place, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pieces of `text`, given `step` bytes at a time.
    fn pieces(text: &str, step: usize) -> Result<Vec<Piece>, String> {
        let mut scanner = Scanner::new();
        let mut found = Vec::new();
        let mut drain = |scanner: &mut Scanner| -> Result<(), String> {
            while let Some(piece) = scanner.next().map_err(|error| error.to_string())? {
                found.push(piece);
            }
            Ok(())
        };
        for bytes in text.as_bytes().chunks(step) {
            scanner.push(bytes);
            drain(&mut scanner)?;
        }
        scanner.end();
        drain(&mut scanner)?;
        if !scanner.is_complete() {
            return Err("cut off".to_owned());
        }
        Ok(found)
    }

    #[test]
    fn both_forms_are_read_whatever_the_chunks() {
        let document = "{ \"header\" : {\"a\":\"}\\\"{\"},\n\"tables\":{\"x\":[],\"y\": [ {\"b\":1} , {\"c\":[2]}\n]},\"footer\":{}}\n";
        let bytes = |text: &str| text.as_bytes().to_vec();
        for step in [1, 2, 3, 7, 1_000] {
            let expected = vec![
                Piece::Header(bytes("{\"a\":\"}\\\"{\"}")),
                Piece::Table("x".into()),
                Piece::TableEnd,
                Piece::Table("y".into()),
                Piece::Row(bytes("{\"b\":1}")),
                Piece::Row(bytes("{\"c\":[2]}")),
                Piece::TableEnd,
                Piece::Footer(bytes("{}")),
            ];
            assert_eq!(pieces(document, step), Ok(expected), "{step}");
            let lines = "{\"kind\":\"header\"}\n{\"kind\":\"end\"}\n";
            let expected = vec![Piece::Line(bytes("{\"kind\":\"header\"}")), Piece::Line(bytes("{\"kind\":\"end\"}"))];
            assert_eq!(pieces(lines, step), Ok(expected), "{step}");
        }
    }

    #[test]
    fn strange_files_are_refused_where_they_are_strange() {
        let deep = format!("{{\"header\":{}", "[".repeat(2));
        for (text, wanted) in [
            ("", "cut off"),
            ("hello", "byte 0: this is no export of compozy"),
            ("{\"id\":1}", "byte 6: it begins neither with a header line nor with a header"),
            ("{\"header\":[1]}", "byte 10: an object must stand here"),
            ("{\"header\":{},\"rows\":{", "byte 21: 'tables' must follow the header"),
            ("{\"header\":{},\"tables\":{\"x\":{", "byte 27: a table must be a list of rows"),
            ("{\"header\":{},\"tables\":{\"x\":[1", "byte 28: an object must stand here"),
            ("{\"header\":{},\"tables\":{\"x\":[{}{}", "byte 30: a comma must stand between two rows"),
            ("{\"header\":{},\"tables\":{}", "cut off"),
            ("{\"header\":{},\"tables\":{},\"footer\":{}}x", "byte 37: something follows the end"),
            (&deep, "byte 10: an object must stand here"),
        ] {
            assert_eq!(pieces(text, 1_000).unwrap_err(), wanted, "{text}");
        }
        let deep = format!("{{\"header\":{{\"a\":{}", "[".repeat(20));
        assert_eq!(pieces(&deep, 1_000).unwrap_err(), "byte 10: nested more than 8 levels deep");
    }
}
