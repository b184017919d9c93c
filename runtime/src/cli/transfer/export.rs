//! `compozy export`: a snapshot of the database, as a file or to stdout.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use async_trait::async_trait;
use clap::Args;
use futures_util::StreamExt as _;

use super::Database;
use super::ticker::Ticker;
use crate::api::query;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::Format;
use crate::cli::session::Session;
use crate::storage::sqlite::Role;
use crate::storage::transfer::{RunChoice, Selection};
use crate::transfer::{self, Form, Sink};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy export backup.ndjson.zst\n  compozy export -o json --workflow hello-world > backup.json\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project, 4 not found, 7 unavailable";

/// Arguments of `export`.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// File to write; `-` or nothing: stdout. Its name says the form: .json, .ndjson, each with .zst
    #[arg(value_name = "FILE")]
    pub file: Option<String>,
    /// Compress it
    #[arg(long)]
    pub zstd: bool,
    /// What to export: executions, definitions, schedules, memory, knowledge, vectors, auth, idempotency; default all but vectors and auth
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    pub include: Vec<String>,
    /// Only runs of this workflow, with the trees that they belong to
    #[arg(long, value_name = "ID")]
    pub workflow: Option<String>,
    /// Only this run, with the tree that it belongs to
    #[arg(long, value_name = "EXEC")]
    pub exec: Option<String>,
    /// Only runs of these statuses (comma-separated; completed, cancelled, queued, active work too)
    #[arg(long, value_name = "STATUS")]
    pub status: Option<String>,
    /// Only runs created at or after (RFC 3339, or an age like 24h or 7d)
    #[arg(long, value_name = "TIME")]
    pub since: Option<String>,
}

/// Writes the export.
///
/// # Errors
/// Why it ended early; a file is then not written.
pub async fn run(session: &Session, args: ExportArgs) -> Result<u8, Failure> {
    let target = args.file.as_deref().filter(|file| *file != "-").map(PathBuf::from);
    let (form, zstd) = form(session, &args)?;
    let runs = choice(session, &args)?;
    let include = match args.include.as_slice() {
        [] => transfer::usual(!runs.is_all()),
        words => transfer::classes(words.iter().map(|word| word.trim()))
            .map_err(|message| Failure::usage(format!("--include: {message}")))?,
    };
    let selection = Selection { include, runs };
    let mut output = Output::open(target.as_deref())?;
    let exported = match Database::find(session, Role::ReadOnly).await? {
        Database::Local(storage, loaded) => {
            let written = local(session, &*storage, &loaded.project.name, (form, zstd), selection, &mut output).await;
            storage.close().await;
            Some(written?)
        }
        Database::Remote(client) => {
            remote(&client, (form, zstd), &selection, &mut output).await?;
            None
        }
    };
    output.finish()?;
    let to = target.map_or_else(String::new, |file| format!(" to {}", file.display()));
    match exported {
        Some((executions, tasks)) => {
            session.output.talk(&format!("Exported {executions} executions, {tasks} tasks{to}"))
        }
        None => session.output.talk(&format!("Exported{to}")),
    }
    Ok(exit::OK)
}

async fn local(
    session: &Session,
    storage: &dyn crate::storage::Storage,
    project: &str,
    (form, zstd): (Form, bool),
    mut selection: Selection,
    output: &mut Output,
) -> Result<(u64, u64), Failure> {
    if let Some(wanted) = &selection.runs.exec_id {
        let found = storage.runs_by_prefix(wanted, 2).await?;
        let exact = found.iter().find(|run| run.exec_id.as_str() == wanted.as_str());
        let run = exact.or(match found.as_slice() {
            [one] => Some(one),
            _ => None,
        });
        let run = run.ok_or_else(|| Failure::new("execution_not_found", format!("execution '{wanted}' not found")))?;
        selection.runs.exec_id = Some(run.exec_id.to_string());
    }
    let request = transfer::ExportRequest {
        selection,
        form,
        zstd,
        project: project.to_owned(),
        export_id: session.clock.ulid(),
        now: session.clock.now(),
    };
    let mut ticker = Ticker::new(session, "Exporting");
    let exported = transfer::export(storage, &request, output, &mut |table, rows| ticker.tell(table, rows)).await;
    ticker.end();
    let exported = exported.map_err(Failure::from)?;
    let of = |name: &str| exported.iter().find(|(table, _)| *table == name).map_or(0, |(_, rows)| *rows);
    Ok((of("executions"), of("steps")))
}

async fn remote(
    client: &crate::cli::client::Client,
    (form, zstd): (Form, bool),
    Selection { include, runs }: &Selection,
    output: &mut Output,
) -> Result<(), Failure> {
    let words: Vec<&str> = include.iter().map(|class| class.word()).collect();
    let mut query = vec![("form", form.word().to_owned()), ("include", words.join(","))];
    query.extend(zstd.then(|| ("zstd", "true".to_owned())));
    query.extend(runs.workflow_id.clone().map(|id| ("workflow", id)));
    query.extend(runs.exec_id.clone().map(|id| ("exec", id)));
    query.extend((!runs.statuses.is_empty()).then(|| ("status", runs.statuses.join(","))));
    query.extend(runs.since.map(|since| ("since", since.to_rfc3339())));
    let mut chunks = client.download(&["state", "export"], &query).await?;
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Failure::new("server_unreachable", "the export broke off"))?;
        output.write(chunk.to_vec()).await.map_err(|error| Failure::from(transfer::Error::Io(error)))?;
    }
    Ok(())
}

/// The form: `-o`, else by name, else ndjson.
fn form(session: &Session, args: &ExportArgs) -> Result<(Form, bool), Failure> {
    let (by_name, zstd) = Form::of_name(args.file.as_deref().unwrap_or_default());
    let form = match session.output.format {
        Format::Json => Form::Document,
        Format::Ndjson => Form::Ndjson,
        Format::Table => by_name,
        Format::Yaml => return Err(Failure::usage("an export is json or ndjson").hint("use -o json or -o ndjson")),
    };
    Ok((form, zstd || args.zstd))
}

fn choice(session: &Session, args: &ExportArgs) -> Result<RunChoice, Failure> {
    let statuses = args.status.as_deref().map(|words| query::statuses(words.split(',').map(str::trim)));
    let since = args.since.as_deref().map(|text| {
        let wrong = || Failure::usage(format!("--since {text}: not a time")).hint("2026-01-31T09:30:00Z, 24h or 7d");
        query::time(text, session.clock.now()).ok_or_else(wrong)
    });
    Ok(RunChoice {
        workflow_id: args.workflow.clone(),
        exec_id: args.exec.clone(),
        statuses: statuses.transpose()?.unwrap_or_default(),
        since: since.transpose()?,
    })
}

/// Stdout, or a file that gets its name once it is whole.
enum Output {
    Stdout,
    File { file: std::fs::File, partial: PathBuf, path: PathBuf, whole: bool },
}

impl Output {
    fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".partial");
        let partial = path.with_file_name(name);
        let mut options = std::fs::OpenOptions::new();
        options.write(true).create(true).truncate(true);
        // What runs were given and said is for nobody else on this machine.
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(&partial)
            .map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))?;
        Ok(Self::File { file, partial, path: path.to_owned(), whole: false })
    }

    fn finish(&mut self) -> Result<(), Failure> {
        let Self::File { file, partial, path, whole } = self else { return Ok(()) };
        let ended = file.sync_all().and_then(|()| std::fs::rename(&*partial, &*path));
        *whole = ended.is_ok();
        ended.map_err(|error| Failure::usage(format!("cannot write {}: {error}", path.display())))
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Self::File { partial, whole: false, .. } = self {
            let _gone = std::fs::remove_file(partial);
        }
    }
}

#[async_trait]
impl Sink for Output {
    async fn write(&mut self, bytes: Vec<u8>) -> std::io::Result<()> {
        // A slow reader of the pipe holds up nobody but this command.
        tokio::task::block_in_place(|| match self {
            Self::Stdout => {
                let mut stdout = std::io::stdout().lock();
                stdout.write_all(&bytes)?;
                stdout.flush()
            }
            Self::File { file, .. } => file.write_all(&bytes),
        })
    }
}
