//! The core schema of YAML 1.2: which value a plain scalar is.

use serde_json::Value;

/// Why a plain scalar is no value of ours: `.inf` or `.nan`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotFinite;

/// Whether a plain scalar is null.
pub fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// The boolean a plain scalar is; `yes`, `on` and `y` are strings.
pub fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The integer a plain scalar is: decimal, `0o17` or `0x1F`; `None` also outside 64 bits.
pub fn integer(text: &str) -> Option<i64> {
    if let Some(digits) = text.strip_prefix("0o") {
        return unsigned(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return unsigned(digits, 16);
    }
    is_decimal(text).then(|| text.parse().ok()).flatten()
}

/// The finite float a plain scalar is, integers outside 64 bits included.
pub fn float(text: &str) -> Option<f64> {
    if is_decimal(text) || is_float(text) {
        return text.parse().ok().filter(|value: &f64| value.is_finite());
    }
    None
}

/// The value a plain scalar is.
///
/// # Errors
/// `.inf`, `.nan` and floats too large for 64 bits.
pub fn value(text: &str) -> Result<Value, NotFinite> {
    if is_null(text) {
        return Ok(Value::Null);
    }
    if let Some(boolean) = boolean(text) {
        return Ok(Value::Bool(boolean));
    }
    if let Some(integer) = integer(text) {
        return Ok(Value::from(integer));
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if matches!(unsigned, ".inf" | ".Inf" | ".INF") || matches!(text, ".nan" | ".NaN" | ".NAN") {
        return Err(NotFinite);
    }
    if is_decimal(text) || is_float(text) {
        return float(text).map(Value::from).ok_or(NotFinite);
    }
    Ok(Value::String(text.to_owned()))
}

/// The value of a plain scalar after variables were filled in: what became empty is the empty string, not null.
pub fn filled_value(text: &str) -> Value {
    if text.is_empty() {
        return Value::String(String::new());
    }
    value(text).unwrap_or_else(|NotFinite| Value::String(text.to_owned()))
}

/// `[0-9a-f]+` of a base, without a sign.
fn unsigned(digits: &str, radix: u32) -> Option<i64> {
    if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
        return None;
    }
    i64::from_str_radix(digits, radix).ok()
}

/// `[-+]?[0-9]+`.
fn is_decimal(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`.
fn is_float(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']).and_then(|at| text.split_at_checked(at)) {
        Some((mantissa, exponent)) => (mantissa, exponent.get(1..)),
        None => (text, None),
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_is_one = match mantissa.split_once('.') {
        Some(("", fraction)) => !fraction.is_empty() && digits(fraction),
        Some((whole, fraction)) => digits(whole) && digits(fraction),
        None => !mantissa.is_empty() && digits(mantissa),
    };
    mantissa_is_one && exponent.is_none_or(is_decimal)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plain_scalars_follow_yaml_1_2() {
        for (text, expected) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("Null", json!(null)),
            ("true", json!(true)),
            ("FALSE", json!(false)),
            ("tRUE", json!("tRUE")),
            ("yes", json!("yes")),
            ("no", json!("no")),
            ("on", json!("on")),
            ("y", json!("y")),
            ("2001-01-01", json!("2001-01-01")),
            ("12", json!(12)),
            ("-0", json!(0)),
            ("+7", json!(7)),
            ("007", json!(7)),
            ("0o17", json!(15)),
            ("0x1F", json!(31)),
            ("0b1", json!("0b1")),
            ("1_000", json!("1_000")),
            ("1.5", json!(1.5)),
            ("1.", json!(1.0)),
            (".5", json!(0.5)),
            ("1e3", json!(1000.0)),
            ("1e", json!("1e")),
            (".", json!(".")),
            ("9223372036854775807", json!(9223372036854775807i64)),
            ("9223372036854775808", json!(9223372036854775808f64)),
            ("0xG", json!("0xG")),
            ("1:30", json!("1:30")),
            ("<<", json!("<<")),
        ] {
            assert_eq!(value(text), Ok(expected), "{text}");
        }
        for text in [".inf", "-.INF", ".NaN", "1e999"] {
            assert_eq!(value(text), Err(NotFinite), "{text}");
        }
        assert_eq!(value("nan"), Ok(json!("nan")));
    }
}
