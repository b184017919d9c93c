//! Reading back what an import has written, before anybody sees it.
//!
//! A file is hostile. What it says of a run must fit together as if the run had happened here (cli-and-api §9.2), or it
//! would be stuck, or run twice, in a database that trusts its own rows.

use std::collections::{HashMap, HashSet, VecDeque};

use super::super::Error;
use super::super::table::{self, Table};
use super::super::work::encode::{REFERENCE, TERMINAL};
use super::super::work::replay::{self, Event, Stated, Stood};
use super::{Act, Cell, Row, Snapshot, Source, Staged, Transfer};

/// Rows read at a time.
const PAGE: u32 = 500;
/// Sentences after which nobody reads on.
const ENOUGH: usize = 20;

/// Told of every row that the import has written.
pub type Seen<'a> = &'a mut (dyn FnMut(&'static Table, &Row) + Send);

/// What does not fit together of what the import of `export_id` has written to `written`, one sentence each. `existing`
/// holds what it may refer to besides.
///
/// # Errors
/// Those of the databases.
pub async fn check(
    written: &dyn Transfer,
    existing: &dyn Transfer,
    export_id: &str,
    seen: Seen<'_>,
) -> Result<Vec<String>, Error> {
    let mut found = Vec::new();
    let tables: Vec<&'static Table> = table::travelling().filter(|table| table.is_of_runs()).collect();
    let mut children = Children {
        snapshot: written.export(Source::Imported(export_id.to_owned())).await?,
        transfer: written,
        existing,
        export_id,
        cursors: tables.iter().map(|table| (table.name, Cursor::new(table))).collect(),
    };
    let runs = executions()?;
    let mut after = (String::new(), -1);
    loop {
        let page = written.import_staged(export_id, runs, (&after.0, after.1), PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.name.clone(), last.position);
        let mut needed = HashSet::new();
        for staged in page.iter().filter(|staged| matches!(staged.act, Act::Insert | Act::Replace)) {
            let Some(mut row) = staged.row.clone() else { continue };
            let _hash = row.pop();
            seen(runs, &row);
            let run = Read { table: runs, row: &row };
            needed.extend(["parent_exec_id", "root_exec_id"].iter().filter_map(|name| run.text(name)));
            one(&run, &mut children, &tables, seen, &mut needed, &mut found).await?;
        }
        missing(written, existing, export_id, needed, &mut found).await?;
        if found.len() >= ENOUGH {
            break;
        }
    }
    drop(children);
    for table in table::travelling().filter(|table| !table.is_of_runs() && table.name != "executions") {
        let mut after = (String::new(), -1);
        loop {
            let page = written.import_staged(export_id, table, (&after.0, after.1), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = (last.name.clone(), last.position);
            page.iter().filter_map(|staged| staged.row.as_ref()).for_each(|row| seen(table, row));
        }
    }
    Ok(found)
}

fn executions() -> Result<&'static Table, Error> {
    table::find("executions").ok_or_else(|| Error::Driver("no table of runs".into()))
}

/// Runs that are referred to and are nowhere.
async fn missing(
    written: &dyn Transfer,
    existing: &dyn Transfer,
    export_id: &str,
    needed: HashSet<String>,
    found: &mut Vec<String>,
) -> Result<(), Error> {
    let ids: Vec<&str> = needed.iter().map(String::as_str).collect();
    let acts = written.import_acts(export_id, executions()?, &ids).await?;
    let comes = |id: &str| acts.get(id).is_some_and(|act| *act != Act::Left);
    let left: Vec<&str> = ids.into_iter().filter(|id| !comes(id)).collect();
    let keys: Vec<Row> = left.iter().map(|id| vec![Cell::Text((*id).to_owned())]).collect();
    let there = existing.stored(executions()?, &keys).await?;
    let gone = left.iter().zip(there).filter(|(_, row)| row.is_none());
    found.extend(gone.map(|(id, _)| format!("a run refers to run {id}, which does not exist")));
    Ok(())
}

/// A row with names.
struct Read<'r> {
    table: &'static Table,
    row: &'r Row,
}

impl Read<'_> {
    fn cell(&self, name: &str) -> Option<&Cell> {
        self.row.get(self.table.place(name)?)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.cell(name).and_then(Cell::text).map(str::to_owned)
    }

    fn integer(&self, name: &str) -> Option<i64> {
        self.cell(name).and_then(Cell::integer)
    }
}

/// Checks one run with all its rows.
async fn one(
    run: &Read<'_>,
    children: &mut Children<'_>,
    tables: &[&'static Table],
    seen: Seen<'_>,
    needed: &mut HashSet<String>,
    found: &mut Vec<String>,
) -> Result<(), Error> {
    let exec_id = run.text("exec_id").unwrap_or_default();
    let status = run.text("status").unwrap_or_default();
    let ended = TERMINAL.contains(&status.as_str());
    if ended != run.integer("finished_at").is_some() {
        found.push(format!("run {exec_id} is {status}, which does not fit its time of end"));
    }
    let (last_seq, journal_from) = (run.integer("last_seq").unwrap_or(0), run.integer("journal_from").unwrap_or(1));
    let (mut events, mut steps, mut ids) = (Vec::new(), Vec::new(), HashMap::new());
    for table in tables {
        while let Some(row) = children.next(table, &exec_id).await? {
            seen(table, &row);
            let row = Read { table, row: &row };
            match table.name {
                "steps" => {
                    step(&exec_id, ended, &row, needed, found);
                    let key = row.text("step_key").unwrap_or_default();
                    let result = row.integer("result_seq").unwrap_or(journal_from);
                    if result > last_seq && last_seq >= journal_from {
                        found
                            .push(format!("step {exec_id}/{key} has result event {result} that is not in the journal"));
                    }
                    ids.insert(key.clone(), row.text("task_exec_id").unwrap_or_default());
                    let (status, attempt) =
                        (row.text("status").unwrap_or_default(), row.integer("attempt").unwrap_or(0));
                    steps.push(Stood { step_key: key, status, attempt });
                }
                "attempts" => {
                    let key = row.text("step_key").unwrap_or_default();
                    if ids.get(&key) != row.text("task_exec_id").as_ref() {
                        found.push(format!("an attempt of {exec_id}/{key} belongs to another task execution"));
                    }
                }
                "journal" => events.push(children.event(&row).await?),
                "timers" if ended => {
                    let timer = row.text("timer_id").unwrap_or_default();
                    found.push(format!("run {exec_id} has ended but timer {timer} is pending"));
                }
                "signals" => {
                    let id = row.text("signal_id").unwrap_or_default();
                    let queued = row.text("state").as_deref() == Some("queued");
                    if queued == row.integer("settled_at").is_some() || (queued && ended) {
                        found.push(format!("signal {exec_id}/{id} is in a state that does not fit"));
                    }
                }
                _ => {}
            }
        }
    }
    replay::compare(&Stated { exec_id, status, last_seq, journal_from }, &events, &steps, found);
    Ok(())
}

fn step(exec_id: &str, ended: bool, row: &Read<'_>, needed: &mut HashSet<String>, found: &mut Vec<String>) {
    let key = row.text("step_key").unwrap_or_default();
    let status = row.text("status").unwrap_or_default();
    if ended && !TERMINAL.contains(&status.as_str()) {
        found.push(format!("run {exec_id} has ended but step {key} is {status}"));
    }
    let waits: Option<serde_json::Value> = row.text("waiting_for").and_then(|text| serde_json::from_str(&text).ok());
    let field = |name: &str| waits.as_ref()?.get(name)?.as_str().map(str::to_owned);
    if status == "WAITING" && field("kind").as_deref() == Some("child") {
        needed.extend(field("detail"));
    }
}

/// Events that move state.
const MOVES: [&str; 7] =
    ["workflow_start", "workflow_status", "complete", "error", "task_start", "task_status", "task_retry"];

/// The rows that belong to runs, run by run.
struct Children<'a> {
    snapshot: Box<dyn Snapshot>,
    transfer: &'a dyn Transfer,
    existing: &'a dyn Transfer,
    export_id: &'a str,
    cursors: HashMap<&'static str, Cursor>,
}

/// Where reading is in one table: what lies in it, and what waits.
struct Cursor {
    table: &'static Table,
    direct: VecDeque<Row>,
    staged: VecDeque<Staged>,
    direct_ended: bool,
    staged_after: Option<(String, i64)>,
}

impl Cursor {
    fn new(table: &'static Table) -> Self {
        let (direct, staged) = (VecDeque::new(), VecDeque::new());
        Self { table, direct, staged, direct_ended: false, staged_after: Some((String::new(), -1)) }
    }

    fn exec_id(&self, row: &Row) -> String {
        Read { table: self.table, row }.text("exec_id").unwrap_or_default()
    }
}

impl Children<'_> {
    /// An event; of one that moves nothing the data is left out.
    async fn event(&mut self, row: &Read<'_>) -> Result<Event, Error> {
        let event = row.text("event").unwrap_or_default();
        let mut data = row.text("data").filter(|_| MOVES.contains(&event.as_str()));
        if let Some(hash) = data.as_deref().and_then(|text| text.strip_prefix(REFERENCE)) {
            data = self.payload(hash).await?;
        }
        Ok(Event { seq: row.integer("seq").unwrap_or(0), event, data })
    }

    async fn payload(&mut self, hash: &str) -> Result<Option<String>, Error> {
        let Some(table) = table::find("payloads") else { return Ok(None) };
        let key = [vec![Cell::Text(hash.to_owned())]];
        let mut found = self.transfer.stored(table, &key).await?;
        if found.iter().all(Option::is_none) {
            found = self.existing.stored(table, &key).await?;
        }
        Ok(found.into_iter().flatten().next().and_then(|row| row.get(1)?.text().map(str::to_owned)))
    }

    /// The next row of `table` that belongs to the run. Runs must be asked for in order.
    async fn next(&mut self, table: &'static Table, exec_id: &str) -> Result<Option<Row>, Error> {
        let Some(cursor) = self.cursors.get_mut(table.name) else { return Ok(None) };
        if cursor.direct.is_empty() && !cursor.direct_ended {
            cursor.direct = self.snapshot.next(table, PAGE).await?.into();
            cursor.direct_ended = cursor.direct.is_empty();
        }
        if cursor.direct.front().is_some_and(|row| cursor.exec_id(row) == exec_id) {
            return Ok(cursor.direct.pop_front());
        }
        if let (true, Some((name, position))) = (cursor.staged.is_empty(), cursor.staged_after.take()) {
            let page = self.transfer.import_staged(self.export_id, table, (&name, position), PAGE).await?;
            cursor.staged_after = page.last().map(|last| (last.name.clone(), last.position));
            cursor.staged = page.into();
        }
        if cursor.staged.front().is_some_and(|staged| staged.name == exec_id) {
            return Ok(cursor.staged.pop_front().and_then(|staged| staged.row));
        }
        Ok(None)
    }
}
