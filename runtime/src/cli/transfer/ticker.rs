//! How far a transfer is, on stderr: a line that is drawn again on a terminal, else one every 5 s.

use std::io::Write as _;

use compozy_engine::time::Timestamp;

use crate::cli::session::Session;

/// Microseconds between two lines: on a terminal, and elsewhere.
const EVERY: (i64, i64) = (100_000, 5_000_000);

/// Tells how far it is.
pub(super) struct Ticker<'s> {
    session: &'s Session,
    verb: &'static str,
    last: Timestamp,
    drawn: bool,
}

impl<'s> Ticker<'s> {
    pub(super) fn new(session: &'s Session, verb: &'static str) -> Self {
        Self { session, verb, last: session.clock.now(), drawn: false }
    }

    /// So many rows of a table are done.
    pub(super) fn tell(&mut self, table: &str, rows: u64) {
        let output = &self.session.output;
        let now = self.session.clock.now();
        let every = if output.spinner { EVERY.0 } else { EVERY.1 };
        if now.0.saturating_sub(self.last.0) < every {
            return;
        }
        self.last = now;
        let text = format!("{} {table}: {rows} rows", self.verb);
        if output.spinner {
            self.drawn = true;
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K{text}").and_then(|()| stderr.flush());
        } else {
            output.talk(&text);
        }
    }

    /// Takes the drawn line away.
    pub(super) fn end(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let mut stderr = std::io::stderr().lock();
            let _ = write!(stderr, "\r\x1b[2K").and_then(|()| stderr.flush());
        }
    }
}
