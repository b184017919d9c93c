//! A tool whose description contradicts itself: a name twice, a schema that is no JSON, one that is no schema.

use compozy_plugin::Result;
use compozy_plugin::tool_world::exports::compozy::plugin::tool::{Description, Function, Guest};

struct BadDescribe;

impl Guest for BadDescribe {
    fn describe() -> Description {
        Description {
            summary: String::new(),
            version: "not a version".to_owned(),
            stateless: true,
            functions: vec![
                function("twice", None),
                function("twice", None),
                function("no_json", Some(r#"{"type": "#)),
                function("no_schema", Some(r#"{"type": "elephant"}"#)),
            ],
        }
    }

    fn run(_function: String, input: String) -> Result<String> {
        Ok(input)
    }
}

fn function(name: &str, input_schema: Option<&str>) -> Function {
    Function {
        name: name.to_owned(),
        description: String::new(),
        input_schema: input_schema.map(str::to_owned),
        output_schema: None,
        read_only: true,
        destructive: true,
        idempotent: false,
    }
}

compozy_plugin::tool_world::export!(BadDescribe with_types_in compozy_plugin::tool_world);
