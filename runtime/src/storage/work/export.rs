//! Which rows an export takes, and where it has got to: the same on every driver.

use super::super::table::{Class, Table};
use super::super::transfer::{Row, RunChoice, Selection, Source};

/// Where the next page of a table begins.
#[derive(Debug, Clone, Default)]
pub(in crate::storage) struct Place {
    /// `executions` are read twice: those inside of no other run, and the others.
    pub(in crate::storage) pass: usize,
    /// The order of the last row.
    pub(in crate::storage) after: Option<Row>,
    pub(in crate::storage) done: bool,
}

/// How many passes a table takes.
pub(in crate::storage) fn passes(table: &Table) -> usize {
    if table.name == "executions" { 2 } else { 1 }
}

/// What a pass over `table AS e` adds to its condition.
pub(in crate::storage) fn part(table: &Table, pass: usize) -> &'static str {
    match (table.name, pass) {
        ("executions", 0) => " AND e.parent_exec_id IS NULL",
        ("executions", _) => " AND e.parent_exec_id IS NOT NULL",
        _ => "",
    }
}

/// A column of an exported row, with the alias of the table it lies in.
pub(in crate::storage) fn qualified(table: &Table, name: &str) -> String {
    let alias = if table.joined.iter().any(|column| column.name == name) { "s" } else { "e" };
    format!("{alias}.\"{name}\"")
}

/// The column that a page begins at, for the index: rows of an import are found by its runs, `import_rows AS i`, and a page
/// that did not begin at its run would pass over all runs before it.
pub(in crate::storage) fn first(source: &Source, table: &Table) -> String {
    match source {
        Source::Imported(_) => "i.name".to_owned(),
        Source::Selected(_) => qualified(table, table.order.first().copied().unwrap_or_default()),
    }
}

/// Which rows of `table AS e` are exported; `chosen` is the driver's condition on the runs of `executions AS m` that were
/// asked for.
pub(in crate::storage) fn is_selected(table: &Table, selection: &Selection, chosen: &str) -> String {
    let included = table.class.is_some_and(|class| selection.includes(class));
    let chosen = run_is_chosen(&selection.runs, chosen);
    let all = selection.runs.is_all();
    let of_run = |column: &str| format!("EXISTS (SELECT 1 FROM executions AS x WHERE x.{column} AND {chosen})");
    match table.name {
        "definitions" if included && all => "TRUE".to_owned(),
        // A run is nothing without its definition.
        "definitions" if included || selection.includes(Class::Executions) => of_run("definition_digest = e.digest"),
        _ if !included => "FALSE".to_owned(),
        "definition_heads" if !all => of_run("definition_digest = e.digest"),
        "executions" => chosen.replace("x.", "e."),
        "payloads" => format!(
            "EXISTS (SELECT 1 FROM payload_refs AS r JOIN executions AS x ON x.exec_id = r.exec_id \
             WHERE r.hash = e.hash AND {chosen})"
        ),
        "attempts" => of_run("exec_id = s.exec_id"),
        _ if table.is_of_runs() => of_run("exec_id = e.exec_id"),
        "idempotency_keys" if !all => of_run("exec_id = e.exec_id"),
        _ if all => "TRUE".to_owned(),
        "events" => "FALSE".to_owned(),
        // Asked for by name: it belongs to no run.
        _ => "TRUE".to_owned(),
    }
}

/// Whether the run with the alias `x` is exported: a run that was asked for, with its whole tree.
fn run_is_chosen(choice: &RunChoice, chosen: &str) -> String {
    if choice.is_all() {
        return "TRUE".to_owned();
    }
    format!(
        "(EXISTS (SELECT 1 FROM executions AS m WHERE m.exec_id = x.root_exec_id AND {chosen}) \
         OR EXISTS (SELECT 1 FROM executions AS m WHERE m.root_exec_id = x.root_exec_id \
         AND m.root_exec_id <> m.exec_id AND {chosen}))"
    )
}
