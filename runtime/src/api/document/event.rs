//! Journal events, as streams, `GET …/events` and `-o ndjson` show them (cli-and-api §7.4).

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

use super::{Json, Page, json};
use crate::id::ExecId;
use crate::storage::row::Journal;
use compozy_engine::time::Timestamp;

/// A page of events.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct EventList {
    /// Events in order, each with its name under `event`.
    pub events: Vec<Json>,
    /// Where the page stands.
    pub page: Page,
}

/// Every event name of a stream.
pub const NAMES: &[&str] = &[
    "workflow_start",
    "workflow_status",
    "task_start",
    "task_status",
    "task_retry",
    "agent_start",
    "agent_status",
    "tool_call",
    "tool_result",
    "llm_chunk",
    "llm_snapshot",
    "log",
    "signal",
    "timer",
    "server_shutdown",
    "complete",
    "error",
];

/// Whether the event named `event` ends its stream.
#[must_use]
pub fn is_terminal(event: &str) -> bool {
    matches!(event, "complete" | "error")
}

/// The `data` of an event: a JSON object on one line, `exec_id`, `seq`, `at`, `task_id?`, `task_exec_id?` and then the
/// event's own fields.
#[must_use]
pub fn data(exec_id: &ExecId, event: &Journal) -> String {
    let mut text = String::with_capacity(160 + event.data.len());
    text.push('{');
    push(&mut text, exec_id, event);
    text
}

/// The event as an item of a list or a line of `ndjson`: the same object with `event` in front.
#[must_use]
pub fn item(exec_id: &ExecId, event: &Journal) -> Json {
    let mut text = String::with_capacity(192 + event.data.len());
    let _ = write!(text, "{{\"event\":{},", quoted(&event.event));
    push(&mut text, exec_id, event);
    json(&text)
}

/// The `data` of a piece of a model's answer.
#[must_use]
pub fn chunk(exec_id: &ExecId, seq: i64, number: u64, task_id: &str, text: &str) -> String {
    format!(
        r#"{{"exec_id":{},"seq":{seq},"chunk":{number},"task_id":{},"text":{}}}"#,
        quoted(exec_id.as_str()),
        quoted(task_id),
        quoted(text)
    )
}

/// The `data` of what happens inside a step; `chunk` is its number after event `seq`.
#[must_use]
pub fn live(
    exec_id: &ExecId,
    (seq, number): (i64, u64),
    at: Timestamp,
    task_id: &str,
    fields: &serde_json::Map<String, serde_json::Value>,
) -> String {
    let mut text = format!(
        r#"{{"exec_id":{},"seq":{seq},"chunk":{number},"at":"{}","task_id":{}"#,
        quoted(exec_id.as_str()),
        at.to_rfc3339(),
        quoted(task_id),
    );
    for (name, value) in fields {
        // Writing into a string does not fail.
        let _ = write!(text, ",{}:{value}", quoted(name));
    }
    text.push('}');
    text
}

/// Appends the members and the closing brace.
fn push(text: &mut String, exec_id: &ExecId, event: &Journal) {
    // Ids are plain by construction, yet an imported database may hold anything; so everything is quoted.
    let _ =
        write!(text, r#""exec_id":{},"seq":{},"at":"{}""#, quoted(exec_id.as_str()), event.seq, event.at.to_rfc3339());
    if let Some(task_id) = &event.task_id {
        let _ = write!(text, r#","task_id":{}"#, quoted(task_id));
    }
    if let Some(id) = task_exec_id(exec_id, &event.data) {
        let _ = write!(text, r#","task_exec_id":{}"#, quoted(&id));
    }
    match event.data.trim().strip_prefix('{').map(str::trim_start) {
        Some("}") | None => text.push('}'),
        // Newlines between tokens would end an SSE line; inside JSON strings they are always escaped.
        Some(members) if members.contains(['\n', '\r']) => {
            let _ = write!(text, ",{}", members.replace(['\n', '\r'], " "));
        }
        Some(members) => {
            let _ = write!(text, ",{members}");
        }
    }
}

/// `<exec_id>:<path>:<execution>` from the `step_key` the event carries.
fn task_exec_id(exec_id: &ExecId, data: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Key {
        step_key: Option<String>,
        task_exec_id: Option<serde::de::IgnoredAny>,
    }
    if !data.contains("\"step_key\"") {
        return None;
    }
    let key: Key = serde_json::from_str(data).ok()?;
    if key.task_exec_id.is_some() {
        return None;
    }
    let step_key = key.step_key?;
    let (path, execution) = step_key.rsplit_once('#')?;
    Some(format!("{exec_id}:{path}:{execution}"))
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
mod tests {
    use compozy_engine::time::Timestamp;

    use super::*;

    fn event(name: &str, task: Option<&str>, data: &str) -> Journal {
        Journal { seq: 3, at: Timestamp(0), event: name.into(), task_id: task.map(Into::into), data: data.into() }
    }

    #[test]
    fn data_is_one_line_of_json_with_the_common_members_first() {
        let exec = ExecId::from("01");
        let head = r#"{"exec_id":"01","seq":3,"at":"1970-01-01T00:00:00.000Z""#;
        for (task, own, rest) in [
            (None, "{}", "}"),
            (None, r#"{"status":"SUCCESS"}"#, r#","status":"SUCCESS"}"#),
            (
                Some("a"),
                r#"{"step_key":"a#2","attempt":1}"#,
                r#","task_id":"a","task_exec_id":"01:a:2","step_key":"a#2","attempt":1}"#,
            ),
            (None, "{\n \"a\":\n1}", ",\"a\": 1}"),
            (None, "not json", "}"),
        ] {
            let text = data(&exec, &event("x", task, own));
            assert_eq!(text, format!("{head}{rest}"));
            serde_json::from_str::<serde_json::Value>(&text).unwrap();
        }
    }

    #[test]
    fn an_item_names_its_event() {
        let item = item(&ExecId::from("01"), &event("complete", None, r#"{"status":"SUCCESS"}"#));
        assert_eq!(
            item.get(),
            r#"{"event":"complete","exec_id":"01","seq":3,"at":"1970-01-01T00:00:00.000Z","status":"SUCCESS"}"#
        );
    }

    #[test]
    fn chunk_text_is_escaped() {
        let text = chunk(&ExecId::from("01"), 2, 5, "ask", "a\n\"b\"");
        assert_eq!(text, r#"{"exec_id":"01","seq":2,"chunk":5,"task_id":"ask","text":"a\n\"b\""}"#);
    }
}
