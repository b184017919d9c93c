//! The shape of an answer, whole or one of its pieces, and the list of models.

use compozy_plugin::Result;
use compozy_plugin::llm::{Finish, Usage};
use llm_wire::failure::malformed;
use serde::Deserialize;
use serde_json::Value;

use crate::failure;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Generated {
    #[serde(default)]
    pub(crate) candidates: Vec<Candidate>,
    pub(crate) prompt_feedback: Option<Feedback>,
    pub(crate) usage_metadata: Option<UsageText>,
    #[serde(default)]
    pub(crate) model_version: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Candidate {
    #[serde(default)]
    pub(crate) index: u64,
    pub(crate) content: Option<Content>,
    pub(crate) finish_reason: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Content {
    #[serde(default)]
    pub(crate) parts: Vec<Part>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Part {
    #[serde(default)]
    pub(crate) text: String,
    /// The text is a thought, not the answer.
    #[serde(default)]
    pub(crate) thought: bool,
    pub(crate) function_call: Option<Call>,
    pub(crate) thought_signature: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Call {
    pub(crate) id: Option<String>,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) args: Value,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Feedback {
    pub(crate) block_reason: Option<String>,
}

/// Token counts.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct UsageText {
    prompt_token_count: Option<u64>,
    tool_use_prompt_token_count: Option<u64>,
    candidates_token_count: Option<u64>,
    thoughts_token_count: Option<u64>,
    cached_content_token_count: Option<u64>,
}

impl From<UsageText> for Usage {
    fn from(usage: UsageText) -> Self {
        let sum = |counts: [Option<u64>; 2]| counts.into_iter().flatten().fold(0, u64::saturating_add);
        Self {
            prompt_tokens: sum([usage.prompt_token_count, usage.tool_use_prompt_token_count]),
            completion_tokens: sum([usage.candidates_token_count, usage.thoughts_token_count]),
            cached_tokens: usage.cached_content_token_count.unwrap_or(0),
        }
    }
}

/// Reads a body or a piece.
pub(crate) fn read(text: &[u8]) -> Result<Generated> {
    let body: Value = serde_json::from_slice(text).map_err(malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    serde_json::from_value(body).map_err(malformed)
}

/// The reason by its name.
pub(crate) fn finish(reason: &str, has_calls: bool) -> Finish {
    match reason {
        "MAX_TOKENS" => Finish::Length,
        "SAFETY" | "RECITATION" | "BLOCKLIST" | "PROHIBITED_CONTENT" | "SPII" | "LANGUAGE" | "IMAGE_SAFETY" => {
            Finish::ContentFilter
        }
        _ if has_calls => Finish::ToolCalls,
        "STOP" => Finish::Stop,
        _ => Finish::Other,
    }
}

/// Names of the models that can be asked.
pub(crate) fn models(body: &[u8]) -> Result<Vec<String>> {
    let body: Value = serde_json::from_slice(body).map_err(malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let list = body.get("models").and_then(Value::as_array).ok_or_else(|| malformed("it has no list of models"))?;
    let can_be_asked = |model: &&Value| {
        let methods = model.get("supportedGenerationMethods").and_then(Value::as_array);
        methods.is_none_or(|methods| methods.iter().any(|method| method == "generateContent"))
    };
    let name = |model: &Value| {
        let name = model.get("name").and_then(Value::as_str)?;
        Some(name.strip_prefix("models/").unwrap_or(name).to_owned())
    };
    Ok(list.iter().filter(can_be_asked).filter_map(name).collect())
}

#[cfg(test)]
mod tests {
    use super::models;

    #[test]
    fn lists_of_models() {
        let body = br#"{"models": [
            {"name": "models/gemini-2.5-flash", "supportedGenerationMethods": ["generateContent", "countTokens"]},
            {"name": "models/gemini-embedding-001", "supportedGenerationMethods": ["embedContent"]},
            {"name": "tunedModels/mine"}]}"#;
        assert_eq!(models(body).expect("list"), ["gemini-2.5-flash", "tunedModels/mine"]);
        assert_eq!(models(b"{}").expect_err("no list").code, "provider_malformed");
        assert_eq!(models(br#"{"error": {"code": 403}}"#).expect_err("refused").code, "CZ0504");
    }
}
