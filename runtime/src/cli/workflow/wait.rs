//! Waiting for the end of a run, and printing how it ended.

use std::io::Write;
use std::time::Duration;

use serde_json::{Map, Value, json};

use super::progress::Progress;
use super::result;
use crate::cli::backend::Backend;
use crate::cli::events::Event;
use crate::cli::exit;
use crate::cli::failure::{Failure, Problem};
use crate::cli::output::{Format, escaped};
use crate::cli::report;
use crate::cli::session::Session;
use crate::cli::signals::{Signal, Signals};

/// How often the spinner moves.
const FRAME: Duration = Duration::from_millis(100);

/// What is waited for.
#[derive(Debug, Clone)]
pub struct Waiting<'a> {
    /// Which run.
    pub exec_id: &'a str,
    /// Events after this one are shown.
    pub after: i64,
    /// How long at most.
    pub timeout: Option<Duration>,
    /// Print every event to stdout.
    pub print_events: bool,
}

/// Why the waiting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The run did.
    Run,
    /// The time was over.
    Timeout,
    /// Someone asked us to stop.
    Interrupt(Signal),
}

/// Says so if a run may not begin yet: nothing happens to it until another one has ended.
pub async fn say_if_held(session: &Session, backend: &Backend, exec_id: &str) {
    // What cannot be read now is read again, and told, at the end.
    let Ok(document) = backend.execution(exec_id).await else { return };
    let waits = |name: &str| document.pointer(name).and_then(Value::as_str);
    if let (Some("concurrency"), Some(detail)) = (waits("/waiting_for/kind"), waits("/waiting_for/detail")) {
        session.output.talk(&format!("Execution {exec_id} waits for its turn: {}", escaped(detail)));
    }
}

/// Shows a run until it ends, or until one of `signals` comes.
///
/// # Errors
/// The source of events failed.
pub async fn until_end(
    session: &Session,
    backend: &mut Backend,
    waiting: &Waiting<'_>,
    signals: &mut Signals,
) -> Result<Ended, Failure> {
    let mut watch = backend.watch(waiting.exec_id, waiting.after);
    let mut progress = Progress::new(session.output.clone());
    let mut frames = tokio::time::interval(FRAME);
    let clock = session.clock.clone();
    let timeout = async {
        match waiting.timeout {
            Some(timeout) => clock.sleep(timeout).await,
            None => std::future::pending().await,
        }
    };
    tokio::pin!(timeout);
    let ended = loop {
        tokio::select! {
            biased;
            signal = signals.next() => break Ended::Interrupt(signal),
            event = watch.events.recv() => match event {
                Some(event) => {
                    progress.event(&event);
                    if waiting.print_events || session.output.format == Format::Ndjson {
                        progress.clear();
                        session.output.line(&line_of(&event).to_string())?;
                    }
                    if event.is_terminal() {
                        break Ended::Run;
                    }
                }
                None => {
                    progress.clear();
                    let ended = (&mut watch.source).await;
                    ended.map_err(|error| Failure::internal(&error.to_string()))??;
                    break Ended::Run;
                }
            },
            () = &mut timeout => break Ended::Timeout,
            _ = frames.tick(), if progress.spins() => progress.tick(),
        }
    };
    progress.clear();
    Ok(ended)
}

/// The event as a line of `ndjson`, its name in front.
fn line_of(event: &Event) -> Value {
    let mut line = Map::new();
    line.insert("event".to_owned(), event.name.clone().into());
    match &event.data {
        Value::Object(members) => line.extend(members.clone()),
        other => {
            line.insert("data".to_owned(), other.clone());
        }
    }
    Value::Object(line)
}

/// Prints how a run ended and gives the exit code.
///
/// # Errors
/// It cannot be read, or stdout is closed.
pub async fn print(session: &Session, backend: &Backend, exec_id: &str) -> Result<u8, Failure> {
    let document = backend.execution(exec_id).await?;
    let text = |name: &str| document.get(name).and_then(Value::as_str).unwrap_or_default();
    let (workflow_id, status) = (text("workflow_id").to_owned(), text("status").to_owned());
    let code = exit::of_status(&status);
    let output = &session.output;
    match output.format {
        Format::Ndjson => output.document(&json!({"event": "result", "data": document}))?,
        Format::Json | Format::Yaml => output.document(&document)?,
        Format::Table if code == exit::OK => {
            let null = Value::Null;
            let value = document.get("output").unwrap_or(&null);
            result::success(&workflow_id, value).iter().try_for_each(|line| output.line(line))?;
        }
        Format::Table => {
            let error = document.get("error").filter(|error| !error.is_null());
            for line in result::failure(&workflow_id, exec_id, &status, error) {
                // Errors are never suppressed.
                let _ = writeln!(std::io::stderr().lock(), "{line}");
            }
        }
    }
    if code != exit::OK && output.format != Format::Table {
        report::failure(output, &run_failed(&workflow_id, exec_id, &document));
    }
    Ok(code)
}

fn run_failed(workflow_id: &str, exec_id: &str, document: &Value) -> Failure {
    let message = document.pointer("/error/message").and_then(Value::as_str).unwrap_or("the execution did not succeed");
    let mut members = Map::new();
    members.insert("exec_id".to_owned(), exec_id.into());
    members.insert("error".to_owned(), document.get("error").cloned().unwrap_or_default());
    Failure::from(Problem {
        code: "run_failed".to_owned(),
        message: format!("workflow '{workflow_id}': {message}"),
        hint: Some(format!("compozy execution get {exec_id}")),
        members,
        ..Problem::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines_with_their_name_in_front() {
        let event = Event { id: "1".into(), name: "task_start".into(), data: json!({"seq": 1, "task_id": "a"}) };
        assert_eq!(line_of(&event).to_string(), r#"{"event":"task_start","seq":1,"task_id":"a"}"#);
        let chunk = Event { id: "1.1".into(), name: "llm_chunk".into(), data: json!("x") };
        assert_eq!(line_of(&chunk).to_string(), r#"{"event":"llm_chunk","data":"x"}"#);
    }
}
