//! Opening: locks, file modes, the look at what is there, migrations, connections.

use std::ffi::CStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::OpenFlags;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection as _, Row, SqliteConnection};

use super::super::row::Durability;
use super::super::work::encode::hex;
use super::super::{Error, Info};
use super::error::{from_sqlite, from_sqlx};
use super::locks::{Locks, beside, is_full, unavailable};
use super::migrate::{self, Found};
use super::read::Reader;
use super::writer::{self, Gate};
use super::{SqliteStorage, checkpoint};
use crate::clock::{Clock, random_bytes};

/// What a process wants from the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The one server of the database.
    Server,
    /// A command that runs or changes something itself.
    Embedded,
    /// A command that only looks.
    ReadOnly,
}

/// How to open a SQLite database.
#[derive(Debug, Clone)]
pub struct Options {
    /// The path as written in the project file, for logs.
    pub location: String,
    /// The resolved path; `None` for a private in-memory database.
    pub path: Option<PathBuf>,
    /// What for.
    pub role: Role,
    /// Level of what belongs to no run. A run's own level is kept with the run.
    pub durability: Durability,
    /// Longest wait for a lock before the retries begin; see `BUSY_LIMIT`.
    pub busy_timeout: Duration,
    /// Most connections that read at once, 1 or more.
    pub max_readers: u32,
    /// Further pragmas of every connection, in order: `cache_size`, `mmap_size`, `temp_store`, `journal_size_limit`.
    pub pragmas: Vec<(String, String)>,
    /// Bring an older schema up to date. Without it an older one is refused.
    pub auto_migrate: bool,
    /// Time.
    pub clock: Clock,
}

impl Options {
    /// Usual settings for `path` (`:memory:` or a file).
    #[must_use]
    pub fn new(path: &str, role: Role, clock: Clock) -> Self {
        Self {
            location: path.to_owned(),
            path: (path != ":memory:").then(|| path.into()),
            role,
            durability: Durability::Full,
            busy_timeout: Duration::from_secs(5),
            max_readers: 25,
            pragmas: Vec::new(),
            auto_migrate: true,
            clock,
        }
    }
}

/// How long a held lock is waited for in all, unless `busy_timeout` is longer (cli-and-api §4.3).
const BUSY_LIMIT: Duration = Duration::from_secs(30);
/// Bytes written to see whether the disk has room: one `-shm` file.
const PROBE: usize = 64 << 10;
/// Largest `-wal` file kept after it was cut.
const JOURNAL_SIZE_LIMIT: &str = "67108864";
/// Databases of at most this many pages are read through at open; larger ones only as far as they are used.
const CHECKED_PAGES: i64 = 512;
/// Page cache of the writer, in KiB below zero: the leaves of all runs in flight must fit, or each commit reads them
/// again. It is filled only as far as it is used.
const WRITER_CACHE: &str = "-32768";
/// Page cache of a reader.
const READER_CACHE: &str = "-2048";
/// Pragmas a project may set.
const PRAGMAS: [&str; 4] = ["cache_size", "mmap_size", "temp_store", "journal_size_limit"];

/// Opens a database, making it if it is not there.
///
/// # Errors
/// [`Error::NotFound`] when there is none to read, [`Error::Conflict`] when it is served or its schema is locked,
/// [`Error::TooNew`] when it is newer, [`Error::Unusable`] when it is damaged or foreign (nothing is written then),
/// [`Error::DiskFull`], [`Error::Unavailable`] when the file or its folder cannot be used.
pub async fn open(options: Options) -> Result<SqliteStorage, Error> {
    if let Some((name, _)) = options.pragmas.iter().find(|(name, _)| !PRAGMAS.contains(&name.as_str())) {
        return Err(Error::Unusable(format!("pragma {name} cannot be set")));
    }
    match options.path.clone() {
        None => open_memory(options).await,
        Some(path) => open_file(options, &path).await.map_err(|error| or_full(error, &path)),
    }
}

/// [`Error::DiskFull`] if that is why a file cannot be used. SQLite tells a full disk from a refused write only in the
/// database itself; for its `-shm` and new files both are the same I/O error to it.
fn or_full(error: Error, path: &Path) -> Error {
    let is_full = matches!(error, Error::Unavailable(_)) && !has_room(path);
    if is_full { Error::DiskFull } else { error }
}

/// Whether a file as large as SQLite's smallest `-shm` finds room beside `path`. What else stops it is not its matter.
fn has_room(path: &Path) -> bool {
    let probe = beside(path, &format!(".probe-{}", std::process::id()));
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    let written = options.open(&probe).and_then(|mut file| {
        let written = file.write_all(&[0; PROBE]).and_then(|()| file.sync_data());
        let _left_behind = std::fs::remove_file(&probe);
        written
    });
    !written.is_err_and(|error| is_full(&error))
}

/// A database that is a name in this process. It lives as long as a connection to it.
async fn open_memory(options: Options) -> Result<SqliteStorage, Error> {
    // SQLite's `memdb` (https://www.sqlite.org/src/file?name=src/memdb.c): names with a slash are shared in the process.
    let name = format!("/compozy-{}", options.clock.ulid());
    let writing = direct(Path::new(&name), Some(c"memdb"), &options)?;
    let connect = SqliteConnectOptions::new().filename(&name).vfs("memdb").busy_timeout(options.busy_timeout);
    let pool = SqlitePoolOptions::new()
        .max_connections(1)
        .test_before_acquire(false)
        .max_lifetime(None)
        .idle_timeout(None)
        .connect_with(with_pragmas(connect, false, &options));
    let pool = pool.await.map_err(from_sqlx)?;
    let mut connection = pool.acquire().await.map_err(from_sqlx)?;
    migrate::apply(&mut connection, Found::Empty, options.clock.now()).await?;
    let info = info(&mut connection, &options).await?;
    drop(connection);
    let gate = Gate::default();
    let settings = settings(&options, Durability::Memory);
    let writer = writer::spawn(writing, settings, Arc::clone(&gate), Arc::default())?;
    let reader = Reader { pool, gate: Some(gate) };
    Ok(SqliteStorage::new(info, options.clock, reader, Some(writer), None, None))
}

async fn open_file(options: Options, path: &Path) -> Result<SqliteStorage, Error> {
    let locks = if options.role == Role::ReadOnly {
        if !path.exists() {
            return Err(Error::NotFound(format!("database {}", options.location)));
        }
        Locks::take(path, false, &options.clock).await?
    } else {
        make_folder(path)?;
        let locks = Locks::take(path, options.role == Role::Server, &options.clock).await?;
        make_file(path)?;
        locks
    };
    if options.role == Role::Server {
        let announced = locks.announce(&format!("process {}", std::process::id()));
        announced.map_err(|error| unavailable(&beside(path, ".server"), &error))?;
    }
    let read_only = options.role == Role::ReadOnly;
    let mut connection = connect(path, read_only, &options).await?;
    let info = match prepare(&mut connection, &locks, path, &options).await {
        Ok(()) => info(&mut connection, &options).await,
        Err(error) => Err(error),
    };
    let info = match info {
        Ok(info) => info,
        Err(error) => {
            // Closed before the locks are let go: the next one to open it finds nobody there.
            drop(connection.close().await);
            return Err(error);
        }
    };
    // Opened before the first one closes, so that the log is not finished in between.
    let writing = if read_only { None } else { Some(direct(path, None, &options)?) };
    drop(connection.close().await);
    let pool = SqlitePoolOptions::new()
        .max_connections(options.max_readers.max(1))
        .test_before_acquire(false)
        .max_lifetime(None)
        .acquire_timeout(BUSY_LIMIT.max(options.busy_timeout))
        .connect_lazy_with(with_pragmas(file_options(path, true).busy_timeout(options.busy_timeout), false, &options));
    let (work, checkpoint) = match writing {
        None => (None, None),
        Some(writing) => {
            let (progress, gate): (Arc<checkpoint::Progress>, Gate) = Default::default();
            let mut own = connect(path, false, &options).await?;
            execute(&mut own, "PRAGMA busy_timeout = 0").await?;
            let task = checkpoint::work(own, Arc::clone(&gate), Arc::clone(&progress), options.clock.clone());
            let checkpoint = (Arc::clone(&progress), tokio::spawn(task));
            let settings = settings(&options, options.durability.max(Durability::Normal));
            (Some(writer::spawn(writing, settings, gate, progress)?), Some(checkpoint))
        }
    };
    let reader = Reader { pool, gate: None };
    Ok(SqliteStorage::new(info, options.clock, reader, work, checkpoint, Some(locks)))
}

/// The writer's connection. It tries a held lock again itself, at shorter steps than SQLite's own handler.
fn direct(path: &Path, vfs: Option<&CStr>, options: &Options) -> Result<rusqlite::Connection, Error> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opened = match vfs {
        Some(vfs) => rusqlite::Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => rusqlite::Connection::open_with_flags(path, flags),
    };
    let prepared = opened.and_then(|connection| {
        connection.busy_timeout(Duration::ZERO)?;
        for (name, value) in pragmas(WRITER_CACHE, options) {
            connection.pragma_update_and_check(None, &name, value, |_| Ok(())).or_else(silent)?;
        }
        let full = options.durability == Durability::Full;
        connection.pragma_update(None, "synchronous", if full { "FULL" } else { "NORMAL" })?;
        Ok(connection)
    });
    prepared.map_err(|error| named(from_sqlite(error), &format!("database {}", options.location)))
}

/// Some pragmas answer, some do not.
fn silent(error: rusqlite::Error) -> rusqlite::Result<()> {
    if matches!(error, rusqlite::Error::QueryReturnedNoRows) { Ok(()) } else { Err(error) }
}

fn settings(options: &Options, durability: Durability) -> writer::Settings {
    writer::Settings {
        clock: options.clock.clone(),
        durability,
        busy_limit: BUSY_LIMIT.max(options.busy_timeout),
        alone: options.path.is_none(),
    }
}

/// Looks at the file, refuses what is not ours, and brings the schema up to date.
async fn prepare(
    connection: &mut SqliteConnection,
    locks: &Locks,
    path: &Path,
    options: &Options,
) -> Result<(), Error> {
    let name = format!("database {}", options.location);
    let found = migrate::inspect(connection, &name).await.map_err(|error| named(error, &name))?;
    check_small(connection, &name).await?;
    let current = found == Found::Version(migrate::newest());
    if options.role == Role::ReadOnly {
        return match found {
            Found::Empty => Err(Error::NotFound(name)),
            Found::Version(_) if current => Ok(()),
            Found::Version(version) => {
                Err(Error::Conflict(format!("{name} has the older schema version {version}; start a server first")))
            }
        };
    }
    if !current {
        if found != Found::Empty && !options.auto_migrate {
            return Err(Error::Conflict(format!("{name} has pending migrations and auto_migrate is off")));
        }
        locks.exclusive(path, &options.clock).await?;
        // Another process may have done it while this one waited.
        let found = migrate::inspect(connection, &name).await?;
        if found == Found::Empty {
            execute(connection, "PRAGMA auto_vacuum = INCREMENTAL").await?;
        }
        write_ahead(connection).await?;
        migrate::apply(connection, found, options.clock.now()).await?;
        locks.shared(path, &options.clock).await?;
    }
    write_ahead(connection).await
}

/// Reads a small database through: damage is then told at once, before anything is written.
pub(super) async fn check_small(connection: &mut SqliteConnection, name: &str) -> Result<(), Error> {
    if migrate::number(connection, "PRAGMA page_count").await? > CHECKED_PAGES {
        return Ok(());
    }
    let row = sqlx::query("PRAGMA quick_check(1)").fetch_one(connection).await.map_err(from_sqlx);
    let row = row.map_err(|error| named(error, name))?;
    let verdict: String = row.try_get_unchecked(0).map_err(from_sqlx)?;
    if verdict == "ok" { Ok(()) } else { Err(Error::Unusable(format!("{name} is damaged: {verdict}"))) }
}

pub(super) fn named(error: Error, name: &str) -> Error {
    match error {
        Error::Unusable(text) if !text.contains(name) => Error::Unusable(format!("{name}: {text}")),
        Error::Unavailable(text) => Error::Unavailable(format!("{name}: {text}")),
        error => error,
    }
}

pub(super) async fn write_ahead(connection: &mut SqliteConnection) -> Result<(), Error> {
    let row = sqlx::query("PRAGMA journal_mode = WAL").fetch_one(connection).await.map_err(from_sqlx)?;
    let mode: String = row.try_get_unchecked(0).map_err(from_sqlx)?;
    if mode == "wal" {
        Ok(())
    } else {
        Err(Error::Unavailable(format!("the file system does not allow a write-ahead log (journal mode {mode})")))
    }
}

fn file_options(path: &Path, read_only: bool) -> SqliteConnectOptions {
    SqliteConnectOptions::new().filename(path).read_only(read_only)
}

/// What every connection has.
fn pragmas(cache_size: &str, options: &Options) -> Vec<(String, String)> {
    let ours = [
        ("trusted_schema", "OFF"),
        ("cell_size_check", "ON"),
        ("wal_autocheckpoint", "0"),
        ("fullfsync", "ON"),
        ("cache_size", cache_size),
        ("journal_size_limit", JOURNAL_SIZE_LIMIT),
    ];
    let ours = ours.map(|(name, value)| (name.to_owned(), value.to_owned()));
    ours.into_iter().chain(options.pragmas.iter().cloned()).collect()
}

fn with_pragmas(connect: SqliteConnectOptions, writes: bool, options: &Options) -> SqliteConnectOptions {
    let connect = connect.disable_statement_logging().row_buffer_size(512).statement_cache_capacity(256);
    let cache_size = if writes { WRITER_CACHE } else { READER_CACHE };
    let pragmas = pragmas(cache_size, options).into_iter();
    pragmas.fold(connect, |connect, (name, value)| connect.pragma(name, value))
}

pub(super) async fn connect(path: &Path, read_only: bool, options: &Options) -> Result<SqliteConnection, Error> {
    let connect = file_options(path, read_only).busy_timeout(options.busy_timeout);
    let connection = with_pragmas(connect, false, options).connect().await.map_err(from_sqlx);
    connection.map_err(|error| named(error, &format!("database {}", options.location)))
}

pub(super) async fn execute(connection: &mut SqliteConnection, sql: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(sql).execute(connection).await.map(|_| ()).map_err(from_sqlx)
}

/// The database's own identity, made on first use.
async fn info(connection: &mut SqliteConnection, options: &Options) -> Result<Info, Error> {
    let mut meta = meta(connection).await?;
    if meta.0.is_none() || meta.1.is_none() {
        let sql = "INSERT INTO meta (key, value) VALUES ('database_id', ?), ('identity_key', ?) ON CONFLICT DO NOTHING";
        let query = sqlx::query(sql).bind(options.clock.ulid()).bind(hex(&random_bytes::<32>()));
        query.execute(&mut *connection).await.map_err(from_sqlx)?;
        meta = self::meta(connection).await?;
    }
    let (Some(database_id), Some(key)) = meta else {
        return Err(Error::Unusable(format!("database {} has lost its identity", options.location)));
    };
    let identity_key = unhex(&key)
        .ok_or_else(|| Error::Unusable(format!("database {} has a damaged identity key", options.location)))?;
    Ok(Info {
        driver: "sqlite",
        location: options.location.clone(),
        durability: if options.path.is_none() { Durability::Memory } else { options.durability },
        database_id,
        identity_key,
        schema_version: migrate::newest(),
        ephemeral: options.path.is_none(),
    })
}

async fn meta(connection: &mut SqliteConnection) -> Result<(Option<String>, Option<String>), Error> {
    let sql = "SELECT (SELECT value FROM meta WHERE key = 'database_id'), \
               (SELECT value FROM meta WHERE key = 'identity_key')";
    let row = sqlx::query(sql).fetch_one(connection).await.map_err(from_sqlx)?;
    Ok((row.try_get_unchecked(0).map_err(from_sqlx)?, row.try_get_unchecked(1).map_err(from_sqlx)?))
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

pub(super) fn make_folder(path: &Path) -> Result<(), Error> {
    let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty() && !folder.exists()) else {
        return Ok(());
    };
    let mut builder = std::fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(folder).map_err(|error| unavailable(folder, &error))
}

/// Makes the file with its mode before SQLite does; `-wal` and `-shm` get the mode of the file.
pub(super) fn make_file(path: &Path) -> Result<(), Error> {
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(unavailable(path, &error)),
    }
}

/// Finishes the log and closes `connection`.
pub(super) fn close(connection: rusqlite::Connection) {
    connection.flush_prepared_statement_cache();
    let finished = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
    if let Err(error) = finished {
        // Another process reads it: the log stays and is read at the next start.
        tracing::debug!(error = %error, "final checkpoint left the log");
    }
    let _closed_anyway = connection.execute_batch("PRAGMA optimize");
    if let Err((_, error)) = connection.close() {
        tracing::warn!(error = %error, "closing the database failed");
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Error as IoError, ErrorKind};

    use super::*;

    #[test]
    fn a_full_disk_is_not_a_refused_one() {
        for (kind, full) in [
            (ErrorKind::StorageFull, true),
            (ErrorKind::QuotaExceeded, true),
            (ErrorKind::PermissionDenied, false),
            (ErrorKind::ReadOnlyFilesystem, false),
        ] {
            let error = unavailable(Path::new("a.db"), &IoError::from(kind));
            assert_eq!(matches!(error, Error::DiskFull), full, "{kind:?}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.db");
        assert!(matches!(or_full(Error::Unavailable("refused".into()), &path), Error::Unavailable(_)));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the probe is gone");
        let nowhere = folder.path().join("gone/a.db");
        assert!(matches!(or_full(Error::Unavailable("no folder".into()), &nowhere), Error::Unavailable(_)));
    }
}
