//! What the task types other than basic hold: containers, routers, waits, signals, memory and sub-workflows.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Task, TaskIndex, Template, Typed, ValueTemplate};
use crate::source::Place;

/// A condition: CEL, or a template when the text holds an action (dialect §5.7, §7).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expression {
    /// A CEL expression, compiled once at load to find errors (CZ0409).
    Cel(Cel),
    /// A template; where truth is asked its text is read as truth.
    Template(Template),
}

/// A CEL expression.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Cel {
    /// The text.
    pub source: String,
    /// Root variables and members it refers to, so that an evaluation is sent only those.
    pub references: Vec<super::Reference>,
    /// Where it is written.
    pub place: Place,
}

/// `type: router`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Router {
    /// Gives the route key.
    pub condition: Expression,
    /// Route keys in the order written; the key `default` catches the rest.
    pub routes: Vec<(String, Route)>,
}

/// Where a route leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Route {
    /// To a task of the same list. An inline task stands in the list right after its router, marked as targeted, so
    /// that fall-through from it goes on from the router's place.
    Task(TaskIndex),
    /// Nowhere: the list ends.
    End,
}

/// When a parallel task or a collection ends, and how (dialect §5.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// All ended; FAILED if any failed.
    #[default]
    WaitAll,
    /// The first failure; the rest are canceled.
    FailFast,
    /// All ended; SUCCESS if at least one succeeded.
    BestEffort,
    /// The first success; the rest are canceled.
    Race,
}

/// `type: parallel`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Parallel {
    /// Children, started in this order.
    pub tasks: Vec<Task>,
    /// When it ends.
    pub strategy: Strategy,
    /// Most children at once; `None` or 0: `limits.max_parallel`.
    pub max_workers: Option<Typed<u32>>,
}

/// `type: collection`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Collection {
    /// What is iterated (dialect §5.5).
    pub items: ValueTemplate,
    /// Drops items; a guard template over `.item`, `.index` and the further names.
    pub filter: Option<Template>,
    /// Another name of `.item`.
    pub item_var: Option<String>,
    /// Another name of `.index`.
    pub index_var: Option<String>,
    /// One at a time, in index order.
    pub sequential: bool,
    /// Wave size; `None` or 0: one wave.
    pub batch: Option<Typed<u32>>,
    /// Most children at once; `None` or 0: `limits.max_parallel`.
    pub max_workers: Option<Typed<u32>>,
    /// When it ends.
    pub strategy: Strategy,
    /// The child made for every item; `tasks: […]` is a composite here.
    pub child: Box<Task>,
    /// Template of the child's id; `None`: `<id of child or collection>-<index>`.
    pub child_id: Option<Template>,
}

/// `type: composite`, and any list of tasks that follow each other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Composite {
    /// The list; the first is where it begins.
    pub tasks: Vec<Task>,
    /// It follows only written transitions.
    pub explicit: bool,
}

/// `type: wait`. Its time limit is the task's `timeout`; `None` there is `timeout: none`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Wait {
    /// Name of the signal.
    pub wait_for: Template,
    /// Over `.signal` and `.processor`; a signal for which it is false is discarded.
    pub condition: Option<Expression>,
    /// Run once for each signal, before the condition.
    pub processor: Option<Box<Task>>,
    /// Where a timeout leads.
    pub on_timeout: Option<super::Next>,
}

/// `type: signal`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Signal {
    /// Name of the signal.
    pub name: Template,
    /// What it carries; absent: null.
    pub payload: Option<ValueTemplate>,
    /// The one run it is for; absent: every waiting run and every signal trigger of the project.
    pub target: Option<Template>,
}

/// `type: memory` (dialect §13.1).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Memory {
    /// What is done.
    pub operation: MemoryOperation,
    /// Id of the memory resource.
    pub memory: String,
    /// Key within it; absent: the resource's default.
    pub key: Option<Template>,
    /// Messages of `write` and `append`.
    pub payload: Option<ValueTemplate>,
    /// `clear_config.confirm`, `clear_config.backup`, `flush_config.dry_run`, … as written, after interpolation.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// An operation of a memory task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "named as in the YAML")]
pub enum MemoryOperation {
    Read,
    Write,
    Append,
    Delete,
    Clear,
    Flush,
    Stats,
    Health,
}

/// `type: workflow`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct SubWorkflow {
    /// Id of the workflow; its definition is pinned by digest when the sub-run starts.
    pub workflow: String,
    /// Wait for its end; otherwise the task ends once the run is recorded.
    pub wait: bool,
}

/// What starts runs of a workflow by itself (dialect §13.2).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::large_enum_variant, reason = "a workflow holds few triggers")]
pub enum Trigger {
    /// A signal of this name; its payload is the input.
    Signal {
        /// Name.
        name: String,
        /// JSON Schema of the payload (CZ0905).
        schema: Option<serde_json::Value>,
    },
    /// `POST /api/v0/hooks/{slug}`.
    Webhook(Webhook),
}

/// A webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Webhook {
    /// Last segment of its path, unique in the project (CZ0903).
    pub slug: String,
    /// POST, PUT or PATCH.
    pub method: String,
    /// How a delivery proves where it comes from.
    pub verify: Option<Verify>,
    /// Deliveries of one key within the time start one run; `None`: each delivery stands for itself.
    pub dedupe: Option<Dedupe>,
    /// The first whose filter is true starts the workflow.
    pub events: Vec<WebhookEvent>,
}

/// How a delivery is verified.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verify {
    /// Scheme of the signature.
    pub strategy: VerifyStrategy,
    /// The shared secret, with its variables still open.
    pub secret: Template,
    /// Header that holds the signature.
    pub header: Option<String>,
    /// Largest age of a signed time.
    pub skew: Duration,
}

/// A scheme of signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerifyStrategy {
    /// HMAC-SHA-256 of the raw body, in hexadecimal.
    Hmac,
    /// `Stripe-Signature: t=…,v1=…` over `<t>.<body>`.
    Stripe,
    /// `X-Hub-Signature-256: sha256=…`.
    Github,
}

/// `dedupe` of a webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Dedupe {
    /// How long a key is remembered.
    pub ttl: Duration,
    /// Template of the key over `payload`, `headers` and `query`; absent or empty: the sender's idempotency key.
    pub key: Option<Template>,
    /// A delivery that has no key is known by its body. So it is where deliveries are verified, since a signed body that
    /// comes again is a repeat, and where `dedupe` is written.
    pub by_body: bool,
}

/// One event of a webhook.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WebhookEvent {
    /// Name, in one namespace with the signals (CZ0908).
    pub name: String,
    /// True: this event.
    pub filter: Cel,
    /// The run's input, over `.payload`, `.headers` and `.query`.
    pub input: ValueTemplate,
    /// JSON Schema of the input.
    pub schema: Option<serde_json::Value>,
}

/// A schedule of a workflow.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Schedule {
    /// Unique within the project: `<workflow>` or `<workflow>/<n>`.
    pub id: String,
    /// As written, checked (CZ0901).
    pub cron: String,
    /// IANA name, checked (CZ0902).
    pub timezone: String,
    /// Switched on.
    pub enabled: bool,
    /// Random delay of each fire, drawn from the fire's own time.
    pub jitter: Duration,
    /// Not before.
    pub start_at: Option<i64>,
    /// Not after.
    pub end_at: Option<i64>,
    /// Input of the runs.
    pub input: serde_json::Value,
    /// What happens while the former run still runs.
    pub overlap: Overlap,
    /// After downtime the latest time missed within this span runs once.
    pub catch_up: Duration,
}

/// `overlap_policy` of a schedule.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// The fire is left out.
    #[default]
    Skip,
    /// Both run.
    Allow,
    /// One fire waits for the end of the former run.
    BufferOne,
    /// The former run is canceled.
    CancelOther,
}
