//! `compozy import`: an export into this project's database.

use bytes::Bytes;
use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::Database;
use super::ticker::Ticker;
use crate::api::document::import::document;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::Format;
use crate::cli::session::Session;
use crate::storage::sqlite::Role;
use crate::transfer::{self, Chunks, InFlight, OnConflict, Scratch};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy import backup.ndjson.zst\n  compozy --config=target.yaml import backup.json --in-flight resume --verify\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project or file, 6 conflict, 7 unavailable; after an interruption the same command goes on";

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;

/// Arguments of `import`.
#[derive(Debug, Args)]
pub struct ImportArgs {
    /// File to read, in either form, compressed or not; `-`: stdin
    #[arg(value_name = "FILE|-")]
    pub file: String,
    /// What to do with rows that are there with other content: fail, skip, or replace a run by one that has gone further
    #[arg(long, value_name = "CHOICE", default_value = "fail", value_parser = PossibleValuesParser::new(["fail", "skip", "replace"]))]
    pub on_conflict: String,
    /// What to do with runs under way: pause them, let them go on here, fail, or skip them
    #[arg(long, value_name = "CHOICE", default_value = "pause", value_parser = PossibleValuesParser::new(["pause", "resume", "fail", "skip"]))]
    pub in_flight: String,
    /// Export again afterwards, and compare it with the file, table by table
    #[arg(long)]
    pub verify: bool,
    /// Check everything and write nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Imports the file.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: ImportArgs) -> Result<u8, Failure> {
    let chunks = open(&args.file).await?;
    let report = match Database::find(session, Role::Embedded).await? {
        Database::Local(storage, _) => {
            let imported = local(session, &*storage, chunks, &args).await;
            storage.close().await;
            document(&imported?, args.dry_run)
        }
        Database::Remote(client) => {
            let flag = |set: bool| set.to_string();
            let query = [
                ("on_conflict", args.on_conflict.clone()),
                ("in_flight", args.in_flight.clone()),
                ("verify", flag(args.verify)),
                ("dry_run", flag(args.dry_run)),
            ];
            client.upload(&["state", "import"], &query, chunks).await?
        }
    };
    print(session, &report, args.dry_run)?;
    Ok(exit::OK)
}

async fn local(
    session: &Session,
    storage: &dyn crate::storage::Storage,
    chunks: Chunks,
    args: &ImportArgs,
) -> Result<transfer::Report, Failure> {
    let request = transfer::ImportRequest {
        on_conflict: OnConflict::parse(&args.on_conflict).unwrap_or(OnConflict::Fail),
        in_flight: InFlight::parse(&args.in_flight).unwrap_or(InFlight::Pause),
        verify: args.verify,
        clock: session.clock.clone(),
    };
    let scratch = if args.dry_run { Some(Scratch::new(&session.clock).await?) } else { None };
    let mut ticker = Ticker::new(session, "Importing");
    let mut tell = |table: &'static str, rows| ticker.tell(table, rows);
    let imported = transfer::import(storage, scratch.as_ref().map(Scratch::storage), chunks, &request, &mut tell).await;
    ticker.end();
    if let Some(scratch) = scratch {
        scratch.remove().await;
    }
    Ok(imported?)
}

fn print(session: &Session, report: &Value, dry_run: bool) -> Result<(), Failure> {
    if session.output.format != Format::Table {
        return session.output.document(report);
    }
    let number = |name: &str| report.get(name).and_then(Value::as_u64).unwrap_or(0);
    let (executions, tasks, skipped) = (number("executions"), number("tasks"), number("skipped"));
    let verb = if dry_run { "Would import" } else { "Imported" };
    session.output.line(&format!("{verb} {executions} executions, {tasks} tasks ({skipped} skipped)"))?;
    if report.get("verified").and_then(Value::as_bool) == Some(true) {
        let tables = report.get("tables").and_then(Value::as_object);
        let sum = |name: &str| {
            let numbers =
                tables.iter().flat_map(|tables| tables.values()).filter_map(|table| table.get(name)?.as_u64());
            numbers.sum::<u64>()
        };
        let (rows, equal) = (sum("rows"), sum("equal"));
        let rest = match rows - equal.min(rows) {
            0 => String::new(),
            rest => format!("; {rest} belong to runs that were paused, or were there or left out"),
        };
        session
            .output
            .talk(&format!("Verified: exported again, {equal} of {rows} rows are as they are in the file{rest}"));
    }
    Ok(())
}

/// The bytes of a file, or of stdin.
async fn open(file: &str) -> Result<Chunks, Failure> {
    let reader: Box<dyn AsyncRead + Send + Unpin> = if file == "-" {
        Box::new(tokio::io::stdin())
    } else {
        let opened = tokio::fs::File::open(file).await;
        let opened = opened.map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
        if opened.metadata().await.is_ok_and(|about| about.is_dir()) {
            return Err(Failure::usage(format!("cannot read {file}: it is a folder")));
        }
        Box::new(opened)
    };
    let chunks = futures_util::stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        let mut bytes = vec![0; CHUNK];
        match reader.read(&mut bytes).await {
            Ok(0) => None,
            Ok(length) => {
                bytes.truncate(length);
                Some((Ok(Bytes::from(bytes)), Some(reader)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(Box::pin(chunks))
}
