//! The project's models. Questions and answers cross as JSON: `prelude/lent.js` gives them their shape.

use boa_engine::{Context, JsError, JsNativeError, JsResult, JsValue};
use compozy_plugin::models::{self, Question, Role};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Native, text};
use crate::failure::lend;

pub(super) const NATIVES: &[Native] = &[("chat", chat), ("embed", embed)];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    messages: Vec<Message>,
    provider: Option<String>,
    model: Option<String>,
    temperature: Option<f64>,
    #[serde(rename = "maxTokens")]
    max_tokens: Option<u32>,
    schema: Option<Value>,
    params: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Embedded {
    texts: Vec<String>,
    provider: Option<String>,
    model: Option<String>,
    dimension: Option<u32>,
}

/// `chat(json)`: the answer as JSON.
fn chat(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let asked: Asked = read(&text(arguments, 0, context)?)?;
    let mut question = Question::new();
    for message in asked.messages {
        let role = match message.role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            other => return Err(wrong(&format!("'{other}' is no role; there are system, user and assistant"))),
        };
        question = question.message(role, message.content);
    }
    if let Some(provider) = asked.provider {
        question = question.provider(provider);
    }
    if let Some(model) = asked.model {
        question = question.model(model);
    }
    if let Some(temperature) = asked.temperature {
        question = question.temperature(temperature);
    }
    if let Some(most) = asked.max_tokens {
        question = question.max_tokens(most);
    }
    if let Some(schema) = asked.schema {
        question = question.output_schema(schema);
    }
    if let Some(params) = asked.params {
        question = question.extra(params);
    }
    let answer = lend(question.ask(), context)?;
    let usage = answer.usage;
    let told = json!({
        "text": answer.text,
        "model": answer.model,
        "usage": {"promptTokens": usage.prompt_tokens, "completionTokens": usage.completion_tokens},
    });
    JsValue::from_json(&told, context)
}

/// `embed(json)`: a list of vectors.
fn embed(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let asked: Embedded = read(&text(arguments, 0, context)?)?;
    let found = models::embed_with(asked.provider.as_deref(), &asked.texts, asked.model.as_deref(), asked.dimension);
    JsValue::from_json(&json!(lend(found, context)?.vectors), context)
}

fn read<'t, T: Deserialize<'t>>(text: &'t str) -> JsResult<T> {
    serde_json::from_str(text).map_err(|error| wrong(&format!("the question is not as it should be: {error}")))
}

fn wrong(message: &str) -> JsError {
    JsNativeError::typ().with_message(message.to_owned()).into()
}
