//! Schema changes, numbered: what `compozy migrate` asks of a driver (cli-and-api §9.6).
//!
//! A driver has a list of [`Migration`]s and applies or takes back one of them in one transaction. What taking one back
//! would lose is counted first, and refused unless it is forced.

use compozy_engine::time::Timestamp;
use sha2::{Digest, Sha256};

use super::work::encode::hex;
use super::{Error, Options, postgres, sqlite};

/// A schema change. What has shipped is never edited.
#[derive(Debug)]
pub(super) struct Migration {
    pub(super) version: i64,
    pub(super) name: &'static str,
    /// The statements that make it.
    pub(super) up: &'static str,
    /// How it is taken back; `None` for the first, which is the whole database.
    pub(super) down: Option<Down>,
}

/// The way back.
#[derive(Debug)]
pub(super) struct Down {
    /// The statements.
    pub(super) sql: &'static str,
    /// What is lost with it: what that is, and a query that counts it.
    pub(super) loses: &'static [(&'static str, &'static str)],
}

impl Migration {
    pub(super) fn checksum(&self) -> String {
        hex(&Sha256::digest(self.up.as_bytes()))
    }
}

/// A row of the database's own list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Applied {
    pub(super) version: i64,
    pub(super) name: String,
    pub(super) checksum: String,
    pub(super) at: Timestamp,
}

/// A schema change, and whether the database has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Its number.
    pub version: i64,
    /// Its name.
    pub name: String,
    /// When it was applied; `None`: it was not.
    pub applied_at: Option<Timestamp>,
}

/// How a schema stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct State {
    /// `sqlite` or `postgres`.
    pub driver: &'static str,
    /// Which database, without a password.
    pub location: String,
    /// Newest applied version; 0: there is no database yet.
    pub version: i64,
    /// The version that this program writes.
    pub newest: i64,
    /// Every change that this program or the database knows, by number.
    pub steps: Vec<Step>,
}

impl State {
    /// `current`, `pending` or `newer`.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self.version.cmp(&self.newest) {
            std::cmp::Ordering::Less => "pending",
            std::cmp::Ordering::Equal => "current",
            std::cmp::Ordering::Greater => "newer",
        }
    }

    pub(super) fn new(driver: &'static str, location: &str, known: &[Migration], applied: &[Applied]) -> Self {
        let at = |version| applied.iter().find(|applied| applied.version == version).map(|applied| applied.at);
        let step = |known: &Migration| Step {
            version: known.version,
            name: known.name.to_owned(),
            applied_at: at(known.version),
        };
        let newest = known.last().map_or(0, |last| last.version);
        let newer = applied.iter().filter(|applied| applied.version > newest);
        let newer = newer.map(|one| Step { version: one.version, name: one.name.clone(), applied_at: Some(one.at) });
        Self {
            driver,
            location: location.to_owned(),
            version: applied.last().map_or(0, |last| last.version),
            newest,
            steps: known.iter().map(step).chain(newer).collect(),
        }
    }
}

/// Where to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Forward to this version; `None`: to the newest.
    Up(Option<i64>),
    /// Back to this version.
    DownTo {
        /// The version.
        version: i64,
        /// Whatever is lost with it.
        force: bool,
    },
    /// Back by so many.
    DownBy {
        /// How many.
        steps: u32,
        /// Whatever is lost with it.
        force: bool,
    },
}

/// Which way, and how far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Up { to: i64 },
    Down { to: i64, force: bool },
}

impl Change {
    /// The way from `version`.
    ///
    /// # Errors
    /// [`Error::Conflict`] when it leads the other way, nowhere, or before the first version.
    pub(super) fn way(self, version: i64, known: &[Migration]) -> Result<Way, Error> {
        let newest = known.last().map_or(0, |last| last.version);
        let wrong = |text: String| Err(Error::Conflict(text));
        let (to, force) = match self {
            Self::Up(to) => {
                let to = to.unwrap_or(newest);
                return match to {
                    to if to > newest => wrong(format!("there is no migration {to}; the newest is {newest}")),
                    to if to < version => {
                        wrong(format!("the schema is at version {version}; `migrate down --to {to}` goes back"))
                    }
                    to => Ok(Way::Up { to }),
                };
            }
            Self::DownTo { version, force } => (version, force),
            Self::DownBy { steps, force } => (version - i64::from(steps), force),
        };
        match to {
            _ if version == 0 => wrong("there is no database yet, so nothing can be taken back".to_owned()),
            to if to > version => wrong(format!("the schema is at version {version}; `migrate up` goes forward")),
            to if to < 1 => wrong(format!(
                "version 1 is the first: the schema is at version {version}, so at most {} can be taken back",
                version - 1
            )),
            to => Ok(Way::Down { to, force }),
        }
    }
}

/// Compares what the database says was applied with what is known.
///
/// # Errors
/// [`Error::Unusable`] when a migration is another one than is known by its number.
pub(super) fn check(name: &str, known: &[Migration], applied: &[Applied]) -> Result<(), Error> {
    let differs = |one: &&Applied| {
        let known = known.iter().find(|known| known.version == one.version);
        known.is_some_and(|known| known.checksum() != one.checksum)
    };
    match applied.iter().find(differs) {
        None => Ok(()),
        Some(one) => {
            Err(Error::Unusable(format!("{name}: migration {} is not the one this program knows", one.version)))
        }
    }
}

/// [`check`], and that this program knows every migration; the newest version applied, 0 for none.
///
/// # Errors
/// [`Error::TooNew`] besides.
pub(super) fn version(name: &str, known: &[Migration], applied: &[Applied]) -> Result<i64, Error> {
    check(name, known, applied)?;
    let newest = known.last().map_or(0, |last| last.version);
    match applied.last().map_or(0, |last| last.version) {
        version if version > newest => Err(Error::TooNew(format!(
            "{name} has schema version {version}, newer than this program, which knows {newest}; nothing was written"
        ))),
        version => Ok(version),
    }
}

/// Why a migration is not taken back.
pub(super) fn lost(version: i64, losses: &[(&str, i64)]) -> Error {
    let list: Vec<String> = losses.iter().map(|(what, count)| format!("{count} {what}")).collect();
    Error::Conflict(format!(
        "taking back migration {version} would lose data: {}; nothing was changed, `--force` does it",
        list.join(", ")
    ))
}

/// How the schema stands. Nothing is written, and no database is made.
///
/// # Errors
/// [`Error::Unusable`], [`Error::Unavailable`] and its kin.
pub async fn status(options: &Options) -> Result<State, Error> {
    match options {
        Options::Sqlite(options) => sqlite::schema_status(options).await,
        Options::Postgres(options) => postgres::schema_status(options).await,
    }
}

/// Brings the schema where `change` says, one transaction for each migration.
///
/// # Errors
/// [`Error::Conflict`] when somebody uses the database, data would be lost, or there is no such way;
/// [`Error::TooNew`], [`Error::Unusable`], [`Error::Unavailable`] and its kin.
pub async fn change(options: &Options, change: Change) -> Result<State, Error> {
    match options {
        Options::Sqlite(options) => sqlite::change_schema(options, change).await,
        Options::Postgres(options) => postgres::change_schema(options, change).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Migration; 3] = [known(1), known(2), known(3)];

    const fn known(version: i64) -> Migration {
        Migration { version, name: "m", up: "", down: None }
    }

    #[test]
    fn ways_lead_where_they_say_or_nowhere() {
        let down = |version| Change::DownTo { version, force: false };
        let back = |steps| Change::DownBy { steps, force: true };
        for (from, change, way) in [
            (0, Change::Up(None), Some(Way::Up { to: 3 })),
            (0, Change::Up(Some(0)), Some(Way::Up { to: 0 })),
            (2, Change::Up(Some(2)), Some(Way::Up { to: 2 })),
            (2, Change::Up(Some(1)), None),
            (2, Change::Up(Some(4)), None),
            (3, down(2), Some(Way::Down { to: 2, force: false })),
            (3, down(3), Some(Way::Down { to: 3, force: false })),
            (3, down(0), None),
            (2, down(3), None),
            (0, down(0), None),
            (3, back(2), Some(Way::Down { to: 1, force: true })),
            (3, back(3), None),
            (3, back(u32::MAX), None),
            (0, back(1), None),
        ] {
            assert_eq!(change.way(from, &KNOWN).ok(), way, "{from} {change:?}");
        }
    }
}
