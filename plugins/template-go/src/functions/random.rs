//! Randomness, all of it from the seed of the render: `randInt`, `randAlpha` and kin, `shuffle`, `uuidv4`.

use super::{Function, Host, arguments};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("randAlpha", 1, 1, |h, a| letters(h, a, ALPHA)),
    Function::new("randAlphaNum", 1, 1, |h, a| letters(h, a, ALPHA_NUM)),
    Function::new("randAscii", 1, 1, rand_ascii),
    Function::new("randInt", 2, 2, rand_int),
    Function::new("randNumeric", 1, 1, |h, a| letters(h, a, b"0123456789")),
    Function::new("shuffle", 1, 1, shuffle),
    Function::new("uuidv4", 0, 0, uuidv4),
];

const ALPHA: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const ALPHA_NUM: &[u8] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Debug)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub(crate) fn new(seed: u64) -> Random {
        Random { state: seed }
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, 0 if that is 0 (Lemire's multiplication, without the rejection: the bias is below 2^-32 here).
    fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }
}

fn letters(host: &mut Host, a: &[Value], from: &[u8]) -> Result<Value, Fail> {
    let count = arguments::count(a, 0)?;
    host.budget.allow(count)?;
    host.budget.spend(count)?;
    let mut text = String::with_capacity(count);
    for _ in 0..count {
        let at = host.random.below(from.len() as u64) as usize;
        text.push(from.get(at).copied().unwrap_or(b'a').into());
    }
    Ok(Value::string(text))
}

fn rand_ascii(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let printable: Vec<u8> = (b' '..=b'~').collect();
    letters(host, a, &printable)
}

fn rand_int(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let (low, high) = (arguments::int(a, 0)?, arguments::int(a, 1)?);
    if low >= high {
        return Err(Fail::reason(format!("{low} must be less than {high}")));
    }
    let offset = host.random.below(high.wrapping_sub(low) as u64);
    Ok(Value::Int(low.wrapping_add(offset as i64)))
}

/// Fisher and Yates.
fn shuffle(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let text = arguments::text(a, 0)?;
    host.budget.spend(text.len())?;
    let mut chars: Vec<char> = text.chars().collect();
    for last in (1..chars.len()).rev() {
        let other = host.random.below(last as u64 + 1) as usize;
        chars.swap(last, other);
    }
    host.string(chars.into_iter().collect())
}

/// RFC 9562, version 4.
fn uuidv4(host: &mut Host, _: &mut [Value]) -> Result<Value, Fail> {
    let high = (host.random.next() & !0xF000) | 0x4000;
    let low = (host.random.next() >> 2) | (1 << 63);
    Ok(Value::string(format!(
        "{:08x}-{:04x}-{:04x}-{:04x}-{:012x}",
        high >> 32,
        (high >> 16) & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    )))
}
