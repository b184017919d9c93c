//! Text to bytes and back, and random bytes.

use boa_engine::object::builtins::{AlignedVec, JsArrayBuffer, JsUint8Array};
use boa_engine::{Context, JsArgs, JsNativeError, JsResult, JsValue};

use super::{Native, string, text};
use crate::ambient;

pub(super) const NATIVES: &[Native] = &[("encode", encode), ("decode", decode), ("random", random)];

/// Most bytes of one call, as in browsers (<https://www.w3.org/TR/webcrypto-2/#Crypto-method-getRandomValues>).
const MOST_RANDOM: f64 = 65_536.0;

/// `encode(text)`: UTF-8.
fn encode(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let bytes = text(arguments, 0, context)?;
    array(bytes.as_bytes(), context)
}

/// `decode(bytes, fatal)`: what is no UTF-8 is replaced, or with `fatal` refused.
fn decode(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let bytes = view(arguments.get_or_undefined(0), context)?;
    if !arguments.get_or_undefined(1).to_boolean() {
        return Ok(string(&String::from_utf8_lossy(&bytes)));
    }
    let text = std::str::from_utf8(&bytes);
    Ok(string(text.map_err(|_| JsNativeError::typ().with_message("the bytes are not UTF-8"))?))
}

/// `random(count)`.
fn random(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let count = arguments.get_or_undefined(0).to_number(context)?;
    if !(0.0..=MOST_RANDOM).contains(&count) {
        return Err(JsNativeError::range().with_message("at most 65536 random bytes at once").into());
    }
    array(&ambient::random_bytes(count as usize), context)
}

/// A new `Uint8Array`.
pub(super) fn array(bytes: &[u8], context: &mut Context) -> JsResult<JsValue> {
    let buffer = JsArrayBuffer::from_byte_block(AlignedVec::from_slice(0, bytes), context)?;
    Ok(JsUint8Array::from_array_buffer(buffer, context)?.into())
}

/// The bytes of a `Uint8Array`.
pub(super) fn view(value: &JsValue, context: &mut Context) -> JsResult<Vec<u8>> {
    let wrong = || JsNativeError::typ().with_message("expected a Uint8Array");
    let array = JsUint8Array::from_object(value.as_object().ok_or_else(wrong)?)?;
    let (start, length) = (array.byte_offset(context)?, array.byte_length(context)?);
    let buffer = array.buffer(context)?.as_object().ok_or_else(wrong)?;
    let buffer = JsArrayBuffer::from_object(buffer)?;
    let bytes = buffer.data().and_then(|data| data.get(start..start.saturating_add(length)).map(<[u8]>::to_vec));
    Ok(bytes.ok_or_else(wrong)?)
}
