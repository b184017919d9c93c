//! `console`, over the host's log.

use boa_engine::{Context, JsResult, JsValue};
use compozy_plugin::log::{self, Level};

use super::{Native, text};

pub(super) const NATIVES: &[Native] = &[("log", write)];

/// `log(level, message)`.
fn write(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let level = match text(arguments, 0, context)?.as_str() {
        "debug" => Level::Debug,
        "warn" => Level::Warn,
        "error" => Level::Error,
        _ => Level::Info,
    };
    log::record(level, &text(arguments, 1, context)?, &[]);
    Ok(JsValue::undefined())
}
