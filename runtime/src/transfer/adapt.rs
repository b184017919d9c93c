//! Runs under way: what is changed about one that is to stay paused in its new place.

use compozy_engine::time::Timestamp;
use serde_json::{Map, Value, json};

use crate::storage::table::{self, Table};
use crate::storage::transfer::{Cell, Row};

/// Why an imported run is paused.
const REASON: &str = "imported";
/// Who paused it.
const BY: &str = "import";

/// A row whose cells have names.
pub(super) struct Named<'r> {
    /// Its table.
    pub(super) table: &'static Table,
    /// Its cells.
    pub(super) row: &'r mut Row,
}

impl Named<'_> {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.row.get(self.table.place(name)?)?.text()
    }

    pub(super) fn integer(&self, name: &str) -> Option<i64> {
        self.row.get(self.table.place(name)?)?.integer()
    }

    fn set(&mut self, name: &str, value: Cell) {
        if let Some(cell) = self.table.place(name).and_then(|place| self.row.get_mut(place)) {
            *cell = value;
        }
    }
}

/// Makes a run that goes on a paused one, and gives the event that tells of it; `None`: it was paused before.
///
/// One that has not begun has nothing to be held, and begins when it is resumed.
pub(super) fn pause(run: &mut Named<'_>, now: Timestamp) -> Option<Row> {
    if run.text("status") == Some("PAUSED") && run.text("pause_request").is_some() {
        return None;
    }
    let text = |text: &str| Cell::Text(text.to_owned());
    let seq = run.integer("last_seq").unwrap_or(0) + 1;
    if run.integer("started_at").is_some() {
        let stored = run.text("state").and_then(|state| serde_json::from_str(state).ok());
        let mut state: Map<String, Value> = stored.unwrap_or_default();
        state.insert("paused".to_owned(), true.into());
        run.set("state", Cell::Text(Value::Object(state).to_string()));
    }
    // What a run of this level held was in memory; whether its owner wrote it down is told by its reason.
    if run.text("durability") != Some("memory") {
        run.set("reason", text(REASON));
    }
    let request = json!({"by": BY, "reason": REASON, "at": now.0});
    run.set("status", text("PAUSED"));
    run.set("pause_request", Cell::Text(request.to_string()));
    run.set("last_seq", Cell::Integer(seq));
    run.set("updated_at", Cell::Integer(now.0));
    let journal = table::find("journal")?;
    let data = json!({"status": "PAUSED", "by": BY, "reason": REASON}).to_string();
    let mut event = vec![Cell::Null; journal.travelling().count()];
    let mut told = Named { table: journal, row: &mut event };
    told.set("exec_id", run.text("exec_id").map_or(Cell::Null, text));
    told.set("seq", Cell::Integer(seq));
    told.set("at", Cell::Integer(now.0));
    told.set("event", text("workflow_status"));
    told.set("data", Cell::Text(data));
    Some(event)
}
