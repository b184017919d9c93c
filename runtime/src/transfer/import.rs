//! Reading an export into a database.
//!
//! What has been dealt with is written down with the rows, so that the same command goes on after a kill: what a table
//! has done is read again and only hashed. Nothing is visible before the last line has been read, every hash was right,
//! and what was written has been read back.

use compozy_engine::time::Timestamp;
use serde_json::json;

use super::decide::{self, Decided, Judge, Read};
use super::item::{Header, Item, Items};
use super::line::Sum;
use super::verify::{Compared, Expected};
use super::{Chunks, Error, Progress};
use crate::clock::Clock;
use crate::storage::table::Table;
use crate::storage::transfer::{self, ImportBatch, Row, Transfer};
use crate::storage::{self, Storage};

/// Rows in one step (cli-and-api §11), and most bytes of them.
const BATCH: (usize, usize) = (1_000, 8 << 20);
/// How long an import that does not move is taken to be under way.
const ALIVE_MICROS: i64 = 10_000_000;
/// Tables whose rows change as soon as runs may go on.
const MOVES: [&str; 6] = ["executions", "steps", "attempts", "timers", "signals", "usage"];
/// Sentences of the check that are told.
const TOLD: usize = 3;

/// What to do with a row that is there with other content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// Import nothing.
    Fail,
    /// Keep what is there.
    Skip,
    /// Take a run of the file if it has gone further.
    Replace,
}

/// What to do with a run that has not ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InFlight {
    /// It is paused until somebody resumes it.
    Pause,
    /// It goes on.
    Resume,
    /// Import nothing.
    Fail,
    /// It is left out, with all that belongs to it.
    Skip,
}

/// How to import.
#[derive(Debug, Clone)]
pub struct Request {
    /// On a conflict.
    pub on_conflict: OnConflict,
    /// With runs under way.
    pub in_flight: InFlight,
    /// Export again afterwards and compare with the file. What is written is read back in any case.
    pub verify: bool,
    /// Time.
    pub clock: Clock,
}

/// What became of the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableReport {
    /// Its name.
    pub table: &'static str,
    /// Rows in the file.
    pub rows: u64,
    /// Rows that were there already, or were left out.
    pub skipped: u64,
}

/// What an import has done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Which export.
    pub export_id: String,
    /// Table by table, in order.
    pub tables: Vec<TableReport>,
    /// It was written and is visible.
    pub finished: bool,
    /// An export gives now what the file holds, table by table; `None`: that was not asked for, or nothing was written.
    pub verified: Option<Vec<Compared>>,
}

impl Report {
    /// Rows of a table that were imported, and that were skipped.
    #[must_use]
    pub fn of(&self, table: &str) -> (u64, u64) {
        let found = self.tables.iter().find(|report| report.table == table);
        found.map_or((0, 0), |report| (report.rows - report.skipped, report.skipped))
    }
}

/// Imports `chunks` into `target`. With `scratch` nothing is written to `target`: what the import comes to is found out
/// in that database.
///
/// # Errors
/// [`Error`]; what was written before a conflict or a strange row is removed again.
pub async fn import(
    target: &dyn Storage,
    scratch: Option<&dyn Storage>,
    chunks: Chunks,
    request: &Request,
    progress: Progress<'_>,
) -> Result<Report, Error> {
    let existing = target.transfer().ok_or(Error::Unsupported)?;
    let sink = scratch.map_or(Some(existing), Storage::transfer).ok_or(Error::Unsupported)?;
    let mut items = Items::new(chunks).await?;
    let header = match items.next().await? {
        Some(Item::Header(header)) => header,
        _ => return Err(Error::at(items.place(), "the header is missing")),
    };
    let mut importer = Importer {
        existing,
        sink,
        request,
        header,
        items,
        reports: Vec::new(),
        finished_before: false,
        dry: scratch.is_some(),
        expected: None,
    };
    if request.verify && scratch.is_none() {
        importer.expected = Some(Expected::new(&request.clock)?);
    }
    importer.begin().await?;
    let outcome = importer.carry_out(progress).await;
    if let Err(Error::Conflict(_) | Error::Invalid { .. } | Error::Truncated(_)) = &outcome
        && !importer.finished_before
        && importer.is_mine().await
    {
        // What made it fail will do so again: nothing of it shall stay. After anything else the same command goes on.
        sink.import_abort(&importer.header.export_id).await?;
    }
    outcome
}

struct Importer<'a> {
    existing: &'a dyn Transfer,
    sink: &'a dyn Transfer,
    request: &'a Request,
    header: Header,
    items: Items,
    reports: Vec<TableReport>,
    /// This very file has been imported, with the same options.
    finished_before: bool,
    dry: bool,
    /// What an export must give afterwards, if that is to be found out.
    expected: Option<Expected>,
}

/// A table under way.
struct Under {
    table: &'static Table,
    /// Rows read.
    read: i64,
    /// How far it is written down.
    noted: Option<transfer::Progress>,
    skipped: i64,
    sum: Sum,
    page: Vec<Read>,
    bytes: usize,
}

impl Importer<'_> {
    fn now(&self) -> Timestamp {
        self.request.clock.now()
    }

    fn options(&self) -> String {
        let in_flight = format!("{:?}", self.request.in_flight);
        json!({"on_conflict": format!("{:?}", self.request.on_conflict), "in_flight": in_flight}).to_string()
    }

    /// Finds out what earlier imports have left, and notes this one.
    async fn begin(&mut self) -> Result<(), Error> {
        let (id, options, now) = (self.header.export_id.clone(), self.options(), self.now());
        for other in self.sink.imports().await?.into_iter().filter(|progress| progress.table.is_empty()) {
            let same = other.sha256 == self.header.sha256 && other.options.as_deref() == Some(&options);
            if other.export_id == id && same {
                self.finished_before = other.closed;
                return Ok(());
            }
            if other.closed && other.export_id != id {
                continue;
            }
            let alive = other.updated_at.0.saturating_add(ALIVE_MICROS) > now.0;
            if other.export_id != id && alive {
                return Err(Error::Conflict(format!(
                    "the import of {} is under way; if it was interrupted, try again in a few seconds",
                    other.export_id
                )));
            }
            self.sink.import_abort(&other.export_id).await?;
        }
        let progress = transfer::Progress {
            export_id: id,
            table: String::new(),
            taken: 0,
            skipped: 0,
            sha256: self.header.sha256.clone(),
            written: Sum::default().text(),
            options: Some(options),
            closed: false,
            updated_at: now,
        };
        let batch = ImportBatch { before: None, progress, table: None, rows: Vec::new(), staged: Vec::new() };
        Ok(self.sink.import_write(batch, now).await?)
    }

    /// Whether what is written down is still this import.
    async fn is_mine(&mut self) -> bool {
        let noted = self.sink.imports().await.unwrap_or_default();
        noted.iter().any(|progress| {
            progress.table.is_empty()
                && !progress.closed
                && progress.export_id == self.header.export_id
                && progress.sha256 == self.header.sha256
        })
    }

    async fn carry_out(&mut self, progress: Progress<'_>) -> Result<Report, Error> {
        let mut under: Option<Under> = None;
        loop {
            match self.items.next().await? {
                Some(Item::Header(_)) => return Err(Error::at(self.items.place(), "a second header")),
                Some(Item::Row { table, row, line }) => {
                    let mut here = match under.take() {
                        Some(here) => here,
                        None => self.table(table).await?,
                    };
                    here.read += 1;
                    let done = here.noted.as_ref().map_or(0, |noted| noted.taken);
                    if here.read > done && !self.finished_before {
                        here.bytes += line.len();
                        let place = self.items.place().to_owned();
                        here.page.push(Read { row, line, place, position: here.read });
                        if here.page.len() >= BATCH.0 || here.bytes >= BATCH.1 {
                            self.write(&mut here, false).await?;
                            progress(table.name, u64::try_from(here.read).unwrap_or(0));
                        }
                    } else {
                        self.check_resumed(&here)?;
                        if let Some(expected) = &mut self.expected {
                            expected.add(here.table, &row, &line, false)?;
                        }
                    }
                    under = Some(here);
                }
                Some(Item::TableEnd(table)) => {
                    let mut here = match under.take() {
                        Some(here) => here,
                        None => self.table(table).await?,
                    };
                    self.end_table(&mut here).await?;
                    progress(table.name, u64::try_from(here.read).unwrap_or(0));
                }
                Some(Item::End) => {}
                None => break,
            }
        }
        self.end().await
    }

    /// A table begins, or goes on where it was.
    async fn table(&mut self, table: &'static Table) -> Result<Under, Error> {
        let noted = self.sink.imports().await?;
        let noted =
            noted.into_iter().find(|noted| noted.export_id == self.header.export_id && noted.table == table.name);
        let skipped = noted.as_ref().map_or(0, |noted| noted.skipped);
        let sum = noted.as_ref().and_then(|noted| Sum::parse(&noted.written)).unwrap_or_default();
        Ok(Under { table, read: 0, noted, skipped, sum, page: Vec::new(), bytes: 0 })
    }

    /// The rows that were dealt with before are those of this file.
    fn check_resumed(&self, here: &Under) -> Result<(), Error> {
        let Some(noted) = here.noted.as_ref().filter(|noted| noted.taken == here.read) else { return Ok(()) };
        if noted.sha256 == self.items.rows_sha256() {
            return Ok(());
        }
        Err(Error::at(self.items.place(), "this is not the file with which the import of this export was begun"))
    }

    async fn end_table(&mut self, here: &mut Under) -> Result<(), Error> {
        let noted = here.noted.as_ref();
        if noted.is_some_and(|noted| here.read < noted.taken) {
            return Err(Error::at(
                self.items.place(),
                "this is not the file with which the import of this export was begun",
            ));
        }
        let done = noted.is_some_and(|noted| noted.closed);
        if !done && !self.finished_before {
            self.write(here, true).await?;
        }
        let (rows, skipped) = if self.finished_before { (here.read, here.read) } else { (here.read, here.skipped) };
        let number = |number: i64| u64::try_from(number).unwrap_or(0);
        self.reports.push(TableReport { table: here.table.name, rows: number(rows), skipped: number(skipped) });
        Ok(())
    }

    /// Writes what was read, and how far it is.
    async fn write(&mut self, here: &mut Under, closed: bool) -> Result<(), Error> {
        let now = self.now();
        let judge = Judge {
            target: self.existing,
            sink: self.sink,
            export_id: &self.header.export_id,
            on_conflict: self.request.on_conflict,
            in_flight: self.request.in_flight,
            now,
        };
        let page = std::mem::take(&mut here.page);
        here.bytes = 0;
        let wanted: Vec<(i64, Row, String)> = match &self.expected {
            Some(_) => page.iter().map(|read| (read.position, read.row.clone(), read.line.clone())).collect(),
            None => Vec::new(),
        };
        let decided = if page.is_empty() { Decided::default() } else { judge.page(here.table, page).await? };
        // Payloads are known by their hash, and belong to nobody.
        if here.table.name != "payloads" {
            decided.sum(here.table, &mut here.sum);
        }
        here.skipped += decided.skipped;
        if let Some(expected) = &mut self.expected {
            let stays = self.request.in_flight != InFlight::Resume || !MOVES.contains(&here.table.name);
            for (position, row, line) in wanted {
                expected.add(here.table, &row, &line, stays && !decided.changed.contains(&position))?;
            }
        }
        let noted = transfer::Progress {
            export_id: self.header.export_id.clone(),
            table: here.table.name.to_owned(),
            taken: here.read,
            skipped: here.skipped,
            sha256: self.items.rows_sha256(),
            written: here.sum.text(),
            options: None,
            closed,
            updated_at: now,
        };
        let before = here.noted.as_ref().map(|noted| noted.taken);
        let Decided { rows, staged, .. } = decided;
        let batch = ImportBatch { before, progress: noted.clone(), table: Some(here.table), rows, staged };
        let written = self.sink.import_write(batch, now).await;
        written.map_err(|error| match error {
            // What no check here has found; it will be refused again.
            storage::Error::Driver(cause) => {
                tracing::warn!(import.table = here.table.name, "the database refuses a row: {cause}");
                Error::at(self.items.place(), format!("the database does not take a row of {}", here.table.name))
            }
            other => other.into(),
        })?;
        here.noted = Some(noted);
        Ok(())
    }

    /// The whole file is read: reads back what was written, and makes it visible.
    async fn end(&mut self) -> Result<Report, Error> {
        let mut report = Report {
            export_id: self.header.export_id.clone(),
            tables: std::mem::take(&mut self.reports),
            finished: false,
            verified: None,
        };
        if !self.finished_before {
            self.read_back().await?;
            if self.dry {
                return Ok(report);
            }
            self.sink.import_finish(&self.header.export_id, self.now()).await?;
            // Whatever is found from here on, it is imported.
            self.finished_before = true;
        }
        report.finished = true;
        if let Some(expected) = self.expected.take() {
            report.verified = Some(expected.compare(self.existing).await?);
        }
        Ok(report)
    }

    async fn read_back(&mut self) -> Result<(), Error> {
        let noted = self.sink.imports().await?;
        let noted = noted.iter().filter(|noted| noted.export_id == self.header.export_id && !noted.table.is_empty());
        let wanted = noted.filter_map(|noted| Sum::parse(&noted.written)).fold(Sum::default(), Sum::with);
        let mut read = Sum::default();
        let mut seen = |table: &'static Table, row: &transfer::Row| read.add(&decide::written(table, row));
        let found = transfer::check(self.sink, self.existing, &self.header.export_id, &mut seen).await?;
        if !found.is_empty() {
            let told: Vec<&str> = found.iter().take(TOLD).map(String::as_str).collect();
            return Err(Error::at("the file", told.join("; ")));
        }
        if read != wanted {
            return Err(Error::at("the file", "what was written is not what is found; nothing was imported"));
        }
        Ok(())
    }
}
