//! A tool whose answers are no JSON; written on the bare interface, since the SDK never lets that happen.

use compozy_plugin::tool_world::exports::compozy::plugin::tool::{Description, Function, Guest};
use compozy_plugin::{Error, Result};

struct BadJson;

impl Guest for BadJson {
    fn describe() -> Description {
        let functions = ["unfinished", "empty", "two_values", "not_a_number", "deep"];
        Description {
            summary: "Answers with text that is no JSON".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stateless: false,
            functions: functions.into_iter().map(function).collect(),
        }
    }

    fn run(function: String, _input: String) -> Result<String> {
        Ok(match function.as_str() {
            "unfinished" => r#"{"answer": "#.to_owned(),
            "empty" => String::new(),
            "two_values" => "1 2".to_owned(),
            "not_a_number" => "NaN".to_owned(),
            "deep" => "[".repeat(100_000) + &"]".repeat(100_000),
            other => return Err(Error::new("unknown_function", other)),
        })
    }
}

fn function(name: &str) -> Function {
    Function {
        name: name.to_owned(),
        description: format!("Returns text that is no JSON the host should take: {name}"),
        input_schema: None,
        output_schema: None,
        read_only: true,
        destructive: false,
        idempotent: true,
    }
}

compozy_plugin::tool_world::export!(BadJson with_types_in compozy_plugin::tool_world);
