//! Steps of an import, and how a waiting row is written down.

use compozy_engine::time::Timestamp;

use super::super::Error;
use super::super::transfer::{Cell, ImportBatch, Row};

/// What is to be done.
#[derive(Debug)]
pub(in crate::storage) enum Import {
    /// One step.
    Write { batch: Box<ImportBatch>, now: Timestamp },
    /// The end.
    Finish { export_id: String, now: Timestamp },
    /// Some of the undoing. The answer counts the rows removed; none: it is undone.
    Abort { export_id: String },
}

/// A row as JSON text.
pub(in crate::storage) fn to_content(row: &Row) -> String {
    let cell = |cell: &Cell| match cell {
        Cell::Null => serde_json::Value::Null,
        Cell::Integer(number) => (*number).into(),
        Cell::Text(text) => text.as_str().into(),
    };
    serde_json::Value::from(row.iter().map(cell).collect::<Vec<_>>()).to_string()
}

/// What [`to_content`] gave.
///
/// # Errors
/// [`Error::Unusable`] when it is something else.
pub(in crate::storage) fn from_content(text: &str) -> Result<Row, Error> {
    let cells: Vec<serde_json::Value> =
        serde_json::from_str(text).map_err(|error| Error::Unusable(format!("a waiting row: {error}")))?;
    let cell = |cell: serde_json::Value| match cell {
        serde_json::Value::String(text) => Cell::Text(text),
        serde_json::Value::Number(number) => number.as_i64().map_or(Cell::Null, Cell::Integer),
        _ => Cell::Null,
    };
    Ok(cells.into_iter().map(cell).collect())
}
