//! What is asked of whoever writes, and what it answers.

use std::sync::Arc;

use compozy_engine::time::Timestamp;

use super::super::row::{
    Declared, Demand, Durability, KvEntry, MemoryChange, Node, PublishOutcome, SignalOutcome, Started, Woken,
};
use super::super::{Error, RequestOutcome};
use super::control::{NewlySent, Publication};
use super::encode::Encoded;
use super::import::Import;
use super::outward::level_of;
use super::schedule::{EncodedFire, Setting};
use super::sweep::{Removed, Sweep};
use crate::id::{ExecId, NodeId};

/// What a logical transaction gave.
#[derive(Debug)]
pub(in crate::storage) enum Outcome {
    Done,
    Started(Started),
    /// Runs that have something new to look at.
    Committed(Vec<Woken>),
    /// The same; `None`: it was done before, and nothing was written.
    Told(Option<Vec<Woken>>),
    Claimed(Vec<Claimed>),
    Requested(RequestOutcome),
    Signal(SignalOutcome),
    Published(PublishOutcome),
    Removed(Removed),
    Count(u64),
    Flag(bool),
}

/// A run that has a new owner.
#[derive(Debug)]
pub(in crate::storage) struct Claimed {
    pub(in crate::storage) exec_id: ExecId,
    pub(in crate::storage) status: Arc<str>,
    /// Its word.
    pub(in crate::storage) durability: String,
}

/// Kinds of logical transactions.
#[derive(Debug)]
pub(in crate::storage) enum Work {
    /// A start or a commit: rows only, written together with those of others.
    Rows(Arc<Encoded>),
    /// Anything that reads before it writes.
    Operation(Operation),
}

impl Work {
    pub(in crate::storage) fn rows(&self) -> Option<&Encoded> {
        match self {
            Self::Rows(encoded) => Some(encoded),
            Self::Operation(_) => None,
        }
    }

    /// The run that it starts.
    pub(in crate::storage) fn starts(&self) -> Option<&ExecId> {
        self.rows().filter(|encoded| encoded.started.is_some()).map(|encoded| &encoded.exec_id)
    }
}

/// Logical transactions other than starts and commits.
#[derive(Debug)]
pub(in crate::storage) enum Operation {
    Claim {
        node: NodeId,
        limit: u32,
        now: Timestamp,
    },
    ClaimOne {
        node: NodeId,
        exec_id: ExecId,
        now: Timestamp,
    },
    ClaimAnew {
        node: NodeId,
        exec_id: ExecId,
        now: Timestamp,
    },
    /// What a claim at this moment took, should it have been committed without anyone being told.
    Claimed {
        node: NodeId,
        now: Timestamp,
    },
    HandBack {
        node: NodeId,
        now: Timestamp,
    },
    Request {
        demand: Demand,
        now: Timestamp,
    },
    Signal(Box<NewlySent>),
    Publish(Box<Publication>),
    Declare {
        declared: Vec<Declared>,
        now: Timestamp,
    },
    SetSchedule {
        schedule_id: String,
        setting: Setting,
        next_fire_at: Option<Timestamp>,
    },
    Fire(Box<EncodedFire>),
    Memory {
        changes: Vec<MemoryChange>,
        now: Timestamp,
    },
    Sweep(Sweep),
    Import(Import),
    PutNode(Node),
    RemoveNode(NodeId),
    Recover {
        me: NodeId,
        sole: bool,
        now: Timestamp,
    },
    KvSet {
        entry: KvEntry,
        expected: Option<Option<Vec<u8>>>,
        now: Timestamp,
    },
    KvDelete {
        space: String,
        key: String,
    },
    Ping,
}

impl Operation {
    /// The runs that it starts.
    pub(in crate::storage) fn starts(&self) -> &[Encoded] {
        match self {
            Self::Publish(publication) => &publication.starts,
            Self::Fire(fire) => fire.start.as_slice(),
            _ => &[],
        }
    }

    /// The level it needs, at least `own`.
    pub(in crate::storage) fn level(&self, own: Durability) -> Durability {
        level_of(self.starts(), own)
    }
}

impl Operation {
    /// What to run when nobody knows whether this was carried out; `None` where that could do it twice.
    pub(in crate::storage) fn again(&self) -> Option<Self> {
        Some(match self {
            Self::Claim { node, now, .. } | Self::Claimed { node, now } => {
                Self::Claimed { node: node.clone(), now: *now }
            }
            Self::HandBack { node, now } => Self::HandBack { node: node.clone(), now: *now },
            Self::Request { demand, now } => Self::Request { demand: demand.clone(), now: *now },
            Self::PutNode(node) => Self::PutNode(node.clone()),
            Self::RemoveNode(node) => Self::RemoveNode(node.clone()),
            Self::Recover { me, sole, now } => Self::Recover { me: me.clone(), sole: *sole, now: *now },
            Self::Memory { changes, now } => Self::Memory { changes: changes.clone(), now: *now },
            Self::Ping => Self::Ping,
            // Whoever asked is told: only they know what a repeat would mean.
            Self::ClaimOne { .. }
            | Self::ClaimAnew { .. }
            | Self::KvSet { .. }
            | Self::KvDelete { .. }
            | Self::Signal(_)
            | Self::Publish(_)
            | Self::Declare { .. }
            | Self::SetSchedule { .. }
            | Self::Fire(_)
            | Self::Import(_)
            | Self::Sweep(_) => return None,
        })
    }
}

/// What the row of an idempotency key says to the start of `me` with the hash `asked`. That it was `me` who used the key says
/// that this start was committed before, and nobody was told.
///
/// # Errors
/// [`Error::Conflict`] when the key was used with another request.
pub(in crate::storage) fn replay(
    found: Option<(String, String)>,
    asked: &str,
    me: &ExecId,
) -> Result<Option<Started>, Error> {
    let kept = same_request(found, asked)?;
    Ok(kept.map(|kept| if kept == me.as_str() { Started::New } else { Started::Replayed(kept.into()) }))
}

/// What was kept with a request hash, if the request with the hash `asked` is the same.
///
/// # Errors
/// [`Error::Conflict`] when it is another one.
pub(in crate::storage) fn same_request(found: Option<(String, String)>, asked: &str) -> Result<Option<String>, Error> {
    match found {
        None => Ok(None),
        Some((hash, _)) if hash != asked => Err(Error::Conflict("idempotency_mismatch".into())),
        Some((_, kept)) => Ok(Some(kept)),
    }
}

/// A JSON array of ids.
pub(in crate::storage) fn list(ids: &[impl AsRef<str>]) -> String {
    serde_json::Value::from(ids.iter().map(|id| id.as_ref()).collect::<Vec<_>>()).to_string()
}
