//! Requests. They go through the host's gate; several may be under way at once.

use boa_engine::builtins::promise::ResolvingFunctions;
use boa_engine::object::JsObject;
use boa_engine::object::builtins::{JsArray, JsPromise};
use boa_engine::{Context, JsArgs, JsError, JsNativeError, JsResult, JsValue, js_string};
use compozy_plugin::http::{Error, Request, Response};

use super::{Native, bytes, gone, list, string, text};
use crate::events::Events;
use crate::failure;

pub(super) const NATIVES: &[Native] = &[("request", request), ("readBody", read_body), ("dropBody", drop_body)];

/// Longest body that is read, in bytes; the memory of the instance ends most before.
const MOST_BODY: usize = 64 << 20;

/// `request(method, url, [[name, value]], bytes | undefined)`: a promise of `{status, headers, body}`.
fn request(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let mut request = Request::new(&text(arguments, 0, context)?, text(arguments, 1, context)?);
    for pair in list(arguments.get_or_undefined(2), context)? {
        let pair = list(&pair, context)?;
        let (name, value) = (text(&pair, 0, context)?, text(&pair, 1, context)?);
        request = request.header(&name, value);
    }
    if !arguments.get_or_undefined(3).is_undefined() {
        request = request.body(bytes::view(arguments.get_or_undefined(3), context)?);
    }
    let (promise, functions) = JsPromise::new_pending(context);
    match request.begin() {
        Ok(pending) => Events::of(context)?.await_answer(pending, functions),
        Err(error) => reject(error, &functions, context)?,
    }
    Ok(promise.into())
}

/// Settles the promise of a request.
pub(crate) fn settle(
    answer: Result<Response, Error>,
    functions: &ResolvingFunctions,
    context: &mut Context,
) -> JsResult<()> {
    let response = match answer {
        Ok(response) => response,
        Err(error) => return reject(error, functions, context),
    };
    let headers = JsArray::new(context)?;
    for (name, value) in &response.headers {
        let pair = [string(name), string(&String::from_utf8_lossy(value))];
        let pair = JsArray::from_iter(pair, context);
        headers.push(pair, context)?;
    }
    let events = Events::of(context)?;
    let body = events.next_id();
    events.kept.bodies.borrow_mut().insert(body, response.body);
    let told = JsObject::with_object_proto(context.intrinsics());
    told.set(js_string!("status"), response.status, true, context)?;
    told.set(js_string!("headers"), headers, true, context)?;
    told.set(js_string!("body"), body, true, context)?;
    functions.resolve.call(&JsValue::undefined(), &[told.into()], context)?;
    Ok(())
}

fn reject(error: Error, functions: &ResolvingFunctions, context: &mut Context) -> JsResult<()> {
    let reason = failure::from_host(error.into(), context).into_opaque(context)?;
    functions.reject.call(&JsValue::undefined(), &[reason], context)?;
    Ok(())
}

/// `readBody(body)`: all of it as a `Uint8Array`, once.
fn read_body(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let id = arguments.get_or_undefined(0).to_u32(context)?;
    let body = Events::of(context)?.kept.bodies.borrow_mut().remove(&id).ok_or_else(|| gone("body"))?;
    let mut whole = Vec::new();
    for piece in body {
        let piece = piece.map_err(|error| failure::from_host(error.into(), context))?;
        if whole.len() + piece.len() > MOST_BODY {
            return Err(too_long());
        }
        whole.extend_from_slice(&piece);
    }
    bytes::array(&whole, context)
}

fn too_long() -> JsError {
    JsNativeError::range().with_message(format!("the body is longer than {MOST_BODY} bytes")).into()
}

/// `dropBody(body)`: nobody will read it, so its connection may go.
fn drop_body(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let id = arguments.get_or_undefined(0).to_u32(context)?;
    drop(Events::of(context)?.kept.bodies.borrow_mut().remove(&id));
    Ok(JsValue::undefined())
}
