//! A storage under test, and small runs to put into it.

use std::sync::Arc;

use compozy_engine::time::Timestamp;

use crate::clock::Clock;
use crate::id::{ExecId, NodeId};
use crate::storage::row::*;
use crate::storage::{Error, Storage};

/// A storage with what the tests of the suite need.
pub(crate) struct Bench {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) clock: Clock,
    pub(crate) node: NodeId,
}

impl Bench {
    /// Registers a node that lives for a minute.
    pub(crate) async fn new(storage: Arc<dyn Storage>) -> Self {
        let clock = Clock::system();
        let node = clock.node_id();
        let bench = Self { storage, clock, node };
        bench.live(&bench.node, "server", 60).await;
        bench
    }

    /// Registers `node` with a lease of so many seconds.
    pub(crate) async fn live(&self, node: &NodeId, kind: &str, seconds: i64) {
        let renewed_at = self.clock.now();
        let lease_until = Timestamp(renewed_at.0 + seconds * 1_000_000);
        let (node_id, kind, version) = (node.clone(), kind.into(), "0".into());
        let node = Node { node_id, kind, version, pid: 1, renewed_at, lease_until };
        self.storage.put_node(node).await.unwrap();
    }

    /// Ends this bench's node, as another one would notice: where nobody is ever alone on the database, by its lease.
    pub(crate) async fn die(&self) {
        if self.storage.info().driver == "postgres" {
            self.live(&self.node, "server", -1).await;
        }
    }

    /// A run that this node owns and that has started.
    pub(crate) fn new_run(&self) -> NewRun {
        let now = self.clock.now();
        let exec_id = self.clock.exec_id();
        let run = Run {
            exec_id: exec_id.clone(),
            component: "workflow".into(),
            workflow_id: "hello".into(),
            definition_digest: "digest-1".into(),
            status: "RUNNING".into(),
            reason: None,
            input: r#"{"name":"world"}"#.into(),
            output: None,
            error: None,
            trigger: r#"{"type":"manual"}"#.into(),
            tags: r#"{"team":"a"}"#.into(),
            parent_exec_id: None,
            root_exec_id: exec_id,
            forked_from: None,
            durability: Durability::Full,
            priority: 0,
            concurrency: None,
            deadline: None,
            state: "{}".into(),
            owner_node: Some(self.node.clone()),
            affinity_node: None,
            epoch: 1,
            last_seq: 1,
            cancel_request: None,
            pause_request: None,
            created_at: now,
            started_at: Some(now),
            updated_at: now,
            finished_at: None,
            gated: false,
            attended: false,
        };
        let journal = vec![event(1, "workflow_start", r#"{"status":"RUNNING"}"#)];
        let definition = Some(("workflow".into(), "hello".into(), r#"{"id":"hello"}"#.into()));
        let changes = Changes { journal, at: now, ..Changes::default() };
        NewRun { run, queue: false, changes, definition, idempotency: None }
    }

    /// A run that waits in the queue.
    pub(crate) fn queued(&self) -> NewRun {
        let mut new = self.new_run();
        (new.run.owner_node, new.run.epoch, new.queue) = (None, 0, true);
        new.run.status = "PENDING".into();
        new.changes.journal = vec![event(1, "workflow_start", r#"{"status":"PENDING"}"#)];
        new
    }

    pub(crate) async fn start(&self) -> ExecId {
        let new = self.new_run();
        let exec_id = new.run.exec_id.clone();
        assert_eq!(self.storage.start(new).await.unwrap(), Started::New);
        exec_id
    }

    pub(crate) async fn commit(&self, exec_id: &ExecId, changes: Changes) -> Result<Vec<Woken>, Error> {
        self.storage.commit(exec_id, &self.node, 1, &changes).await
    }

    pub(crate) async fn sound(&self) {
        assert_eq!(self.storage.check().await.unwrap(), Vec::<String>::new());
    }
}

/// What is wanted of a run.
pub(crate) fn demand(exec_id: &ExecId, wanted: Wanted, by: &str, reason: Option<&str>) -> Demand {
    Demand { exec_id: exec_id.clone(), wanted, by: by.into(), reason: reason.map(str::to_owned) }
}

/// Event `seq`.
pub(crate) fn event(seq: i64, event: &str, data: &str) -> Journal {
    Journal { seq, at: Timestamp(seq), event: event.into(), task_id: None, data: data.into() }
}

/// A step, with a result if it is recorded as event `seq`.
pub(crate) fn step(key: &str, status: &str, seq: Option<i64>) -> Step {
    Step {
        step_key: key.into(),
        task_exec_id: format!("task-exec-{key}"),
        task_id: "greet".into(),
        kind: "basic".into(),
        status: status.into(),
        attempt: 1,
        parent: None,
        position: 1,
        input: Some(r#"{"a":1}"#.into()),
        output: seq.map(|_| r#"{"z":1,"a":1.0}"#.into()),
        error: None,
        waiting_for: None,
        state: "{}".into(),
        result_seq: seq,
        started_at: Timestamp(1),
        finished_at: seq.map(|_| Timestamp(2)),
    }
}

/// New values of a run that only move its status.
pub(crate) fn update(status: &str) -> RunUpdate {
    let ended = matches!(status, "SUCCESS" | "FAILED" | "TIMED_OUT" | "CANCELED");
    RunUpdate {
        status: status.into(),
        reason: None,
        output: None,
        error: None,
        state: r#"{"at":"greet"}"#.into(),
        started_at: None,
        finished_at: ended.then_some(Timestamp(9)),
    }
}

/// The start of a step as event `seq`.
pub(crate) fn begin(exec_id: &ExecId, seq: i64, key: &str) -> Changes {
    let mut step = step(key, "RUNNING", None);
    step.task_exec_id = format!("{exec_id}-{key}");
    let data = format!(r#"{{"step_key":"{key}","status":"RUNNING","attempt":1}}"#);
    Changes {
        journal: vec![event(seq, "task_start", &data)],
        steps: vec![step],
        at: Timestamp(seq),
        ..Changes::default()
    }
}

/// The end of a step and of its run as events `seq` and `seq + 1`.
pub(crate) fn finish(exec_id: &ExecId, seq: i64, key: &str) -> Changes {
    let mut step = step(key, "SUCCESS", Some(seq));
    step.task_exec_id = format!("{exec_id}-{key}");
    let data = format!(r#"{{"step_key":"{key}","status":"SUCCESS","attempt":1}}"#);
    let journal = vec![event(seq, "task_status", &data), event(seq + 1, "complete", r#"{"status":"SUCCESS"}"#)];
    let run = RunUpdate { output: Some(r#""done""#.into()), ..update("SUCCESS") };
    let attempt = Attempt {
        task_exec_id: format!("{exec_id}-{key}"),
        attempt: 1,
        node: "n".into(),
        epoch: 1,
        outcome: "SUCCESS".into(),
        error: None,
        started_at: Timestamp(1),
        finished_at: Timestamp(2),
    };
    let usage =
        Usage { step_key: key.into(), provider: "p".into(), model: "m".into(), prompt_tokens: 3, completion_tokens: 4 };
    Changes {
        run: Some(run),
        journal,
        steps: vec![step],
        attempts: vec![attempt],
        usage: vec![usage],
        at: Timestamp(seq),
        ..Changes::default()
    }
}
