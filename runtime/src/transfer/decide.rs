//! What becomes of the rows of a file: written, kept back until the end, passed over, or refused.

use std::collections::{HashMap, HashSet};

use compozy_engine::time::Timestamp;

use super::Error;
use super::adapt::{self, Named};
use super::import::{InFlight, OnConflict};
use super::item::REFERENCE;
use super::line::{self, Sum};
use crate::storage::table::{self, Kind, Table, Travels};
use crate::storage::transfer::{Act, Cell, Row, Staged, Transfer};

/// Status words after which nothing changes any more.
const TERMINAL: [&str; 4] = ["SUCCESS", "FAILED", "TIMED_OUT", "CANCELED"];

/// A row as it was read.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) row: Row,
    /// Its line in the NDJSON form.
    pub(super) line: String,
    /// Where it stands.
    pub(super) place: String,
    /// Its number within the table.
    pub(super) position: i64,
}

/// What a page of rows comes to.
#[derive(Debug, Default)]
pub(super) struct Decided {
    pub(super) rows: Vec<Row>,
    pub(super) staged: Vec<Staged>,
    pub(super) skipped: i64,
    /// Positions of rows of which something else may have become than stands in the file.
    pub(super) changed: HashSet<i64>,
}

impl Decided {
    /// Adds the hashes of what is written.
    pub(super) fn sum(&self, table: &'static Table, sum: &mut Sum) {
        for row in &self.rows {
            sum.add(&written(table, row));
        }
        for staged in &self.staged {
            let row = staged.row.as_ref().map(|row| match staged.table.name {
                "executions" => row.get(..row.len().saturating_sub(1)).unwrap_or_default().to_vec(),
                _ => row.clone(),
            });
            row.iter().for_each(|row| sum.add(&written(staged.table, row)));
        }
    }
}

/// The line of a row as it is written.
pub(super) fn written(table: &'static Table, row: &Row) -> String {
    line::row(table.name, &serde_json::Value::Object(line::members(table, row)).to_string())
}

/// Decides by what both databases hold.
pub(super) struct Judge<'a> {
    /// What is there already.
    pub(super) target: &'a dyn Transfer,
    /// Where it is written.
    pub(super) sink: &'a dyn Transfer,
    pub(super) export_id: &'a str,
    pub(super) on_conflict: OnConflict,
    pub(super) in_flight: InFlight,
    pub(super) now: Timestamp,
}

impl Judge<'_> {
    /// What a page of `table` comes to.
    ///
    /// # Errors
    /// [`Error::Conflict`] and [`Error::Invalid`], with the place of the row.
    pub(super) async fn page(&self, table: &'static Table, page: Vec<Read>) -> Result<Decided, Error> {
        match table.name {
            "executions" => self.runs(table, page).await,
            "payloads" => self.payloads(table, page).await,
            _ if table.is_of_runs() => self.of_runs(table, page).await,
            _ => self.others(table, page).await,
        }
    }

    async fn runs(&self, table: &'static Table, page: Vec<Read>) -> Result<Decided, Error> {
        self.referred(table, page.iter()).await?;
        self.defined(table, &page).await?;
        let there = self.target.stored(table, &keys(table, &page)).await?;
        let ids = texts(table, &page, "exec_id");
        let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
        let imported = self.target.imported_from(&ids).await?;
        let parents = texts(table, &page, "parent_exec_id");
        let parents: Vec<&str> = parents.iter().map(String::as_str).collect();
        let mut acts = self.sink.import_acts(self.export_id, table, &parents).await?;
        let mut decided = Decided::default();
        for (mut read, there) in page.into_iter().zip(there) {
            let hash = line::sha256(&read.line);
            let mut run = Named { table, row: &mut read.row };
            let exec_id = run.text("exec_id").unwrap_or_default().to_owned();
            let under_way = !TERMINAL.contains(&run.text("status").unwrap_or_default());
            let orphaned = run.text("parent_exec_id").is_some_and(|parent| acts.get(parent) == Some(&Act::Left));
            let act = match &there {
                Some(there) if equal(table, there, run.row) => Act::Same,
                // It came from this very row and has gone on since.
                Some(_) if imported.get(&exec_id).is_some_and(|(_, from)| *from == hash) => Act::Known,
                Some(there) => self.other_run(table, &read.place, &exec_id, there, run.integer("last_seq"))?,
                None if orphaned => Act::Left,
                None if under_way => self.under_way(&read.place, &exec_id)?,
                None => Act::Insert,
            };
            acts.insert(exec_id.clone(), act);
            let writes = matches!(act, Act::Insert | Act::Replace);
            decided.skipped += i64::from(!writes);
            let as_it_is = act == Act::Same && there.as_ref() == Some(run.row);
            let paused = writes && under_way && self.in_flight == InFlight::Pause;
            let event = if paused { adapt::pause(&mut run, self.now) } else { None };
            if !(as_it_is || writes && event.is_none()) {
                decided.changed.insert(read.position);
            }
            let row = writes.then(|| read.row.iter().cloned().chain([Cell::Text(hash)]).collect());
            let waits = |table, row, act| Staged { table, name: exec_id.clone(), position: read.position, act, row };
            decided.staged.push(waits(table, row, act));
            if let Some((journal, event)) = table::find("journal").zip(event) {
                // Behind all events of the file.
                decided.staged.push(Staged { position: i64::MAX, ..waits(journal, Some(event), act) });
            }
        }
        Ok(decided)
    }

    /// A run that is there with other content.
    fn other_run(
        &self,
        table: &'static Table,
        place: &str,
        exec_id: &str,
        there: &Row,
        last_seq: Option<i64>,
    ) -> Result<Act, Error> {
        let own = table.place("last_seq").and_then(|place| there.get(place)?.integer());
        match self.on_conflict {
            OnConflict::Skip => Ok(Act::Known),
            OnConflict::Replace if last_seq > own => Ok(Act::Replace),
            OnConflict::Replace => {
                Err(Error::Conflict(format!("{place}: run {exec_id} is there and has gone at least as far")))
            }
            OnConflict::Fail => Err(Error::Conflict(format!("{place}: run {exec_id} is there with other content"))),
        }
    }

    fn under_way(&self, place: &str, exec_id: &str) -> Result<Act, Error> {
        match self.in_flight {
            InFlight::Pause | InFlight::Resume => Ok(Act::Insert),
            InFlight::Skip => Ok(Act::Left),
            InFlight::Fail => Err(Error::Conflict(format!("{place}: run {exec_id} is under way"))),
        }
    }

    /// Every run's definition is stored, or comes with it.
    async fn defined(&self, table: &'static Table, page: &[Read]) -> Result<(), Error> {
        let Some(definitions) = table::find("definitions") else { return Ok(()) };
        let digests = texts(table, page, "definition_digest");
        let unique: HashSet<&str> = digests.iter().map(String::as_str).collect();
        let list: Vec<&str> = unique.into_iter().collect();
        let comes = self.sink.import_acts(self.export_id, definitions, &list).await?;
        let left: Vec<&str> = list.into_iter().filter(|digest| !comes.contains_key(*digest)).collect();
        let keys: Vec<Row> = left.iter().map(|digest| vec![Cell::Text((*digest).to_owned())]).collect();
        let there = self.target.stored(definitions, &keys).await?;
        let gone: HashSet<&str> =
            left.into_iter().zip(there).filter(|(_, row)| row.is_none()).map(|(digest, _)| digest).collect();
        for (read, digest) in page.iter().zip(&digests) {
            if gone.contains(digest.as_str()) {
                return Err(Error::at(
                    &read.place,
                    format!("its definition {digest} is neither in the file nor stored"),
                ));
            }
        }
        Ok(())
    }

    /// Every payload that a row refers to is stored.
    async fn referred(&self, table: &'static Table, page: impl Iterator<Item = &Read>) -> Result<(), Error> {
        let mut wanted: HashMap<&str, &str> = HashMap::new();
        for read in page {
            let large = table.travelling().zip(&read.row).filter(|(column, _)| column.kind == Kind::Large);
            let hashes = large.filter_map(|(_, cell)| cell.text()?.strip_prefix(REFERENCE));
            wanted.extend(hashes.map(|hash| (hash, read.place.as_str())));
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let list: Vec<&str> = wanted.keys().copied().collect();
        let mut there: HashSet<String> = self.sink.payloads(&list).await?.into_iter().collect();
        there.extend(self.target.payloads(&list).await?);
        match wanted.iter().find(|(hash, _)| !there.contains(**hash)) {
            None => Ok(()),
            Some((hash, place)) => Err(Error::at(*place, format!("payload {hash} is neither in the file nor stored"))),
        }
    }

    async fn payloads(&self, table: &'static Table, page: Vec<Read>) -> Result<Decided, Error> {
        let hashes = texts(table, &page, "hash");
        let list: Vec<&str> = hashes.iter().map(String::as_str).collect();
        let there: HashSet<String> = self.target.payloads(&list).await?.into_iter().collect();
        let mut decided = Decided::default();
        for (read, hash) in page.into_iter().zip(&hashes) {
            if there.contains(hash) {
                decided.skipped += 1;
                // The same content, by its hash; only when it was recorded may differ.
                decided.changed.insert(read.position);
            } else {
                decided.rows.push(read.row);
            }
        }
        Ok(decided)
    }

    async fn of_runs(&self, table: &'static Table, page: Vec<Read>) -> Result<Decided, Error> {
        let Some(executions) = table::find("executions") else { return Err(Error::Unsupported) };
        let owners = texts(table, &page, "exec_id");
        let unique: HashSet<&str> = owners.iter().map(String::as_str).collect();
        let list: Vec<&str> = unique.into_iter().collect();
        let acts = self.sink.import_acts(self.export_id, executions, &list).await?;
        let mut decided = Decided::default();
        let (mut writes, mut compares) = (Vec::new(), Vec::new());
        for (read, exec_id) in page.into_iter().zip(&owners) {
            match acts.get(exec_id) {
                Some(act @ (Act::Insert | Act::Replace)) => writes.push((*act, exec_id, read)),
                Some(Act::Same) => compares.push(read),
                Some(Act::Known | Act::Left) => {
                    decided.skipped += 1;
                    decided.changed.insert(read.position);
                }
                None => return Err(Error::at(&read.place, format!("run {exec_id} is not in the file"))),
            }
        }
        self.referred(table, writes.iter().map(|(_, _, read)| read)).await?;
        if table.name == "attempts" {
            let new: Vec<&Read> =
                writes.iter().filter(|(act, ..)| *act == Act::Insert).map(|(_, _, read)| read).collect();
            self.tried(table, &new).await?;
        }
        let there = self.target.stored(table, &keys(table, &compares)).await?;
        for (read, there) in compares.iter().zip(there) {
            let same = there.as_ref().is_some_and(|there| equal(table, there, &read.row));
            if there.as_ref() != Some(&read.row) {
                decided.changed.insert(read.position);
            }
            if !same && self.on_conflict != OnConflict::Skip {
                return Err(Error::Conflict(format!(
                    "{}: a row of {} is there with other content",
                    read.place, table.name
                )));
            }
            decided.skipped += 1;
        }
        for (act, exec_id, read) in writes {
            if act == Act::Insert {
                decided.rows.push(read.row);
            } else {
                let (name, position, row) = (exec_id.clone(), read.position, Some(read.row));
                decided.staged.push(Staged { table, name, position, act, row });
            }
        }
        Ok(decided)
    }

    /// Attempts are of the steps that they name: nobody would find them elsewhere.
    async fn tried(&self, attempts: &'static Table, page: &[&Read]) -> Result<(), Error> {
        let Some(steps) = table::find("steps") else { return Ok(()) };
        let keys: Vec<Row> = page.iter().map(|read| read.row.iter().take(2).cloned().collect()).collect();
        let place = |table: &'static Table, row: &Row| row.get(table.place("task_exec_id")?).cloned();
        for (read, step) in page.iter().zip(self.sink.stored(steps, &keys).await?) {
            let own = place(attempts, &read.row);
            if step.and_then(|step| place(steps, &step)) != own {
                return Err(Error::at(&read.place, "the attempt belongs to another task execution than its step"));
            }
        }
        Ok(())
    }

    async fn others(&self, table: &'static Table, page: Vec<Read>) -> Result<Decided, Error> {
        let there = self.target.stored(table, &keys(table, &page)).await?;
        let holders = self.holders(table, &page).await?;
        let mut decided = Decided::default();
        for ((read, there), holder) in page.into_iter().zip(there).zip(holders) {
            let same = there.as_ref().is_some_and(|there| equal(table, there, &read.row));
            if same && there.as_ref() != Some(&read.row) || !same && (there.is_some() || holder) {
                decided.changed.insert(read.position);
            }
            // A message of a memory that is there with others is as much a conflict as the memory.
            if !same && (there.is_some() || holder) {
                if self.on_conflict != OnConflict::Skip {
                    let name = table.name;
                    return Err(Error::Conflict(format!(
                        "{}: a row of {name} is there with other content",
                        read.place
                    )));
                }
                decided.skipped += 1;
            } else if same {
                decided.skipped += 1;
            } else {
                let name = texts(table, std::slice::from_ref(&read), "digest").pop();
                let name = name.filter(|_| table.name == "definitions").unwrap_or_default();
                let (position, row) = (read.position, Some(read.row));
                decided.staged.push(Staged { table, name, position, act: Act::Insert, row });
            }
        }
        Ok(decided)
    }

    /// For each row whether the memory that it belongs to is there already.
    async fn holders(&self, table: &'static Table, page: &[Read]) -> Result<Vec<bool>, Error> {
        let Some(instances) = table::find("memory_instances").filter(|_| table.name == "memory_messages") else {
            return Ok(vec![false; page.len()]);
        };
        let keys: Vec<Row> = page.iter().map(|read| read.row.iter().take(2).cloned().collect()).collect();
        Ok(self.target.stored(instances, &keys).await?.iter().map(Option::is_some).collect())
    }
}

/// The identity of each row.
fn keys(table: &'static Table, page: &[Read]) -> Vec<Row> {
    let places: Vec<usize> = table.identity().iter().filter_map(|name| table.place(name)).collect();
    page.iter().map(|read| places.iter().filter_map(|place| read.row.get(*place).cloned()).collect()).collect()
}

/// The text of a column in each row that has some; columns that are never null have it in every row.
fn texts(table: &'static Table, page: &[Read], name: &str) -> Vec<String> {
    let Some(place) = table.place(name) else { return Vec::new() };
    page.iter().filter_map(|read| read.row.get(place)?.text().map(str::to_owned)).collect()
}

/// Whether two rows say the same, apart from when they were recorded.
fn equal(table: &'static Table, one: &Row, other: &Row) -> bool {
    let mut columns = table.travelling().zip(one.iter().zip(other));
    one.len() == other.len() && columns.all(|(column, (one, other))| column.travels == Travels::Unasked || one == other)
}
