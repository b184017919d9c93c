//! What the language has and the node cannot run yet.

use crate::document::Unsupported;
use crate::source::Place;

use super::Linker;

/// What is refused with CZ0001, in the words of the message. A line is removed when the node has learned it.
pub const NOT_RUN_YET: &[&str] = &["signal tasks", "workflow tasks", "triggers", "schedule"];

impl Linker<'_> {
    /// CZ0001 when `what` is in [`NOT_RUN_YET`], unless the whole language is asked for.
    pub(super) fn not_yet(&mut self, what: &str, place: Place) {
        if !self.facts.whole_language && NOT_RUN_YET.contains(&what) {
            let unsupported = Unsupported { what: what.to_owned(), place, is_warning: false };
            self.report(unsupported.diagnostic());
        }
    }
}
