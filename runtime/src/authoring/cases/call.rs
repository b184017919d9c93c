//! One call of a plugin of any kind, with JSON in and JSON out.
//!
//! A tool's functions are its own. The functions of the other kinds are those of their interface in `wit/`, with the
//! names of members in snake case.

use compozy_lang::plan::PluginKind;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::plugin::error::Kind;
use crate::plugin::llm_provider::{
    self, Finish, Message, Parameters, Request, Response, Role, ToolCall, ToolDefinition,
};
use crate::plugin::template::{Ambient, Leniency, Limits, Mode, Problem, RenderError, Renderer, Report, Source, Span};
use crate::plugin::{Binding, CallContext, CallError, embedder, tool};

/// Limits of one render: those of a workflow's templates.
const LIMITS: Limits = Limits { max_source: 64 << 10, max_depth: 100, max_steps: 1_000_000, max_output: 10 << 20 };

/// Calls `function` with `input`.
///
/// # Errors
/// What the plugin reported or what ended it; `invalid_input` where the input is none for an interface of ours.
pub async fn call(binding: &Binding, ctx: &CallContext, function: &str, input: &Value) -> Result<Value, CallError> {
    match (binding.component.kind(), function) {
        (PluginKind::Tool, _) => {
            let answer = tool::run(binding, ctx, function, &input.to_string()).await?;
            serde_json::from_str(&answer)
                .map_err(|error| CallError::new(Kind::Plugin, "CZ0709", format!("the answer is not JSON: {error}")))
        }
        (PluginKind::Llm, "chat") => {
            llm_provider::chat(binding, ctx, &request(read(input)?), None).await.map(|found| response(&found))
        }
        (PluginKind::Llm, "stream") => stream(binding, ctx, &request(read(input)?)).await,
        (PluginKind::Llm, "models") => llm_provider::models(binding, ctx).await.map(Value::from),
        (PluginKind::Embedder, "embed") => embed(binding, ctx, read(input)?).await,
        (PluginKind::Template, "render") => render(binding, read(input)?).await,
        (PluginKind::Template, "check") => check(binding, read(input)?).await,
        (kind, _) => {
            let known = match kind {
                PluginKind::Llm => "chat, stream and models",
                PluginKind::Embedder => "embed",
                _ => "render and check",
            };
            Err(CallError::new(Kind::Host, "unknown_function", format!("there is no '{function}', only {known}")))
        }
    }
}

fn read<T: DeserializeOwned>(input: &Value) -> Result<T, CallError> {
    T::deserialize(input).map_err(|error| CallError::new(Kind::Host, "invalid_input", error.to_string()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChatInput {
    #[serde(default)]
    model: String,
    messages: Vec<MessageInput>,
    #[serde(default)]
    tools: Vec<ToolInput>,
    #[serde(default)]
    output_schema: Option<Value>,
    #[serde(default)]
    parameters: ParametersInput,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MessageInput {
    role: RoleInput,
    #[serde(default)]
    content: String,
    #[serde(default)]
    tool_calls: Vec<ToolCallInput>,
    #[serde(default)]
    tool_call_id: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum RoleInput {
    System,
    User,
    Assistant,
    Tool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolCallInput {
    id: String,
    name: String,
    arguments: Value,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToolInput {
    name: String,
    #[serde(default)]
    description: String,
    input_schema: Value,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ParametersInput {
    temperature: Option<f64>,
    top_p: Option<f64>,
    max_tokens: Option<u32>,
    seed: Option<i64>,
    stop: Vec<String>,
    extra: Option<Value>,
}

/// JSON as text; a text is taken as JSON text already.
fn text_of(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

fn request(input: ChatInput) -> Request {
    let message = |message: MessageInput| Message {
        role: match message.role {
            RoleInput::System => Role::System,
            RoleInput::User => Role::User,
            RoleInput::Assistant => Role::Assistant,
            RoleInput::Tool => Role::Tool,
        },
        content: message.content,
        tool_calls: message
            .tool_calls
            .into_iter()
            .map(|call| ToolCall { id: call.id, name: call.name, arguments: text_of(call.arguments) })
            .collect(),
        tool_call_id: message.tool_call_id,
    };
    let tool = |tool: ToolInput| ToolDefinition {
        name: tool.name,
        description: tool.description,
        input_schema: text_of(tool.input_schema),
    };
    let ParametersInput { temperature, top_p, max_tokens, seed, stop, extra } = input.parameters;
    Request {
        model: input.model,
        messages: input.messages.into_iter().map(message).collect(),
        tools: input.tools.into_iter().map(tool).collect(),
        output_schema: input.output_schema.map(text_of),
        parameters: Parameters { temperature, top_p, max_tokens, seed, stop, extra: extra.map(text_of) },
    }
}

fn response(found: &Response) -> Value {
    let finish = match found.finish {
        Finish::Stop => "stop",
        Finish::Length => "length",
        Finish::ToolCalls => "tool_calls",
        Finish::ContentFilter => "content_filter",
        Finish::Other => "other",
    };
    let call = |call: &ToolCall| {
        let arguments = serde_json::from_str(&call.arguments).unwrap_or_else(|_| call.arguments.as_str().into());
        json!({"id": call.id, "name": call.name, "arguments": Value::clone(&arguments)})
    };
    json!({
        "text": found.text,
        "tool_calls": found.tool_calls.iter().map(call).collect::<Vec<_>>(),
        "finish": finish,
        "usage": {
            "prompt_tokens": found.usage.prompt_tokens,
            "completion_tokens": found.usage.completion_tokens,
            "cached_tokens": found.usage.cached_tokens,
        },
        "model": found.model,
    })
}

/// The answer with the pieces it came in.
async fn stream(binding: &Binding, ctx: &CallContext, request: &Request) -> Result<Value, CallError> {
    let mut pieces: Vec<String> = Vec::new();
    let mut collect = |piece: &str| pieces.push(piece.to_owned());
    let mut answer = response(&llm_provider::chat(binding, ctx, request, Some(&mut collect)).await?);
    if let Value::Object(members) = &mut answer {
        members.insert("pieces".to_owned(), pieces.into());
    }
    Ok(answer)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EmbedInput {
    model: String,
    texts: Vec<String>,
    #[serde(default)]
    dimension: Option<u32>,
}

async fn embed(binding: &Binding, ctx: &CallContext, input: EmbedInput) -> Result<Value, CallError> {
    let found = embedder::embed(binding, ctx, &input.model, &input.texts, input.dimension).await?;
    // A 32-bit float as it would be written, not with the digits that 64 bits add to it.
    let short = |value: &f32| value.to_string().parse::<f64>().unwrap_or(f64::from(*value));
    let vectors: Vec<Vec<f64>> = found.vectors.iter().map(|vector| vector.iter().map(short).collect()).collect();
    Ok(json!({"vectors": vectors, "prompt_tokens": found.prompt_tokens}))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RenderInput {
    sources: Vec<SourceInput>,
    #[serde(default)]
    context: Value,
    #[serde(default)]
    now_unix_us: i64,
    #[serde(default)]
    seed: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct CheckInput {
    sources: Vec<SourceInput>,
}

/// A text, or a map that says more.
#[derive(Deserialize)]
#[serde(untagged)]
enum SourceInput {
    Text(String),
    Map(SourceMap),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SourceMap {
    text: String,
    /// Ranges `[start, end]`.
    #[serde(default)]
    inert: Vec<(u32, u32)>,
    #[serde(default)]
    as_text: bool,
}

fn source(input: SourceInput) -> Source {
    let SourceMap { text, inert, as_text } = match input {
        SourceInput::Text(text) => SourceMap { text, inert: Vec::new(), as_text: false },
        SourceInput::Map(map) => map,
    };
    let inert = inert.into_iter().map(|(start, end)| Span { start, end }).collect();
    Source { text, inert, mode: if as_text { Mode::Text } else { Mode::Value }, leniency: Leniency::empty() }
}

fn renderer(binding: &Binding) -> Result<Renderer, CallError> {
    Renderer::new(binding.component.clone())
        .map_err(|error| CallError::new(Kind::Host, error.code(), error.to_string()))
}

async fn render(binding: &Binding, input: RenderInput) -> Result<Value, CallError> {
    let sources: Vec<Source> = input.sources.into_iter().map(source).collect();
    let context = if input.context.is_null() { json!({}) } else { input.context };
    let ambient = Ambient { now_unix_us: input.now_unix_us, seed: input.seed };
    let rendered = renderer(binding)?.render(&sources, &context.to_string(), ambient, LIMITS).await;
    let values = rendered.map_err(|error| match error {
        RenderError::Template(failure) => CallError::new(Kind::Plugin, &failure.problem.code, failure.problem.message),
        RenderError::Call(error) => error,
    })?;
    let value = |text: &String| serde_json::from_str(text);
    values
        .iter()
        .map(value)
        .collect::<Result<Vec<Value>, _>>()
        .map(Value::Array)
        .map_err(|error| CallError::new(Kind::Plugin, "CZ0709", format!("a result is not JSON: {error}")))
}

async fn check(binding: &Binding, input: CheckInput) -> Result<Value, CallError> {
    let sources: Vec<Source> = input.sources.into_iter().map(source).collect();
    let span = |span: &Span| json!([span.start, span.end]);
    let problem = |problem: &Problem| {
        json!({
            "code": problem.code, "message": problem.message, "help": problem.help,
            "span": span(&problem.span), "warning": problem.warning,
        })
    };
    let report = |report: &Report| {
        let references = report.references.iter().map(|found| {
            json!({"path": found.path, "whole": found.whole, "guarded": found.guarded, "span": span(&found.span)})
        });
        json!({
            "is_template": report.is_template,
            "references": references.collect::<Vec<_>>(),
            "problems": report.problems.iter().map(problem).collect::<Vec<_>>(),
        })
    };
    let reports = renderer(binding)?.check(&sources, LIMITS).await?;
    Ok(reports.iter().map(report).collect())
}
