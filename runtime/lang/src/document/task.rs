//! Tasks.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::plan::{RetryPolicy, Template, TemplateMode, Typed, ValueTemplate};
use crate::schema::Kind;
use crate::schema::task::{RETRY, TASK, TASK_CONFIG, TRANSITION, TYPES};
use crate::suggest;
use crate::yaml::Node;

use super::agent::AgentRef;
use super::fields::Fields;
use super::provider::Entry;
use super::reader::{Reader, SiteKind};
use super::tool::ToolRef;
use super::{Name, SchemaRef, Unsupported, item_path};

/// A basic task as written.
#[derive(Debug)]
pub(crate) struct Task {
    /// Id.
    pub(crate) id: Name,
    /// What it runs; `None`: nothing that could be read (reported).
    pub(crate) executor: Option<Executor>,
    pub(crate) with: Option<ValueTemplate>,
    pub(crate) input: Option<SchemaRef>,
    pub(crate) output: Option<SchemaRef>,
    pub(crate) outputs: Option<ValueTemplate>,
    pub(crate) env: BTreeMap<String, Template>,
    pub(crate) condition: Option<Template>,
    pub(crate) on_success: Transition,
    pub(crate) on_error: Option<Transition>,
    pub(crate) sleep: Option<Typed<Duration>>,
    pub(crate) is_final: Option<Typed<bool>>,
    pub(crate) timeout: Option<Typed<Duration>>,
    pub(crate) retry: Retry,
    /// Knowledge bases it is bound to.
    pub(crate) bindings: Vec<Name>,
    /// What it uses that is not part of this version.
    pub(crate) unsupported: Vec<Unsupported>,
    /// The map.
    pub(crate) node: Node,
}

/// What a basic task runs.
#[derive(Debug)]
pub(crate) enum Executor {
    /// A model.
    Prompt(Box<PromptExecutor>),
    /// A tool.
    Tool(ToolRef),
}

/// `prompt`, `agent`, `action` and `model_config` of a task.
#[derive(Debug)]
pub(crate) struct PromptExecutor {
    pub(crate) prompt: Option<Template>,
    pub(crate) agent: Option<AgentRef>,
    pub(crate) action: Option<Name>,
    pub(crate) model_config: Option<Entry>,
}

/// `on_success` or `on_error` as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transition {
    /// The next task's id, or a template of it.
    pub(crate) next: Option<NextRef>,
    /// Values laid over the next task's `with`.
    pub(crate) with: Option<ValueTemplate>,
}

/// A next task as written.
#[derive(Debug, Clone)]
pub(crate) enum NextRef {
    /// By id.
    Id(Name),
    /// By a template.
    Template(Template),
}

/// `retry_policy` as written: every part may be absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Retry {
    pub(crate) maximum_attempts: Option<u32>,
    pub(crate) initial_interval: Option<Duration>,
    pub(crate) backoff_coefficient: Option<f64>,
    pub(crate) maximum_interval: Option<Duration>,
    pub(crate) non_retryable_error_types: Option<Vec<String>>,
}

impl Retry {
    /// What is written here over what `under` says.
    pub(crate) fn over(&self, under: &Retry) -> Retry {
        Retry {
            maximum_attempts: self.maximum_attempts.or(under.maximum_attempts),
            initial_interval: self.initial_interval.or(under.initial_interval),
            backoff_coefficient: self.backoff_coefficient.or(under.backoff_coefficient),
            maximum_interval: self.maximum_interval.or(under.maximum_interval),
            non_retryable_error_types: self
                .non_retryable_error_types
                .clone()
                .or_else(|| under.non_retryable_error_types.clone()),
        }
    }

    /// With the defaults of dialect §4.4.
    pub(crate) fn policy(&self) -> RetryPolicy {
        let usual = RetryPolicy::default();
        let initial_interval = self.initial_interval.unwrap_or(usual.initial_interval);
        RetryPolicy {
            maximum_attempts: self.maximum_attempts.unwrap_or(usual.maximum_attempts),
            initial_interval,
            backoff_coefficient: self.backoff_coefficient.unwrap_or(usual.backoff_coefficient),
            maximum_interval: self.maximum_interval.unwrap_or(usual.maximum_interval).max(initial_interval),
            non_retryable_error_types: self.non_retryable_error_types.clone().unwrap_or_default(),
        }
    }
}

impl Reader<'_> {
    /// Tasks of a list; those of types that this version does not have are reported and left out.
    pub(crate) fn task_list(&mut self, node: &Node, path: &str) -> Vec<Task> {
        let mut tasks = Vec::new();
        for (index, node) in super::scalar::one_or_many(node).iter().enumerate() {
            tasks.extend(self.task(node, &item_path(path, node, index), index));
        }
        tasks
    }

    fn task(&mut self, node: &Node, path: &str, index: usize) -> Option<Task> {
        let kind = self.task_type(node, path)?;
        if kind != "basic" {
            self.check(node, &Kind::Map(&TASK), path);
            self.unsupported(&format!("{kind} tasks"), node.place());
            return None;
        }
        let fields = self.fields_of(node, &TASK, path, Some(kind))?;
        let id = self.name(&fields, "id");
        if fields.get("id").is_none() {
            self.report(node.diagnostic("CZ0302", format!("task #{} has no id", index + 1)).path(path).help("add it"));
        }
        // A task without an id is read for what else is wrong with it, and then left out.
        let has_id = id.is_some();
        let id = id.unwrap_or_else(|| Name { text: format!("#{}", index + 1), place: node.place(), length: 1 });
        let task = self.at(SiteKind::Task, |reader| reader.basic(&fields, id));
        has_id.then_some(task)
    }

    /// The task's type, checked.
    fn task_type(&mut self, node: &Node, path: &str) -> Option<&'static str> {
        let Some(entries) = node.entries() else {
            self.expected(node, path, "a map");
            return None;
        };
        let Some(kind) = node.get("type").filter(|kind| !kind.is_null()) else {
            // A key that only another type has means a forgotten type.
            for (key, meant) in [
                ("routes", "router"),
                ("tasks", "composite"),
                ("items", "collection"),
                ("wait_for", "wait"),
                ("operation", "memory"),
            ] {
                if let Some(entry) = entries.iter().find(|entry| &*entry.key == key) {
                    let message = format!("'{key}' belongs to {meant} tasks");
                    let place = entry.value.place_of(entry.key_span);
                    let problem = crate::diagnostic::Diagnostic::error("CZ0304", message, place)
                        .length(crate::source::narrow(key.len()));
                    self.report(problem.path(path).help(format!("add type: {meant}")));
                    return None;
                }
            }
            return Some("basic");
        };
        let text = self.text_of(kind, &format!("{path}.type"))?;
        let known = TYPES.iter().copied().find(|known| known.eq_ignore_ascii_case(&text));
        if known.is_none() {
            let near = suggest::nearest(&text, TYPES.iter().copied())
                .map(|near| format!(". Did you mean '{near}'?"))
                .unwrap_or_default();
            let problem = kind.diagnostic("CZ0303", format!("task type '{text}' does not exist{near}"));
            self.report(problem.path(path).help(format!("types: {}", TYPES.join(", "))));
        }
        known
    }

    fn basic(&mut self, fields: &Fields<'_>, id: Name) -> Task {
        let config = fields.get("config").and_then(|node| self.fields(node, &TASK_CONFIG, &fields.at("config")));
        let config = config.as_ref();
        let outputs = self.task_outputs(fields);
        let (output, output_is_outputs) = self.task_output(fields);
        let mut unsupported =
            self.unsupported_keys(fields, &["tools", "mcps", "memory", "attachments"], &["knowledge"]);
        let condition = self.condition(fields, &mut unsupported);
        Task {
            executor: self.executor(fields, &id),
            with: self.at(SiteKind::With, |reader| reader.field_templates(fields, "with")),
            input: self.schema(fields, "input"),
            output,
            outputs: outputs.or(output_is_outputs),
            env: self.env(&[Some(fields), config]),
            condition,
            on_success: self.on_success(fields),
            on_error: self.on_error(fields).or_else(|| self.on_error(config?)),
            sleep: self.typed_duration(fields, "sleep"),
            is_final: self.is_final(fields),
            timeout: self.typed_duration(fields, "timeout").or_else(|| self.typed_duration(config?, "timeout")),
            retry: self.retry(&[Some(fields), config]),
            bindings: self.bindings(fields),
            unsupported,
            node: fields.node.clone(),
            id,
        }
    }

    /// `env` of several maps, the first wins.
    pub(crate) fn env(&mut self, all: &[Option<&Fields<'_>>]) -> BTreeMap<String, Template> {
        let mut found = BTreeMap::new();
        for fields in all.iter().copied().flatten() {
            let Some(node) = fields.get("env") else { continue };
            for (name, template) in self.template_map(node, &fields.at("env")) {
                found.entry(name).or_insert(template);
            }
        }
        found
    }

    fn field_templates(&mut self, fields: &Fields<'_>, name: &str) -> Option<ValueTemplate> {
        let node = fields.get(name)?;
        Some(self.templates(node, &fields.at(name), TemplateMode::Value))
    }

    fn task_outputs(&mut self, fields: &Fields<'_>) -> Option<ValueTemplate> {
        self.at(SiteKind::Output, |reader| reader.field_templates(fields, "outputs"))
    }

    /// `output`: a schema, or a map of templates that is meant as `outputs`.
    fn task_output(&mut self, fields: &Fields<'_>) -> (Option<SchemaRef>, Option<ValueTemplate>) {
        let Some(node) = fields.get("output") else { return (None, None) };
        if !holds_template(node) {
            return (self.schema(fields, "output"), None);
        }
        let message = format!("'{}' holds templates and is read as 'outputs'", fields.at("output"));
        self.report(fields.diagnostic("output", "CZ0107", message).severity(crate::diagnostic::Severity::Note));
        if let (Some(first), Some(second)) = (fields.entry("outputs"), fields.entry("output")) {
            self.second_spelling(first, second);
            return (None, None);
        }
        (None, self.at(SiteKind::Output, |reader| reader.field_templates(fields, "output")))
    }

    /// A templated condition; CEL is not part of this version.
    fn condition(&mut self, fields: &Fields<'_>, unsupported: &mut Vec<Unsupported>) -> Option<Template> {
        let node = fields.get("condition")?;
        let is_template = node.scalar().is_some_and(|scalar| scalar.text.contains("{{"));
        if node.scalar().is_some() && !is_template {
            unsupported.push(Unsupported { what: "CEL in condition".into(), place: node.place(), is_warning: false });
            return None;
        }
        self.template(node, &fields.at("condition"), TemplateMode::Guard)
    }

    fn is_final(&mut self, fields: &Fields<'_>) -> Option<Typed<bool>> {
        let node = fields.get("final")?;
        let path = fields.at("final");
        self.at(SiteKind::Output, |reader| {
            reader.typed(node, &path, TemplateMode::Guard, |reader, node| reader.bool_of(node, &path))
        })
    }

    fn typed_duration(&mut self, fields: &Fields<'_>, name: &str) -> Option<Typed<Duration>> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        self.typed(node, &path, TemplateMode::Text, |reader, node| {
            reader.duration_of(node, &path, crate::duration::Bare::Refused)
        })
    }

    fn on_success(&mut self, fields: &Fields<'_>) -> Transition {
        self.at(SiteKind::Output, |reader| {
            let mut transition = reader.transition(fields, "on_success").unwrap_or_default();
            if let Some(node) = fields.get("next") {
                let short = reader.next(node, &fields.at("next"));
                match (&transition.next, fields.entry("on_success"), fields.entry("next")) {
                    (Some(_), Some(first), Some(second)) => {
                        let target = first.value.get("next").unwrap_or(&first.value);
                        let first = crate::yaml::Entry { value: target.clone(), ..first.clone() };
                        reader.second_spelling(&first, second);
                    }
                    _ => transition.next = short,
                }
            }
            transition
        })
    }

    /// `on_error` of a task or of a `config`.
    pub(crate) fn on_error(&mut self, fields: &Fields<'_>) -> Option<Transition> {
        self.at(SiteKind::Error, |reader| reader.transition(fields, "on_error"))
    }

    fn transition(&mut self, fields: &Fields<'_>, name: &str) -> Option<Transition> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        if node.scalar().is_some() {
            return Some(Transition { next: self.next(node, &path), with: None });
        }
        let inner = self.fields(node, &TRANSITION, &path)?;
        Some(Transition {
            next: inner.get("next").and_then(|node| self.next(node, &inner.at("next"))),
            with: self.field_templates(&inner, "with"),
        })
    }

    fn next(&mut self, node: &Node, path: &str) -> Option<NextRef> {
        if node.scalar().is_some_and(|scalar| scalar.text.contains("{{")) {
            return self.template(node, path, TemplateMode::Text).map(NextRef::Template);
        }
        self.name_of(node, path).filter(|name| !name.text.is_empty()).map(NextRef::Id)
    }

    /// `retry_policy` and `retries` of several maps, the first wins.
    pub(crate) fn retry(&mut self, all: &[Option<&Fields<'_>>]) -> Retry {
        let mut found = Retry::default();
        for fields in all.iter().copied().flatten() {
            let one = self.one_retry(fields);
            found = found.over(&one);
        }
        found
    }

    fn one_retry(&mut self, fields: &Fields<'_>) -> Retry {
        let mut retry = Retry::default();
        if let Some(policy) =
            fields.get("retry_policy").and_then(|node| self.fields(node, &RETRY, &fields.at("retry_policy")))
        {
            retry.maximum_attempts = self.number(&policy, "maximum_attempts");
            retry.initial_interval = self.duration(&policy, "initial_interval");
            retry.maximum_interval = self.duration(&policy, "maximum_interval");
            retry.backoff_coefficient = self.backoff(&policy);
            if policy.get("non_retryable_error_types").is_some() {
                retry.non_retryable_error_types = Some(self.texts(&policy, "non_retryable_error_types"));
            }
            if let (Some(first), Some(second)) = (policy.entry("maximum_attempts"), fields.entry("retries")) {
                self.second_spelling(first, second);
                return retry;
            }
        }
        if let Some(retries) = self.number(fields, "retries") {
            retry.maximum_attempts = Some(retries.saturating_add(1));
        }
        retry
    }

    fn backoff(&mut self, policy: &Fields<'_>) -> Option<f64> {
        let node = policy.get("backoff_coefficient")?;
        let path = policy.at("backoff_coefficient");
        let value = self.float_of(node, &path)?;
        if !(1.0..=1000.0).contains(&value) {
            self.expected(node, &path, "a number from 1 to 1000");
            return None;
        }
        Some(value)
    }

    fn executor(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Executor> {
        let prompts = ["agent", "prompt", "action", "model_config"];
        if let Some(tool) = fields.get("tool") {
            if let Some(other) = prompts.iter().copied().find(|name| fields.get(name).is_some()) {
                let message = format!("'tool' cannot be combined with '{other}'");
                let problem =
                    fields.diagnostic(other, "CZ0306", message).related(fields.place("tool"), "'tool' is here");
                self.report(problem.help("make it two tasks"));
            }
            return self.tool_ref(tool, &fields.at("tool")).map(Executor::Tool);
        }
        if fields.get("prompt").is_none() && fields.get("agent").is_none() {
            let problem = id.diagnostic("CZ0305", format!("task '{}' has nothing to run", id.text));
            self.report(problem.path(&fields.path).help("write one of prompt, agent, tool"));
            return None;
        }
        Some(Executor::Prompt(Box::new(PromptExecutor {
            prompt: fields.get("prompt").and_then(|node| self.template(node, &fields.at("prompt"), TemplateMode::Text)),
            agent: fields.get("agent").and_then(|node| self.agent_ref(node, &fields.at("agent"))),
            action: self.name(fields, "action"),
            model_config: fields.get("model_config").and_then(|node| self.provider(node, &fields.at("model_config"))),
        })))
    }
}

/// Whether some scalar of a value holds a template.
pub(crate) fn holds_template(node: &Node) -> bool {
    match &node.value {
        crate::yaml::Value::Scalar(scalar) => scalar.text.contains("{{"),
        crate::yaml::Value::List(items) => items.iter().any(holds_template),
        crate::yaml::Value::Map(entries) => entries.iter().any(|entry| holds_template(&entry.value)),
    }
}
