//! From what a script throws to the error that the step gets.

use boa_engine::error::EngineError;
use boa_engine::{Context, JsError, JsNativeError, JsObject, JsValue, js_string};
use compozy_plugin::log::{self, Level};
use compozy_plugin::{Error, Result as PluginResult};

/// Why a call has no answer.
pub(crate) enum Failure {
    /// Something was thrown.
    Thrown(JsError),
    /// Nothing is left that could settle the promise.
    Unsettled,
    /// The answer is no JSON, and why.
    NotJson(String),
    /// The script has no function to call, and why.
    Unusable(String),
}

impl From<JsError> for Failure {
    fn from(error: JsError) -> Self {
        Self::Thrown(error)
    }
}

/// Longest stack in a log record, in bytes.
const STACK_BYTES: usize = 4_000;

/// Names that scripts written for Node or a browser look for.
const FOREIGN: [&str; 12] = [
    "require",
    "process",
    "Buffer",
    "module",
    "exports",
    "global",
    "__dirname",
    "__filename",
    "window",
    "document",
    "localStorage",
    "XMLHttpRequest",
];

/// The error of the step.
pub(crate) fn told(failure: Failure, tool: &str, context: &mut Context) -> Error {
    match failure {
        Failure::Thrown(error) => thrown(&error, tool, context),
        Failure::Unsettled => script_error(tool, "the script awaits a promise that nothing settles any more"),
        Failure::NotJson(reason) => script_error(tool, &format!("the answer is not JSON: {reason}")),
        Failure::Unusable(reason) => Error::new("CZ0701", format!("'{tool}': no usable implementation: {reason}")),
    }
}

fn script_error(tool: &str, reason: &str) -> Error {
    Error::new("CZ0706", format!("'{tool}' script error: {reason}"))
}

fn thrown(error: &JsError, tool: &str, context: &mut Context) -> Error {
    if let Some(EngineError::RuntimeLimit(limit)) = error.as_engine() {
        let place = place_in(&error.to_string());
        return Error::new("CZ0704", format!("'{tool}' exceeded its recursion limit: {limit}{}", in_brackets(place)));
    }
    let described = describe(error, context);
    let Some(object) = error.as_opaque().and_then(JsValue::as_object) else { return script_error(tool, &described) };
    if let Some(stack) = stack(&object, context) {
        let end = stack.floor_char_boundary(STACK_BYTES);
        log::record(Level::Debug, &described, &[("stack", stack.get(..end).unwrap_or_default())]);
    }
    // A code is the script's own word for what went wrong, and its message then stands for itself.
    let mut told = match text(&object, "code", context).filter(|code| !code.is_empty()) {
        Some(code) => Error::new(code, text(&object, "message", context).unwrap_or(described)),
        None => script_error(tool, &described),
    };
    told.retryable = member(&object, "retryable", context).is_some_and(|value| value.to_boolean());
    told.retry_after_ms = member(&object, "retryAfterMs", context)
        .and_then(|value| value.as_number())
        .filter(|milliseconds| milliseconds.is_finite() && *milliseconds >= 0.0)
        .map(|milliseconds| milliseconds as u64);
    told
}

/// `TypeError: x is not a function (tools/tidy.js:3:9)`.
pub(crate) fn describe(error: &JsError, context: &mut Context) -> String {
    let Some(value) = error.as_opaque() else {
        let shown = error.to_string();
        let place = place_in(&shown);
        let message = error.as_native().map_or_else(
            || shown.lines().next().unwrap_or_default().to_owned(),
            |native| named(&native.kind().to_string(), native.message()),
        );
        return with_hint(message, place);
    };
    let Some(object) = value.as_object() else {
        let shown = value.to_string(context).map(|text| text.to_std_string_lossy());
        let place = place_in(&error.to_string());
        return with_hint(shown.unwrap_or_else(|_| "something that is no text was thrown".to_owned()), place);
    };
    let place = stack(&object, context).and_then(|stack| place_in(&stack));
    let name = text(&object, "name", context).unwrap_or_else(|| "Error".to_owned());
    let message = text(&object, "message", context).or_else(|| crate::json::stringify(value, context).ok().flatten());
    with_hint(named(&name, &message.unwrap_or_default()), place)
}

fn named(name: &str, message: &str) -> String {
    if message.is_empty() { name.to_owned() } else { format!("{name}: {message}") }
}

fn with_hint(message: String, place: Option<String>) -> String {
    let missing = message.strip_prefix("ReferenceError: ").and_then(|rest| rest.strip_suffix(" is not defined"));
    let is_foreign = missing.is_some_and(|name| FOREIGN.contains(&name));
    let hint = if is_foreign { "; scripts have no Node or browser API" } else { "" };
    format!("{message}{hint}{}", in_brackets(place))
}

fn in_brackets(place: Option<String>) -> String {
    place.map(|place| format!(" ({place})")).unwrap_or_default()
}

/// The first place of a stack that lies in the script: a line `at name (file:line:column)` whose file is one of its own.
fn place_in(stack: &str) -> Option<String> {
    let places = stack.lines().filter_map(|line| {
        let line = line.trim().strip_prefix("at ")?;
        let (_, place) = line.rsplit_once(" (")?;
        let place = place.strip_suffix(')')?;
        let (file, line_and_column) = place.split_once(':')?;
        let is_script = [".js", ".mjs"].iter().any(|end| file.ends_with(end));
        let shown = if line_and_column.contains('?') { file } else { place };
        is_script.then(|| shown.to_owned())
    });
    places.into_iter().next()
}

/// A property whose getter, if it has one, may do what it likes.
fn member(object: &JsObject, name: &str, context: &mut Context) -> Option<JsValue> {
    let value = object.get(boa_engine::JsString::from(name), context).ok()?;
    (!value.is_undefined()).then_some(value)
}

fn text(object: &JsObject, name: &str, context: &mut Context) -> Option<String> {
    member(object, name, context)?.as_string().map(|text| text.to_std_string_lossy())
}

fn stack(object: &JsObject, context: &mut Context) -> Option<String> {
    text(object, "stack", context)
}

/// A syntax error with the file it is in; the parser says only where in the file.
pub(crate) fn syntax(error: &JsError, file: &str) -> JsError {
    let Some(native) = error.as_native() else { return error.clone() };
    let message = native.message();
    let (reason, place) = match (message.rsplit_once(" at line "), position(message)) {
        (Some((reason, _)), Some((line, column))) => (reason, format!("{file}:{line}:{column}")),
        _ => (message, file.to_owned()),
    };
    JsNativeError::syntax().with_message(format!("{reason} ({place})")).into()
}

/// Line and column at the end of a message of the parser.
pub(crate) fn position(message: &str) -> Option<(usize, usize)> {
    let (line, column) = message.rsplit_once(" at line ")?.1.split_once(", col ")?;
    Some((line.parse().ok()?, column.parse().ok()?))
}

/// An error of the host as one of JavaScript, with its code and whether trying again may help.
pub(crate) fn from_host(error: Error, context: &mut Context) -> JsError {
    let native: JsError = JsNativeError::error().with_message(error.message).into();
    let Ok(value) = native.into_opaque(context) else {
        return JsNativeError::error().with_message(error.code).into();
    };
    if let Some(object) = value.as_object() {
        let set = |name, value: JsValue, context: &mut Context| drop(object.set(name, value, false, context));
        set(js_string!("code"), boa_engine::JsString::from(error.code.as_str()).into(), context);
        set(js_string!("retryable"), error.retryable.into(), context);
        if let Some(milliseconds) = error.retry_after_ms {
            set(js_string!("retryAfterMs"), (milliseconds as f64).into(), context);
        }
    }
    JsError::from_opaque(value)
}

/// The same for what may fail.
pub(crate) fn lend<T>(result: PluginResult<T>, context: &mut Context) -> Result<T, JsError> {
    result.map_err(|error| from_host(error, context))
}

#[cfg(test)]
mod tests {
    use super::{place_in, position};

    #[test]
    fn places_are_those_in_the_script() {
        for (stack, expected) in [
            ("    at f (tools/a.js:3:9)\n    at <main> (tools/b.js:1:1)", Some("tools/a.js:3:9")),
            ("    at parse (native)\n    at g (compozy:url:5:6)\n    at h (a.mjs:7:8)", Some("a.mjs:7:8")),
            ("    at <main> (a.js:?:?)", Some("a.js")),
            ("Error: (x.js:1:2)", None),
            ("", None),
        ] {
            assert_eq!(place_in(stack).as_deref(), expected, "{stack}");
        }
    }

    #[test]
    fn the_parser_ends_with_a_position() {
        assert_eq!(position("unexpected token at line 3, col 13"), Some((3, 13)));
        assert_eq!(position("abrupt end"), None);
    }
}
