//! The settings of operations: `flush_config`, `clear_config` and so on, and the bodies of the same operations over HTTP.

use serde_json::{Map, Value};

use super::operations::Flush;
use super::{Error, rule};

/// Settings of one operation, known by what they are called.
#[derive(Debug, Clone, Copy)]
pub struct Settings<'a> {
    name: &'a str,
    members: &'a Map<String, Value>,
}

impl<'a> Settings<'a> {
    /// The settings `members`; only `known` ones.
    ///
    /// # Errors
    /// [`Error::Refused`] names one that is not known.
    pub fn new(name: &'a str, members: &'a Map<String, Value>, known: &[&str]) -> Result<Self, Error> {
        match members.keys().find(|key| !known.contains(&key.as_str())) {
            None => Ok(Self { name, members }),
            Some(unknown) => {
                let shown: String = unknown.chars().take(64).flat_map(char::escape_debug).collect();
                let known = known.join(", ");
                Err(Error::Refused(format!("{name} has the unknown key '{shown}'; it may have {known}")))
            }
        }
    }

    /// True or false; absent is false.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn flag(&self, key: &str) -> Result<bool, Error> {
        match self.members.get(key) {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(value)) => Ok(*value),
            Some(_) => Err(self.wrong(key, "true or false")),
        }
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        match self.members.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(self.wrong(key, "a text")),
        }
    }

    fn share(&self, key: &str) -> Result<Option<f64>, Error> {
        match self.members.get(key) {
            None | Some(Value::Null) => Ok(None),
            Some(value) => match value.as_f64().filter(|share| *share > 0.0 && *share <= 1.0) {
                Some(share) => Ok(Some(share)),
                None => Err(self.wrong(key, "a number above 0 and at most 1")),
            },
        }
    }

    fn count(&self, key: &str, most: u64) -> Result<(), Error> {
        match self.members.get(key) {
            None | Some(Value::Null) => Ok(()),
            Some(value) if value.as_u64().is_some_and(|count| count <= most) => Ok(()),
            Some(_) => Err(self.wrong(key, &format!("a whole number from 0 to {most}"))),
        }
    }

    fn wrong(&self, key: &str, expected: &str) -> Error {
        Error::Refused(format!("{}.{key}: expected {expected}", self.name))
    }
}

/// Keys of `flush_config`, and of the body of a flush beside `key`.
pub const FLUSH: &[&str] = &["strategy", "threshold", "force", "dry_run", "max_keys"];

impl Flush {
    /// How a flush is asked for.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub fn of(settings: Settings<'_>) -> Result<Self, Error> {
        // One key is flushed at a time, so that any number of keys is enough.
        settings.count("max_keys", 50_000)?;
        let strategy = match settings.text("strategy")?.filter(|text| !text.is_empty()) {
            None => None,
            Some(text) => Some(rule::strategy(text).ok_or_else(|| {
                settings.wrong("strategy", "one of simple_fifo, lru, hybrid_summary, token_aware_lru")
            })?),
        };
        let threshold = settings.share("threshold")?;
        let threshold = if settings.flag("force")? { None } else { threshold };
        Ok(Self { strategy, threshold, dry_run: settings.flag("dry_run")? })
    }
}

/// Checks `name` of the options of a task and gives its settings; absent is empty.
///
/// # Errors
/// [`Error::Refused`].
pub(super) fn settings<'a>(
    options: &'a Map<String, Value>,
    name: &'a str,
    known: &[&str],
    empty: &'a Map<String, Value>,
) -> Result<Settings<'a>, Error> {
    match options.get(name) {
        None | Some(Value::Null) => Settings::new(name, empty, known),
        Some(Value::Object(members)) => Settings::new(name, members, known),
        Some(_) => Err(Error::Refused(format!("{name}: expected a map"))),
    }
}

/// Checks settings that change nothing in what is answered.
///
/// # Errors
/// [`Error::Refused`].
pub(super) fn check_told(options: &Map<String, Value>) -> Result<(), Error> {
    let empty = Map::new();
    let health = settings(options, "health_config", &["include_stats", "check_connectivity"], &empty)?;
    health.flag("include_stats")?;
    health.flag("check_connectivity")?;
    let stats = settings(options, "stats_config", &["include_content", "group_by"], &empty)?;
    stats.flag("include_content")?;
    stats.text("group_by").map(|_| ())
}

#[cfg(test)]
mod tests {
    use compozy_lang::plan::FlushingKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn settings_are_read_or_refused() {
        let flush = |members: Value| {
            let Value::Object(members) = members else { panic!("a map") };
            Settings::new("flush_config", &members, FLUSH).and_then(Flush::of)
        };
        let plain = Flush { strategy: None, threshold: None, dry_run: false };
        for (members, read) in [
            (json!({}), plain),
            (
                json!({"strategy": "lru", "dry_run": true}),
                Flush { strategy: Some(FlushingKind::Lru), dry_run: true, ..plain },
            ),
            (json!({"threshold": 0.5, "max_keys": 7, "strategy": ""}), Flush { threshold: Some(0.5), ..plain }),
            (json!({"threshold": 0.5, "force": true}), plain),
        ] {
            assert_eq!(flush(members.clone()).unwrap(), read, "{members}");
        }
        for (members, reason) in [
            (
                json!({"dry": true}),
                "flush_config has the unknown key 'dry'; it may have strategy, threshold, force, dry_run, max_keys",
            ),
            (json!({"dry_run": "yes"}), "flush_config.dry_run: expected true or false"),
            (
                json!({"strategy": "best"}),
                "flush_config.strategy: expected one of simple_fifo, lru, hybrid_summary, token_aware_lru",
            ),
            (json!({"strategy": 1}), "flush_config.strategy: expected a text"),
            (json!({"threshold": 0}), "flush_config.threshold: expected a number above 0 and at most 1"),
            (json!({"max_keys": 50_001}), "flush_config.max_keys: expected a whole number from 0 to 50000"),
        ] {
            assert_eq!(flush(members.clone()).unwrap_err().to_string(), reason, "{members}");
        }
    }
}
