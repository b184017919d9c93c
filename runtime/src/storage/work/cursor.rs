//! Places in lists of runs.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::super::Error;
use super::super::row::Run;
use crate::id::ExecId;

/// Most runs of one page.
pub(in crate::storage) const PAGE: u32 = 500;

/// A place in a list ordered by creation.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::storage) struct Cursor {
    /// The page lies before the place rather than after it.
    pub(in crate::storage) backwards: bool,
    pub(in crate::storage) created_at: i64,
    pub(in crate::storage) exec_id: String,
}

impl Cursor {
    pub(in crate::storage) fn at(run: &Run, backwards: bool) -> String {
        let direction = if backwards { 'p' } else { 'n' };
        URL_SAFE_NO_PAD.encode(format!("{direction}{}:{}", run.created_at.0, run.exec_id))
    }

    pub(in crate::storage) fn parse(text: &str) -> Result<Self, Error> {
        let read = || {
            let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
            let text = std::str::from_utf8(&bytes).ok()?;
            let backwards = match text.get(..1)? {
                "p" => true,
                "n" => false,
                _ => return None,
            };
            let (created_at, exec_id) = text.get(1..)?.split_once(':')?;
            let exec_id = ExecId::parse(exec_id)?.as_str().to_owned();
            Some(Self { backwards, created_at: created_at.parse().ok()?, exec_id })
        };
        read().ok_or(Error::InvalidCursor)
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, Error};

    #[test]
    fn strange_cursors_are_refused() {
        for text in ["", "x", "bjE", "bnVsbA", "😀", "bjE6Li4v"] {
            assert!(matches!(Cursor::parse(text), Err(Error::InvalidCursor)), "{text}");
        }
    }
}
