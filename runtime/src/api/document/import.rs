//! What an import has done, as the API answers it and the command line prints it.

use serde_json::{Map, Value, json};

use crate::transfer::Report;

/// The document of an import.
#[must_use]
pub fn document(report: &Report, dry_run: bool) -> Value {
    let table = |table: &crate::transfer::TableReport| {
        let imported = table.rows - table.skipped;
        (table.table.to_owned(), json!({"rows": table.rows, "imported": imported, "skipped": table.skipped}))
    };
    let tables: Map<String, Value> = report.tables.iter().map(table).collect();
    let (executions, skipped) = report.of("executions");
    json!({
        "export_id": report.export_id,
        "executions": executions,
        "tasks": report.of("steps").0,
        "skipped": skipped,
        "tables": tables,
        "verified": report.verified,
        "dry_run": dry_run,
    })
}
