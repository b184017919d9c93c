//! Timers, and the clock that measures.

use std::time::Duration;

use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsValue};
use compozy_plugin::clock;

use super::{Native, list};
use crate::events::Events;

pub(super) const NATIVES: &[Native] = &[("setTimer", set), ("clearTimer", clear), ("elapsed", elapsed)];

/// Longest delay, in milliseconds; what is longer runs at once, as in browsers and Node.
const MOST_DELAY: f64 = 2_147_483_647.0;

/// `setTimer(callback, milliseconds, arguments, repeats)`.
fn set(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let Some(callback) = arguments.get_or_undefined(0).as_function() else {
        return Err(JsNativeError::typ().with_message("a timer needs a function").into());
    };
    let delay = arguments.get_or_undefined(1).to_number(context)?;
    let delay = if delay.is_finite() && (0.0..=MOST_DELAY).contains(&delay) { delay } else { 0.0 };
    let given = list(arguments.get_or_undefined(2), context)?;
    let repeats = arguments.get_or_undefined(3).to_boolean();
    let events = Events::of(context)?;
    Ok(events.set_timer(callback, given, Duration::from_secs_f64(delay / 1000.0), repeats).into())
}

/// `clearTimer(id)`.
fn clear(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    if let Some(id) = arguments.get_or_undefined(0).as_number() {
        Events::of(context)?.clear_timer(id as u32);
    }
    Ok(JsValue::undefined())
}

/// Milliseconds since some fixed moment.
fn elapsed(_: &JsValue, _: &[JsValue], _: &mut Context) -> JsResult<JsValue> {
    Ok((clock::elapsed().as_secs_f64() * 1000.0).into())
}
