//! The JavaScript engine behind `script:` tools.
//!
//! The host hands over the script as the plugin's config: its modules by name, which of them is called, and the tool's own
//! config. Every call gets a fresh instance, so scripts keep nothing between calls and see nothing of each other.

mod ambient;
mod engine;
mod events;
mod failure;
mod globals;
mod json;
mod lent;
mod modules;
mod script;

use compozy_plugin::tool_world::exports::compozy::plugin::tool::{Description, Function, Guest};
use compozy_plugin::{Error, Result, log};

use self::script::Script;

struct Engine;

impl Guest for Engine {
    fn describe() -> Description {
        Description {
            summary: "Runs JavaScript modules of the project".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            stateless: false,
            functions: vec![
                function("run", "Calls the function that the script exports", false),
                function("check", "Reads the script and what it imports, and runs nothing", true),
            ],
        }
    }

    fn run(function: String, input: String) -> Result<String> {
        log::panics();
        let script = Script::given()?;
        match function.as_str() {
            "run" => script.run(&input),
            "check" => script.check(),
            other => Err(Error::new("unknown_function", format!("this plugin has no function '{other}'"))),
        }
    }
}

fn function(name: &str, description: &str, read_only: bool) -> Function {
    Function {
        name: name.to_owned(),
        description: description.to_owned(),
        input_schema: None,
        output_schema: None,
        read_only,
        destructive: false,
        idempotent: read_only,
    }
}

compozy_plugin::tool_world::export!(Engine with_types_in compozy_plugin::tool_world);
