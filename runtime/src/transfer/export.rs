//! Writing an export.

use compozy_engine::time::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::line::{self, hex};
use super::{Error, FORMAT_VERSION, Progress, Sink, zstd};
use crate::storage::Storage;
use crate::storage::table::{self, Class, Table};
use crate::storage::transfer::{Selection, Source};

/// How an export is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// One JSON value per line.
    Ndjson,
    /// One JSON document.
    Document,
}

/// What to export, and how.
#[derive(Debug, Clone)]
pub struct Request {
    /// Which rows.
    pub selection: Selection,
    /// The form.
    pub form: Form,
    /// Compress it.
    pub zstd: bool,
    /// Name of the project, for whoever finds the file.
    pub project: String,
    /// Id of this export; never given twice.
    pub export_id: String,
    /// When.
    pub now: Timestamp,
}

/// What an export has written: rows by table, in order.
pub type Exported = Vec<(&'static str, u64)>;

/// Bytes handed on at a time.
const CHUNK: usize = 256 << 10;
/// Rows read at a time, and where rows may be large.
const PAGES: (u32, u32) = (500, 16);

/// Writes what `request` asks for to `sink`.
///
/// # Errors
/// Those of the database and of the sink.
pub async fn export(
    storage: &dyn Storage,
    request: &Request,
    sink: &mut dyn Sink,
    progress: Progress<'_>,
) -> Result<Exported, Error> {
    let transfer = storage.transfer().ok_or(Error::Unsupported)?;
    let mut snapshot = transfer.export(Source::Selected(request.selection.clone())).await?;
    let mut counts = Vec::new();
    for table in table::travelling().filter(|table| is_written(table, &request.selection)) {
        counts.push((table, snapshot.count(table).await?));
    }
    let mut writer = Writer::new(sink, request);
    writer.header(&header(storage, request, &counts)).await?;
    for (table, _) in &counts {
        writer.begin(table);
        let mut done = 0;
        loop {
            let rows = snapshot.next(table, page(table)).await?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                writer.row(table, &Value::Object(line::members(table, row)).to_string()).await?;
            }
            done += rows.len() as u64;
            progress(table.name, done);
        }
        writer.end(table).await?;
    }
    // Nobody who reads slowly shall hold the database.
    drop(snapshot);
    writer.finish().await
}

fn page(table: &Table) -> u32 {
    if ["payloads", "definitions", "events"].contains(&table.name) { PAGES.1 } else { PAGES.0 }
}

/// Definitions go with the runs that need them.
fn is_written(table: &Table, selection: &Selection) -> bool {
    let own = table.class.is_some_and(|class| selection.includes(class));
    own || (table.name == "definitions" && selection.includes(Class::Executions))
}

fn header(storage: &dyn Storage, request: &Request, counts: &[(&'static Table, u64)]) -> Value {
    let info = storage.info();
    let runs = &request.selection.runs;
    let mut options = Map::new();
    let include: Vec<&str> = request.selection.include.iter().map(|class| class.word()).collect();
    options.insert("include".into(), json!(include));
    options.extend(runs.workflow_id.iter().map(|id| ("workflow".to_owned(), json!(id))));
    options.extend(runs.exec_id.iter().map(|id| ("exec".to_owned(), json!(id))));
    options.extend((!runs.statuses.is_empty()).then(|| ("status".to_owned(), json!(runs.statuses))));
    options.extend(runs.since.map(|since| ("since".to_owned(), json!(since.to_rfc3339()))));
    let counts: Map<String, Value> =
        counts.iter().map(|(table, count)| (table.name.to_owned(), json!(count))).collect();
    json!({
        "kind": "header",
        "format": "compozy-export",
        "format_version": FORMAT_VERSION,
        "schema_version": table::VERSION,
        "export_id": request.export_id,
        "created_at": request.now.to_rfc3339(),
        "source": {"driver": info.driver, "database_id": info.database_id, "version": env!("CARGO_PKG_VERSION")},
        "project": request.project,
        "options": options,
        "counts": counts,
    })
}

/// Writes either form, with the hashes of the lines.
struct Writer<'s> {
    sink: &'s mut dyn Sink,
    form: Form,
    zstd: bool,
    buffer: Vec<u8>,
    all: Sha256,
    table: Sha256,
    count: u64,
    done: Vec<(&'static str, u64, String)>,
}

impl<'s> Writer<'s> {
    fn new(sink: &'s mut dyn Sink, request: &Request) -> Self {
        let (form, zstd) = (request.form, request.zstd);
        let (all, table) = (Sha256::new(), Sha256::new());
        Self { sink, form, zstd, buffer: Vec::new(), all, table, count: 0, done: Vec::new() }
    }

    async fn header(&mut self, header: &Value) -> Result<(), Error> {
        let line = line::line(header);
        self.all.update(&line);
        match self.form {
            Form::Ndjson => self.put(&line).await,
            Form::Document => self.put(&format!("{{\"header\":{header},\n\"tables\":{{")).await,
        }
    }

    fn begin(&mut self, table: &Table) {
        self.table = Sha256::new();
        self.count = 0;
        if self.form == Form::Document {
            let comma = if self.done.is_empty() { "" } else { "," };
            self.buffer.extend(format!("{comma}\n\"{}\":[", table.name).bytes());
        }
    }

    async fn row(&mut self, table: &Table, members: &str) -> Result<(), Error> {
        let line = line::row(table.name, members);
        self.all.update(&line);
        self.table.update(&line);
        self.count += 1;
        match self.form {
            Form::Ndjson => self.put(&line).await,
            Form::Document => {
                let comma = if self.count == 1 { "\n" } else { ",\n" };
                self.put(comma).await?;
                self.put(members).await
            }
        }
    }

    async fn end(&mut self, table: &Table) -> Result<(), Error> {
        let sha256 = hex(&self.table.finalize_reset());
        let line = line::line(&line::table_end(table.name, self.count, &sha256));
        self.all.update(&line);
        self.done.push((table.name, self.count, sha256));
        match self.form {
            Form::Ndjson => self.put(&line).await,
            Form::Document => self.put(if self.count == 0 { "]" } else { "\n]" }).await,
        }
    }

    async fn finish(mut self) -> Result<Exported, Error> {
        let sha256 = hex(&self.all.finalize_reset());
        let counts: Map<String, Value> =
            self.done.iter().map(|(table, count, _)| ((*table).to_owned(), json!(count))).collect();
        let text = match self.form {
            Form::Ndjson => line::line(&json!({"kind": "end", "counts": counts, "sha256": sha256})),
            Form::Document => {
                let tables: Map<String, Value> = self
                    .done
                    .iter()
                    .map(|(table, count, sha256)| ((*table).to_owned(), json!({"count": count, "sha256": sha256})))
                    .collect();
                let footer = json!({"tables": tables, "counts": counts, "sha256": sha256});
                format!("\n}},\n\"footer\":{footer}}}\n")
            }
        };
        self.put(&text).await?;
        self.flush().await?;
        Ok(self.done.into_iter().map(|(table, count, _)| (table, count)).collect())
    }

    async fn put(&mut self, text: &str) -> Result<(), Error> {
        self.buffer.extend_from_slice(text.as_bytes());
        let full = if self.zstd { zstd::FRAME } else { CHUNK };
        if self.buffer.len() >= full { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let mut bytes = std::mem::take(&mut self.buffer);
        if self.zstd {
            bytes = zstd::compress(bytes).await?;
        }
        Ok(self.sink.write(bytes).await?)
    }
}
