//! Base64 and base32 (RFC 4648), digests.

use sha1::Digest;

use super::{Function, Host, arguments::text};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("adler32sum", 1, 1, adler32),
    Function::new("b32dec", 1, 1, |h, a| decode(h, a, BASE32, 5)),
    Function::new("b32enc", 1, 1, |h, a| encode(h, a, BASE32, 5)),
    Function::new("b64dec", 1, 1, |h, a| decode(h, a, BASE64, 6)),
    Function::new("b64enc", 1, 1, |h, a| encode(h, a, BASE64, 6)),
    Function::new("sha1sum", 1, 1, |_, a| Ok(hex(&sha1::Sha1::digest(text(a, 0)?.as_bytes())))),
    Function::new("sha256sum", 1, 1, |_, a| Ok(hex(&sha2::Sha256::digest(text(a, 0)?.as_bytes())))),
    Function::new("sha512sum", 1, 1, |_, a| Ok(hex(&sha2::Sha512::digest(text(a, 0)?.as_bytes())))),
];

const BASE32: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
const BASE64: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn hex(bytes: &[u8]) -> Value {
    use std::fmt::Write;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    Value::string(text)
}

/// RFC 1950, section 9.
fn adler32(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    const MODULUS: u32 = 65521;
    let (mut low, mut high) = (1, 0);
    for byte in text(a, 0)?.bytes() {
        low = (low + u32::from(byte)) % MODULUS;
        high = (high + low) % MODULUS;
    }
    Ok(Value::string(((high << 16) | low).to_string()))
}

/// `bits` per letter of `alphabet`.
fn encode(host: &mut Host, a: &[Value], alphabet: &[u8], bits: u32) -> Result<Value, Fail> {
    let text = text(a, 0)?;
    host.budget.allow((text.len() / 5 + 1).saturating_mul(8))?;
    let mut out = String::new();
    let (mut buffer, mut held) = (0_u32, 0);
    let letter = |index: u32| char::from(alphabet.get(index as usize).copied().unwrap_or(b'='));
    for byte in text.bytes() {
        buffer = ((buffer << 8) | u32::from(byte)) & 0xFFFF;
        held += 8;
        while held >= bits {
            held -= bits;
            out.push(letter((buffer >> held) & ((1 << bits) - 1)));
        }
    }
    if held > 0 {
        out.push(letter((buffer << (bits - held)) & ((1 << bits) - 1)));
    }
    let group = if bits == 5 { 8 } else { 4 };
    while !out.len().is_multiple_of(group) {
        out.push('=');
    }
    Ok(Value::string(out))
}

fn decode(host: &mut Host, a: &[Value], alphabet: &[u8], bits: u32) -> Result<Value, Fail> {
    let base = 1 << bits;
    let wrong = || Fail::reason(format!("the text is no base{base}"));
    let text = text(a, 0)?;
    host.budget.allow(text.len())?;
    let group = if bits == 5 { 8 } else { 4 };
    // As in Go, line breaks do not count.
    let letters: Vec<u8> = text.bytes().filter(|b| !matches!(b, b'\r' | b'\n')).collect();
    let body = letters.iter().position(|b| *b == b'=').unwrap_or(letters.len());
    let padding = letters.get(body..).unwrap_or_default();
    if !letters.len().is_multiple_of(group) || padding.iter().any(|b| *b != b'=') {
        return Err(wrong());
    }
    let mut out = Vec::with_capacity(letters.len());
    let (mut buffer, mut held) = (0_u32, 0);
    for letter in letters.iter().take(body) {
        let index = alphabet.iter().position(|known| known == letter).ok_or_else(wrong)?;
        buffer = ((buffer << bits) | index as u32) & 0xFFFF;
        held += bits;
        if held >= 8 {
            held -= 8;
            out.push((buffer >> held) as u8);
        }
    }
    if held >= bits || padding.len() >= group {
        return Err(wrong());
    }
    let text = String::from_utf8(out).map_err(|_| Fail::reason("the decoded bytes are no text"))?;
    Ok(Value::string(text))
}
