//! Progress of a run on stderr: one line per task change, and on a terminal a spinner for what runs now.

use std::io::Write;

use crate::cli::events::Event;
use crate::cli::output::{Output, Paint, duration_text, escaped, painted, status_paint};

const FRAMES: [&str; 10] = ["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏"];

/// What is shown of a run while it goes on.
#[derive(Debug)]
pub struct Progress {
    output: Output,
    current: Option<String>,
    frame: usize,
    drawn: bool,
}

impl Progress {
    /// Nothing shown yet.
    #[must_use]
    pub fn new(output: Output) -> Self {
        Self { output, current: None, frame: 0, drawn: false }
    }

    /// Whether [`Self::tick`] draws anything.
    #[must_use]
    pub fn spins(&self) -> bool {
        self.output.spinner
    }

    /// Shows one event.
    pub fn event(&mut self, event: &Event) {
        match event.name.as_str() {
            "task_start" => self.current = Some(escaped(event.text("task_id"))),
            "task_status" => self.current = None,
            _ => {}
        }
        if let Some(line) = line(event, self.output.color_err) {
            self.clear();
            self.output.talk(&line);
        }
    }

    /// Draws the next frame of the spinner.
    pub fn tick(&mut self) {
        let Some(task) = &self.current else { return self.clear() };
        self.frame = (self.frame + 1) % FRAMES.len();
        let frame = painted(FRAMES.get(self.frame).unwrap_or(&"*"), Paint::Blue, self.output.color_err);
        let _ = write!(std::io::stderr().lock(), "\r\x1b[2K{frame} {task}");
        self.drawn = true;
    }

    /// Takes the spinner away.
    pub fn clear(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[2K");
        }
    }
}

/// The line of an event; `None` for events that change no task.
fn line(event: &Event, color: bool) -> Option<String> {
    let task = escaped(event.text("task_id"));
    let attempt = event.number("attempt");
    let word = |status: &str| painted(status, status_paint(status).unwrap_or(Paint::Dim), color);
    let error = |field: &str| {
        event.data.pointer(&format!("/error/{field}")).and_then(serde_json::Value::as_str).unwrap_or_default()
    };
    Some(match event.name.as_str() {
        "task_start" if attempt <= 1 => format!("{task}: {}", word("RUNNING")),
        "task_start" => format!("{task}: {} (attempt {attempt})", word("RUNNING")),
        "task_status" if event.data.get("skipped").is_some_and(|skipped| skipped == true) => format!("{task}: skipped"),
        "task_status" => {
            let took = duration_text(event.number("duration_ms"));
            let status = word(event.text("status"));
            match escaped(error("message")).as_str() {
                "" => format!("{task}: {status} in {took} (attempt {attempt})"),
                message => {
                    format!("{task}: {status} in {took} (attempt {attempt}): {message} [{}]", escaped(error("code")))
                }
            }
        }
        "task_retry" => format!(
            "{task}: attempt {attempt} failed, next at {}: {} [{}]",
            escaped(event.text("retry_at")),
            escaped(error("message")),
            escaped(error("code"))
        ),
        "timer" => format!("{}waits until {}", prefix(&task), escaped(event.text("until"))),
        "workflow_status" if matches!(event.text("status"), "WAITING" | "PAUSED") => {
            format!("workflow: {}{}", word(event.text("status")), waiting_for(event))
        }
        "server_shutdown" => "the server is shutting down; the execution goes on when it is back".to_owned(),
        _ => return None,
    })
}

fn prefix(task: &str) -> String {
    if task.is_empty() { String::new() } else { format!("{task}: ") }
}

fn waiting_for(event: &Event) -> String {
    match event.data.get("waiting_for") {
        Some(waiting) => {
            let text =
                |name: &str| waiting.get(name).and_then(serde_json::Value::as_str).map(escaped).unwrap_or_default();
            format!(" for {} {}", text("kind"), text("detail")).trim_end().to_owned()
        }
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_task_change_is_one_line() {
        for (name, data, expected) in [
            ("task_start", json!({"task_id": "greet", "attempt": 1}), Some("greet: RUNNING")),
            ("task_start", json!({"task_id": "greet", "attempt": 2}), Some("greet: RUNNING (attempt 2)")),
            (
                "task_status",
                json!({"task_id": "greet", "attempt": 1, "status": "SUCCESS", "duration_ms": 1234}),
                Some("greet: SUCCESS in 1.2s (attempt 1)"),
            ),
            ("task_status", json!({"task_id": "greet", "status": "SUCCESS", "skipped": true}), Some("greet: skipped")),
            (
                "task_status",
                json!({"task_id": "a", "attempt": 3, "status": "FAILED", "duration_ms": 5, "error": {"code": "CZ0318", "message": "no\u{1b}"}}),
                Some("a: FAILED in 5ms (attempt 3): no\\u001b [CZ0318]"),
            ),
            (
                "task_retry",
                json!({"task_id": "a", "attempt": 1, "retry_at": "T", "error": {"code": "CZ0506", "message": "rate limited"}}),
                Some("a: attempt 1 failed, next at T: rate limited [CZ0506]"),
            ),
            ("workflow_status", json!({"status": "WAITING"}), Some("workflow: WAITING")),
            ("workflow_status", json!({"status": "RUNNING"}), None),
            ("llm_chunk", json!({"text": "x"}), None),
            ("complete", json!({}), None),
        ] {
            let event = Event { id: "1".into(), name: name.into(), data };
            assert_eq!(line(&event, false).as_deref(), expected, "{name}");
        }
    }
}
