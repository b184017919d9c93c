//! What a run waits for while nothing of it executes (cli-and-api §3.5).

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
        match run.status.as_str() {
            "PENDING" => Some(Self::queued(run.created_at, viewer)),
            "RUNNING" if run.owner_node.is_none() => Some(Self::queued(since, viewer)),
            "PAUSED" => Some(Self::new("paused", run.reason.as_deref().unwrap_or("paused"), since, None)),
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

    fn queued(since: Timestamp, viewer: Viewer) -> Self {
        match viewer {
            Viewer::Server => Self::new("capacity", "waits for a free place to run", since, None),
            Viewer::Database => Self::new("no_node", "no server is running", since, None),
        }
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
