//! What a run and its steps wait for while nothing of them executes (cli-and-api §3.5).

use compozy_engine::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::execution::Viewer;
use super::maybe_time;
use crate::storage::row::{Run, Step, Timer};

/// Why nothing executes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WaitingFor {
    /// `signal timer child retry concurrency rate_limit capacity paused no_node`.
    pub kind: String,
    /// One sentence.
    pub detail: String,
    /// Since when.
    pub since: String,
    /// Until when, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
}

impl WaitingFor {
    /// What `run` waits for; `None` while something executes or once it has ended.
    #[must_use]
    pub fn of(run: &Run, steps: &[Step], timers: &[Timer], viewer: Viewer) -> Option<Self> {
        let since = run.updated_at;
        // A server sees to whatever nobody owns; a node that is gone sees to nothing.
        let attended = run.attended || (run.owner_node.is_none() && viewer == Viewer::Server);
        match run.status.as_str() {
            "PENDING" => Some(Self::queued(run, run.created_at, attended)),
            "RUNNING" if run.owner_node.is_none() || !attended => Some(Self::queued(run, since, attended)),
            "PAUSED" => Some(Self::paused(run)),
            "WAITING" => Some(
                steps
                    .iter()
                    .filter_map(|step| step.waiting_for.as_deref())
                    .find_map(|text| serde_json::from_str(text).ok())
                    .unwrap_or_else(|| Self::timer(timers, since)),
            ),
            _ => None,
        }
    }

    /// What the step waits for, in a run that waits for `run`. A step under way waits with a run that nobody drives.
    #[must_use]
    pub fn of_step(step: &Step, run: Option<&Self>) -> Option<Self> {
        if step.finished_at.is_some() {
            return None;
        }
        let own = step.waiting_for.as_deref().and_then(|text| serde_json::from_str(text).ok());
        let with_its_run = || run.filter(|run| matches!(run.kind.as_str(), "capacity" | "no_node")).cloned();
        match step.status.as_str() {
            "RUNNING" => own.or_else(with_its_run),
            // Held back before its start, or waiting for something that has no words of its own.
            _ => own.or_else(|| run.cloned()).or_else(|| Some(Self::new("timer", "waits", step.started_at, None))),
        }
    }

    fn queued(run: &Run, since: Timestamp, attended: bool) -> Self {
        if !attended {
            return Self::new("no_node", "no server is running", since, None);
        }
        match &run.concurrency {
            Some(key) if run.gated => {
                let detail = format!("{} of concurrency key '{}' at once", runs(key.limit), key.key);
                Self::new("concurrency", &detail, since, None)
            }
            _ => Self::new("capacity", "waits for a free place to run", since, None),
        }
    }

    fn paused(run: &Run) -> Self {
        let request: serde_json::Value =
            run.pause_request.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let since = request.get("at").and_then(serde_json::Value::as_i64).map_or(run.updated_at, Timestamp);
        let detail = match request.get("by").and_then(serde_json::Value::as_str) {
            Some(by) => format!("paused by {by}"),
            None => run.reason.clone().unwrap_or_else(|| "paused".to_owned()),
        };
        Self::new("paused", &detail, since, None)
    }

    /// The timer that fires first; limits (`timeout`) are not what a run waits for.
    fn timer(timers: &[Timer], since: Timestamp) -> Self {
        let next = timers.iter().filter(|timer| timer.kind != "timeout").min_by_key(|timer| timer.due_at);
        match next {
            Some(timer) => {
                let of = timer.step_key.as_deref().unwrap_or("the run");
                let (kind, detail) = match timer.kind.as_str() {
                    "retry" => ("retry", format!("the next attempt of {of}")),
                    "sleep" => ("timer", format!("the pause after {of}")),
                    other => ("timer", format!("timer '{other}' of {of}")),
                };
                Self::new(kind, &detail, since, Some(timer.due_at))
            }
            None => Self::new("timer", "waits", since, None),
        }
    }

    fn new(kind: &str, detail: &str, since: Timestamp, until: Option<Timestamp>) -> Self {
        Self { kind: kind.into(), detail: detail.into(), since: since.to_rfc3339(), until: maybe_time(until) }
    }
}

fn runs(limit: u32) -> String {
    if limit == 1 { "1 execution".to_owned() } else { format!("{limit} executions") }
}
