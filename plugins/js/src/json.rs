//! JSON in and out. The engine's own `JSON.parse` compiles its text as a program; this one reads it.

use boa_engine::object::builtins::JsFunction;
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsValue, NativeFunction, js_string};

/// Reads a JSON text.
pub(crate) fn parse(text: &str, context: &mut Context) -> JsResult<JsValue> {
    let value: serde_json::Value = serde_json::from_str(text)
        .map_err(|error| JsNativeError::syntax().with_message(format!("invalid JSON: {error}")))?;
    JsValue::from_json(&value, context)
}

/// The engine's `JSON.stringify` as it was before the script began; kept with the context.
#[derive(Clone)]
struct Stringify(JsFunction);

/// Writes a value as JSON; `None` for what JSON has no word for.
pub(crate) fn stringify(value: &JsValue, context: &mut Context) -> JsResult<Option<String>> {
    let Some(Stringify(function)) = context.get_data::<Stringify>().cloned() else {
        return Err(JsNativeError::error().with_message("JSON is gone").into());
    };
    let text = function.call(&JsValue::undefined(), std::slice::from_ref(value), context)?;
    Ok(text.as_string().map(|text| text.to_std_string_lossy()))
}

/// Puts the quick `JSON.parse` in the place of the engine's and remembers its `JSON.stringify`.
pub(crate) fn install(context: &mut Context) -> JsResult<()> {
    let Some(object) = context.global_object().get(js_string!("JSON"), context)?.as_object() else { return Ok(()) };
    if let Some(function) = object.get(js_string!("stringify"), context)?.as_function() {
        context.insert_data(Stringify(function));
    }
    let Some(slow) = object.get(js_string!("parse"), context)?.as_function() else { return Ok(()) };
    let quick = NativeFunction::from_copy_closure_with_captures(
        |this, arguments, slow: &JsFunction, context| {
            // A reviver is called by the engine's own.
            if arguments.get_or_undefined(1).is_callable() {
                return slow.call(this, arguments, context);
            }
            let text = arguments.get_or_undefined(0).to_string(context)?.to_std_string_lossy();
            parse(&text, context)
        },
        slow,
    );
    let quick = boa_engine::object::FunctionObjectBuilder::new(context.realm(), quick)
        .name(js_string!("parse"))
        .length(2)
        .build();
    object.set(js_string!("parse"), quick, true, context)?;
    Ok(())
}
