//! The natives under the prelude: what only the host can do.

mod bytes;
mod data;
pub(crate) mod http;
mod log;
mod models;
mod sql;
mod timers;

use std::cell::RefCell;
use std::collections::BTreeMap;

use boa_engine::object::{FunctionObjectBuilder, JsObject};
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsString, JsValue, NativeFunction};

/// A native: its name for the prelude, and what it does.
type Native = (&'static str, fn(&JsValue, &[JsValue], &mut Context) -> JsResult<JsValue>);

/// Things of the host that JavaScript holds by a number.
#[derive(Default)]
pub(crate) struct Kept {
    bodies: RefCell<BTreeMap<u32, compozy_plugin::http::Body>>,
    // Transactions go before the connections they belong to.
    transactions: RefCell<BTreeMap<u32, compozy_plugin::sql::Transaction>>,
    connections: RefCell<BTreeMap<u32, compozy_plugin::sql::Connection>>,
}

/// The object with all natives, made once per context.
#[derive(Clone)]
struct Natives(JsObject);

/// The object that the parts of the prelude are called with.
pub(crate) fn natives(context: &mut Context) -> JsResult<JsObject> {
    if let Some(Natives(known)) = context.get_data::<Natives>() {
        return Ok(known.clone());
    }
    let object = JsObject::with_null_proto();
    let tables =
        [log::NATIVES, timers::NATIVES, bytes::NATIVES, http::NATIVES, data::NATIVES, sql::NATIVES, models::NATIVES];
    for (name, native) in tables.into_iter().flatten() {
        let function = FunctionObjectBuilder::new(context.realm(), NativeFunction::from_fn_ptr(*native))
            .name(JsString::from(*name))
            .build();
        object.set(JsString::from(*name), function, true, context)?;
    }
    context.insert_data(Natives(object.clone()));
    Ok(object)
}

/// The argument at `index` as text.
fn text(arguments: &[JsValue], index: usize, context: &mut Context) -> JsResult<String> {
    Ok(arguments.get_or_undefined(index).to_string(context)?.to_std_string_lossy())
}

/// The argument at `index` as text, unless it is undefined or null.
fn optional_text(arguments: &[JsValue], index: usize, context: &mut Context) -> JsResult<Option<String>> {
    if arguments.get_or_undefined(index).is_null_or_undefined() {
        Ok(None)
    } else {
        text(arguments, index, context).map(Some)
    }
}

/// The elements of an array.
fn list(value: &JsValue, context: &mut Context) -> JsResult<Vec<JsValue>> {
    let Some(object) = value.as_object() else {
        return Err(JsNativeError::typ().with_message("expected a list").into());
    };
    let array = boa_engine::object::builtins::JsArray::from_object(object)?;
    let length = array.length(context)?;
    (0..length).map(|index| array.get(index, context)).collect()
}

fn string(text: &str) -> JsValue {
    JsString::from(text).into()
}

fn gone(what: &str) -> boa_engine::JsError {
    JsNativeError::error().with_message(format!("the {what} is closed")).into()
}
