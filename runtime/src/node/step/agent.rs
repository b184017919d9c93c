//! A model that calls tools until it has its answer. What is decided on the way is in [`crate::agent`].
//!
//! The attempt is all or nothing: a process that dies in the middle asks the model again from the beginning, and calls
//! what it then asks for. Equal calls have equal idempotency keys, so a tool that minds its key does nothing twice.

use std::sync::Arc;
use std::time::{Duration, Instant};

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::Usage;
use compozy_engine::json::Json;
use compozy_lang::plan::{self, Prompt, Toolbox};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use serde_json::{Map, Value, json};

use super::prompt::{Answered, provider_error, usage_of};
use super::render::Batch;
use super::tool::{Side, call_error};
use super::{Attempt, Executor, Lost, Scope, lay_over};
use crate::agent::{self, Heard, Keys, MOST_CONVERSATION_BYTES, MOST_RESULT_BYTES, Progress, Stop};
use crate::node::Notice;
use crate::plugin::call::{Binding, CallContext, RunContext};
use crate::plugin::tool;
use crate::provider::{self, Message, PromptRequest, Role, ToolCall, ToolDefinition};

/// Longest arguments and results that are shown to those who watch, in bytes.
const SHOWN_BYTES: usize = 16 << 10;

/// What the model is told when it has called what it wanted and its answer must match a schema.
const ANSWER_NOW: &str = "Now give your answer in the form you were asked for.";

/// A tool that the model may call.
struct Offered<'p> {
    /// As the model calls it.
    name: String,
    /// Its key in the plan.
    key: &'p str,
    tool: &'p plan::Tool,
    binding: Binding,
    function: tool::Function,
    /// Its `with`, rendered.
    defaults: Map<String, Value>,
    /// What arguments are checked against.
    schema: Option<Value>,
}

impl Offered<'_> {
    fn definition(&self) -> ToolDefinition {
        let described = [&self.tool.description, &self.function.description];
        ToolDefinition {
            name: self.name.clone(),
            description: described.into_iter().find(|text| !text.is_empty()).cloned().unwrap_or_default(),
            input_schema: agent::shown(self.schema.as_ref(), self.tool.with.as_ref()),
        }
    }
}

/// One call that the model asks for.
struct Call<'c, 'p> {
    /// Counted from 1 over the attempt.
    number: u32,
    asked: &'c ToolCall,
    /// `None`: no such tool was offered.
    offered: Option<&'c Offered<'p>>,
    /// Its arguments over the tool's defaults; else what is wrong with them.
    input: Result<Value, String>,
    idempotency_key: String,
}

/// What came of a call.
struct Reply {
    result: Result<Json, StepError>,
    took: Duration,
}

/// The attempt, its question and how much of its time is left.
struct Talk<'t, 'p> {
    attempt: &'t Attempt<'p>,
    prompt: &'t Prompt,
    ctx: &'t CallContext,
    deadline: Instant,
    offered: Vec<Offered<'t>>,
}

impl Talk<'_, '_> {
    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// The circumstances of what comes next; an error when there is no time for it, or no wish.
    fn next(&self) -> Result<CallContext, StepError> {
        let id = &self.attempt.task.id;
        if self.ctx.cancel.is_canceled() {
            return Err(StepError::new("CZ0321", ErrorKind::Canceled, format!("task '{id}' was canceled")));
        }
        let left = self.left();
        if left.is_zero() {
            let message = format!("task '{id}' timed out after {} ms", self.ctx.timeout.as_millis());
            return Err(StepError::new("CZ0316", ErrorKind::Timeout, message).retryable());
        }
        Ok(CallContext { timeout: left, ..self.ctx.clone() })
    }

    fn stopped(&self, stop: &Stop) -> StepError {
        let message = format!("tool loop of '{}': {stop}", self.attempt.task.id);
        StepError { help: Some(stop.help().to_owned()), ..StepError::new(stop.code(), ErrorKind::Llm, message) }
    }
}

impl Executor {
    /// Asks until the model has called what it wanted to call.
    pub(super) async fn converse(
        &self,
        attempt: &Attempt<'_>,
        prompt: &Prompt,
        request: PromptRequest,
        ctx: &CallContext,
    ) -> Result<Answered, Lost> {
        let deadline = Instant::now() + ctx.timeout;
        let offered = self.offered(attempt, &prompt.toolbox).await?;
        let talk = Talk { attempt, prompt, ctx, deadline, offered };
        let tools: Vec<&str> = talk.offered.iter().map(|offered| offered.tool.id.as_str()).collect();
        self.tell(attempt, "agent_start", || json!({"tools": tools}));
        let mut usage = Vec::new();
        let mut progress = Progress::new(&prompt.toolbox.guards);
        let answered = self.rounds(&talk, request, &mut progress, &mut usage).await;
        self.tell(attempt, "agent_status", || match &answered {
            Ok(_) => json!({"status": "SUCCESS", "rounds": progress.rounds()}),
            Err(error) => json!({
                "status": "FAILED", "rounds": progress.rounds(), "error": {"code": error.code, "message": error.message},
            }),
        });
        match answered {
            Ok((text, value)) => Ok(Answered { text, value, usage }),
            Err(error) => Err(Lost { usage, ..error.into() }),
        }
    }

    /// The tools of a prompt, ready to be called.
    async fn offered<'t>(&self, attempt: &'t Attempt<'_>, toolbox: &'t Toolbox) -> Result<Vec<Offered<'t>>, StepError> {
        let mut found = Vec::with_capacity(toolbox.tools.len());
        for key in &toolbox.tools {
            let Some(tool) = attempt.plan.tools.get(key) else {
                let message = format!("tool '{key}' is not in the plan");
                return Err(StepError::new("CZ0205", ErrorKind::Internal, message));
            };
            let (binding, function) = self.tools.bind(tool, tool::Function::clone).await?;
            let mut defaults = Map::new();
            if let Some(with) = &tool.with {
                let mut batch = Batch::new(&self.environment);
                let shape = batch.value(with)?;
                lay_over(&mut defaults, self.render(attempt, batch, Scope::default()).await?.fill(shape));
            }
            let schema = agent::checked(tool.input_schema.as_ref(), function.input_schema.as_deref());
            found.push(Offered { name: String::new(), key, tool, binding, function, defaults, schema });
        }
        let ids: Vec<&str> = found.iter().map(|offered| offered.tool.id.as_str()).collect();
        let names = agent::names(&ids);
        for (offered, name) in found.iter_mut().zip(names) {
            offered.name = name;
        }
        Ok(found)
    }

    /// Round after round; the text of the last answer, and its value where there is a schema.
    async fn rounds(
        &self,
        talk: &Talk<'_, '_>,
        mut request: PromptRequest,
        progress: &mut Progress<'_>,
        usage: &mut Vec<Usage>,
    ) -> Result<(String, Option<Value>), StepError> {
        let schema = request.output_schema.take();
        let instructions = request.system.take();
        request.system = Some(agent::system(instructions.as_deref()));
        request.tools = talk.offered.iter().map(Offered::definition).collect();
        let mut keys = Keys::default();
        let (mut number, mut bytes) = (0, 0);
        loop {
            let answer = self.ask(talk.attempt, talk.prompt, &request, &talk.next()?).await?;
            add(usage, usage_of(&answer));
            if answer.tool_calls.is_empty() {
                let Some(schema) = schema else { return Ok((answer.text, None)) };
                if let Some(value) = provider::matching(&schema, &answer.text).map_err(provider_error)? {
                    return Ok((answer.text, Some(value)));
                }
                return self.conclude(talk, request, schema, answer.text, usage).await;
            }
            let asked = answer.tool_calls.clone();
            let calls: Vec<Call<'_, '_>> = asked
                .iter()
                .map(|asked| {
                    number += 1;
                    read(talk, asked, number, &mut keys)
                })
                .collect();
            let tools = calls.iter().map(|call| call.offered.map(|offered| offered.tool.id.as_str()));
            progress.admit(tools).map_err(|stop| talk.stopped(&stop))?;
            let said = Message { tool_calls: answer.tool_calls, ..provider::message(Role::Assistant, answer.text) };
            bytes += size(&said);
            request.exchange.push(said);
            for (call, reply) in calls.iter().zip(self.carry_out(talk, &calls).await) {
                let told = Message {
                    tool_call_id: Some(call.asked.id.clone()),
                    ..provider::message(Role::Tool, content(&reply.result))
                };
                bytes += size(&told);
                request.exchange.push(told);
                let arguments = call.input.as_ref().map_or(Value::Null, Value::clone);
                let heard = Heard {
                    tool: &call.asked.name,
                    arguments: &compozy_lang::digest::of(&arguments),
                    result: reply.result.as_ref().ok().map(Json::as_str),
                };
                // What ended the attempt is told as such, and not as a tool that failed.
                talk.next()?;
                progress.heard(heard).map_err(|stop| talk.stopped(&stop))?;
            }
            if bytes > MOST_CONVERSATION_BYTES {
                let id = &talk.attempt.task.id;
                let message = format!("'{id}' exceeded its conversation limit: {MOST_CONVERSATION_BYTES} bytes");
                return Err(StepError::new("CZ0704", ErrorKind::Llm, message));
            }
        }
    }

    /// Asks for the answer in the form of `schema`, once all tools have been called.
    async fn conclude(
        &self,
        talk: &Talk<'_, '_>,
        mut request: PromptRequest,
        schema: Value,
        text: String,
        usage: &mut Vec<Usage>,
    ) -> Result<(String, Option<Value>), StepError> {
        request.tools.clear();
        request.output_schema = Some(schema);
        if !text.is_empty() {
            request.exchange.push(provider::message(Role::Assistant, text));
        }
        request.exchange.push(provider::message(Role::User, ANSWER_NOW.to_owned()));
        let answer = self.ask(talk.attempt, talk.prompt, &request, &talk.next()?).await?;
        add(usage, usage_of(&answer));
        Ok((answer.text, answer.value))
    }

    /// Calls what one answer asks for, side by side, and returns what came of it in the order asked.
    async fn carry_out(&self, talk: &Talk<'_, '_>, calls: &[Call<'_, '_>]) -> Vec<Reply> {
        let at_once = talk.prompt.toolbox.guards.max_concurrent.max(1) as usize;
        let running: Vec<BoxFuture<'_, Reply>> =
            calls.iter().map(|call| -> BoxFuture<'_, Reply> { Box::pin(self.call_and_tell(talk, call)) }).collect();
        futures_util::stream::iter(running).buffered(at_once).collect().await
    }

    async fn call_and_tell(&self, talk: &Talk<'_, '_>, call: &Call<'_, '_>) -> Reply {
        let name = call.offered.map_or(call.asked.name.as_str(), |offered| offered.tool.id.as_str());
        self.tell(talk.attempt, "tool_call", || {
            let arguments = serde_json::from_str(&call.asked.arguments).unwrap_or(json!(call.asked.arguments));
            let mut data = json!({"call": call.number, "tool": name});
            show(&mut data, "arguments", &Json::from(&arguments));
            data
        });
        let began = Instant::now();
        let result = self.call(talk, call).await.map_err(|error| self.masked(error));
        let result = result.and_then(|output| bounded(name, self.watchers.secrets().json(output)));
        let reply = Reply { result, took: began.elapsed() };
        self.tell(talk.attempt, "tool_result", || {
            let took = u64::try_from(reply.took.as_millis()).unwrap_or(u64::MAX);
            let mut data =
                json!({"call": call.number, "tool": name, "success": reply.result.is_ok(), "duration_ms": took});
            match &reply.result {
                Ok(output) => show(&mut data, "output", output),
                Err(error) => {
                    show(&mut data, "error", &Json::from(&json!({"code": error.code, "message": error.message})));
                }
            }
            data
        });
        reply
    }

    async fn call(&self, talk: &Talk<'_, '_>, call: &Call<'_, '_>) -> Result<Json, StepError> {
        let Some(offered) = call.offered else {
            let known: Vec<&str> = talk.offered.iter().map(|offered| offered.name.as_str()).collect();
            let name: String = call.asked.name.chars().take(128).collect();
            let message = format!("there is no tool '{name}'; there are: {}", known.join(", "));
            return Err(StepError::new("CZ0205", ErrorKind::Tool, message));
        };
        let (attempt, tool) = (talk.attempt, offered.tool);
        let input = call.input.as_ref().map_err(|wrong| {
            let message = format!("input of tool '{}' does not match its schema: {wrong}", tool.id);
            StepError::new("CZ0708", ErrorKind::Schema, message)
        })?;
        if let Some(schema) = &offered.schema {
            let digest = match &tool.input_schema {
                Some(_) => &attempt.plan.digest,
                None => offered.binding.component.digest(),
            };
            self.check_tool(digest, (Side::Input, offered.key), &tool.id, schema, input)?;
        }
        let timeout = tool.timeout.unwrap_or(self.tools.timeout());
        let ctx = talk.next()?;
        let run = RunContext { idempotency_key: call.idempotency_key.clone(), ..(*attempt.run_context()).clone() };
        let ctx = CallContext { run: Some(Arc::new(run)), timeout: timeout.min(ctx.timeout), ..ctx };
        let answer = tool::run(&offered.binding, &ctx, &offered.function.name, &input.to_string()).await;
        self.read_tool(attempt, offered.key, tool, &answer.map_err(call_error)?)
    }

    /// A model learns no secret from what went wrong either.
    fn masked(&self, error: StepError) -> StepError {
        let secrets = self.watchers.secrets();
        StepError { code: secrets.text(error.code), message: secrets.text(error.message), ..error }
    }

    /// Tells those who watch the run, if anybody does.
    fn tell(&self, attempt: &Attempt<'_>, event: &'static str, fields: impl FnOnce() -> Value) {
        let (exec_id, seq) = attempt.moment();
        if !self.watchers.any(&exec_id) {
            return;
        }
        let shown = self.watchers.secrets().json(Json::from(&fields())).to_value();
        let mut data = Map::new();
        data.insert("attempt".to_owned(), json!(attempt.step.attempt));
        lay_over(&mut data, shown);
        let (at, task_id) = (self.clock.now(), attempt.step.key.path.clone());
        let notice = |(seq, number)| Notice::Live { seq, number, at, task_id, event, data };
        self.watchers.numbered(&exec_id, seq, notice);
    }
}

/// What a call means: which tool, with what, under which key.
fn read<'c, 't>(talk: &'c Talk<'t, '_>, asked: &'c ToolCall, number: u32, keys: &mut Keys) -> Call<'c, 't> {
    let offered = talk.offered.iter().find(|offered| offered.name == asked.name);
    let input = agent::arguments(&asked.arguments).map(|arguments| {
        let mut input = offered.map(|offered| offered.defaults.clone()).unwrap_or_default();
        input.extend(arguments);
        Value::Object(input)
    });
    let idempotency_key = match (&input, offered) {
        (Ok(input), Some(offered)) => keys.next(&talk.attempt.step.id, offered.key, input),
        _ => String::new(),
    };
    Call { number, asked, offered, input, idempotency_key }
}

/// A result that the model can be given.
fn bounded(tool: &str, output: Json) -> Result<Json, StepError> {
    let bytes = output.as_str().len();
    if bytes <= MOST_RESULT_BYTES {
        return Ok(output);
    }
    let message = format!("'{tool}' exceeded its output limit: {bytes} bytes, a model is given {MOST_RESULT_BYTES}");
    Err(StepError::new("CZ0704", ErrorKind::Tool, message))
}

fn content(result: &Result<Json, StepError>) -> String {
    match result {
        Ok(output) => agent::success(output.as_str()),
        Err(error) => agent::failure(&error.code, &error.message),
    }
}

/// Bytes of a message, about.
fn size(message: &Message) -> usize {
    let calls = message.tool_calls.iter().map(|call| call.name.len() + call.arguments.len());
    message.content.len() + calls.sum::<usize>()
}

/// Puts `value` under `name`, or how large it is.
fn show(data: &mut Value, name: &str, value: &Json) {
    let Value::Object(members) = data else { return };
    let bytes = value.as_str().len();
    if bytes <= SHOWN_BYTES {
        members.insert(name.to_owned(), value.to_value());
    } else {
        members.insert(format!("{name}_bytes"), json!(bytes));
    }
}

/// Questions of one provider and model are counted together.
pub(super) fn add(usage: &mut Vec<Usage>, more: Usage) {
    let same = |known: &&mut Usage| known.provider == more.provider && known.model == more.model;
    match usage.iter_mut().find(same) {
        Some(known) => {
            known.prompt_tokens = known.prompt_tokens.saturating_add(more.prompt_tokens);
            known.completion_tokens = known.completion_tokens.saturating_add(more.completion_tokens);
        }
        None => usage.push(more),
    }
}
