//! From a prompt and its settings to the plugin's request.

use serde_json::{Map, Value};

use super::error::Error;
use super::{PromptRequest, message, structured};
use crate::plugin::llm_provider::{Parameters, Request, Role};

/// The question; `request.params` lie over `defaults`, the entry's own.
pub(crate) fn build(model: &str, defaults: &Map<String, Value>, request: &PromptRequest) -> Result<Request, Error> {
    let mut params = defaults.clone();
    params.extend(request.params.iter().map(|(key, value)| (key.clone(), value.clone())));
    let mut system = request.system.clone().unwrap_or_default();
    if let Some(schema) = &request.output_schema {
        if !system.is_empty() {
            system.push_str("\n\n");
        }
        system.push_str(&structured::instruction(schema));
    }
    let mut messages = Vec::with_capacity(2 + request.history.len());
    if !system.is_empty() {
        messages.push(message(Role::System, system));
    }
    messages.extend(request.history.iter().map(|(role, text)| message(*role, text.clone())));
    messages.push(message(Role::User, request.prompt.clone()));
    messages.extend(request.exchange.iter().cloned());
    Ok(Request {
        model: model.to_owned(),
        messages,
        tools: request.tools.clone(),
        output_schema: request.output_schema.as_ref().map(Value::to_string),
        parameters: parameters(params)?,
    })
}

/// Settings the interface names; all others travel as they are.
fn parameters(mut params: Map<String, Value>) -> Result<Parameters, Error> {
    let stop = match take(&mut params, "stop_words").or_else(|| take(&mut params, "stop")) {
        None => Vec::new(),
        Some(Value::String(word)) => vec![word],
        Some(words) => serde_json::from_value(words).map_err(|_| bad("stop_words", "a list of strings"))?,
    };
    Ok(Parameters {
        temperature: number(&mut params, "temperature", "a number", Value::as_f64)?,
        top_p: number(&mut params, "top_p", "a number", Value::as_f64)?,
        max_tokens: number(&mut params, "max_tokens", "a whole number", |value| {
            value.as_u64().and_then(|count| u32::try_from(count).ok())
        })?,
        seed: number(&mut params, "seed", "a whole number", Value::as_i64)?,
        stop,
        extra: (!params.is_empty()).then(|| Value::Object(params).to_string()),
    })
}

fn take(params: &mut Map<String, Value>, key: &str) -> Option<Value> {
    params.shift_remove(key).filter(|value| !value.is_null())
}

fn number<T>(
    params: &mut Map<String, Value>,
    key: &'static str,
    expected: &str,
    read: impl Fn(&Value) -> Option<T>,
) -> Result<Option<T>, Error> {
    take(params, key).map(|value| read(&value).ok_or_else(|| bad(key, expected))).transpose()
}

fn bad(key: &'static str, expected: &str) -> Error {
    Error::Setting { id: "params".into(), key, reason: format!("expected {expected}") }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{PromptRequest, build};

    fn object(value: Value) -> serde_json::Map<String, Value> {
        value.as_object().cloned().unwrap_or_default()
    }

    #[test]
    fn params_of_the_task_lie_over_those_of_the_entry() {
        let request = PromptRequest {
            system: Some("be brief".into()),
            prompt: "hi".into(),
            params: object(json!({"temperature": 0.5, "stop_words": ["END"], "top_k": 4, "seed": null})),
            ..PromptRequest::default()
        };
        let built = build("m", &object(json!({"temperature": 1, "max_tokens": 7, "seed": 3})), &request).unwrap();
        let parameters = built.parameters;
        assert_eq!((parameters.temperature, parameters.max_tokens, parameters.seed), (Some(0.5), Some(7), None));
        assert_eq!((parameters.stop, parameters.extra.as_deref()), (vec!["END".to_owned()], Some(r#"{"top_k":4}"#)));
        assert_eq!(
            built.messages.iter().map(|message| message.content.as_str()).collect::<Vec<_>>(),
            ["be brief", "hi"]
        );
    }

    #[test]
    fn impossible_params_are_named() {
        for (params, message) in [
            (json!({"temperature": "hot"}), "llm.providers.params.temperature: expected a number"),
            (json!({"max_tokens": -1}), "llm.providers.params.max_tokens: expected a whole number"),
            (json!({"stop_words": [1]}), "llm.providers.params.stop_words: expected a list of strings"),
        ] {
            let request = PromptRequest { params: object(params), ..PromptRequest::default() };
            assert_eq!(build("m", &serde_json::Map::new(), &request).unwrap_err().to_string(), message);
        }
    }
}
