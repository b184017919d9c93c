//! How a finished run is printed for people: the result form and the answer form (cli-and-api §3.4).

use serde_json::{Map, Value};

use crate::cli::output::escaped;

/// Longest one-line result, characters, `Result: ` included.
const ONE_LINE: usize = 100;

/// The stdout lines of a run that ended with SUCCESS.
#[must_use]
pub fn success(workflow_id: &str, output: &Value) -> Vec<String> {
    let id = escaped(workflow_id);
    let answer = output.as_object().and_then(|map| Some((map, map.get("answer")?.as_str()?)));
    let Some((map, answer)) = answer else {
        return vec![format!("Workflow '{id}' completed successfully"), result(output)];
    };
    let mut lines = vec![format!("Workflow '{id}' completed"), format!("Answer: {}", escaped(answer))];
    if let Some(sources) = map.get("sources") {
        lines.push(format!("Sources: {}", names(sources)));
    }
    let rest: Map<String, Value> = map
        .iter()
        .filter(|(key, _)| !["answer", "sources"].contains(&key.as_str()))
        .map(|(k, v)| (k.clone(), v.clone()))
        .collect();
    if !rest.is_empty() {
        lines.push(result(&Value::Object(rest)));
    }
    lines
}

/// The stderr lines of a run that ended otherwise.
#[must_use]
pub fn failure(workflow_id: &str, exec_id: &str, status: &str, error: Option<&Value>) -> Vec<String> {
    let member = |name: &str| error.and_then(|error| error.get(name)).and_then(Value::as_str).unwrap_or_default();
    let task = match member("task") {
        "" => String::new(),
        task => format!("task '{task}': "),
    };
    let (message, code) = match (member("message"), member("code")) {
        ("", code) => (status.to_ascii_lowercase().replace('_', " "), code),
        (message, code) => (message.to_owned(), code),
    };
    let code = if code.is_empty() { status } else { code };
    // Some messages name their task themselves.
    let message = message.strip_prefix(&format!("task '{}' ", member("task"))).unwrap_or(&message);
    let mut lines = vec![
        format!("Workflow '{workflow_id}' failed"),
        format!("Error: {task}{message} [{code}]"),
        format!("Execution: {exec_id}"),
    ];
    if !member("help").is_empty() {
        lines.push(format!("Help: {}", member("help")));
    }
    lines.push(format!("Hint: compozy execution get {exec_id}"));
    lines.iter().map(|line| escaped(line)).collect()
}

fn result(output: &Value) -> String {
    let sorted = sorted(output);
    let line = format!("Result: {}", one_line(&sorted));
    if line.chars().count() <= ONE_LINE {
        return line;
    }
    let text = serde_json::to_string_pretty(&sorted).unwrap_or_default();
    format!("Result: {}", json_escaped(&text))
}

/// The value with the keys of every object in byte order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut members: Vec<(&String, &Value)> = map.iter().collect();
            members.sort_by_key(|(key, _)| *key);
            members.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect::<Map<_, _>>().into()
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

/// `{ "greeting": "Hello", "tags": ["a", "b"] }`.
fn one_line(value: &Value) -> String {
    match value {
        Value::Object(map) if map.is_empty() => "{}".to_owned(),
        Value::Object(map) => {
            let members: Vec<String> = map
                .iter()
                .map(|(key, value)| {
                    format!("{}: {}", json_escaped(&Value::from(key.as_str()).to_string()), one_line(value))
                })
                .collect();
            format!("{{ {} }}", members.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(one_line).collect::<Vec<_>>().join(", ")),
        other => json_escaped(&other.to_string()),
    }
}

/// JSON text whose remaining control characters (DEL, C1, reordering) are escaped; line ends stay.
fn json_escaped(text: &str) -> String {
    escaped(text)
}

/// `[doc1.md, doc2.md]`; a string is printed as it is.
fn names(sources: &Value) -> String {
    let name = |value: &Value| match value {
        Value::String(text) => escaped(text),
        other => one_line(other),
    };
    match sources {
        Value::Array(items) => format!("[{}]", items.iter().map(name).collect::<Vec<_>>().join(", ")),
        other => name(other),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_result_form_is_the_default() {
        for (output, expected) in [
            (json!({"greeting": "Hello"}), "Result: { \"greeting\": \"Hello\" }"),
            (Value::Null, "Result: null"),
            (json!({}), "Result: {}"),
            (json!("text"), "Result: \"text\""),
            (
                json!({"b": [1, {"z": 1, "a": null}], "a": {}}),
                "Result: { \"a\": {}, \"b\": [1, { \"a\": null, \"z\": 1 }] }",
            ),
            (json!({"answer": 42}), "Result: { \"answer\": 42 }"),
            (json!({"e": "\u{1b}[2J\u{9b}"}), "Result: { \"e\": \"\\u001b[2J\\u009b\" }"),
        ] {
            assert_eq!(success("w", &output), ["Workflow 'w' completed successfully", expected]);
        }
    }

    #[test]
    fn long_results_are_indented_by_two() {
        // `Result: { "a": "" }` is 19 characters.
        let fits = json!({"a": "x".repeat(81)});
        assert_eq!(success("w", &fits)[1].chars().count(), 100);
        let long = json!({"a": "x".repeat(82)});
        assert_eq!(success("w", &long)[1], format!("Result: {{\n  \"a\": \"{}\"\n}}", "x".repeat(82)));
    }

    #[test]
    fn the_answer_form_needs_a_string_answer() {
        let output = json!({"sources": ["doc1.md", "doc2.md"], "answer": "AI is …"});
        assert_eq!(
            success("rag", &output),
            ["Workflow 'rag' completed", "Answer: AI is …", "Sources: [doc1.md, doc2.md]"]
        );
        let output = json!({"answer": "yes", "sources": "doc1.md", "score": 1});
        assert_eq!(
            success("rag", &output),
            ["Workflow 'rag' completed", "Answer: yes", "Sources: doc1.md", "Result: { \"score\": 1 }"]
        );
        let output = json!({"answer": "a\nb\u{1b}"});
        assert_eq!(success("rag", &output), ["Workflow 'rag' completed", "Answer: a\nb\\u001b"]);
    }

    #[test]
    fn failures_name_task_code_and_execution() {
        let error = json!({"code": "CZ0318", "message": "task 'a' failed after 3 attempts: no", "task": "a"});
        assert_eq!(
            failure("w", "01X", "FAILED", Some(&error)),
            [
                "Workflow 'w' failed",
                "Error: task 'a': failed after 3 attempts: no [CZ0318]",
                "Execution: 01X",
                "Hint: compozy execution get 01X"
            ]
        );
        assert_eq!(failure("w", "01X", "TIMED_OUT", None)[1], "Error: timed out [TIMED_OUT]");
    }
}
