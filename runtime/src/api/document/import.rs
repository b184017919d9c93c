//! What an import has done, as the API answers it and the command line prints it.

use serde_json::{Map, Value, json};

use crate::transfer::Report;

/// The document of an import.
#[must_use]
pub fn document(report: &Report, dry_run: bool) -> Value {
    let table = |table: &crate::transfer::TableReport| {
        let imported = table.rows - table.skipped;
        let mut shown = json!({"rows": table.rows, "imported": imported, "skipped": table.skipped});
        let compared = report.verified.iter().flatten().find(|compared| compared.table == table.table);
        if let (Some(compared), Value::Object(shown)) = (compared, &mut shown) {
            shown.insert("equal".to_owned(), compared.equal.into());
            shown.insert("equal_sha256".to_owned(), compared.sha256.as_str().into());
        }
        (table.table.to_owned(), shown)
    };
    let tables: Map<String, Value> = report.tables.iter().map(table).collect();
    let (executions, skipped) = report.of("executions");
    json!({
        "export_id": report.export_id,
        "executions": executions,
        "tasks": report.of("steps").0,
        "skipped": skipped,
        "tables": tables,
        "verified": report.verified.is_some(),
        "dry_run": dry_run,
    })
}
