//! `compozy:host/sql`: databases by label, never by URL or password.
//!
//! [`Databases`] is what a driver of named databases offers; this file adds grants, handle and byte caps.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use wasmtime::component::Resource;

pub use crate::plugin::bindings::lent::compozy::host::sql::{Error, RowSet, Value};

use crate::plugin::bindings::lent::compozy::host::sql;
use crate::plugin::grants::Refusal;
use crate::plugin::state::State;

/// Handles (connections, transactions, cursors) one call may hold at once.
pub const HANDLES: u32 = 16;

/// The label of a plugin's private database, which no other plugin can name.
pub const OWN: &str = "own";

/// Bytes of rows that one call of a function returns.
pub const ROW_BYTES: usize = 8 << 20;

/// Bytes of one statement.
const STATEMENT_BYTES: usize = 256 << 10;

/// Parameters of one statement, SQLite's own default for `?NNN` (<https://sqlite.org/limits.html>).
const PARAMETERS: usize = 32_766;

/// The databases of the project, by label.
#[async_trait]
pub trait Databases: Send + Sync + fmt::Debug {
    /// Opens the database labelled `label`. Called once per handle a plugin opens, after the grant was checked. With
    /// `write` false, the connection must refuse every change.
    ///
    /// # Errors
    /// Code `unavailable` when it cannot be reached, or no such label is configured.
    async fn open(&self, label: &str, write: bool) -> Result<Arc<dyn Connection>, Error>;

    /// Opens the private database of the plugin `plugin_id` for writing, made at its first use. Called as [`Self::open`],
    /// for the label [`OWN`].
    ///
    /// # Errors
    /// Code `unavailable` when it cannot be made, or plugins have none here.
    async fn open_own(&self, _plugin_id: &str) -> Result<Arc<dyn Connection>, Error> {
        Err(error("unavailable", "plugins have no databases of their own here"))
    }
}

/// An open database. Statements are bound, never pasted.
#[async_trait]
pub trait Connection: Send + Sync + fmt::Debug {
    /// Runs one statement and returns its rows; code `CZ0704` when they take more than `max_bytes`.
    async fn query(&self, statement: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error>;
    /// Runs one statement and returns how many rows it changed.
    async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, Error>;
    /// Runs one query whose rows are fetched in pieces.
    async fn cursor(&self, statement: &str, parameters: Vec<Value>) -> Result<Box<dyn Cursor>, Error>;
    /// Begins a transaction.
    async fn begin(&self) -> Result<Box<dyn Transaction>, Error>;
}

/// An open transaction. Dropped without commit, also by the end of the call, it must be rolled back.
#[async_trait]
pub trait Transaction: Send + fmt::Debug {
    /// As [`Connection::query`], inside this transaction.
    async fn query(&mut self, statement: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error>;
    /// As [`Connection::execute`], inside this transaction.
    async fn execute(&mut self, statement: &str, parameters: Vec<Value>) -> Result<u64, Error>;
    /// Makes the changes durable.
    async fn commit(self: Box<Self>) -> Result<(), Error>;
    /// Undoes the changes.
    async fn rollback(self: Box<Self>) -> Result<(), Error>;
}

/// A query whose rows are fetched in pieces.
#[async_trait]
pub trait Cursor: Send + fmt::Debug {
    /// Column names in order.
    fn columns(&self) -> Vec<String>;
    /// At most `max_rows` further rows of at most `max_bytes` together; empty at the end.
    async fn next(&mut self, max_rows: u32, max_bytes: usize) -> Result<Vec<Vec<Value>>, Error>;
}

/// A guest's `connection`.
#[derive(Debug)]
pub struct ConnectionHandle(Arc<dyn Connection>);

/// A guest's `transaction`; empty once it was committed or rolled back.
#[derive(Debug)]
pub struct TransactionHandle(Option<Box<dyn Transaction>>);

/// A guest's `cursor`.
#[derive(Debug)]
pub struct CursorHandle(Box<dyn Cursor>);

/// An error of the host's own.
fn error(code: &str, message: impl Into<String>) -> Error {
    Error { code: code.into(), message: message.into(), sqlstate: None, severity: None, detail: None, retryable: false }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        error("CZ0703", refusal.message)
    }
}

fn check(statement: &str, parameters: &[Value]) -> Result<(), Error> {
    if statement.len() > STATEMENT_BYTES {
        return Err(error("CZ0704", format!("a statement has at most {STATEMENT_BYTES} bytes")));
    }
    if parameters.len() > PARAMETERS {
        return Err(error("CZ0704", format!("a statement has at most {PARAMETERS} parameters")));
    }
    Ok(())
}

/// SQLSTATE 25000, invalid transaction state (SQL:2016 table 33).
fn ended() -> Error {
    Error { sqlstate: Some("25000".into()), ..error("database", "the transaction has ended") }
}

impl State {
    /// Counts a host call and refuses a statement over the caps: how every statement begins.
    fn admit(&mut self, statement: &str, parameters: &[Value]) -> wasmtime::Result<Result<(), Error>> {
        self.enter()?;
        Ok(check(statement, parameters))
    }

    /// Takes what a handle holds for the last time.
    fn end(&mut self, this: &Resource<TransactionHandle>) -> wasmtime::Result<Result<Box<dyn Transaction>, Error>> {
        self.enter()?;
        Ok(self.table.get_mut(this)?.0.take().ok_or_else(ended))
    }

    /// Counts one more handle, or refuses it.
    fn take_handle(&mut self) -> wasmtime::Result<Result<(), Error>> {
        let call = self.enter()?;
        if call.sql_handles >= HANDLES {
            return Ok(Err(error("CZ0704", format!("at most {HANDLES} handles on databases are open at once"))));
        }
        call.sql_handles += 1;
        Ok(Ok(()))
    }

    fn give_back_handle(&mut self) {
        if let Some(call) = &mut self.call {
            call.sql_handles = call.sql_handles.saturating_sub(1);
        }
    }

    /// Puts `handle` where the guest can name it, or gives its count back.
    fn hand_out<T: Send + 'static>(&mut self, made: Result<T, Error>) -> wasmtime::Result<Result<Resource<T>, Error>> {
        match made {
            Ok(handle) => Ok(Ok(self.table.push(handle)?)),
            Err(error) => {
                self.give_back_handle();
                Ok(Err(error))
            }
        }
    }
}

impl sql::Host for State {
    async fn open(&mut self, label: String) -> wasmtime::Result<Result<Resource<ConnectionHandle>, Error>> {
        let call = self.enter()?;
        let binding = call.binding.clone();
        let write = match binding.grants.sql(&binding.plugin_id, &label) {
            Ok(write) => write,
            Err(refusal) => {
                call.refused.note(refusal.line.clone());
                return Ok(Err(refusal.into()));
            }
        };
        let Some(databases) = &binding.services.databases else {
            return Ok(Err(error("unavailable", "no databases are configured")));
        };
        if let Err(error) = self.take_handle()? {
            return Ok(Err(error));
        }
        let opened = match label.as_str() {
            OWN => databases.open_own(&binding.plugin_id).await,
            _ => databases.open(&label, write).await,
        };
        self.hand_out(opened.map(ConnectionHandle))
    }
}

impl sql::HostConnection for State {
    async fn query(
        &mut self,
        this: Resource<ConnectionHandle>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<RowSet, Error>> {
        if let Err(error) = self.admit(&statement, &parameters)? {
            return Ok(Err(error));
        }
        let connection = Arc::clone(&self.table.get(&this)?.0);
        Ok(connection.query(&statement, parameters, ROW_BYTES).await)
    }

    async fn execute(
        &mut self,
        this: Resource<ConnectionHandle>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        if let Err(error) = self.admit(&statement, &parameters)? {
            return Ok(Err(error));
        }
        let connection = Arc::clone(&self.table.get(&this)?.0);
        Ok(connection.execute(&statement, parameters).await)
    }

    async fn cursor(
        &mut self,
        this: Resource<ConnectionHandle>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<Resource<CursorHandle>, Error>> {
        if let Err(error) = check(&statement, &parameters) {
            return Ok(Err(error));
        }
        if let Err(error) = self.take_handle()? {
            return Ok(Err(error));
        }
        let connection = Arc::clone(&self.table.get(&this)?.0);
        let cursor = connection.cursor(&statement, parameters).await;
        self.hand_out(cursor.map(CursorHandle))
    }

    async fn begin(
        &mut self,
        this: Resource<ConnectionHandle>,
    ) -> wasmtime::Result<Result<Resource<TransactionHandle>, Error>> {
        if let Err(error) = self.take_handle()? {
            return Ok(Err(error));
        }
        let connection = Arc::clone(&self.table.get(&this)?.0);
        let transaction = connection.begin().await;
        self.hand_out(transaction.map(|transaction| TransactionHandle(Some(transaction))))
    }

    async fn drop(&mut self, this: Resource<ConnectionHandle>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        self.give_back_handle();
        Ok(())
    }
}

impl sql::HostTransaction for State {
    async fn query(
        &mut self,
        this: Resource<TransactionHandle>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<RowSet, Error>> {
        if let Err(error) = self.admit(&statement, &parameters)? {
            return Ok(Err(error));
        }
        Ok(match &mut self.table.get_mut(&this)?.0 {
            Some(transaction) => transaction.query(&statement, parameters, ROW_BYTES).await,
            None => Err(ended()),
        })
    }

    async fn execute(
        &mut self,
        this: Resource<TransactionHandle>,
        statement: String,
        parameters: Vec<Value>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        if let Err(error) = self.admit(&statement, &parameters)? {
            return Ok(Err(error));
        }
        Ok(match &mut self.table.get_mut(&this)?.0 {
            Some(transaction) => transaction.execute(&statement, parameters).await,
            None => Err(ended()),
        })
    }

    async fn commit(&mut self, this: Resource<TransactionHandle>) -> wasmtime::Result<Result<(), Error>> {
        Ok(match self.end(&this)? {
            Ok(transaction) => transaction.commit().await,
            Err(error) => Err(error),
        })
    }

    async fn rollback(&mut self, this: Resource<TransactionHandle>) -> wasmtime::Result<Result<(), Error>> {
        Ok(match self.end(&this)? {
            Ok(transaction) => transaction.rollback().await,
            Err(error) => Err(error),
        })
    }

    async fn drop(&mut self, this: Resource<TransactionHandle>) -> wasmtime::Result<()> {
        let handle = self.table.delete(this)?;
        self.give_back_handle();
        if let Some(transaction) = handle.0 {
            // The guest cannot be told; the database undoes it in any case when the connection closes.
            drop(transaction.rollback().await);
        }
        Ok(())
    }
}

impl sql::HostCursor for State {
    async fn columns(&mut self, this: Resource<CursorHandle>) -> wasmtime::Result<Vec<String>> {
        self.enter()?;
        Ok(self.table.get(&this)?.0.columns())
    }

    async fn next(
        &mut self,
        this: Resource<CursorHandle>,
        max_rows: u32,
    ) -> wasmtime::Result<Result<Vec<Vec<Value>>, Error>> {
        self.enter()?;
        Ok(self.table.get_mut(&this)?.0.next(max_rows.max(1), ROW_BYTES).await)
    }

    async fn drop(&mut self, this: Resource<CursorHandle>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        self.give_back_handle();
        Ok(())
    }
}
