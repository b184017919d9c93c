//! Opening the database of a project, and what is said when that fails.

use std::path::Path;
use std::sync::Arc;

use compozy_lang::plan::Project;
use compozy_lang::settings::{Database, Driver};

use super::compose::{Loaded, MEMORY, database_file, missing_variables};
use super::discovery::Keys;
use super::failure::Failure;
use super::record::user_id;
use super::session::Session;
use crate::clock::{Clock, random_bytes};
use crate::storage::migrate::{self, Change, State};
use crate::storage::sqlite::{self, Role};
use crate::storage::{self, Storage, postgres};

/// Opens the database of a project.
///
/// # Errors
/// It is served already, damaged, newer, or cannot be written or reached.
pub async fn storage(session: &Session, project: &Project, role: Role) -> Result<Arc<dyn Storage>, Failure> {
    let settings = &project.settings;
    settings.require("database").map_err(|missing| missing_variables(project, missing))?;
    match settings.database.driver {
        Driver::Sqlite => open_file(session, project, role).await,
        Driver::Postgres => open_server(session, &settings.database, role).await,
    }
}

/// Where the server of a project is, as the start line says it.
#[must_use]
pub fn server_location(database: &Database, clock: &Clock) -> String {
    let options = postgres::Options::new(database, postgres::Role::ReadOnly, clock.clone());
    options.map_or_else(|error| error.to_string(), |options| options.location)
}

/// The schema of a project's database.
#[derive(Debug)]
pub struct Schema {
    options: storage::Options,
}

impl Schema {
    /// The database that the project names; nothing is opened.
    ///
    /// # Errors
    /// It is kept in memory, or its settings say nothing.
    pub fn of(session: &Session, project: &Project) -> Result<Self, Failure> {
        let settings = &project.settings;
        settings.require("database").map_err(|missing| missing_variables(project, missing))?;
        let options = match settings.database.driver {
            Driver::Postgres => {
                storage::Options::Postgres(Box::new(server_options(session, &settings.database, Role::Embedded)?))
            }
            Driver::Sqlite if database_file(project).is_none() => {
                return Err(Failure::usage(
                    "a database in memory is made anew at each start: there is nothing to migrate",
                ));
            }
            Driver::Sqlite => storage::Options::Sqlite(file_options(session, project, Role::Embedded)),
        };
        Ok(Self { options })
    }

    /// How it stands.
    ///
    /// # Errors
    /// It cannot be read.
    pub async fn status(&self) -> Result<State, Failure> {
        migrate::status(&self.options).await.map_err(|error| self.failed(error))
    }

    /// Changes it.
    ///
    /// # Errors
    /// Somebody uses it, data would be lost, there is no such way, or it cannot be written.
    pub async fn change(&self, change: Change) -> Result<State, Failure> {
        migrate::change(&self.options, change).await.map_err(|error| self.failed(error))
    }

    fn failed(&self, error: storage::Error) -> Failure {
        match (error, &self.options) {
            (storage::Error::Conflict(text), _) => Failure::new("migration_refused", text),
            (error, storage::Options::Sqlite(options)) => cannot_open(error, Role::Embedded, options.path.as_deref()),
            (error, storage::Options::Postgres(_)) => cannot_reach(error),
        }
    }
}

fn server_options(session: &Session, database: &Database, role: Role) -> Result<postgres::Options, Failure> {
    let same_role = match role {
        Role::Server => postgres::Role::Server,
        Role::Embedded => postgres::Role::Embedded,
        Role::ReadOnly => postgres::Role::ReadOnly,
    };
    postgres::Options::new(database, same_role, session.clock.clone()).map_err(cannot_reach)
}

async fn open_server(session: &Session, database: &Database, role: Role) -> Result<Arc<dyn Storage>, Failure> {
    let options = server_options(session, database, role)?;
    match storage::open(storage::Options::Postgres(Box::new(options))).await {
        // Nothing was stored yet: an empty database in memory answers the same, and looking makes no tables.
        Err(storage::Error::NotFound(_)) if role == Role::ReadOnly => {
            let empty = sqlite::Options::new(MEMORY, role, session.clock.clone());
            storage::open(storage::Options::Sqlite(empty)).await.map_err(|error| cannot_open(error, role, None))
        }
        opened => opened.map_err(cannot_reach),
    }
}

async fn open_file(session: &Session, project: &Project, role: Role) -> Result<Arc<dyn Storage>, Failure> {
    let mut options = file_options(session, project, role);
    let path = options.path.clone();
    // Nothing was stored yet: an empty database in memory answers the same, and no file is made by looking.
    if role == Role::ReadOnly && path.as_ref().is_none_or(|path| !path.exists()) {
        options.path = None;
    }
    let opened = storage::open(storage::Options::Sqlite(options)).await;
    opened.map_err(|error| cannot_open(error, role, path.as_deref()))
}

fn file_options(session: &Session, project: &Project, role: Role) -> sqlite::Options {
    let database = &project.settings.database;
    let mut options = sqlite::Options::new(&database.path, role, session.clock.clone());
    options.path = database_file(project);
    options.durability = database.durability.into();
    options.busy_timeout = database.busy_timeout;
    options.max_readers = database.max_open_conns.max(1);
    options.auto_migrate = database.auto_migrate;
    options.pragmas = database
        .pragmas
        .iter()
        .filter(|(name, _)| ["cache_size", "mmap_size", "temp_store", "journal_size_limit"].contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    options
}

fn cannot_open(error: storage::Error, role: Role, path: Option<&Path>) -> Failure {
    let text = error.to_string();
    let shown = path.map(|path| path.display().to_string()).unwrap_or_default();
    match error {
        storage::Error::Conflict(_) if role == Role::Server => {
            Failure::new("already_served", text).hint("stop that server, or use another database")
        }
        storage::Error::Conflict(_) => Failure::new("database_exclusive", text).hint("try again when it is done"),
        storage::Error::TooNew(_) => {
            Failure::new("schema_too_new", text).hint("update compozy; the database was left as it is")
        }
        storage::Error::Unusable(_) => Failure::new("database_unusable", text)
            .hint(format!("nothing was written to {shown}; restore a backup, or move the file away to begin anew")),
        storage::Error::Unavailable(_) => {
            let user = user_id().map(|id| format!("user {id}")).unwrap_or_else(|| "this user".to_owned());
            Failure::new("database_unwritable", text)
                .hint(format!("{user} must be able to write {shown} and its folder; or set database.path"))
        }
        storage::Error::Busy(_) => Failure::new("database_busy", text),
        other => other.into(),
    }
}

/// The same for a server: what it says names no password, and neither do we.
fn cannot_reach(error: storage::Error) -> Failure {
    let text = error.to_string();
    match error {
        storage::Error::TooNew(_) => {
            Failure::new("schema_too_new", text).hint("update compozy; the database was left as it is")
        }
        storage::Error::Unusable(_) => {
            Failure::new("database_unusable", text).hint("nothing was written; name another database, or an empty one")
        }
        storage::Error::Unavailable(_) => Failure::new("database_unavailable", text)
            .hint("start PostgreSQL there, or correct host, port, user and password under `database`"),
        storage::Error::Busy(_) => Failure::new("database_busy", text),
        other => other.into(),
    }
}

/// The identity key of a project's database, for the server proof.
#[derive(Debug)]
pub struct DatabaseKeys<'a> {
    /// What the command starts from.
    pub session: &'a Session,
    /// The project.
    pub loaded: &'a Loaded,
}

impl Keys for DatabaseKeys<'_> {
    async fn identity_key(&self) -> Result<Option<[u8; 32]>, Failure> {
        let project = &self.loaded.project;
        match database_file(project) {
            // No server can have a database that is not there, so no proof may hold.
            Some(path) if !path.exists() => return Ok(Some(random_bytes())),
            None if project.settings.database.driver == Driver::Sqlite => return Ok(None),
            _ => {}
        }
        let storage = storage(self.session, &self.loaded.project, Role::ReadOnly).await?;
        let key = storage.info().identity_key;
        storage.close().await;
        Ok(Some(key))
    }
}

/// No database to take a key from.
#[derive(Debug)]
pub struct NoKeys;

impl Keys for NoKeys {
    async fn identity_key(&self) -> Result<Option<[u8; 32]>, Failure> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn why_a_database_cannot_be_opened_decides_the_code() {
        let path = Path::new("/data/compozy.db");
        for (error, code, exit) in [
            (storage::Error::TooNew("newer".into()), "schema_too_new", 6),
            (storage::Error::Unusable("damaged".into()), "database_unusable", 6),
            (storage::Error::Unavailable("refused".into()), "database_unwritable", 2),
            (storage::Error::DiskFull, "disk_full", 7),
            (storage::Error::Busy("locked".into()), "database_busy", 7),
        ] {
            let failure = cannot_open(error, Role::Embedded, Some(path));
            assert_eq!((failure.code(), failure.exit()), (Some(code), exit));
        }
    }

    #[test]
    fn a_server_that_is_not_there_is_unavailable() {
        for (error, code, exit) in [
            (storage::Error::TooNew("newer".into()), "schema_too_new", 6),
            (storage::Error::Unusable("foreign".into()), "database_unusable", 6),
            (storage::Error::Unavailable("refused".into()), "database_unavailable", 7),
            (storage::Error::DiskFull, "disk_full", 7),
            (storage::Error::Busy("locked".into()), "database_busy", 7),
        ] {
            let failure = cannot_reach(error);
            assert_eq!((failure.code(), failure.exit()), (Some(code), exit));
        }
    }
}
