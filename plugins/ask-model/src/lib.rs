//! A tool that lets a model sort a message, and decides itself what follows from it.
//!
//! It names no protocol, address or key: which model answers is the project's business, and how much of it one call may
//! use stands under `permissions.llm`.

use compozy_plugin::{Result, export_tool, models};
use serde::{Deserialize, Serialize};
use serde_json::json;

#[derive(Deserialize)]
struct Message {
    text: String,
}

/// What the model is asked for.
#[derive(Deserialize)]
struct Verdict {
    topic: String,
    angry: bool,
}

#[derive(Serialize)]
struct Triage {
    queue: String,
    urgent: bool,
}

fn triage(message: Message) -> Result<Triage> {
    let verdict: Verdict = models::Question::new()
        .system("You sort messages of customers. Say what the message is about and whether its author is angry.")
        .user(message.text.as_str())
        .temperature(0.0)
        .max_tokens(100)
        .output_schema(json!({
            "type": "object",
            "required": ["topic", "angry"],
            "properties": {"topic": {"enum": ["billing", "delivery", "other"]}, "angry": {"type": "boolean"}},
        }))
        .ask_for()?;
    let has_deadline = message.text.to_lowercase().contains("today");
    Ok(Triage { queue: format!("support-{}", verdict.topic), urgent: verdict.angry || has_deadline })
}

export_tool! {
    summary: "Sorts messages with a model";

    triage {
        description: "Says which queue a message belongs into and whether it is urgent",
        input: r#"{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}"#,
        read_only: true,
    }
}
