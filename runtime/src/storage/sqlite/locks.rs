//! Who has the database open: advisory locks on two files beside it.
//!
//! `<db>.lock` is held shared by everyone and exclusively while the schema changes. `<db>.server` is held exclusively by
//! the one server and says who that is. Both files stay; the operating system frees the locks of a killed process. The
//! database file itself is never opened here: closing any descriptor of it would drop SQLite's own POSIX locks.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::super::Error;
use crate::clock::Clock;

/// How long a process waits for another one that changes the schema, and the other way round.
const WAIT: Duration = Duration::from_secs(10);
/// How often it looks meanwhile.
const STEP: Duration = Duration::from_millis(10);

/// The locks of one open database; dropped last.
#[derive(Debug)]
pub(super) struct Locks {
    everyone: File,
    server: Option<std::sync::Mutex<File>>,
}

impl Locks {
    /// Joins those who have `database` open, as its server if `serve`.
    pub(super) async fn take(database: &Path, serve: bool, clock: &Clock) -> Result<Self, Error> {
        let server = if serve { Some(std::sync::Mutex::new(take_server(database)?)) } else { None };
        let everyone = open(&beside(database, ".lock"))?;
        wait(clock, || everyone.try_lock_shared(), database).await?;
        Ok(Self { everyone, server })
    }

    /// Takes `database` for this process alone.
    ///
    /// # Errors
    /// [`Error::Conflict`] at once when anybody has it open.
    pub(super) fn alone(database: &Path) -> Result<Self, Error> {
        let everyone = open(&beside(database, ".lock"))?;
        match everyone.try_lock() {
            Ok(()) => Ok(Self { everyone, server: None }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::Conflict(format!("database {} is in use by another process", database.display())))
            }
            Err(TryLockError::Error(error)) => Err(unavailable(database, &error)),
        }
    }

    /// Waits until nobody else has the database open and keeps others from opening it.
    pub(super) async fn exclusive(&self, database: &Path, clock: &Clock) -> Result<(), Error> {
        // Two processes that both hold the shared lock and want the other would wait for ever: let go first.
        self.everyone.unlock().map_err(|error| unavailable(database, &error))?;
        wait(clock, || self.everyone.try_lock(), database).await
    }

    /// Back from [`Self::exclusive`].
    pub(super) async fn shared(&self, database: &Path, clock: &Clock) -> Result<(), Error> {
        self.everyone.unlock().map_err(|error| unavailable(database, &error))?;
        wait(clock, || self.everyone.try_lock_shared(), database).await
    }

    /// Replaces what a second server is told about this one.
    pub(super) fn announce(&self, text: &str) -> std::io::Result<()> {
        let Some(server) = &self.server else { return Ok(()) };
        let mut file = server.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        file.set_len(0)?;
        file.seek(SeekFrom::Start(0))?;
        file.write_all(text.as_bytes())
    }
}

fn take_server(database: &Path) -> Result<File, Error> {
    let path = beside(database, ".server");
    let mut file = open(&path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            let _unreadable = (&mut file as &mut dyn Read).take(4_096).read_to_string(&mut text);
            let who = text.trim();
            let who = if who.is_empty() { "another process" } else { who };
            Err(Error::Conflict(format!("database {} is already served by {who}", database.display())))
        }
        Err(TryLockError::Error(error)) => Err(unavailable(&path, &error)),
    }
}

async fn wait(clock: &Clock, attempt: impl Fn() -> Result<(), TryLockError>, database: &Path) -> Result<(), Error> {
    let since = Instant::now();
    loop {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(TryLockError::WouldBlock) if since.elapsed() < WAIT => clock.sleep(STEP).await,
            Err(TryLockError::WouldBlock) => {
                return Err(Error::Conflict(format!(
                    "database {} is in use by another process that changes or needs its schema",
                    database.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(unavailable(database, &error)),
        }
    }
}

fn open(path: &Path) -> Result<File, Error> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path).map_err(|error| unavailable(path, &error))
}

/// `path` with `suffix` appended to its file name.
pub(super) fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// No space, or none that this user may take.
pub(super) fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// The error for a file that cannot be created or written, naming it and the user.
pub(super) fn unavailable(path: &Path, error: &std::io::Error) -> Error {
    if is_full(error) {
        return Error::DiskFull;
    }
    let user = user_id().map(|id| format!(" as user {id}")).unwrap_or_default();
    Error::Unavailable(format!("cannot write {}{user}: {error}", path.display()))
}

/// The user this process runs as: the owner of its entry in `/proc`.
fn user_id() -> Option<u32> {
    #[cfg(target_os = "linux")]
    return std::fs::metadata("/proc/self").ok().map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata));
    #[cfg(not(target_os = "linux"))]
    None
}
