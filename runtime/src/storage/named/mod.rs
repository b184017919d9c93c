//! Databases that plugins may use, by label: SQLite files named in the project.
//!
//! Every handle of a guest is a connection of its own, so nothing a guest leaves behind (temporary tables, an open
//! transaction) is seen by another. Only single statements that read or change rows and tables run; see
//! [`statement::allowed`]. The caller checks grants before it opens anything here.

mod error;
mod statement;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::TryStreamExt;
use sha2::{Digest, Sha256};
use sqlx::sqlite::{SqliteArguments, SqliteConnectOptions, SqliteRow};
use sqlx::{
    Arguments, AssertSqlSafe, Column, ConnectOptions, Connection as _, Either, Executor, Row, SqlSafeStr,
    SqliteConnection, Statement, TypeInfo, ValueRef,
};
use tokio::sync::{Mutex, mpsc};

pub use self::error::Error;

/// How long a lock of another process is waited for.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Virtual machine steps between two looks at whether the caller still waits.
const STEPS: i32 = 10_000;
/// Rows a cursor reads ahead.
const READ_AHEAD: usize = 16;

/// One value of a row or one parameter.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// SQL NULL.
    Null,
    /// As a parameter only: SQLite gives 0 and 1 back.
    Boolean(bool),
    /// A 64-bit signed integer.
    Integer(i64),
    /// A 64-bit float.
    Real(f64),
    /// Text; bytes that are not UTF-8 are replaced.
    Text(String),
    /// Bytes.
    Blob(Vec<u8>),
}

/// What a query gave.
#[derive(Debug, Clone, PartialEq)]
pub struct RowSet {
    /// Column names in order.
    pub columns: Vec<String>,
    /// Rows in order.
    pub rows: Vec<Vec<Value>>,
}

/// The databases of the project, by label. Files are opened on first use.
#[derive(Debug, Clone)]
pub struct NamedDatabases {
    paths: BTreeMap<String, PathBuf>,
    /// Folder of the private databases of plugins.
    own: Option<PathBuf>,
    /// Most bytes of each of those.
    own_bytes: u64,
}

impl Default for NamedDatabases {
    fn default() -> Self {
        Self::new(BTreeMap::new())
    }
}

impl NamedDatabases {
    /// Databases at resolved paths.
    #[must_use]
    pub fn new(paths: BTreeMap<String, PathBuf>) -> Self {
        Self { paths, own: None, own_bytes: OWN_BYTES }
    }

    /// With private databases of plugins in `folder`, which is made with the first of them.
    #[must_use]
    pub fn with_own(self, folder: PathBuf) -> Self {
        Self { own: Some(folder), ..self }
    }

    /// A handle on the private database of a plugin, for reading and writing. Its file is made for this user alone.
    ///
    /// # Errors
    /// Code `unavailable` when its folder cannot be made.
    pub fn open_own(&self, plugin_id: &str) -> Result<NamedConnection, Error> {
        let unavailable = || Error::unavailable("the plugin's own database cannot be opened".to_owned());
        let folder = self.own.as_ref().ok_or_else(unavailable)?;
        let mut builder = std::fs::DirBuilder::new();
        builder.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        builder.create(folder).map_err(|error| {
            tracing::warn!("failed to make the folder {}: {error}", folder.display());
            unavailable()
        })?;
        let path = folder.join(file_name(plugin_id));
        let source = Source { label: "own".to_owned(), path, write: true, max_bytes: Some(self.own_bytes) };
        Ok(NamedConnection { source, guarded: Mutex::new(None) })
    }

    /// A handle on the database labelled `label`; without `write` every change is refused by SQLite itself.
    ///
    /// # Errors
    /// Code `unavailable` when no database has the label.
    pub fn open(&self, label: &str, write: bool) -> Result<NamedConnection, Error> {
        let path =
            self.paths.get(label).ok_or_else(|| Error::unavailable(format!("no database is labelled '{label}'")))?;
        // How large a project's own database may get is its owner's business.
        let source = Source { label: label.to_owned(), path: path.clone(), write, max_bytes: None };
        Ok(NamedConnection { source, guarded: Mutex::new(None) })
    }
}

/// Most bytes of a plugin's own database.
const OWN_BYTES: u64 = 1 << 30;
/// SQLite's usual page.
const PAGE_BYTES: u32 = 4096;

/// Bytes of an id that stand in a file name as they are; longer ones are cut and told apart by their digest.
const NAME_BYTES: usize = 100;

/// The file of a plugin's own database: two ids never share one, whatever is in them and however the file system folds
/// letters.
fn file_name(plugin_id: &str) -> String {
    use std::fmt::Write as _;
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
    let mut name = String::new();
    for byte in plugin_id.bytes() {
        if plain(byte) {
            name.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(name, "%{byte:02x}");
        }
    }
    if name.len() > NAME_BYTES {
        let digest = Sha256::digest(plugin_id.as_bytes());
        name.truncate(NAME_BYTES);
        for byte in digest.iter().take(16) {
            let _ = write!(name, "{byte:02x}");
        }
    }
    name + ".db"
}

#[derive(Debug, Clone)]
struct Source {
    label: String,
    path: PathBuf,
    write: bool,
    /// `None`: as large as the disk.
    max_bytes: Option<u64>,
}

/// A connection whose work stops when nobody waits for it any more.
#[derive(Debug)]
struct Guarded {
    connection: SqliteConnection,
    stop: Arc<AtomicBool>,
}

/// Stops what runs on a connection unless it is disarmed.
struct StopOnDrop(Option<Arc<AtomicBool>>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        if let Some(stop) = &self.0 {
            stop.store(true, Ordering::Relaxed);
        }
    }
}

impl Source {
    async fn connect(&self) -> Result<Guarded, Error> {
        let unavailable = |error: &dyn std::fmt::Display| {
            tracing::debug!(label = %self.label, error = %error, "named database cannot be opened");
            Error::unavailable(format!("database '{}' cannot be opened", self.label))
        };
        if self.write {
            // Made for this user alone; SQLite would make it by the umask.
            let mut file = std::fs::OpenOptions::new();
            file.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut file, 0o600);
            match file.open(&self.path) {
                Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(unavailable(&error)),
                _ => {}
            }
        }
        let mut options = SqliteConnectOptions::new()
            .filename(&self.path)
            .read_only(!self.write)
            .busy_timeout(BUSY_TIMEOUT)
            .pragma("trusted_schema", "OFF")
            .pragma("cell_size_check", "ON")
            .disable_statement_logging();
        if !self.write {
            options = options.pragma("query_only", "ON");
        }
        if let Some(bytes) = self.max_bytes {
            options =
                options.page_size(PAGE_BYTES).pragma("max_page_count", (bytes / u64::from(PAGE_BYTES)).to_string());
        }
        let mut connection = options.connect().await.map_err(|error| unavailable(&error))?;
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let mut handle = connection.lock_handle().await.map_err(|error| unavailable(&error))?;
        handle.set_progress_handler(STEPS, move || !asked.load(Ordering::Relaxed));
        drop(handle);
        Ok(Guarded { connection, stop })
    }
}

/// A handle on one named database.
#[derive(Debug)]
pub struct NamedConnection {
    source: Source,
    guarded: Mutex<Option<Guarded>>,
}

impl NamedConnection {
    /// Runs one statement and returns its rows.
    ///
    /// # Errors
    /// Code `CZ0704` when they take more than `max_bytes`, else what the database says.
    pub async fn query(&self, sql: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error> {
        let mut slot = self.guarded.lock().await;
        // Taken out meanwhile: a call that is dropped half-way leaves nothing behind.
        let mut guarded = self.take(&mut slot).await?;
        let result = guarded.query(sql, parameters, max_bytes).await;
        *slot = Some(guarded);
        result
    }

    /// Runs one statement and returns how many rows it changed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn execute(&self, sql: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        let mut slot = self.guarded.lock().await;
        let mut guarded = self.take(&mut slot).await?;
        let result = guarded.execute(sql, parameters).await;
        *slot = Some(guarded);
        result
    }

    /// Runs one query whose rows are fetched in pieces.
    ///
    /// # Errors
    /// What the database says about the statement; errors of single rows come with the rows.
    pub async fn cursor(&self, sql: &str, parameters: Vec<Value>) -> Result<NamedCursor, Error> {
        let mut guarded = self.source.connect().await?;
        let columns = guarded.prepare(sql, parameters.len()).await?;
        let (sender, rows) = mpsc::channel(READ_AHEAD);
        let stop = StopOnDrop(Some(Arc::clone(&guarded.stop)));
        let (sql, arguments) = (sql.to_owned(), arguments(parameters)?);
        tokio::spawn(async move {
            let mut stream = sqlx::query_with(AssertSqlSafe(sql), arguments).fetch(&mut guarded.connection);
            loop {
                let item = match stream.try_next().await {
                    Ok(None) => return,
                    Ok(Some(row)) => values(&row),
                    Err(error) => Err(error::from_sqlx(&error)),
                };
                let last = item.is_err();
                if sender.send(item).await.is_err() || last {
                    return;
                }
            }
        });
        Ok(NamedCursor { columns, rows, kept: None, _stop: stop })
    }

    /// Begins a transaction on a connection of its own.
    ///
    /// # Errors
    /// Retryable when another writer holds the database.
    pub async fn begin(&self) -> Result<NamedTransaction, Error> {
        let mut guarded = self.source.connect().await?;
        let sql = if self.source.write { "BEGIN IMMEDIATE" } else { "BEGIN" };
        sqlx::raw_sql(sql).execute(&mut guarded.connection).await.map_err(|error| error::from_sqlx(&error))?;
        Ok(NamedTransaction { guarded })
    }

    async fn take(&self, slot: &mut Option<Guarded>) -> Result<Guarded, Error> {
        match slot.take() {
            Some(guarded) => Ok(guarded),
            None => self.source.connect().await,
        }
    }
}

/// An open transaction. Dropped without commit, its connection closes and SQLite undoes it.
#[derive(Debug)]
pub struct NamedTransaction {
    guarded: Guarded,
}

impl NamedTransaction {
    /// As [`NamedConnection::query`].
    ///
    /// # Errors
    /// As there.
    pub async fn query(&mut self, sql: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error> {
        self.guarded.query(sql, parameters, max_bytes).await
    }

    /// As [`NamedConnection::execute`].
    ///
    /// # Errors
    /// As there.
    pub async fn execute(&mut self, sql: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        self.guarded.execute(sql, parameters).await
    }

    /// Makes the changes durable.
    ///
    /// # Errors
    /// What the database says; nothing was changed then.
    pub async fn commit(self) -> Result<(), Error> {
        self.end("COMMIT").await
    }

    /// Undoes the changes.
    ///
    /// # Errors
    /// What the database says; nothing was changed in any case.
    pub async fn rollback(self) -> Result<(), Error> {
        self.end("ROLLBACK").await
    }

    async fn end(mut self, sql: &'static str) -> Result<(), Error> {
        let ended = sqlx::raw_sql(sql).execute(&mut self.guarded.connection).await;
        ended.map_err(|error| error::from_sqlx(&error))?;
        self.guarded.connection.close().await.map_err(|error| error::from_sqlx(&error))
    }
}

/// A query whose rows are fetched in pieces; dropped, the query stops.
pub struct NamedCursor {
    columns: Vec<String>,
    rows: mpsc::Receiver<Result<Vec<Value>, Error>>,
    /// A row that did not fit into the piece before.
    kept: Option<Vec<Value>>,
    _stop: StopOnDrop,
}

impl std::fmt::Debug for NamedCursor {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("NamedCursor").field("columns", &self.columns).finish_non_exhaustive()
    }
}

impl NamedCursor {
    /// Column names in order.
    #[must_use]
    pub fn columns(&self) -> Vec<String> {
        self.columns.clone()
    }

    /// At most `max_rows` further rows of at most `max_bytes` together; empty at the end.
    ///
    /// # Errors
    /// Code `CZ0704` for a single row above `max_bytes`, else what the database says.
    pub async fn next(&mut self, max_rows: u32, max_bytes: usize) -> Result<Vec<Vec<Value>>, Error> {
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while rows.len() < max_rows as usize {
            let row = match self.kept.take() {
                Some(row) => row,
                None => match self.rows.recv().await {
                    Some(row) => row?,
                    None => break,
                },
            };
            bytes += size(&row);
            if bytes > max_bytes {
                if rows.is_empty() {
                    return Err(Error::too_large(max_bytes));
                }
                self.kept = Some(row);
                break;
            }
            rows.push(row);
        }
        Ok(rows)
    }
}

impl Guarded {
    /// Checks a statement and gives its column names.
    async fn prepare(&mut self, sql: &str, parameters: usize) -> Result<Vec<String>, Error> {
        statement::allowed(sql).map_err(Error::refused)?;
        let prepared = (&mut self.connection).prepare(AssertSqlSafe(sql.to_owned()).into_sql_str()).await;
        let prepared = prepared.map_err(|error| error::from_sqlx(&error))?;
        if let Some(Either::Right(expected)) = prepared.parameters()
            && expected != parameters
        {
            return Err(Error::parameters(expected, parameters));
        }
        Ok(prepared.columns().iter().map(|column| column.name().to_owned()).collect())
    }

    async fn query(&mut self, sql: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error> {
        let mut stop = StopOnDrop(Some(Arc::clone(&self.stop)));
        let result = self.collect(sql, parameters, max_bytes).await;
        stop.0 = None;
        result
    }

    async fn collect(&mut self, sql: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error> {
        let columns = self.prepare(sql, parameters.len()).await?;
        let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments(parameters)?);
        let mut stream = query.fetch(&mut self.connection);
        let (mut rows, mut bytes) = (Vec::new(), 0);
        while let Some(row) = stream.try_next().await.map_err(|error| error::from_sqlx(&error))? {
            let row = values(&row)?;
            bytes += size(&row);
            if bytes > max_bytes {
                return Err(Error::too_large(max_bytes));
            }
            rows.push(row);
        }
        Ok(RowSet { columns, rows })
    }

    async fn execute(&mut self, sql: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        let mut stop = StopOnDrop(Some(Arc::clone(&self.stop)));
        let result = self.change(sql, parameters).await;
        stop.0 = None;
        result
    }

    async fn change(&mut self, sql: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        self.prepare(sql, parameters.len()).await?;
        let query = sqlx::query_with(AssertSqlSafe(sql.to_owned()), arguments(parameters)?);
        let done = query.execute(&mut self.connection).await.map_err(|error| error::from_sqlx(&error))?;
        // SQLite keeps the count of the last change over statements that change nothing.
        Ok(if statement::changes_rows(sql) { done.rows_affected() } else { 0 })
    }
}

fn arguments(parameters: Vec<Value>) -> Result<SqliteArguments, Error> {
    let mut arguments = SqliteArguments::default();
    for value in parameters {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Boolean(flag) => arguments.add(i64::from(flag)),
            Value::Integer(number) => arguments.add(number),
            Value::Real(number) => arguments.add(number),
            Value::Text(text) => arguments.add(text),
            Value::Blob(bytes) => arguments.add(bytes),
        };
        added.map_err(|error| Error::refused(format!("a parameter cannot be bound: {error}")))?;
    }
    Ok(arguments)
}

fn values(row: &SqliteRow) -> Result<Vec<Value>, Error> {
    (0..row.len()).map(|index| value(row, index).map_err(|error| error::from_sqlx(&error))).collect()
}

fn value(row: &SqliteRow, index: usize) -> Result<Value, sqlx::Error> {
    let raw = row.try_get_raw(index)?;
    if raw.is_null() {
        return Ok(Value::Null);
    }
    let kind = raw.type_info().name().to_owned();
    Ok(match kind.as_str() {
        "INTEGER" | "BOOLEAN" => Value::Integer(row.try_get_unchecked(index)?),
        "REAL" => Value::Real(row.try_get_unchecked(index)?),
        "BLOB" => Value::Blob(row.try_get_unchecked(index)?),
        _ => Value::Text(String::from_utf8_lossy(row.try_get_unchecked::<&[u8], _>(index)?).into_owned()),
    })
}

/// Bytes a row is counted as: its texts and blobs, and 16 for every value.
fn size(row: &[Value]) -> usize {
    let bytes = |value: &Value| match value {
        Value::Text(text) => 16 + text.len(),
        Value::Blob(bytes) => 16 + bytes.len(),
        _ => 16,
    };
    row.iter().map(bytes).sum()
}

#[cfg(test)]
mod tests;
