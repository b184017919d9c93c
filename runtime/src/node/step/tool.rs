//! Tool tasks: one call of a plugin's function.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::json::{Json, MAX_DEPTH};
use compozy_lang::environment::ProjectEnvironment;
use compozy_lang::plan::{self, PluginKind, ToolCall};
use compozy_lang::schema_check;
use compozy_lang::source::Place;
use serde_json::{Map, Value};
use tokio::sync::OnceCell;

use super::{Attempt, Executor, Lost, Raw};
use crate::id::ExecId;
use crate::plugin::call::{Binding, CallContext, RunContext};
use crate::plugin::tool::{self, Description, Function};
use crate::plugin::{self, CallError, Grants, Host, Kind, Services};

/// The tool plugins of a project, loaded at their first use.
#[derive(Debug)]
pub struct Tools {
    host: Arc<Host>,
    services: Arc<Services>,
    root: PathBuf,
    environment: ProjectEnvironment,
    /// `runtime.tool_execution_timeout`.
    timeout: Duration,
    entries: Mutex<Arc<Entries>>,
}

/// The plugin entries of one revision of the project, with what has been loaded of them.
#[derive(Debug)]
struct Entries {
    plugins: BTreeMap<String, plan::Plugin>,
    loaded: Mutex<HashMap<String, Arc<OnceCell<Loaded>>>>,
    scripts: super::script::Bindings,
}

/// A plugin that is ready to be called.
#[derive(Debug)]
struct Loaded {
    binding: Binding,
    description: Description,
}

/// What of a tool is checked.
#[derive(Debug, Clone, Copy)]
pub(super) enum Side {
    /// What it takes (CZ0708).
    Input,
    /// What it gives (CZ0709).
    Output,
}

impl Tools {
    /// Tools of the project whose plugin entries are `plugins`.
    #[must_use]
    pub fn new(
        host: Arc<Host>,
        services: Arc<Services>,
        environment: ProjectEnvironment,
        project: &plan::Project,
        timeout: Duration,
    ) -> Self {
        let entries = Mutex::new(Arc::new(Entries::new(project)));
        Self { host, services, root: project.root.clone(), environment, timeout, entries }
    }

    /// Calls made from now on use the plugin entries of `project`.
    pub fn replace(&self, project: &plan::Project) {
        *self.entries.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(Entries::new(project));
    }

    /// Limit of a call where neither task nor tool has one.
    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// What is called for a tool, and what `read` takes from the plugin's description of the function.
    pub(super) async fn bind<F>(
        &self,
        tool: &plan::Tool,
        read: impl FnOnce(&Function) -> F,
    ) -> Result<(Binding, F), StepError> {
        let (cell, entries) = self.load(&tool.plugin).await?;
        let entries = &*entries;
        let Some(loaded) = cell.get() else {
            return Err(StepError::new("internal", ErrorKind::Internal, "a loaded plugin is gone"));
        };
        if let Some(script) = &tool.script {
            let function = function(plugin::script::RUN, tool, &loaded.description)?;
            let place = Place { file: script.main.as_str().into(), ..Place::default() };
            let grants = || {
                let grants = Grants::new(&script.permissions, &self.root, Arc::new(self.environment.clone()));
                grants.map_err(|error| load_error(&tool.id, &error, &place))
            };
            return Ok((entries.scripts.of(tool, script, &loaded.binding, grants)?, read(function)));
        }
        let function = chosen(tool, &loaded.description)?;
        let mut binding = loaded.binding.clone();
        if tool.config.as_object().is_some_and(|config| !config.is_empty()) {
            let plugin = entries.plugins.get(&tool.plugin).map_or(&Value::Null, |entry| &entry.config);
            binding.config = config_text(plugin, &tool.config).into();
        }
        Ok((binding, read(function)))
    }

    async fn load(&self, id: &str) -> Result<(Arc<OnceCell<Loaded>>, Arc<Entries>), StepError> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let cell =
            entries.loaded.lock().unwrap_or_else(PoisonError::into_inner).entry(id.to_owned()).or_default().clone();
        cell.get_or_try_init(|| Box::pin(self.load_entry(&entries, id))).await?;
        Ok((cell, entries))
    }

    async fn load_entry(&self, entries: &Entries, id: &str) -> Result<Loaded, StepError> {
        let entry = entries.entry(id)?;
        let failed = |error: plugin::Error| load_error(id, &error, &entry.place);
        let source = plugin::entry::source(&self.root, &entry).map_err(failed)?;
        let component = self.host.load(source, PluginKind::Tool).await.map_err(failed)?;
        plugin::entry::check_digest(&entry, component.digest()).map_err(failed)?;
        let grants = Grants::new(&entry.permissions, &self.root, Arc::new(self.environment.clone())).map_err(failed)?;
        let binding = Binding {
            plugin_id: id.into(),
            component,
            grants: Arc::new(grants),
            limits: entry.limits.clone(),
            config: config_text(&entry.config, &Value::Null).into(),
            services: self.services.clone(),
        };
        let description = tool::describe(&binding).await.map_err(call_error)?;
        Ok(Loaded { binding, description })
    }
}

impl Entries {
    fn new(project: &plan::Project) -> Self {
        let plugins = project.plugins.iter().map(|plugin| (plugin.id.clone(), plugin.clone())).collect();
        Self { plugins, loaded: Mutex::default(), scripts: super::script::Bindings::default() }
    }

    fn entry(&self, id: &str) -> Result<plan::Plugin, StepError> {
        if let Some(entry) = self.plugins.get(id) {
            return Ok(entry.clone());
        }
        if id.starts_with("builtin:") {
            return Ok(plan::Plugin::builtin(id, PluginKind::Tool, Place::default()));
        }
        Err(StepError::new("CZ0205", ErrorKind::Tool, format!("plugin '{id}' is not in the project any more")))
    }
}

/// The tool's `config` over the plugin's, key by key.
fn config_text(plugin: &Value, tool: &Value) -> String {
    let mut config: Map<String, Value> = plugin.as_object().cloned().unwrap_or_default();
    config.extend(tool.as_object().cloned().unwrap_or_default());
    Value::Object(config).to_string()
}

impl Executor {
    pub(super) async fn tool(&self, attempt: &Attempt<'_>, call: &ToolCall, with: &Value) -> Result<Raw, Lost> {
        let Some(tool) = attempt.plan.tools.get(&call.tool) else {
            let message = format!("tool '{}' is not in the plan", call.tool);
            return Err(StepError::new("CZ0205", ErrorKind::Internal, message).into());
        };
        if let Some(schema) = &tool.input_schema {
            self.check_tool(&attempt.plan.digest, (Side::Input, &call.tool), &tool.id, schema, with)?;
        }
        let timeout = self.timeout(attempt, with).await?.or(tool.timeout).unwrap_or(self.tools.timeout);
        let (binding, function) = self.tools.bind(tool, |function| function.name.clone()).await?;
        let ctx = CallContext {
            run: Some(attempt.run_context()),
            timeout,
            cancel: attempt.cancel.clone(),
            models: attempt.models.clone(),
        };
        let answer = tool::run(&binding, &ctx, &function, &with.to_string()).await.map_err(call_error)?;
        Ok(Raw::new(self.read_tool(attempt, &call.tool, tool, &answer)?))
    }

    /// What a tool answered, checked; `key` is the tool's in the plan.
    pub(super) fn read_tool(
        &self,
        attempt: &Attempt<'_>,
        key: &str,
        tool: &plan::Tool,
        answer: &str,
    ) -> Result<Json, StepError> {
        let output = read_answer(&tool.id, answer)?;
        if let Some(schema) = &tool.output_schema {
            self.check_tool(&attempt.plan.digest, (Side::Output, key), &tool.id, schema, &output.to_value())?;
        }
        Ok(output)
    }

    /// Checks what a tool takes or gives. `digest` is of what the schema is written in, and the tool's key in the plan
    /// names it there: two tools may have the same id.
    pub(super) fn check_tool(
        &self,
        digest: &str,
        (side, key): (Side, &str),
        id: &str,
        schema: &Value,
        value: &Value,
    ) -> Result<(), StepError> {
        let (what, code) = match side {
            Side::Input => ("input", "CZ0708"),
            Side::Output => ("output", "CZ0709"),
        };
        self.schemas.check(digest, &format!("{what} of tool {key}"), schema, value).map_err(|violations| {
            let violations = schema_check::describe(&violations);
            let message = format!("{what} of tool '{id}' does not match its schema: {violations}");
            StepError::new(code, ErrorKind::Schema, message)
        })
    }
}

impl Attempt<'_> {
    /// The run, and the seq of its last event: what is shown of a step stands behind it.
    pub(super) fn moment(&self) -> (ExecId, i64) {
        let state = self.state.read();
        (state.facts.exec_id.as_str().into(), state.last_seq)
    }

    /// What the plugin may know of the run.
    pub(super) fn run_context(&self) -> Arc<RunContext> {
        Arc::new(RunContext {
            exec_id: self.state.read().facts.exec_id.clone(),
            workflow_id: self.plan.id.clone(),
            step_path: self.step.key.path.clone(),
            attempt: self.step.attempt,
            idempotency_key: self.step.id.clone(),
        })
    }
}

/// Why a plugin could not be loaded, as the step's error.
fn load_error(id: &str, error: &plugin::Error, place: &Place) -> StepError {
    let mut wrong = StepError::new(error.code(), ErrorKind::Tool, format!("'{id}': {error}"));
    wrong.place = Some(place.to_string());
    wrong
}

/// `function`, else the only one, else the one named like the tool (dialect §10.3).
fn chosen<'d>(tool: &plan::Tool, description: &'d Description) -> Result<&'d Function, StepError> {
    let wanted = match (&tool.function, description.functions.as_slice()) {
        (Some(function), _) => function.as_str(),
        (None, [only]) => only.name.as_str(),
        (None, _) => &tool.id,
    };
    function(wanted, tool, description)
}

/// The function of this name.
fn function<'d>(wanted: &str, tool: &plan::Tool, description: &'d Description) -> Result<&'d Function, StepError> {
    if let Some(found) = description.functions.iter().find(|function| function.name == wanted) {
        return Ok(found);
    }
    let message =
        format!("'{}': no usable implementation: plugin '{}' has no function '{wanted}'", tool.id, tool.plugin);
    let names: Vec<&str> = description.functions.iter().map(|function| function.name.as_str()).collect();
    let mut error = StepError::new("CZ0701", ErrorKind::Tool, message);
    error.help = Some(format!("its functions are {}", names.join(", ")));
    Err(error)
}

/// The tool's object; another value becomes `{"value": …}`, nothing `{}`. `success: false` or a non-empty `error` is a
/// failure that the tool reports.
fn read_answer(tool: &str, answer: &str) -> Result<Json, StepError> {
    let json = Json::parse(answer).map_err(|error| {
        let message = format!("output of tool '{tool}' does not match its schema: it is not JSON: {error}");
        StepError::new("CZ0709", ErrorKind::Tool, message)
    })?;
    let depth = json.depth();
    if depth > MAX_DEPTH {
        let message =
            format!("'{tool}' exceeded its output limit: {depth} levels of lists and maps, {MAX_DEPTH} allowed");
        return Err(StepError::new("CZ0704", ErrorKind::Tool, message));
    }
    let text = json.as_str();
    if text == "null" {
        return Ok(Json::from_valid("{}"));
    }
    if !text.starts_with('{') {
        return Ok(Json::from_valid(format!("{{\"value\":{text}}}")));
    }
    // Most answers hold neither word; only the others are parsed.
    if text.contains("\"success\"") || text.contains("\"error\"") {
        reported_failure(tool, &json.to_value())?;
    }
    Ok(json)
}

fn reported_failure(tool: &str, answer: &Value) -> Result<(), StepError> {
    let unsuccessful = match answer.get("success") {
        Some(Value::Bool(success)) => !success,
        Some(Value::String(text)) => text == "false",
        _ => false,
    };
    let error = match answer.get("error") {
        None | Some(Value::Null | Value::Bool(false)) => None,
        Some(Value::String(text)) if text.is_empty() => None,
        Some(Value::String(text)) => Some(text.clone()),
        Some(Value::Object(members)) if members.is_empty() => None,
        Some(Value::Object(members)) if members.get("message").is_some_and(Value::is_string) => {
            members.get("message").and_then(Value::as_str).map(str::to_owned)
        }
        Some(other) => Some(other.to_string()),
    };
    if !unsuccessful && error.is_none() {
        return Ok(());
    }
    let text = error.unwrap_or_else(|| "success is false".to_owned());
    Err(StepError::new("CZ0320", ErrorKind::Tool, format!("tool '{tool}' reported failure: {text}")).retryable())
}

/// A failed call as the step's error.
pub(super) fn call_error(error: CallError) -> StepError {
    let kind = match error.kind {
        Kind::Deadline => ErrorKind::Timeout,
        Kind::Canceled => ErrorKind::Canceled,
        _ if error.code == "CZ0703" => ErrorKind::Permission,
        Kind::Host => ErrorKind::Internal,
        _ => ErrorKind::Tool,
    };
    let code = if error.kind == Kind::Deadline { "CZ0316".to_owned() } else { error.code };
    let mut step = StepError::new(code, kind, error.message);
    step.help = error.help;
    step.retryable = error.retryable || error.kind == Kind::Deadline;
    step.retry_after = error.retry_after;
    step.detail = error.trap.map(|trap| trap_text(&trap));
    step
}

/// Backtrace and the end of stderr, for the step's `detail`.
fn trap_text(trap: &plugin::TrapDetail) -> String {
    let mut text = format!("peak memory {} bytes", trap.peak_memory_bytes);
    for frame in &trap.backtrace {
        text.push_str("\n  at ");
        text.push_str(frame);
    }
    if !trap.stderr.is_empty() {
        text.push_str("\nstderr: ");
        text.push_str(&trap.stderr);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::read_answer;

    #[test]
    fn answers_become_objects_or_failures() {
        for (answer, expected) in [
            (r#" {"a":1} "#, Ok(r#"{"a":1}"#)),
            ("[1]", Ok(r#"{"value":[1]}"#)),
            ("null", Ok("{}")),
            (r#"{"success":true,"error":""}"#, Ok(r#"{"success":true,"error":""}"#)),
            (r#"{"success":"false"}"#, Err("CZ0320")),
            (r#"{"error":{"message":"no"}}"#, Err("CZ0320")),
            ("nonsense", Err("CZ0709")),
        ] {
            let read = read_answer("t", answer);
            let read = read.as_ref().map(|json| json.as_str()).map_err(|error| error.code.as_str());
            assert_eq!(read, expected, "{answer}");
        }
    }
}
