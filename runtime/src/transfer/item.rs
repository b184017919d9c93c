//! From pieces to typed items, their hashes checked. Whatever is not as an export has it is refused with its place.

use std::collections::HashSet;

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::line::{self, hex};
use super::scan::{Piece, Scanner};
use super::{Chunks, Error, FORMAT_VERSION, zstd};
use crate::id::ExecId;
use crate::storage::table::{self, Column, Kind, Table};
use crate::storage::transfer::{Cell, Row};

/// What a reference to a payload begins with.
pub(super) const REFERENCE: &str = "@sha256:";

/// What stands at the beginning.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Header {
    kind: String,
    format: String,
    format_version: i64,
    schema_version: i64,
    /// Which export this is.
    pub(super) export_id: String,
    counts: Map<String, Value>,
    /// SHA-256 of its line.
    #[serde(skip)]
    pub(super) sha256: String,
}

/// What stands behind a table, or behind all.
#[derive(Debug, Deserialize)]
struct Stated {
    count: u64,
    sha256: String,
}

#[derive(Debug, Deserialize)]
struct Footer {
    #[serde(default)]
    tables: Option<std::collections::HashMap<String, Stated>>,
    counts: Map<String, Value>,
    sha256: String,
}

#[derive(Debug, Deserialize)]
struct Line {
    kind: String,
    #[serde(default)]
    table: Option<String>,
    #[serde(default)]
    row: Option<Map<String, Value>>,
    #[serde(default)]
    count: Option<u64>,
    #[serde(default)]
    sha256: Option<String>,
    #[serde(default)]
    counts: Option<Map<String, Value>>,
}

/// A part of a file.
#[derive(Debug)]
pub(super) enum Item {
    /// The beginning.
    Header(Header),
    /// A row, with the line that it is in the NDJSON form.
    Row { table: &'static Table, row: Row, line: String },
    /// The rows of a table were all that it says.
    TableEnd(&'static Table),
    /// The file is whole.
    End,
}

/// Reads the items of a file.
pub(super) struct Items {
    chunks: Chunks,
    scanner: Scanner,
    ended: bool,
    header: Option<Header>,
    table: Option<&'static Table>,
    done: HashSet<&'static str>,
    last: Option<Row>,
    hash: Sha256,
    count: u64,
    all: Sha256,
    /// Hashes of the tables of a document, which says them at its end.
    ends: Vec<(&'static str, u64, String)>,
    complete: bool,
}

impl Items {
    /// # Errors
    /// When the file cannot be read.
    pub(super) async fn new(chunks: Chunks) -> Result<Self, Error> {
        Ok(Self {
            chunks: zstd::unpacked(chunks).await?,
            scanner: Scanner::new(),
            ended: false,
            header: None,
            table: None,
            done: HashSet::new(),
            last: None,
            hash: Sha256::new(),
            count: 0,
            all: Sha256::new(),
            ends: Vec::new(),
            complete: false,
        })
    }

    /// Where the last item was.
    pub(super) fn place(&self) -> &str {
        self.scanner.place()
    }

    /// SHA-256 of the rows of the present table so far.
    pub(super) fn rows_sha256(&self) -> String {
        hex(&self.hash.clone().finalize())
    }

    /// The next item; `None` after the last one.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Truncated`], [`Error::TooNew`], [`Error::Io`].
    pub(super) async fn next(&mut self) -> Result<Option<Item>, Error> {
        loop {
            if let Some(piece) = self.scanner.next()? {
                if let Some(item) = self.item(piece)? {
                    return Ok(Some(item));
                }
                continue;
            }
            if self.ended {
                return if self.complete && self.scanner.is_complete() { Ok(None) } else { Err(self.truncated()) };
            }
            match self.chunks.next().await {
                Some(Ok(bytes)) => self.scanner.push(&bytes),
                Some(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData => {
                    return Err(Error::at("the file", error.to_string()));
                }
                Some(Err(error)) => return Err(Error::Io(error)),
                None => {
                    self.ended = true;
                    self.scanner.end();
                }
            }
        }
    }

    fn truncated(&self) -> Error {
        let after = match (&self.header, self.table) {
            (None, _) => "it has no header".to_owned(),
            (Some(_), Some(table)) => format!("it ends after row {} of {}", self.count, table.name),
            (Some(_), None) => "its end is missing".to_owned(),
        };
        Error::Truncated(after)
    }

    fn at(&self, message: impl Into<String>) -> Error {
        Error::at(self.place(), message)
    }

    fn item(&mut self, piece: Piece) -> Result<Option<Item>, Error> {
        if self.complete {
            return match piece {
                Piece::Line(line) if line.trim_ascii().is_empty() => Ok(None),
                _ => Err(self.at("something follows the end")),
            };
        }
        match piece {
            Piece::Line(bytes) => self.line(&bytes).map(Some),
            Piece::Header(bytes) => self.header(&bytes).map(Some),
            Piece::Table(name) => self.begin(&name).map(|()| None),
            Piece::Row(bytes) => {
                let members: Map<String, Value> = self.parse(&bytes)?;
                self.row(&members).map(Some)
            }
            Piece::TableEnd => self.table_end(None).map(Some),
            Piece::Footer(bytes) => {
                let footer = self.parse(&bytes)?;
                self.footer(footer).map(Some)
            }
        }
    }

    fn parse<T: serde::de::DeserializeOwned>(&self, bytes: &[u8]) -> Result<T, Error> {
        serde_json::from_slice(bytes).map_err(|error| self.at(format!("it is not as an export has it: {error}")))
    }

    fn line(&mut self, bytes: &[u8]) -> Result<Item, Error> {
        if self.header.is_none() {
            return self.header(bytes);
        }
        let Line { kind, table, row, count, sha256, counts } = self.parse(bytes)?;
        match (kind.as_str(), table, row, counts) {
            ("row", Some(name), Some(members), _) => {
                if self.table.is_none_or(|table| table.name != name) {
                    self.begin(&name)?;
                }
                self.row(&members)
            }
            ("table_end", Some(name), _, _) => {
                // A table without rows has no other line.
                if self.table.is_none() {
                    self.begin(&name)?;
                }
                if self.table.is_none_or(|table| table.name != name) {
                    return Err(self.at(format!("table '{name}' ends but did not begin")));
                }
                let stated = count.zip(sha256).map(|(count, sha256)| Stated { count, sha256 });
                self.table_end(Some(stated.ok_or_else(|| self.at("the end of a table needs count and sha256"))?))
            }
            ("end", _, _, Some(counts)) => {
                let sha256 = sha256.ok_or_else(|| self.at("the end needs a sha256"))?;
                self.footer(Footer { tables: None, counts, sha256 })
            }
            (kind, ..) => Err(self.at(format!("a line of the kind '{kind}' is not known, or incomplete"))),
        }
    }

    fn header(&mut self, bytes: &[u8]) -> Result<Item, Error> {
        let value: Value = self.parse(bytes)?;
        let mut header: Header = self.parse(bytes)?;
        if header.kind != "header" || header.format != "compozy-export" {
            return Err(self.at("this is no export of compozy"));
        }
        if header.format_version != FORMAT_VERSION || header.schema_version > table::VERSION {
            return Err(Error::TooNew(format!(
                "the file has format {} and schema {}; this program reads format {FORMAT_VERSION} and schemas up to {}",
                header.format_version,
                header.schema_version,
                table::VERSION
            )));
        }
        if ExecId::parse(&header.export_id).is_none() {
            return Err(self.at("its export_id is not an id"));
        }
        let line = line::line(&value);
        header.sha256 = line::sha256(&line);
        self.all.update(&line);
        self.header = Some(header.clone());
        Ok(Item::Header(header))
    }

    fn begin(&mut self, name: &str) -> Result<(), Error> {
        if let Some(table) = self.table {
            return Err(self.at(format!("table '{name}' begins before '{}' has ended", table.name)));
        }
        let Some(table) = table::find(name).filter(|table| table.class.is_some()) else {
            return Err(self.at(format!("there is no table '{name}' in an export")));
        };
        let place = |name: &str| table::travelling().position(|table| table.name == name);
        if self.done.iter().any(|done| place(done) >= place(table.name)) {
            return Err(self.at(format!("table '{name}' comes twice, or too late")));
        }
        self.done.insert(table.name);
        self.table = Some(table);
        self.last = None;
        self.hash = Sha256::new();
        self.count = 0;
        Ok(())
    }

    fn row(&mut self, members: &Map<String, Value>) -> Result<Item, Error> {
        let table = self.table.ok_or_else(|| self.at("a row stands outside of a table"))?;
        let row = cells(table, members).map_err(|message| self.at(message))?;
        // Signals lie in the order in which they came.
        let (order, strict) = (order(table, &row), table.name != "signals");
        if self.last.as_ref().is_some_and(|last| if strict { order <= *last } else { order < *last }) {
            return Err(self.at(format!("a row of {} comes twice, or out of order", table.name)));
        }
        self.last = Some(order);
        let line = line::row(table.name, &Value::Object(members.clone()).to_string());
        self.all.update(&line);
        self.hash.update(&line);
        self.count += 1;
        Ok(Item::Row { table, row, line })
    }

    fn table_end(&mut self, stated: Option<Stated>) -> Result<Item, Error> {
        let table = self.table.take().ok_or_else(|| self.at("a table ends that did not begin"))?;
        let sha256 = hex(&self.hash.clone().finalize());
        if let Some(stated) = &stated {
            self.same(table.name, (self.count, &sha256), stated)?;
        }
        self.all.update(line::line(&line::table_end(table.name, self.count, &sha256)));
        self.ends.push((table.name, self.count, sha256));
        Ok(Item::TableEnd(table))
    }

    fn same(&self, table: &str, (count, sha256): (u64, &str), stated: &Stated) -> Result<(), Error> {
        if stated.count != count {
            return Err(self.at(format!("table {table} has {count} rows and says {}", stated.count)));
        }
        if stated.sha256 != sha256 {
            return Err(self.at(format!("the rows of {table} do not have the sha256 that it says: they were changed")));
        }
        Ok(())
    }

    fn footer(&mut self, footer: Footer) -> Result<Item, Error> {
        if let Some(table) = self.table {
            return Err(self.at(format!("table '{}' has no end", table.name)));
        }
        if let Some(tables) = &footer.tables {
            for (table, count, sha256) in &self.ends {
                let stated = tables.get(*table).ok_or_else(|| self.at(format!("the footer misses table {table}")))?;
                self.same(table, (*count, sha256), stated)?;
            }
        }
        let counts: Map<String, Value> =
            self.ends.iter().map(|(table, count, _)| ((*table).to_owned(), (*count).into())).collect();
        let header = self.header.as_ref().map(|header| &header.counts);
        if footer.counts != counts || header != Some(&counts) {
            return Err(self.at("the tables are not those that the header counts"));
        }
        if footer.sha256 != hex(&self.all.clone().finalize()) {
            return Err(self.at("the file does not have the sha256 that it says: it was changed"));
        }
        self.complete = true;
        Ok(Item::End)
    }
}

/// What the rows of a table are ordered by; outermost runs come first.
pub(super) fn order(table: &'static Table, row: &Row) -> Row {
    let cell = |name| table.place(name).and_then(|place| row.get(place));
    let nested = cell("parent_exec_id").is_some_and(|parent| *parent != Cell::Null);
    let first = (table.name == "executions").then(|| Cell::Integer(i64::from(nested)));
    first.into_iter().chain(table.order.iter().filter_map(|name| cell(name).cloned())).collect()
}

/// The cells of a row, typed.
fn cells(table: &'static Table, members: &Map<String, Value>) -> Result<Row, String> {
    if let Some(unknown) = members.keys().find(|name| table.place(name).is_none()) {
        return Err(format!("{} has no column '{unknown}'", table.name));
    }
    let row = table
        .travelling()
        .map(|column| {
            let value =
                members.get(column.name).ok_or_else(|| format!("{} misses column '{}'", table.name, column.name))?;
            cell(column, value).map_err(|wanted| format!("{}.{} must be {wanted}", table.name, column.name))
        })
        .collect::<Result<Row, String>>()?;
    let text = |name: &str| table.place(name).and_then(|place| row.get(place)).and_then(Cell::text);
    for name in ["exec_id", "parent_exec_id", "root_exec_id", "forked_from"] {
        // The key of an answer that concerns no run says so.
        let nobody = |id: &str| id.is_empty() && table.name == "idempotency_keys";
        if text(name).is_some_and(|id| ExecId::parse(id).is_none() && !nobody(id)) {
            return Err(format!("{}.{name} is not the id of a run", table.name));
        }
    }
    match table.name {
        "payloads" if text("hash") != text("data").map(|data| hex(&Sha256::digest(data))).as_deref() => {
            Err("a payload does not have the hash that it says".to_owned())
        }
        "schedules" if text("declared").is_none() && text("override").is_none() => {
            Err("a schedule is neither declared nor set".to_owned())
        }
        "schedule_fires" if (text("state") == Some("started")) != text("exec_id").is_some() => {
            Err("a fire has a run if and only if it started one".to_owned())
        }
        _ => Ok(row),
    }
}

fn cell(column: &Column, value: &Value) -> Result<Cell, String> {
    let cell = match (column.kind, value) {
        (_, Value::Null) if column.nullable => return Ok(Cell::Null),
        (Kind::Integer, Value::Number(number)) => match number.as_i64() {
            Some(number) if number < column.least => return Err(format!("at least {}", column.least)),
            number => number.map(Cell::Integer),
        },
        (Kind::Flag, Value::Number(number)) => number.as_i64().filter(|flag| (0..2).contains(flag)).map(Cell::Integer),
        (Kind::Text | Kind::Blob, Value::String(text)) => {
            if !column.words.is_empty() && !column.words.contains(&text.as_str()) {
                return Err(format!("one of {}, not '{}'", column.words.join(", "), short(text)));
            }
            Some(Cell::Text(text.clone()))
        }
        (Kind::Json, Value::String(text)) => is_json(text).then(|| Cell::Text(text.clone())),
        (Kind::Large, Value::String(text)) => (is_reference(text) || is_json(text)).then(|| Cell::Text(text.clone())),
        _ => None,
    };
    cell.ok_or_else(|| {
        let wanted = match column.kind {
            Kind::Text | Kind::Blob => "text",
            Kind::Integer => "a whole number",
            Kind::Flag => "0 or 1",
            Kind::Json => "JSON as text",
            Kind::Large => "JSON as text, or the hash of a payload",
        };
        wanted.to_owned()
    })
}

fn short(text: &str) -> String {
    text.chars().take(40).collect()
}

fn is_json(text: &str) -> bool {
    serde_json::from_str::<&RawValue>(text).is_ok()
}

fn is_reference(text: &str) -> bool {
    let digits = text.strip_prefix(REFERENCE);
    digits.is_some_and(|digits| digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}
