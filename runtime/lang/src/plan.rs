//! What will happen: the checked, immutable result of loading a project.
//!
//! A [`Project`] is what this process knows; a [`Workflow`] is what one run is pinned to. A workflow is serialised
//! whole into the database when a run starts, so a run keeps the definitions it began with. Environment variables are
//! therefore kept as references ([`Segment::Variable`]) and never as values: no secret reaches the database, and a
//! variable that is missing matters only when it is used.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::source::Place;

mod concurrency;
mod definitions;
mod flow;
pub mod memory;
mod tools;

pub use concurrency::{Concurrency, KeyPart};
pub use definitions::{
    Access, Grant, KnowledgeDefinition, KnowledgeKind, ModelGrant, NamedDatabase, Permissions, Plugin, PluginKind,
    PluginLimits, ProjectFacts, Provider,
};
pub use flow::{
    Cel, Collection, Composite, Dedupe, Expression, Memory, MemoryOperation, Overlap, Parallel, Route, Router,
    Schedule, Signal, Strategy, SubWorkflow, Trigger, Verify, VerifyStrategy, Wait, Webhook, WebhookEvent,
};
pub use memory::{Flushing, FlushingKind, MemoryBinding, MemoryDefinition, MemoryKind, Privacy};
pub use tools::{JS_ENGINE, Script, Tool, ToolCall, ToolGuards, Toolbox};

/// Everything `compozy.yaml` and its workflow files define, linked and checked.
#[derive(Debug, Clone)]
pub struct Project {
    /// `name`, or the name of the project folder.
    pub name: String,
    /// `version` as written, or empty.
    pub version: String,
    /// `description`, or empty.
    pub description: String,
    /// Folder of the config file; every relative path resolves against it.
    pub root: std::path::PathBuf,
    /// The config file, absolute.
    pub config_file: std::path::PathBuf,
    /// Settings of `database`, `server`, `monitoring`, `runtime`, `limits` and so on.
    pub settings: crate::settings::Settings,
    /// Workflows by id.
    pub workflows: BTreeMap<String, Arc<Workflow>>,
    /// LLM providers in the order written.
    pub providers: Vec<Provider>,
    /// Plugins in the order written, the implicit `builtin:` ones not among them.
    pub plugins: Vec<Plugin>,
    /// Databases that plugins may be granted.
    pub databases: Vec<NamedDatabase>,
    /// Vector databases, embedders and knowledge bases as written, in that order.
    pub knowledge: Vec<KnowledgeDefinition>,
    /// Memories in the order written.
    pub memories: Vec<MemoryDefinition>,
    /// SHA-256 (hex) over all loaded definitions, the `definitions_digest` of the API.
    pub digest: String,
}

/// One workflow, self-contained: what a run is pinned to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Workflow {
    /// Id, unique in the project.
    pub id: String,
    /// `name`, or empty.
    pub name: String,
    /// `version`, or empty.
    pub version: String,
    /// `description`, or empty.
    pub description: String,
    /// File it was read from, relative to the project folder.
    pub file: String,
    /// JSON Schema of the input; defaults are filled in before it is checked.
    pub input_schema: Option<Value>,
    /// JSON Schema of the run's output (`output: {schema: …}`).
    pub output_schema: Option<Value>,
    /// Limit of the whole run.
    pub timeout: Option<Duration>,
    /// Tasks of the outermost list; the first is the entry point.
    pub tasks: Vec<Task>,
    /// Whether the outermost list follows only written transitions.
    pub explicit: bool,
    /// Templates of the run's output; `None`: the output of the last task that ran.
    pub outputs: Option<ValueTemplate>,
    /// `.env` names declared by project and workflow `env:` maps, narrowest wins.
    pub env: BTreeMap<String, Template>,
    /// `.project` of templates.
    pub project: ProjectFacts,
    /// Limits that the engine enforces.
    pub limits: Limits,
    /// `config.durability`; `None`: that of the database.
    #[serde(default)]
    pub durability: Option<crate::settings::Durability>,
    /// `config.concurrency`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<Concurrency>,
    /// Tools the tasks refer to, by id.
    pub tools: BTreeMap<String, Tool>,
    /// Memories the tasks refer to, by id.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub memories: BTreeMap<String, MemoryDefinition>,
    /// What starts runs by itself.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub triggers: Vec<Trigger>,
    /// When runs start by themselves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<Schedule>,
    /// SHA-256 (hex) of the canonical JSON of this workflow with this field empty.
    pub digest: String,
}

/// Limits that the engine enforces (dialect §14).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Most task executions of one run (CZ0311).
    pub max_task_executions: u64,
    /// Most bytes of the run's input (JSON text).
    pub max_input_bytes: u64,
    /// Most bytes of one task's output (JSON text).
    pub max_output_bytes: u64,
    /// Most items of a collection (CZ0314).
    #[serde(default = "many")]
    pub max_collection_items: u64,
    /// Most children of a container at once.
    #[serde(default = "hundred")]
    pub max_parallel: u32,
    /// Most steps of one CEL expression (CZ0410).
    #[serde(default = "many")]
    pub max_cel_cost: u64,
    /// Limits of one template render.
    pub template: TemplateLimits,
}

/// Limits of one template render (dialect §6.8).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct TemplateLimits {
    /// Bytes of source.
    pub max_source_bytes: u32,
    /// Nesting of blocks, parentheses, template calls.
    pub max_depth: u32,
    /// Evaluation steps.
    pub max_steps: u64,
    /// Bytes of output and of every intermediate value.
    pub max_output_bytes: u64,
}

impl Default for TemplateLimits {
    fn default() -> Self {
        Self { max_source_bytes: 256 << 10, max_depth: 64, max_steps: 1_000_000, max_output_bytes: 4 << 20 }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_task_executions: 10_000,
            max_input_bytes: 1 << 20,
            max_output_bytes: 10 << 20,
            max_collection_items: many(),
            max_parallel: hundred(),
            max_cel_cost: many(),
            template: TemplateLimits::default(),
        }
    }
}

/// Default of limits that definitions stored by an earlier version do not name.
fn many() -> u64 {
    10_000
}

/// As [`many`].
fn hundred() -> u32 {
    100
}

/// Position of a task in its list.
pub type TaskIndex = usize;

/// One task of a list.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Task {
    /// Id, unique among siblings.
    pub id: String,
    /// What it does.
    pub kind: TaskKind,
    /// Templates of the task's `with`; rendered first, part of `.input`.
    pub with: Option<ValueTemplate>,
    /// JSON Schema of the rendered `with` (CZ0208).
    pub input_schema: Option<Value>,
    /// JSON Schema of the final output (CZ0319; for prompts CZ0508).
    pub output_schema: Option<Value>,
    /// Templates over `.output`; the rendered value replaces the task's output.
    pub outputs: Option<ValueTemplate>,
    /// More `.env` names.
    pub env: BTreeMap<String, Template>,
    /// CEL, or a template read as truth; false: skipped with output null. Routers and waits have their own.
    pub condition: Option<Expression>,
    /// `on_success`.
    pub on_success: Transition,
    /// `on_error`, defaults of workflow and project already folded in.
    pub on_error: Transition,
    /// A durable pause after success, before the transition.
    pub sleep: Option<Typed<Duration>>,
    /// True ends the list after this task.
    pub is_final: Option<Typed<bool>>,
    /// Limit of one attempt; `None`: the default of what it calls.
    pub timeout: Option<Typed<Duration>>,
    /// How failures are tried again, defaults folded in.
    pub retry: RetryPolicy,
    /// Some other task names it as a target, so fall-through skips it.
    pub targeted: bool,
    /// Where it is written.
    pub place: Place,
}

/// What a task does.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TaskKind {
    /// Asks a model.
    Prompt(Prompt),
    /// Calls a tool plugin.
    Tool(ToolCall),
    /// Chooses the next task.
    Router(Router),
    /// Children at once.
    Parallel(Parallel),
    /// A child for every item.
    Collection(Collection),
    /// Children one after the other.
    Composite(Composite),
    /// Only renders `outputs`.
    Aggregate,
    /// Waits for a signal.
    Wait(Wait),
    /// Sends a signal.
    Signal(Signal),
    /// Reads or changes a memory.
    Memory(Memory),
    /// Runs another workflow.
    Workflow(SubWorkflow),
}

impl Task {
    /// The tasks right inside this one, in the order written: a container's children, a collection's child, a wait's
    /// processor. An address in a plan is a path of positions in these lists.
    #[must_use]
    pub fn children(&self) -> &[Task] {
        match &self.kind {
            TaskKind::Parallel(parallel) => &parallel.tasks,
            TaskKind::Composite(composite) => &composite.tasks,
            TaskKind::Collection(collection) => std::slice::from_ref(&*collection.child),
            TaskKind::Wait(wait) => wait.processor.as_deref().map_or(&[], std::slice::from_ref),
            TaskKind::Prompt(_)
            | TaskKind::Tool(_)
            | TaskKind::Router(_)
            | TaskKind::Aggregate
            | TaskKind::Signal(_)
            | TaskKind::Memory(_)
            | TaskKind::Workflow(_) => &[],
        }
    }

    /// As [`Task::children`], to be changed.
    pub fn children_mut(&mut self) -> &mut [Task] {
        match &mut self.kind {
            TaskKind::Parallel(parallel) => &mut parallel.tasks,
            TaskKind::Composite(composite) => &mut composite.tasks,
            TaskKind::Collection(collection) => std::slice::from_mut(&mut *collection.child),
            TaskKind::Wait(wait) => wait.processor.as_deref_mut().map_or(&mut [], std::slice::from_mut),
            TaskKind::Prompt(_)
            | TaskKind::Tool(_)
            | TaskKind::Router(_)
            | TaskKind::Aggregate
            | TaskKind::Signal(_)
            | TaskKind::Memory(_)
            | TaskKind::Workflow(_) => &mut [],
        }
    }

    /// The word of its `type`.
    #[must_use]
    pub fn kind_word(&self) -> &'static str {
        match &self.kind {
            TaskKind::Prompt(_) | TaskKind::Tool(_) => "basic",
            TaskKind::Router(_) => "router",
            TaskKind::Parallel(_) => "parallel",
            TaskKind::Collection(_) => "collection",
            TaskKind::Composite(_) => "composite",
            TaskKind::Aggregate => "aggregate",
            TaskKind::Wait(_) => "wait",
            TaskKind::Signal(_) => "signal",
            TaskKind::Memory(_) => "memory",
            TaskKind::Workflow(_) => "workflow",
        }
    }
}

impl Workflow {
    /// The task at `address`: positions in [`Workflow::tasks`] and then in each [`Task::children`].
    #[must_use]
    pub fn task(&self, address: &[TaskIndex]) -> Option<&Task> {
        let (first, rest) = address.split_first()?;
        rest.iter().try_fold(self.tasks.get(*first)?, |task, index| task.children().get(*index))
    }
}

/// A model call.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Prompt {
    /// The user message.
    pub prompt: Template,
    /// The system message (an agent's `instructions`).
    pub instructions: Option<Template>,
    /// Id of the provider entry; `None`: the default one at run time.
    pub provider: Option<String>,
    /// Model, where the task or agent names one.
    pub model: Option<String>,
    /// Sampling settings laid over the provider entry's, a JSON object.
    pub params: serde_json::Map<String, Value>,
    /// Memories that stand before the prompt, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<MemoryBinding>,
    /// Tools the model may call.
    #[serde(default, skip_serializing_if = "Toolbox::is_empty")]
    pub toolbox: Toolbox,
}

/// `on_success` or `on_error`.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Transition {
    /// The next task.
    pub next: Option<Next>,
    /// Values laid over the next task's rendered `with`.
    pub with: Option<ValueTemplate>,
}

/// Where a transition leads.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// A task of the same list.
    Task(TaskIndex),
    /// A template that gives a task id; empty or null: absent.
    Template(Template),
}

/// `retry_policy` (dialect §4.4).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub maximum_attempts: u32,
    /// Wait before the second attempt.
    pub initial_interval: Duration,
    /// Factor from wait to wait.
    pub backoff_coefficient: f64,
    /// Longest wait.
    pub maximum_interval: Duration,
    /// Codes or kinds never retried.
    pub non_retryable_error_types: Vec<String>,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            maximum_attempts: 3,
            initial_interval: Duration::from_secs(1),
            backoff_coefficient: 2.0,
            maximum_interval: Duration::from_secs(60),
            non_retryable_error_types: Vec::new(),
        }
    }
}

/// A typed field that is either fixed or a template.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Typed<T> {
    /// Known at load.
    Fixed(T),
    /// Rendered per execution and converted; failure is CZ0110.
    Template(Template),
}

/// A scalar of YAML with its `${VAR}` references still open, which may hold template actions.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Template {
    /// The pieces in order.
    pub segments: Vec<Segment>,
    /// It holds at least one action. Otherwise it is plain text.
    pub is_template: bool,
    /// Variables it refers to, as the template plugin named them at load.
    pub references: Vec<Reference>,
    /// Always text, or a typed value.
    pub mode: TemplateMode,
    /// Written as a plain scalar: without an action its filled-in text is typed by the rules of YAML
    /// ([`Template::value_of_plain`]).
    #[serde(default)]
    pub plain: bool,
    /// Where the scalar is written.
    pub place: Place,
    /// Which checks of [`crate::load::Draft::template_sources`] tell `is_template` and `references`.
    #[serde(skip)]
    pub checks: Vec<usize>,
}

/// How a template's result is read (dialect §6.4).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateMode {
    /// Always text.
    #[default]
    Text,
    /// A typed value.
    Value,
    /// A typed value, missing is null (a whole guard expression: `condition`, `final`, `filter`).
    Guard,
    /// A typed value; outputs of tasks that have not run are null (workflow `outputs`).
    Outputs,
}

/// A piece of an interpolated scalar.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Segment {
    /// Text the author wrote.
    Literal(String),
    /// `${NAME}` or `${NAME:-default}`.
    Variable {
        /// Name of the environment variable.
        name: String,
        /// What stands after `:-`, itself interpolated.
        default: Option<Vec<Segment>>,
        /// Where it is written.
        place: Place,
    },
}

/// A variable a template refers to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    /// Segments after the leading dot; empty: the whole context.
    pub path: Vec<String>,
    /// Everything below `path` may be read.
    pub whole: bool,
}

/// A YAML value whose scalars may be templates (`with`, `outputs`).
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueTemplate {
    /// A value without templates or variables.
    Fixed(Value),
    /// A scalar to fill in.
    Template(Template),
    /// A list.
    List(Vec<ValueTemplate>),
    /// A map in the order written.
    Map(Vec<(String, ValueTemplate)>),
}
