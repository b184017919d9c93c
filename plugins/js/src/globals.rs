//! What a script finds beside the language itself. Each part is JavaScript over a few natives and is read only when the
//! script first touches one of its names, so that a call pays for what it uses.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::Path;

use boa_engine::object::{FunctionObjectBuilder, JsObject};
use boa_engine::property::PropertyDescriptor;
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsString, JsValue, NativeFunction, Source, js_string};

use crate::{json, lent};

/// One file of the prelude: its name in stacks, its text (a function from natives to an object) and what it defines.
struct Part {
    name: &'static str,
    text: &'static str,
    defines: &'static [&'static str],
}

static PARTS: [Part; 7] = [
    Part { name: "compozy:console", text: include_str!("prelude/console.js"), defines: &["console"] },
    Part {
        name: "compozy:timers",
        text: include_str!("prelude/timers.js"),
        defines: &["setTimeout", "clearTimeout", "setInterval", "clearInterval", "queueMicrotask", "performance"],
    },
    Part {
        name: "compozy:text",
        text: include_str!("prelude/text.js"),
        defines: &["TextEncoder", "TextDecoder", "atob", "btoa"],
    },
    Part { name: "compozy:url", text: include_str!("prelude/url.js"), defines: &["URL", "URLSearchParams"] },
    Part { name: "compozy:fetch", text: include_str!("prelude/fetch.js"), defines: &["fetch", "Headers", "Response"] },
    Part {
        name: "compozy:clone",
        text: include_str!("prelude/clone.js"),
        defines: &["structuredClone", "crypto", "DOMException"],
    },
    Part { name: "compozy:lent", text: include_str!("prelude/lent.js"), defines: &["compozy"] },
];

/// What the names of the prelude stand for, as far as they have been touched, or what the script put in their place.
#[derive(Default)]
struct Values(RefCell<BTreeMap<&'static str, JsValue>>);

/// Defines every name of the prelude, and the quick `JSON.parse`.
///
/// The accessors stay: the engine remembers where it found a property of the global object, and does not notice when an
/// accessor there becomes a value.
pub(crate) fn install(context: &mut Context) -> JsResult<()> {
    json::install(context)?;
    context.insert_data(Values::default());
    let global = context.global_object();
    for part in &PARTS {
        for name in part.defines {
            let get = NativeFunction::from_copy_closure(move |_, _, context| value(part, name, context));
            let set = NativeFunction::from_copy_closure(move |_, arguments, context| {
                if let Some(Values(values)) = context.get_data::<Values>() {
                    values.borrow_mut().insert(name, arguments.get_or_undefined(0).clone());
                }
                Ok(JsValue::undefined())
            });
            let get = FunctionObjectBuilder::new(context.realm(), get).build();
            let set = FunctionObjectBuilder::new(context.realm(), set).build();
            let accessor = PropertyDescriptor::builder().get(get).set(set).enumerable(false).configurable(true);
            global.define_property_or_throw(JsString::from(*name), accessor, context)?;
        }
    }
    Ok(())
}

/// The object with what the host lends.
pub(crate) fn lent(context: &mut Context) -> JsResult<JsObject> {
    let object = context.global_object().get(js_string!("compozy"), context)?.as_object();
    object.ok_or_else(|| JsNativeError::typ().with_message("globalThis.compozy was replaced").into())
}

/// What a name stands for; its part is read the first time.
fn value(part: &Part, name: &'static str, context: &mut Context) -> JsResult<JsValue> {
    if let Some(known) = known(name, context) {
        return Ok(known);
    }
    let source = Source::from_bytes(part.text).with_path(Path::new(part.name));
    let made = context.eval(source)?;
    let natives = lent::natives(context)?;
    let made = match made.as_function() {
        Some(function) => function.call(&JsValue::undefined(), &[natives.into()], context)?,
        None => JsValue::undefined(),
    };
    let Some(made) = made.as_object() else {
        return Err(JsNativeError::error().with_message(format!("{} defines nothing", part.name)).into());
    };
    for name in part.defines {
        let value = made.get(JsString::from(*name), context)?;
        if let Some(Values(values)) = context.get_data::<Values>() {
            values.borrow_mut().entry(name).or_insert(value);
        }
    }
    Ok(known(name, context).unwrap_or_default())
}

fn known(name: &str, context: &Context) -> Option<JsValue> {
    context.get_data::<Values>()?.0.borrow().get(name).cloned()
}
