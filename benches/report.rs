//! What was measured: a Markdown table for people, JSON for programs.

use std::time::Duration;

use serde_json::{Map, Value, json};

/// One line of the table.
#[derive(Debug)]
struct Line {
    key: String,
    what: String,
    value: Value,
    shown: String,
    goal: String,
}

/// Everything measured so far.
#[derive(Debug)]
pub(crate) struct Report {
    machine: Value,
    lines: Vec<Line>,
}

impl Report {
    pub(crate) fn new(machine: Value) -> Self {
        Self { machine, lines: Vec::new() }
    }

    /// A duration; kept in microseconds.
    pub(crate) fn duration(&mut self, key: &str, what: &str, value: Duration, goal: &str) {
        let microseconds = value.as_secs_f64() * 1e6;
        let shown = match microseconds {
            small if small < 1000.0 => format!("{small:.1} µs"),
            large => format!("{:.1} ms", large / 1000.0),
        };
        self.push(&format!("{key}_us"), what, json!((microseconds * 10.0).round() / 10.0), shown, goal);
    }

    /// A number with its unit.
    pub(crate) fn number(&mut self, key: &str, what: &str, value: f64, unit: &str, goal: &str) {
        let shown = if value >= 100.0 { format!("{value:.0} {unit}") } else { format!("{value:.2} {unit}") };
        self.push(key, what, json!((value * 100.0).round() / 100.0), shown.trim_end().to_owned(), goal);
    }

    fn push(&mut self, key: &str, what: &str, value: Value, shown: String, goal: &str) {
        eprintln!("  {what}: {shown}");
        self.lines.push(Line { key: key.to_owned(), what: what.to_owned(), value, shown, goal: goal.to_owned() });
    }

    pub(crate) fn table(&self) -> String {
        let mut text = String::from("| Measured | Value | Goal |\n|---|---|---|\n");
        for line in &self.lines {
            text.push_str(&format!("| {} | {} | {} |\n", line.what, line.shown, line.goal));
        }
        for (name, value) in self.machine.as_object().into_iter().flatten() {
            text.push_str(&format!("\n{name}: {}", value.as_str().map_or_else(|| value.to_string(), str::to_owned)));
        }
        text.push('\n');
        text
    }

    pub(crate) fn json(&self) -> String {
        let results: Map<String, Value> =
            self.lines.iter().map(|line| (line.key.clone(), line.value.clone())).collect();
        let document = json!({"machine": self.machine, "results": results});
        format!("{document:#}\n")
    }
}
