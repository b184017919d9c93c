//! What is typed, or sent as parameters, as what it means.

use crate::storage::table::Class;

use super::{Form, InFlight, OnConflict};

/// The classes that are exported when nothing is said: all but vectors and keys. Of chosen runs only what belongs to them.
#[must_use]
pub fn usual(chosen: bool) -> Vec<Class> {
    let all = Class::ALL.iter().map(|(class, _)| *class);
    let left_out = [Class::Vectors, Class::Auth];
    let of_runs = [Class::Executions, Class::Definitions, Class::Idempotency];
    all.filter(|class| !left_out.contains(class) && (!chosen || of_runs.contains(class))).collect()
}

/// The classes of a list of words, in the order of all classes.
///
/// # Errors
/// A word that is none.
pub fn classes<'w>(words: impl Iterator<Item = &'w str>) -> Result<Vec<Class>, String> {
    let mut found = words
        .map(|word| {
            let known: Vec<&str> = Class::ALL.iter().map(|(_, word)| *word).collect();
            Class::parse(word).ok_or_else(|| format!("'{word}' is none of {}", known.join(", ")))
        })
        .collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    found.dedup();
    Ok(found)
}

impl OnConflict {
    /// Every choice with its word, the usual one first.
    pub const ALL: [(Self, &'static str); 3] = [(Self::Fail, "fail"), (Self::Skip, "skip"), (Self::Replace, "replace")];

    /// The choice of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(choice, _)| *choice)
    }
}

impl InFlight {
    /// Every choice with its word, the usual one first.
    pub const ALL: [(Self, &'static str); 4] =
        [(Self::Pause, "pause"), (Self::Resume, "resume"), (Self::Fail, "fail"), (Self::Skip, "skip")];

    /// The choice of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| *known == word).map(|(choice, _)| *choice)
    }
}

impl Form {
    /// Its word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Document => "json",
        }
    }

    /// The form of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Ndjson, Self::Document].into_iter().find(|form| form.word() == word)
    }

    /// The form that a file's name asks for, and whether it shall be compressed: `backup.json.zst`.
    #[must_use]
    pub fn of_name(name: &str) -> (Self, bool) {
        let (name, zstd) = name.strip_suffix(".zst").map_or((name, false), |name| (name, true));
        (if name.ends_with(".json") { Self::Document } else { Self::Ndjson }, zstd)
    }
}
