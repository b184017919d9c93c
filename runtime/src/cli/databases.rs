//! Lends the named databases of a project to plugins: the storage's shapes in the words of `compozy:host/sql`.

use std::sync::Arc;

use async_trait::async_trait;

use crate::plugin::host::sql::{Connection, Cursor, Databases, Error, RowSet, Transaction, Value};
use crate::storage::named::{self, NamedConnection, NamedCursor, NamedDatabases, NamedTransaction};

/// The databases of a project, by label.
#[derive(Debug)]
pub struct Lent(pub NamedDatabases);

#[derive(Debug)]
struct LentConnection(NamedConnection);

#[derive(Debug)]
struct LentTransaction(NamedTransaction);

#[derive(Debug)]
struct LentCursor(NamedCursor);

#[async_trait]
impl Databases for Lent {
    async fn open(&self, label: &str, write: bool) -> Result<Arc<dyn Connection>, Error> {
        let connection = self.0.open(label, write).map_err(error)?;
        Ok(Arc::new(LentConnection(connection)))
    }

    async fn open_own(&self, plugin_id: &str) -> Result<Arc<dyn Connection>, Error> {
        let connection = self.0.open_own(plugin_id).map_err(error)?;
        Ok(Arc::new(LentConnection(connection)))
    }
}

#[async_trait]
impl Connection for LentConnection {
    async fn query(&self, statement: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error> {
        self.0.query(statement, taken(parameters), max_bytes).await.map(row_set).map_err(error)
    }

    async fn execute(&self, statement: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        self.0.execute(statement, taken(parameters)).await.map_err(error)
    }

    async fn cursor(&self, statement: &str, parameters: Vec<Value>) -> Result<Box<dyn Cursor>, Error> {
        let cursor = self.0.cursor(statement, taken(parameters)).await.map_err(error)?;
        Ok(Box::new(LentCursor(cursor)))
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, Error> {
        let transaction = self.0.begin().await.map_err(error)?;
        Ok(Box::new(LentTransaction(transaction)))
    }
}

#[async_trait]
impl Transaction for LentTransaction {
    async fn query(&mut self, statement: &str, parameters: Vec<Value>, max_bytes: usize) -> Result<RowSet, Error> {
        self.0.query(statement, taken(parameters), max_bytes).await.map(row_set).map_err(error)
    }

    async fn execute(&mut self, statement: &str, parameters: Vec<Value>) -> Result<u64, Error> {
        self.0.execute(statement, taken(parameters)).await.map_err(error)
    }

    async fn commit(self: Box<Self>) -> Result<(), Error> {
        self.0.commit().await.map_err(error)
    }

    async fn rollback(self: Box<Self>) -> Result<(), Error> {
        self.0.rollback().await.map_err(error)
    }
}

#[async_trait]
impl Cursor for LentCursor {
    fn columns(&self) -> Vec<String> {
        self.0.columns()
    }

    async fn next(&mut self, max_rows: u32, max_bytes: usize) -> Result<Vec<Vec<Value>>, Error> {
        self.0.next(max_rows, max_bytes).await.map(rows).map_err(error)
    }
}

fn error(error: named::Error) -> Error {
    Error {
        code: error.code.to_owned(),
        message: error.message,
        sqlstate: error.sqlstate.map(str::to_owned),
        severity: None,
        detail: None,
        retryable: error.retryable,
    }
}

fn row_set(found: named::RowSet) -> RowSet {
    RowSet { columns: found.columns, rows: rows(found.rows) }
}

fn rows(rows: Vec<Vec<named::Value>>) -> Vec<Vec<Value>> {
    rows.into_iter().map(|row| row.into_iter().map(given).collect()).collect()
}

fn given(value: named::Value) -> Value {
    match value {
        named::Value::Null => Value::Null,
        named::Value::Boolean(value) => Value::Boolean(value),
        named::Value::Integer(value) => Value::Integer(value),
        named::Value::Real(value) => Value::Real(value),
        named::Value::Text(value) => Value::Text(value),
        named::Value::Blob(value) => Value::Blob(value),
    }
}

fn taken(values: Vec<Value>) -> Vec<named::Value> {
    values
        .into_iter()
        .map(|value| match value {
            Value::Null => named::Value::Null,
            Value::Boolean(value) => named::Value::Boolean(value),
            Value::Integer(value) => named::Value::Integer(value),
            Value::Real(value) => named::Value::Real(value),
            Value::Text(value) => named::Value::Text(value),
            Value::Blob(value) => named::Value::Blob(value),
        })
        .collect()
}
