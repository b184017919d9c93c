//! The scripted answers of the configuration, and which of them applies to a call.
//!
//! ```yaml
//! config:
//!   answers:
//!     - {match: weather, times: 2, error: {code: CZ0507, message: try later, retryable: true}}
//!     - {match: weather, tool_calls: [{name: forecast, arguments: {city: Oslo}}]}
//!     - {step: summarise, json: {title: Rain}, delay_ms: 50}
//!     - {text: anything else}
//! ```
//!
//! The first entry whose conditions all hold applies. `match` is a part of the newest message of a user or a tool, so that
//! a scripted tool call is not asked for again once its result has come.

use compozy_plugin::Error;
use compozy_plugin::llm::{Message, Request, Role};
use serde::Deserialize;
use serde_json::Value;

/// The part of the configuration that is ours; a provider entry that the mock stands in for has other keys too.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Script {
    #[serde(default)]
    answers: Vec<Entry>,
}

/// Where the call stands.
#[derive(Debug)]
pub(crate) struct Call {
    /// From 1.
    pub(crate) attempt: u32,
    /// Ids of tasks joined by `/`.
    pub(crate) step_path: String,
}

impl Default for Call {
    fn default() -> Self {
        Self { attempt: 1, step_path: String::new() }
    }
}

/// One scripted answer with its conditions.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Entry {
    /// A part of the newest message of a user or a tool.
    #[serde(rename = "match")]
    part: Option<String>,
    /// The model asked for.
    model: Option<String>,
    /// The path of the task, or its last id.
    step: Option<String>,
    /// Exactly this attempt.
    attempt: Option<u32>,
    /// The first so many attempts.
    times: Option<u32>,
    /// Waits before it answers.
    pub(crate) delay_ms: Option<u64>,
    /// Answers with this text; without `text`, `json` and `error` the answer is the usual one.
    pub(crate) text: Option<String>,
    /// Answers with this value as JSON text.
    pub(crate) json: Option<Value>,
    /// Asks for these calls.
    #[serde(default)]
    pub(crate) tool_calls: Vec<ScriptedCall>,
    /// Fails.
    pub(crate) error: Option<Failure>,
}

/// A scripted tool call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ScriptedCall {
    /// The tool's name.
    pub(crate) name: String,
    /// Its arguments; a string is taken as it is, so that bad arguments can be scripted.
    #[serde(default)]
    pub(crate) arguments: Value,
}

/// A scripted failure.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Failure {
    #[serde(default = "Failure::code")]
    code: String,
    #[serde(default = "Failure::message")]
    message: String,
    #[serde(default)]
    retryable: bool,
    retry_after_ms: Option<u64>,
}

impl Failure {
    fn code() -> String {
        "mock_error".to_owned()
    }

    fn message() -> String {
        "the mock fails as its script says".to_owned()
    }

    /// The error the plugin reports.
    pub(crate) fn to_error(&self) -> Error {
        Error {
            code: self.code.clone(),
            message: format!("[mock] {}", self.message),
            retryable: self.retryable,
            retry_after_ms: self.retry_after_ms,
        }
    }
}

impl Script {
    /// The entry that applies, if any.
    pub(crate) fn entry(&self, request: &Request, call: &Call) -> Option<&Entry> {
        self.answers.iter().find(|entry| entry.applies(request, call))
    }
}

impl Entry {
    fn applies(&self, request: &Request, call: &Call) -> bool {
        let newest = request.messages.iter().rev().find(|message| is_asking(message));
        let newest = newest.map_or("", |message| message.content.as_str());
        let last_id = call.step_path.rsplit('/').next();
        self.part.as_deref().is_none_or(|part| newest.contains(part))
            && self.model.as_deref().is_none_or(|model| model == request.model)
            && self.step.as_deref().is_none_or(|step| step == call.step_path || Some(step) == last_id)
            && self.attempt.is_none_or(|attempt| attempt == call.attempt)
            && self.times.is_none_or(|times| call.attempt <= times)
    }
}

fn is_asking(message: &Message) -> bool {
    matches!(message.role, Role::User | Role::Tool)
}

#[cfg(test)]
mod tests {
    use super::{Call, Script};
    use crate::answer::tests::{message, request};
    use compozy_plugin::llm::Role;

    fn check(script: &str, prompt: &str, attempt: u32, step_path: &str) -> Option<String> {
        let script: Script = serde_json::from_str(script).expect("script");
        let call = Call { attempt, step_path: step_path.to_owned() };
        script.entry(&request(&[message(Role::User, prompt)]), &call).and_then(|entry| entry.text.clone())
    }

    #[test]
    fn the_first_entry_whose_conditions_hold_applies() {
        let script = r#"{"base_url": "ignored", "answers": [
            {"match": "rain", "times": 2, "text": "a"},
            {"match": "rain", "attempt": 4, "text": "b"},
            {"step": "inner", "text": "c"},
            {"step": "outer/inner2", "text": "d"},
            {"model": "other", "text": "e"},
            {"match": "snow", "text": "f"}
        ]}"#;
        for (prompt, attempt, step_path, expected) in [
            ("will it rain?", 1, "", Some("a")),
            ("will it rain?", 2, "", Some("a")),
            ("will it rain?", 3, "", None),
            ("will it rain?", 4, "", Some("b")),
            ("x", 1, "outer/inner", Some("c")),
            ("x", 1, "outer/inner2", Some("d")),
            ("x", 1, "inner2", None),
            ("snow and rain", 3, "", Some("f")),
        ] {
            let entry = check(script, prompt, attempt, step_path);
            assert_eq!(entry.as_deref(), expected, "{prompt} {attempt} {step_path}");
        }
    }

    #[test]
    fn a_tool_result_is_newer_than_the_prompt() {
        let script: Script = serde_json::from_str(r#"{"answers": [{"match": "rain", "text": "a"}]}"#).expect("script");
        let request =
            request(&[message(Role::User, "rain?"), message(Role::Assistant, ""), message(Role::Tool, "sun")]);
        assert!(script.entry(&request, &Call::default()).is_none());
    }

    #[test]
    fn a_misspelt_condition_is_refused() {
        assert!(serde_json::from_str::<Script>(r#"{"answers": [{"matches": "rain"}]}"#).is_err());
    }
}
