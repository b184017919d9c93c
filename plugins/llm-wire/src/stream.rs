//! A streamed answer: what the protocol reads from each frame becomes pieces of text, and the whole answer at the end.

use std::collections::VecDeque;

use compozy_plugin::llm::{Event, Response};
use compozy_plugin::{Result, http};

use crate::failure;
use crate::lines::Lines;
use crate::sse::Splitter;

/// How the bytes of a stream are cut into frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    /// The data of server-sent events.
    Events,
    /// Lines.
    Lines,
}

/// What is known of an answer so far.
pub trait Partial {
    /// Adds a frame, which is not empty.
    ///
    /// # Errors
    /// It is an error, or does not keep to the protocol.
    fn add(&mut self, frame: &str) -> Result<Added>;

    /// The whole answer.
    ///
    /// # Errors
    /// The stream ended before it did.
    fn finish(self, ending: Ending) -> Result<Response>;
}

/// What a frame brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Further text; may be empty.
    pub text: String,
    /// It is the last one.
    pub is_last: bool,
}

/// How a stream came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// By a last frame.
    Said,
    /// By the connection.
    Closed,
}

#[derive(Debug)]
enum Cutter {
    Events(Splitter),
    Lines(Lines),
}

impl Cutter {
    fn feed(&mut self, bytes: &[u8]) -> Result<Vec<String>> {
        match self {
            Self::Events(splitter) => splitter.feed(bytes),
            Self::Lines(lines) => lines.feed(bytes),
        }
    }

    fn end(&mut self) -> Option<String> {
        match self {
            Self::Events(splitter) => splitter.end(),
            Self::Lines(lines) => lines.end(),
        }
    }
}

/// Turns the pieces of a body into events.
#[derive(Debug)]
pub struct Stream<I, P> {
    /// `None` once all was read.
    body: Option<I>,
    cutter: Cutter,
    /// `None` once it was handed out.
    answer: Option<P>,
    /// Events read and not yet handed out; an error is the last.
    ready: VecDeque<Result<Event>>,
}

impl<I: Iterator<Item = std::result::Result<Vec<u8>, http::Error>>, P: Partial> Stream<I, P> {
    /// The stream of a body.
    pub fn new(body: I, framing: Framing, beginning: P) -> Self {
        let cutter = match framing {
            Framing::Events => Cutter::Events(Splitter::default()),
            Framing::Lines => Cutter::Lines(Lines::default()),
        };
        Self { body: Some(body), cutter, answer: Some(beginning), ready: VecDeque::new() }
    }

    /// The stream of an answer that came at once.
    pub fn of_whole(response: Response) -> Self {
        let text = (!response.text.is_empty()).then(|| Event::Text(response.text.clone()));
        let ready = text.into_iter().chain([Event::Done(response)]).map(Ok).collect();
        Self { body: None, cutter: Cutter::Lines(Lines::default()), answer: None, ready }
    }

    /// The next event; `None` after the end, and after an error.
    ///
    /// # Errors
    /// The connection broke, the provider failed, or it does not keep to the protocol.
    #[expect(clippy::should_implement_trait, reason = "an iterator would hide that an error is the end")]
    pub fn next(&mut self) -> Result<Option<Event>> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return event.map(Some);
            }
            let Some(body) = &mut self.body else {
                return Ok(None);
            };
            let piece = body.next();
            if let Err(error) = self.read(piece) {
                // What came before the error is handed out first.
                self.body = None;
                self.ready.push_back(Err(error));
            }
        }
    }

    fn read(&mut self, piece: Option<std::result::Result<Vec<u8>, http::Error>>) -> Result<()> {
        let Some(piece) = piece else {
            let last = self.cutter.end();
            last.map_or(Ok(()), |frame| self.take(&frame))?;
            return self.end(Ending::Closed);
        };
        for frame in self.cutter.feed(&piece.map_err(failure::from_http)?)? {
            self.take(&frame)?;
        }
        Ok(())
    }

    fn take(&mut self, frame: &str) -> Result<()> {
        let Some(answer) = self.answer.as_mut().filter(|_| !frame.is_empty()) else { return Ok(()) };
        let added = answer.add(frame)?;
        if !added.text.is_empty() {
            self.ready.push_back(Ok(Event::Text(added.text)));
        }
        if added.is_last { self.end(Ending::Said) } else { Ok(()) }
    }

    fn end(&mut self, ending: Ending) -> Result<()> {
        self.body = None;
        // The last frame may have been read in the same piece.
        let Some(answer) = self.answer.take() else { return Ok(()) };
        self.ready.push_back(Ok(Event::Done(answer.finish(ending)?)));
        Ok(())
    }
}

/// Reads exchanges in tests of protocols.
#[doc(hidden)]
pub mod testing {
    use super::{Framing, Partial, Stream};
    use compozy_plugin::llm::{Event, Response};
    use compozy_plugin::{Error, http};

    /// The text of the pieces, and how the stream ended.
    pub type Seen = (String, Result<Response, Error>);

    /// Reads all events. Afterwards there must be none.
    pub fn read<P: Partial>(pieces: Vec<Result<Vec<u8>, http::Error>>, framing: Framing, beginning: P) -> Seen {
        let mut stream = Stream::new(pieces.into_iter(), framing, beginning);
        let mut text = String::new();
        let end = loop {
            match stream.next() {
                Ok(Some(Event::Text(piece))) => text.push_str(&piece),
                Ok(Some(Event::Done(response))) => break Ok(response),
                Ok(None) => break Err(Error::new("test", "ended without done")),
                Err(error) => break Err(error),
            }
        };
        assert!(matches!(stream.next(), Ok(None)));
        (text, end)
    }

    /// Reads an exchange whole and in pieces of every small size; all must agree.
    pub fn check<P: Partial>(exchange: &str, framing: Framing, beginning: impl Fn() -> P) -> Seen {
        let whole = read(vec![Ok(exchange.as_bytes().to_vec())], framing, beginning());
        for size in [1, 2, 3, 7, 64, 100] {
            let pieces = exchange.as_bytes().chunks(size).map(|piece| Ok(piece.to_vec())).collect();
            assert_eq!(format!("{:?}", read(pieces, framing, beginning())), format!("{whole:?}"), "pieces of {size}");
        }
        whole
    }
}
