//! Secrets, environment, the key-value space and the run.

use std::time::Duration;

use boa_engine::object::JsObject;
use boa_engine::object::builtins::JsArray;
use boa_engine::{Context, JsArgs, JsResult, JsValue, js_string};
use compozy_plugin::{config, kv, run, secrets};

use super::{Native, optional_text, string, text};
use crate::failure::lend;

pub(super) const NATIVES: &[Native] = &[
    ("secret", secret),
    ("env", env),
    ("run", current_run),
    ("kvGet", get),
    ("kvSet", set),
    ("kvCompareAndSet", compare_and_set),
    ("kvDelete", delete),
    ("kvKeys", keys),
];

/// `secret(name)`: its placeholder.
fn secret(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let name = text(arguments, 0, context)?;
    lend(secrets::get(&name), context).map(|placeholder| string(&placeholder))
}

/// `env(name)`.
fn env(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let name = text(arguments, 0, context)?;
    Ok(lend(config::env(&name), context)?.map_or_else(JsValue::undefined, |value| string(&value)))
}

/// `run()`: where this call stands.
fn current_run(_: &JsValue, _: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let Some(run) = run::current() else { return Ok(JsValue::undefined()) };
    let object = JsObject::with_object_proto(context.intrinsics());
    object.set(js_string!("execId"), string(&run.exec_id), true, context)?;
    object.set(js_string!("workflowId"), string(&run.workflow_id), true, context)?;
    object.set(js_string!("stepPath"), string(&run.step_path), true, context)?;
    object.set(js_string!("attempt"), run.attempt, true, context)?;
    object.set(js_string!("idempotencyKey"), string(&run.idempotency_key), true, context)?;
    if let Some(deadline) = run.deadline_unix_ms {
        object.set(js_string!("deadline"), deadline as f64, true, context)?;
    }
    Ok(object.into())
}

/// `kvGet(key)`: text, or undefined.
fn get(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let key = text(arguments, 0, context)?;
    let value = lend(kv::get(&key), context)?;
    Ok(value.map_or_else(JsValue::undefined, |value| string(&String::from_utf8_lossy(&value))))
}

/// `kvSet(key, text, milliseconds | undefined)`.
fn set(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let (key, value) = (text(arguments, 0, context)?, text(arguments, 1, context)?);
    let lifetime = arguments.get_or_undefined(2);
    let stored = if lifetime.is_undefined() {
        kv::set(&key, value.as_bytes())
    } else {
        kv::set_for(&key, value.as_bytes(), Duration::from_millis(lifetime.to_number(context)? as u64))
    };
    lend(stored, context)?;
    Ok(JsValue::undefined())
}

/// `kvCompareAndSet(key, expected text | undefined, text)`.
fn compare_and_set(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let (key, expected) = (text(arguments, 0, context)?, optional_text(arguments, 1, context)?);
    let value = text(arguments, 2, context)?;
    let stored = kv::compare_and_set(&key, expected.as_ref().map(String::as_bytes), value.as_bytes());
    lend(stored, context).map(JsValue::from)
}

/// `kvDelete(key)`.
fn delete(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let key = text(arguments, 0, context)?;
    lend(kv::delete(&key), context).map(JsValue::from)
}

/// `kvKeys(prefix, after | undefined, limit)`.
fn keys(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let (prefix, after) = (text(arguments, 0, context)?, optional_text(arguments, 1, context)?);
    let limit = arguments.get_or_undefined(2).to_u32(context)?;
    let keys = lend(kv::keys(&prefix, after.as_deref(), limit), context)?;
    Ok(JsArray::from_iter(keys.iter().map(|key| string(key)), context).into())
}
