//! Exporting again after an import, and comparing with the file (`--verify`, cli-and-api §11).
//!
//! While the file is read, key and hash of each row go to a temporary file, in the file's order, which is that of every
//! export. The export of the finished database is then walked beside it: rows that only the database has are passed
//! over, all others must have the hash that they have in the file. Memory stays constant however long the file is.

use std::cmp::Ordering;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read as _, Seek as _, Write as _};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::item;
use super::line::{self, hex};
use super::{Error, decide};
use crate::clock::Clock;
use crate::storage::table::Table;
use crate::storage::transfer::{Cell, Row, RunChoice, Selection, Snapshot, Source, Transfer};

/// Rows read at a time.
const PAGE: u32 = 100;

/// How the rows of a table are found after the import.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compared {
    /// Its name.
    pub table: &'static str,
    /// Rows of the file.
    pub rows: u64,
    /// Rows that are as they are in the file. The rest was left out or kept as it was, belongs to a run that was paused,
    /// or has gone on.
    pub equal: u64,
    /// SHA-256 of the equal rows; of all of them it is what the file states for the table.
    pub sha256: String,
}

/// What the file holds, on disk.
pub(super) struct Expected {
    file: BufWriter<File>,
    tables: Vec<(&'static Table, u64)>,
}

/// A row of the file.
struct Wanted {
    order: Row,
    digest: [u8; 32],
    /// It was written as it is; anything else may have become of the others.
    must: bool,
}

impl Expected {
    /// # Errors
    /// There is no room for a temporary file.
    pub(super) fn new(clock: &Clock) -> Result<Self, Error> {
        let path = std::env::temp_dir().join(format!("compozy-verify-{}", clock.ulid()));
        let mut options = std::fs::OpenOptions::new();
        options.read(true).write(true).create_new(true);
        // Keys name runs and memories.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options.open(&path)?;
        // It is gone when this process is.
        std::fs::remove_file(&path)?;
        Ok(Self { file: BufWriter::new(file), tables: Vec::new() })
    }

    /// The next row of the file. Without `must` it may be found otherwise, or not at all.
    pub(super) fn add(&mut self, table: &'static Table, row: &Row, line: &str, must: bool) -> Result<(), Error> {
        match self.tables.last_mut().filter(|(last, _)| last.name == table.name) {
            Some((_, rows)) => *rows += 1,
            None => self.tables.push((table, 1)),
        }
        let order = Value::from_iter(item::order(table, row).iter().map(line::value)).to_string();
        let length = u32::try_from(order.len()).map_err(|_| Error::at("the file", "a key is too long"))?;
        self.file.write_all(&[u8::from(must)])?;
        self.file.write_all(&Sha256::digest(line.as_bytes()))?;
        self.file.write_all(&length.to_le_bytes())?;
        Ok(self.file.write_all(order.as_bytes())?)
    }

    /// Exports again, and finds out how many rows of each table are as they are in the file.
    ///
    /// # Errors
    /// [`Error::Conflict`] when a row is not as it was written.
    pub(super) async fn compare(self, transfer: &dyn Transfer) -> Result<Vec<Compared>, Error> {
        let mut file = self.file.into_inner().map_err(|error| Error::Io(error.into_error()))?;
        file.rewind()?;
        let mut file = BufReader::new(file);
        let classes = self.tables.iter().filter_map(|(table, _)| table.class).collect();
        let selection = Selection { include: classes, runs: RunChoice::default() };
        let mut snapshot = transfer.export(Source::Selected(selection)).await?;
        let mut all = Vec::new();
        for (table, rows) in self.tables {
            all.push(compare_table(&mut *snapshot, table, rows, &mut file).await?);
        }
        Ok(all)
    }
}

async fn compare_table(
    snapshot: &mut dyn Snapshot,
    table: &'static Table,
    rows: u64,
    file: &mut BufReader<File>,
) -> Result<Compared, Error> {
    let mut left = rows;
    let mut next = |left: &mut u64| -> Result<Option<Wanted>, Error> {
        let Some(less) = left.checked_sub(1) else { return Ok(None) };
        *left = less;
        read(file).map(Some)
    };
    let (mut equal, mut strange, mut sum) = (0, 0_u64, Sha256::new());
    let mut wanted = next(&mut left)?;
    while wanted.is_some() {
        let page = snapshot.next(table, PAGE).await?;
        if page.is_empty() {
            break;
        }
        for row in &page {
            let order = item::order(table, row);
            while let Some(here) = wanted.take() {
                match here.order.cmp(&order) {
                    Ordering::Less => strange += u64::from(here.must),
                    Ordering::Equal => {
                        let line = decide::written(table, row);
                        let same = Sha256::digest(line.as_bytes()).as_slice() == here.digest;
                        if same {
                            sum.update(line.as_bytes());
                        }
                        equal += u64::from(same);
                        strange += u64::from(here.must && !same);
                        wanted = next(&mut left)?;
                        break;
                    }
                    Ordering::Greater => {
                        wanted = Some(here);
                        break;
                    }
                }
                wanted = next(&mut left)?;
            }
        }
    }
    // What the export does not hold; the file is read to the end of the table.
    while let Some(here) = wanted {
        strange += u64::from(here.must);
        wanted = next(&mut left)?;
    }
    if strange > 0 {
        let name = table.name;
        return Err(Error::Conflict(format!(
            "what was imported is not what an export gives now: {strange} of {rows} rows of {name} differ from the file"
        )));
    }
    Ok(Compared { table: table.name, rows, equal, sha256: hex(&sum.finalize()) })
}

fn read(file: &mut BufReader<File>) -> Result<Wanted, Error> {
    let (mut must, mut digest, mut length) = ([0], [0; 32], [0; 4]);
    file.read_exact(&mut must)?;
    file.read_exact(&mut digest)?;
    file.read_exact(&mut length)?;
    let mut order = vec![0; u32::from_le_bytes(length) as usize];
    file.read_exact(&mut order)?;
    let order: Vec<Value> = serde_json::from_slice(&order).map_err(|error| Error::Io(error.into()))?;
    let cell = |value: Value| match value {
        Value::Number(number) => number.as_i64().map_or(Cell::Null, Cell::Integer),
        Value::String(text) => Cell::Text(text),
        _ => Cell::Null,
    };
    Ok(Wanted { order: order.into_iter().map(cell).collect(), digest, must: must != [0] })
}
