//! `compozy workflow run`: start a run and wait for its result (cli-and-api §3.4).

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use compozy_lang::duration::Bare;
use serde_json::{Map, Value, json};

use super::input::{self, Sources};
use super::wait::{self, Ended, Waiting};
use crate::cli::backend::{Backend, Need, Start};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, escaped};
use crate::cli::session::Session;
use crate::cli::signals::{Signal, Signals};
use crate::storage::row::Durability;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy workflow run hello-world --param name=Ada\n  compozy workflow run rag-workflow --input='{\"query\": \"What is AI?\"}' -o json\n\nExit codes:\n  0 the run succeeded, 1 it failed, 2 usage, 3 invalid project or input, 4 not found,\n  5 not allowed, 6 conflict, 7 unavailable, 124 --timeout passed, 130 interrupted";

/// How long an interrupted embedded run may take to record that it was canceled.
const CANCEL: Duration = Duration::from_secs(10);

/// Arguments of `workflow run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Id of the workflow
    #[arg(value_name = "ID")]
    pub id: String,
    /// File with the input, a JSON object
    #[arg(long, value_name = "FILE")]
    pub input_file: Option<PathBuf>,
    /// The input: JSON, @FILE, or - for stdin
    #[arg(long, value_name = "JSON", aliases = ["json", "json-input"], allow_hyphen_values = true)]
    pub input: Option<String>,
    /// One member of the input; dotted keys nest, JSON literals are typed (repeatable)
    #[arg(short, long = "param", value_name = "KEY=VALUE")]
    pub params: Vec<String>,
    /// Do not wait for the result
    #[arg(long, alias = "detach")]
    pub no_wait: bool,
    /// Wait at most so long, 30s or 5m; the run goes on
    #[arg(long, value_name = "DURATION")]
    pub timeout: Option<String>,
    /// Start at most one run under this key
    #[arg(long, value_name = "KEY")]
    pub idempotency_key: Option<String>,
    /// Tag of the run (repeatable)
    #[arg(long = "tag", value_name = "KEY=VALUE")]
    pub tags: Vec<String>,
    /// Begin with this task
    #[arg(long, value_name = "TASK")]
    pub task: Option<String>,
    /// full, normal or memory
    #[arg(long, value_name = "LEVEL")]
    pub durability: Option<String>,
    /// Cancel the run when this command is interrupted
    #[arg(long)]
    pub cancel_on_interrupt: bool,
    /// Check project and input and start nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// Runs it.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, args: RunArgs) -> Result<u8, Failure> {
    let timeout = args.timeout.as_deref().map(duration).transpose()?;
    let start = start_of(&args)?;
    let need = match (args.dry_run, args.no_wait) {
        (true, _) => Need::Read,
        (false, true) => Need::Queue,
        (false, false) => Need::Run,
    };
    let mut backend = Backend::choose(session, need).await?;
    let ended = if args.dry_run {
        dry_run(session, &backend, &start).await
    } else {
        carry_out(session, &mut backend, start, &args, timeout).await
    };
    backend.close().await;
    ended
}

async fn carry_out(
    session: &Session,
    backend: &mut Backend,
    start: Start,
    args: &RunArgs,
    timeout: Option<Duration>,
) -> Result<u8, Failure> {
    let workflow_id = escaped(&start.workflow_id);
    let mut signals = Signals::new()?;
    let Some((exec_id, early)) = begin(session, backend, start, &mut signals).await? else {
        session.output.warn("nobody knows whether the run was recorded: compozy execution list");
        return Ok(exit::INTERRUPTED);
    };
    if let Some(signal) = early.filter(|_| !args.no_wait) {
        return interrupted(session, backend, &exec_id, args, signal).await;
    }
    if args.no_wait {
        return started(session, backend, &workflow_id, &exec_id).await;
    }
    session.output.detail(&format!("Execution: {exec_id}"));
    wait::say_if_held(session, backend, &exec_id).await;
    let waiting = Waiting { exec_id: &exec_id, after: 0, timeout, print_events: false };
    match wait::until_end(session, backend, &waiting, &mut signals).await {
        Ok(Ended::Run) => wait::print(session, backend, &exec_id).await,
        Ok(Ended::Timeout) => Err(goes_on("timeout", "the run is still going on", &exec_id)),
        Ok(Ended::Interrupt(signal)) => interrupted(session, backend, &exec_id, args, signal).await,
        Err(failure) => Err(failure.member("exec_id", exec_id)),
    }
}

/// Starts the run. Who interrupts meanwhile is still told which run there is; nothing is, the second time.
async fn begin(
    session: &Session,
    backend: &mut Backend,
    start: Start,
    signals: &mut Signals,
) -> Result<Option<(String, Option<Signal>)>, Failure> {
    let starting = backend.start(session, start);
    tokio::pin!(starting);
    let mut early = None;
    loop {
        tokio::select! {
            started = &mut starting => return Ok(Some((started?, early))),
            signal = signals.next() => {
                if early.replace(signal).is_some() {
                    return Ok(None);
                }
                session.output.warn("waiting for the answer to the start; interrupt again to leave at once");
            }
        }
    }
}

async fn started(session: &Session, backend: &Backend, workflow_id: &str, exec_id: &str) -> Result<u8, Failure> {
    if backend.without_server() {
        session.output.talk("No server is running; the run is stored and starts when one does.");
    }
    if session.output.format == Format::Table {
        session.output.line(&format!("Workflow '{workflow_id}' started"))?;
        session.output.line(&format!("Execution: {exec_id}"))?;
        return Ok(exit::OK);
    }
    let exec_url = format!("/api/v0/executions/workflows/{exec_id}");
    session.output.document(&json!({"exec_id": exec_id, "exec_url": exec_url, "workflow_id": workflow_id}))?;
    Ok(exit::OK)
}

async fn interrupted(
    session: &Session,
    backend: &mut Backend,
    exec_id: &str,
    args: &RunArgs,
    signal: Signal,
) -> Result<u8, Failure> {
    let embedded = matches!(backend, Backend::Embedded(_));
    let cancel = if embedded { signal == Signal::Interrupt } else { args.cancel_on_interrupt };
    if !cancel {
        let how = if embedded { "was handed back" } else { "goes on" };
        session.output.warn(&format!("interrupted; execution {exec_id} {how}: compozy execution watch {exec_id}"));
        return Ok(exit::INTERRUPTED);
    }
    session.output.talk(&format!("Canceling execution {exec_id} …"));
    let mut signals = Signals::new()?;
    let ended = async {
        match backend.cancel(exec_id, Some("interrupted")).await {
            Err(failure) if failure.code() == Some("execution_finished") => Ok(()),
            Err(failure) => Err(failure),
            Ok(_) => until_finished(session, backend, exec_id).await,
        }
    };
    tokio::select! {
        ended = ended => ended?,
        _ = signals.next() => session.output.warn(&format!("left at once; execution {exec_id} can be resumed")),
        () = session.clock.sleep(CANCEL) => session.output.warn(&format!("execution {exec_id} did not stop within 10s")),
    }
    session.output.talk(&format!("Execution: {exec_id}"));
    Ok(exit::INTERRUPTED)
}

async fn until_finished(session: &Session, backend: &Backend, exec_id: &str) -> Result<(), Failure> {
    while backend.execution(exec_id).await?.get("finished_at").is_none_or(Value::is_null) {
        session.clock.sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn goes_on(code: &str, message: &str, exec_id: &str) -> Failure {
    Failure::new(code, format!("{message}: execution {exec_id}"))
        .hint(format!("compozy execution watch {exec_id}"))
        .member("exec_id", exec_id)
}

/// Shows what would run.
async fn dry_run(session: &Session, backend: &Backend, start: &Start) -> Result<u8, Failure> {
    let workflow = backend.workflow(&start.workflow_id).await?;
    let input = checked_input(&workflow, start)?;
    let tasks: Vec<&str> = workflow
        .get("tasks")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|task| task.get("id").and_then(Value::as_str))
        .collect();
    if let Some(task) = start.task.as_deref().filter(|task| !tasks.contains(task)) {
        return Err(Failure::new("task_not_found", format!("workflow '{}' has no task '{task}'", start.workflow_id)));
    }
    if session.output.format != Format::Table {
        let document = json!({"workflow_id": start.workflow_id, "input": input, "tasks": tasks, "dry_run": true});
        return session.output.document(&document).map(|()| exit::OK);
    }
    session.output.line(&format!("Workflow '{}' would run", escaped(&start.workflow_id)))?;
    session.output.line(&format!("Input: {}", escaped(&input.to_string())))?;
    session.output.line(&format!("Tasks: {}", escaped(&tasks.join(", "))))?;
    Ok(exit::OK)
}

/// The input with the schema's defaults, checked as a start would check it.
fn checked_input(workflow: &Value, start: &Start) -> Result<Value, Failure> {
    let Some(schema) = workflow.get("input_schema").filter(|schema| !schema.is_null()) else {
        return Ok(start.input.clone());
    };
    let mut input = start.input.clone();
    let Err(violations) = compozy_lang::schema_check::accept(schema, &mut input) else { return Ok(input) };
    let errors = violations.into_iter().map(|violation| {
        let pointer = format!("/input{}", violation.pointer);
        json!({"pointer": pointer, "code": "input_invalid", "message": violation.message})
    });
    Err(Failure::from(crate::cli::failure::Problem {
        code: "input_invalid".to_owned(),
        message: format!("input of workflow '{}' does not match its schema", start.workflow_id),
        errors: errors.collect(),
        ..crate::cli::failure::Problem::default()
    }))
}

fn start_of(args: &RunArgs) -> Result<Start, Failure> {
    let sources = Sources { file: args.input_file.as_deref(), inline: args.input.as_deref(), params: &args.params };
    Ok(Start {
        workflow_id: args.id.clone(),
        input: input::read(&sources, std::io::stdin().lock())?,
        task: args.task.clone(),
        tags: tags(&args.tags)?,
        durability: args.durability.as_deref().map(durability).transpose()?,
        key: args.idempotency_key.as_deref().map(idempotency_key).transpose()?,
    })
}

fn tags(tags: &[String]) -> Result<Map<String, Value>, Failure> {
    tags.iter()
        .map(|tag| match tag.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), Value::from(value))),
            _ => Err(Failure::usage(format!("--tag {tag}: expected KEY=VALUE"))),
        })
        .collect()
}

/// The server's rule, so that a key means the same without one.
fn idempotency_key(key: &str) -> Result<String, Failure> {
    let fits = (1..=255).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| key.to_owned())
        .ok_or_else(|| Failure::usage("--idempotency-key: must be 1 to 255 visible ASCII characters"))
}

fn durability(word: &str) -> Result<Durability, Failure> {
    match word.to_ascii_lowercase().as_str() {
        "full" => Ok(Durability::Full),
        "normal" => Ok(Durability::Normal),
        "memory" => Ok(Durability::Memory),
        _ => Err(Failure::usage(format!("unknown durability '{word}'")).hint("one of full, normal, memory")),
    }
}

fn duration(text: &str) -> Result<Duration, Failure> {
    compozy_lang::duration::parse(text, Bare::Refused)
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Failure::usage(format!("'{text}' is not a duration; write a unit, for example 30s or 5m")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start(input: Value) -> Start {
        Start { workflow_id: "w".into(), input, task: None, tags: Map::new(), durability: None, key: None }
    }

    #[test]
    fn a_dry_run_checks_the_input_with_its_defaults() {
        let workflow = json!({"input_schema": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "default": 3}},
            "required": ["city"],
        }});
        assert_eq!(
            checked_input(&workflow, &start(json!({"city": "Rome"}))).unwrap(),
            json!({"city": "Rome", "days": 3})
        );
        let failure = checked_input(&workflow, &start(json!({"city": 1}))).unwrap_err();
        assert_eq!(failure.exit(), 3);
        assert_eq!(failure.document()["errors"][0]["pointer"], "/input/city");
        assert_eq!(checked_input(&json!({"input_schema": null}), &start(json!({}))).unwrap(), json!({}));
    }

    #[test]
    fn words_are_read() {
        assert_eq!(durability("FULL").unwrap(), Durability::Full);
        assert_eq!(durability("much").unwrap_err().exit(), 2);
        assert_eq!(tags(&["a=b=c".to_owned()]).unwrap(), json!({"a": "b=c"}).as_object().unwrap().clone());
        assert_eq!(tags(&["a".to_owned()]).unwrap_err().exit(), 2);
        assert_eq!(duration("1m30s").unwrap(), Duration::from_secs(90));
        assert_eq!(idempotency_key(&"k".repeat(255)).unwrap().len(), 255);
        for bad in ["", "a b", "a\n", "\u{e9}", &"k".repeat(256)] {
            assert_eq!(idempotency_key(bad).unwrap_err().exit(), 2, "{bad}");
        }
        for bad in ["", "5", "0s", "soon"] {
            assert_eq!(duration(bad).unwrap_err().exit(), 2, "{bad}");
        }
    }
}
