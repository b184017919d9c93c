//! A tool that asks an HTTP API and authenticates with a key it never sees.
//!
//! What it gets as the key is a placeholder, different in every run. The host puts the value in its place when the
//! request leaves for a host granted with `permissions.http`, and nowhere else.

use compozy_plugin::{Result, config, export_tool, http, secrets};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Bytes of an answer that are read.
const ANSWER_BYTES: usize = 64 << 10;

/// The plugin's `config:`.
#[derive(Deserialize)]
struct Settings {
    base_url: String,
}

#[derive(Deserialize)]
struct Question {
    sku: String,
}

#[derive(Serialize)]
struct Stock {
    units: Value,
    /// What the plugin saw of the key: its first word.
    key: String,
}

fn stock(question: Question) -> Result<Stock> {
    let Settings { base_url } = config::get()?;
    let key = secrets::get("SHOP_TOKEN")?;
    let answer: Value = http::Request::post(format!("{base_url}/stock"))
        .header("authorization", format!("Bearer {key}"))
        .json(&serde_json::json!({"sku": question.sku}))?
        .send()?
        .error_for_status()?
        .json(ANSWER_BYTES)?;
    let seen = key.split('-').next().unwrap_or_default();
    Ok(Stock { units: answer.get("units").cloned().unwrap_or_default(), key: seen.to_owned() })
}

export_tool! {
    summary: "Asks a shop's API";

    stock {
        description: "How many units of a product there are",
        input: r#"{"type": "object", "required": ["sku"], "properties": {"sku": {"type": "string"}}}"#,
        read_only: true,
    }
}
