//! What tests of protocols ask.

use compozy_plugin::llm::{Message, Parameters, Request, Role, ToolDefinition};

/// A message without calls.
#[must_use]
pub fn message(role: Role, content: &str) -> Message {
    Message { role, content: content.to_owned(), tool_calls: vec![], tool_call_id: None }
}

/// A question that leaves every setting to the provider.
#[must_use]
pub fn request(model: &str, messages: Vec<Message>) -> Request {
    let parameters =
        Parameters { temperature: None, top_p: None, max_tokens: None, seed: None, stop: vec![], extra: None };
    Request { model: model.to_owned(), messages, tools: vec![], output_schema: None, parameters }
}

/// The smallest question: `Hi`.
#[must_use]
pub fn hi(model: &str) -> Request {
    request(model, vec![message(Role::User, "Hi")])
}

/// A tool called `f` that takes any object.
#[must_use]
pub fn tool() -> ToolDefinition {
    ToolDefinition { name: "f".into(), description: "d".into(), input_schema: r#"{"type":"object"}"#.into() }
}
