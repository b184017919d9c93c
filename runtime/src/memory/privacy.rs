//! What a memory does not keep.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use compozy_lang::plan::Privacy;
use compozy_lang::plan::memory::redaction;
use regex::{NoExpand, Regex};

use super::{Error, Message};

/// Compiled patterns that are kept; beyond that all are forgotten and compiled again as they are used.
const KEPT: usize = 1_024;

/// Compiled patterns by their text.
#[derive(Debug, Default)]
pub(super) struct Patterns(Mutex<HashMap<String, Arc<Regex>>>);

impl Patterns {
    /// What may be kept of `messages`: those of roles that are not kept go, and what a pattern matches is replaced.
    ///
    /// # Errors
    /// [`Error::Refused`] for a pattern that cannot be compiled; the loader lets none through.
    pub(super) fn apply(&self, privacy: &Privacy, messages: Vec<Message>) -> Result<Vec<Message>, Error> {
        let patterns =
            privacy.redact_patterns.iter().map(|pattern| self.get(pattern)).collect::<Result<Vec<_>, _>>()?;
        let dropped = &privacy.non_persistable_message_types;
        let kept = messages.into_iter().filter(|message| !dropped.contains(&message.role));
        let redacted = kept.map(|mut message| {
            for pattern in &patterns {
                let text = pattern.replace_all(&message.content, NoExpand(&privacy.default_redaction_string));
                if let std::borrow::Cow::Owned(text) = text {
                    message.content = text;
                }
            }
            message
        });
        Ok(redacted.collect())
    }

    fn get(&self, pattern: &str) -> Result<Arc<Regex>, Error> {
        if let Some(known) = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(pattern) {
            return Ok(Arc::clone(known));
        }
        let compiled = redaction(pattern)
            .map_err(|reason| Error::Refused(format!("a redaction pattern cannot be compiled: {reason}")))?;
        let compiled = Arc::new(compiled);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= KEPT {
            all.clear();
        }
        all.insert(pattern.to_owned(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    fn privacy(patterns: &[&str], roles: &[&str]) -> Privacy {
        Privacy {
            redact_patterns: patterns.iter().map(|&pattern| pattern.to_owned()).collect(),
            non_persistable_message_types: roles.iter().map(|&role| role.to_owned()).collect(),
            default_redaction_string: "[$0]".into(),
        }
    }

    #[test]
    fn what_matches_is_replaced_and_roles_go() {
        let patterns = Patterns::default();
        let said = vec![
            Message::new("user", "card 4111-1111, mail a@b.c, card 4242-4242"),
            Message::new("system", "be kind"),
            Message::new("assistant", "fine"),
        ];
        let kept = patterns.apply(&privacy(&[r"\d{4}-\d{4}", r"\S+@\S+"], &["system"]), said).unwrap();
        let expected = [Message::new("user", "card [$0], mail [$0] card [$0]"), Message::new("assistant", "fine")];
        assert_eq!(kept, expected);
        assert!(matches!(patterns.apply(&privacy(&["("], &[]), Vec::new()), Err(Error::Refused(_))));
    }

    /// Exponential elsewhere.
    #[test]
    fn a_pattern_takes_linear_time() {
        let hostile = "a".repeat(10_000) + "!";
        let since = Instant::now();
        let kept =
            Patterns::default().apply(&privacy(&["(a+)+$", "(a|a)*b"], &[]), vec![Message::new("user", &hostile)]);
        assert_eq!(kept.unwrap()[0].content, hostile);
        assert!(since.elapsed() < Duration::from_secs(2), "{:?}", since.elapsed());
    }
}
