//! What an open step holds: children, a wait for signals, a sub-run.
//!
//! A container's row is written when it opens, when its end is decided and when it ends, never for each child: how far
//! it has got ([`Tally`]) is counted again from the rows of the children when a run is loaded.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StepError;
use crate::json::Json;
use crate::time::Timestamp;

/// What an open step holds. Kept after its end, so that its children can still be told.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Opening {
    /// Task executions of the run when it opened: its children have later positions, those of an earlier attempt of
    /// the same step do not.
    pub since: u64,
    /// When its time is over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Timestamp>,
    /// Its end, once decided; what is left is to render what follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closing: Option<Closing>,
    /// What it holds.
    pub body: Body,
}

/// What an open step holds, by kind.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "holds", rename_all = "snake_case")]
pub enum Body {
    /// Tasks that follow each other.
    List,
    /// Children side by side.
    Branches(Branches),
    /// A wait.
    Wait(Waiting),
    /// A sub-run.
    Run(Awaited),
}

/// Children side by side.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Branches {
    /// How many children there are.
    pub total: usize,
    /// Most children at once.
    pub workers: usize,
    /// Wave size; 0: one wave.
    pub batch: usize,
    /// Kept items of a collection; stored with the step's input.
    #[serde(skip)]
    pub items: Option<Items>,
    /// How far it has got; counted again when the run is loaded.
    #[serde(skip)]
    pub tally: Tally,
}

/// How far the children of a container have got.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Children that were started; they start in order.
    pub started: usize,
    /// Children that have not ended, or whose `sleep` is running.
    pub open: usize,
    /// Ended well.
    pub succeeded: usize,
    /// Failed or timed out.
    pub failed: usize,
}

/// The kept items of a collection, in index order.
#[derive(Debug, Clone, PartialEq)]
pub struct Items {
    /// The items.
    pub values: Arc<[Json]>,
    /// Ids of the children; `None`: `<prefix>-<index>`.
    pub ids: Option<Arc<[String]>>,
}

/// The end of a container, decided.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closing {
    /// It did not succeed.
    pub failed: bool,
    /// Id of the child that won a race.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<String>,
    /// Why it failed, where that is not told by its children.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<StepError>,
    /// The cause is worth another attempt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub retryable: bool,
}

impl Closing {
    /// It ended well.
    #[must_use]
    pub fn success() -> Self {
        Self { failed: false, winner: None, cause: None, retryable: false }
    }

    /// Its children failed it.
    #[must_use]
    pub fn failure() -> Self {
        Self { failed: true, ..Self::success() }
    }

    /// Something else failed it.
    #[must_use]
    pub fn because(cause: StepError) -> Self {
        Self { retryable: cause.retryable, cause: Some(cause), ..Self::failure() }
    }
}

/// A wait for signals.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Waiting {
    /// Name of the signals.
    pub name: String,
    /// The signal it looks at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<Signal>,
    /// The processor is still at work on it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub processing: bool,
}

/// A sub-run that is waited for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Awaited {
    /// Its id.
    pub exec_id: String,
}

/// A signal that reached the run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Signal {
    /// Unique id.
    pub id: String,
    /// Place in the order in which signals came.
    #[serde(default)]
    pub position: i64,
    /// Name.
    pub name: String,
    /// What it carries.
    pub payload: Json,
    /// `{signal_id, received_at_utc, workflow_id, source}`.
    pub metadata: Json,
}

impl Opening {
    /// The children side by side, if that is what it holds.
    #[must_use]
    pub fn branches(&self) -> Option<&Branches> {
        match &self.body {
            Body::Branches(branches) => Some(branches),
            Body::List | Body::Wait(_) | Body::Run(_) => None,
        }
    }

    pub(crate) fn branches_mut(&mut self) -> Option<&mut Branches> {
        match &mut self.body {
            Body::Branches(branches) => Some(branches),
            Body::List | Body::Wait(_) | Body::Run(_) => None,
        }
    }

    /// The wait, if it is one.
    #[must_use]
    pub fn waiting(&self) -> Option<&Waiting> {
        match &self.body {
            Body::Wait(waiting) => Some(waiting),
            Body::List | Body::Branches(_) | Body::Run(_) => None,
        }
    }

    pub(crate) fn waiting_mut(&mut self) -> Option<&mut Waiting> {
        match &mut self.body {
            Body::Wait(waiting) => Some(waiting),
            Body::List | Body::Branches(_) | Body::Run(_) => None,
        }
    }

    /// The sub-run that is waited for, if that is what it holds.
    #[must_use]
    pub fn awaited(&self) -> Option<&Awaited> {
        match &self.body {
            Body::Run(awaited) => Some(awaited),
            Body::List | Body::Branches(_) | Body::Wait(_) => None,
        }
    }

    /// Something of this very step is to be rendered: its end, or whether a signal matches.
    pub(crate) fn executes(&self) -> bool {
        self.closing.is_some() || self.waiting().is_some_and(|wait| wait.signal.is_some() && !wait.processing)
    }

    /// A wait that takes the next signal of its name.
    pub(crate) fn listens(&self) -> bool {
        self.closing.is_none() && self.waiting().is_some_and(|wait| wait.signal.is_none())
    }
}

impl Items {
    /// What is recorded as the input of a collection: its `with` and what it iterates over.
    #[must_use]
    pub fn recorded(&self, with: Option<&Json>) -> Json {
        let mut text = String::from("{\"with\":");
        text.push_str(with.map_or("null", Json::as_str));
        text.push_str(",\"items\":[");
        for (index, item) in self.values.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            text.push_str(item.as_str());
        }
        text.push(']');
        if let Some(ids) = &self.ids {
            text.push_str(",\"ids\":");
            text.push_str(&Value::from(ids.to_vec()).to_string());
        }
        text.push('}');
        Json::from_valid(text)
    }

    /// Takes apart what [`Items::recorded`] made: `with` and the items.
    #[must_use]
    pub fn from_recorded(recorded: &Json) -> Option<(Option<Json>, Self)> {
        let Value::Object(mut parts) = recorded.to_value() else { return None };
        let with = parts.remove("with").filter(|with| !with.is_null()).map(|with| Json::from(&with));
        let Some(Value::Array(values)) = parts.remove("items") else { return None };
        let ids = parts.remove("ids").and_then(|ids| serde_json::from_value::<Vec<String>>(ids).ok());
        let items = Self { values: values.iter().map(Json::from).collect(), ids: ids.map(Into::into) };
        Some((with, items))
    }
}
