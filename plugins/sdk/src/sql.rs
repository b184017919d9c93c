//! SQL on databases the project names and grants with `permissions.sql`: labels, never URLs; parameters, never pasted text.
//!
//! ```no_run
//! use compozy_plugin::{Result, sql};
//!
//! fn units(sku: &str) -> Result<usize> {
//!     let shop = sql::open("shop")?;
//!     let rows = shop.query("SELECT id FROM units WHERE sku = ?1", &[sku.into()])?;
//!     Ok(rows.rows.len())
//! }
//! ```

pub use crate::bindings::host::compozy::host::sql::{Connection, Cursor, Error, RowSet, Transaction, Value, open};

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<Vec<u8>> for Value {
    fn from(value: Vec<u8>) -> Self {
        Self::Blob(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}
