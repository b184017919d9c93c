//! What the host hands over, and the way of one call.

use std::collections::BTreeMap;

use boa_engine::object::builtins::{JsFunction, JsPromise};
use boa_engine::{Context, JsString, JsValue, js_string};
use compozy_plugin::{Error, Result, config};
use serde::Deserialize;
use serde_json::Value;

use crate::engine::Engine;
use crate::failure::{self, Failure};
use crate::json;

/// Bytes that a context with a small script takes, about.
const USUAL_HEAP: usize = 2 << 20;

/// The config of one call.
#[derive(Deserialize)]
pub(crate) struct Script {
    /// Id of the tool, for messages.
    tool: String,
    /// Name of the module whose default export is called.
    main: String,
    /// The default export is a map, and this is the key of the function.
    #[serde(default)]
    function: Option<String>,
    /// Texts of the modules by name: paths below the project folder.
    modules: BTreeMap<String, String>,
    /// Second argument.
    #[serde(default)]
    config: Value,
}

impl Script {
    /// The script that the host hands over.
    pub(crate) fn given() -> Result<Self> {
        config::get().map_err(|error: Error| {
            let message = "builtin:js runs the script of a tool: write script: ./tools/name.js instead of plugin:";
            Error::new("CZ0701", format!("{message} ({})", error.message))
        })
    }

    /// Calls the script's function with `input` (JSON text); its answer as JSON text.
    pub(crate) fn run(self, input: &str) -> Result<String> {
        self.attempt(|script, engine, context| {
            let module = engine.main(&script.main, context)?;
            engine.settle(&module.load_link_evaluate(context), context)?;
            let exported = module.get_value(js_string!("default"), context)?;
            let function = script.callee(&exported, context)?;
            let input = json::parse(input, context)?;
            let config = match &script.config {
                Value::Null => json::parse("{}", context)?,
                given => JsValue::from_json(given, context)?,
            };
            let mut answer = function.call(&JsValue::undefined(), &[input, config], context)?;
            if answer.is_object() {
                // Resolving does what `await` does: it also waits for what only looks like a promise.
                let promise = JsPromise::resolve(answer, context)?;
                answer = engine.settle(&promise, context)?;
            }
            engine.warn_of_rejections(context);
            engine.write(&answer, context)
        })
    }

    /// Reads the modules and looks for the default export, without running anything.
    pub(crate) fn check(self) -> Result<String> {
        self.attempt(|script, engine, context| {
            let module = engine.main(&script.main, context)?;
            engine.settle(&module.load(context), context)?;
            module.link(context)?;
            if !module.namespace(context).has_property(js_string!("default"), context)? {
                return Err(script.no_default());
            }
            Ok("{}".to_owned())
        })
    }

    fn attempt(
        &self,
        work: impl FnOnce(&Self, &Engine, &mut Context) -> std::result::Result<String, Failure>,
    ) -> Result<String> {
        // Memory that grows piece by piece costs the host a change of page protection each time. What is given back at once
        // stays with the allocator; pages that are never touched cost nothing.
        drop(std::hint::black_box(Vec::<u8>::with_capacity(USUAL_HEAP)));
        let engine = Engine::new(&self.modules);
        let mut context = engine.context().map_err(|error| Error::new("CZ0705", error.to_string()))?;
        work(self, &engine, &mut context).map_err(|failure| failure::told(failure, &self.tool, &mut context))
    }

    fn callee(&self, exported: &JsValue, context: &mut Context) -> std::result::Result<JsFunction, Failure> {
        let Some(name) = &self.function else {
            return exported.as_function().ok_or_else(|| self.no_default());
        };
        let member = match exported.as_object() {
            Some(map) => map.get(JsString::from(name.as_str()), context)?,
            None => JsValue::undefined(),
        };
        member
            .as_function()
            .ok_or_else(|| Failure::Unusable(format!("the default export of {} has no function '{name}'", self.main)))
    }

    fn no_default(&self) -> Failure {
        Failure::Unusable(format!(
            "{} exports no function as its default; write `export default (input, config) => …`",
            self.main
        ))
    }
}
