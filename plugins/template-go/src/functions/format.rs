//! `print`, `printf`, `println`, `quote`, `squote`: Go's `fmt`, with values looking as dialect §6.5 says.

use std::{fmt::Write, rc::Rc};

use super::{Function, Host, MANY};
use crate::{
    problem::Fail,
    value::{Value, float_to_int},
};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("print", 0, MANY, |h, a| sprint(h, a).map(Value::String)).nulls(),
    Function::new("printf", 1, MANY, printf).nulls(),
    Function::new("println", 0, MANY, println).nulls(),
    Function::new("quote", 0, MANY, quote).nulls(),
    Function::new("squote", 0, MANY, squote).nulls(),
];

/// Widest field and finest precision.
const WIDEST: usize = 4096;

/// All values as text, with a space between two that are no strings.
pub(crate) fn sprint(host: &mut Host, a: &[Value]) -> Result<Rc<str>, Fail> {
    if let [only] = a {
        return host.print(only);
    }
    let mut out = String::new();
    let mut before_is_text = true;
    for (at, value) in a.iter().enumerate() {
        let is_text = matches!(value, Value::String(_));
        if at > 0 && !is_text && !before_is_text {
            out.push(' ');
        }
        before_is_text = is_text;
        crate::print::text(&mut out, value, host.budget.max_output())?;
    }
    host.budget.allow(out.len())?;
    Ok(out.into())
}

fn println(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut out = String::new();
    for (at, value) in a.iter().enumerate() {
        if at > 0 {
            out.push(' ');
        }
        crate::print::text(&mut out, value, host.budget.max_output())?;
    }
    out.push('\n');
    host.string(out)
}

fn quote(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut out = String::new();
    for value in a.iter().filter(|value| !matches!(value, Value::Null)) {
        if !out.is_empty() {
            out.push(' ');
        }
        let text = host.print(value)?;
        go_quote(&mut out, &text);
    }
    host.string(out)
}

fn squote(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let mut out = String::new();
    for value in a.iter().filter(|value| !matches!(value, Value::Null)) {
        if !out.is_empty() {
            out.push(' ');
        }
        let _ = write!(out, "'{}'", host.print(value)?);
    }
    host.string(out)
}

/// Go's `strconv.Quote`, `%q`.
fn go_quote(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            '\0'..' ' | '\u{7f}' => {
                let _ = write!(out, "\\x{:02x}", c as u32);
            }
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04x}", c as u32);
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// What stands between `%` and the verb.
#[derive(Default)]
struct Directive {
    minus: bool,
    plus: bool,
    sharp: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

fn printf(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let format = super::arguments::text(a, 0)?.clone();
    let mut arguments = a.iter().skip(1);
    let mut out = String::with_capacity(format.len() + 16);
    let mut rest = &*format;
    while let Some(at) = rest.find('%') {
        out.push_str(rest.get(..at).unwrap_or_default());
        rest = rest.get(at + 1..).unwrap_or_default();
        if let Some(after) = rest.strip_prefix('%') {
            out.push('%');
            rest = after;
            continue;
        }
        let directive = directive(&mut rest, &mut arguments)?;
        let verb = rest.chars().next().ok_or_else(|| Fail::reason("the format ends in %"))?;
        rest = rest.get(verb.len_utf8()..).unwrap_or_default();
        let value = arguments.next().ok_or_else(|| Fail::reason(format!("no argument for %{verb}")))?;
        let text = one(host, &directive, verb, value)?;
        pad(&mut out, &directive, verb, &text);
        let limit = host.budget.max_output();
        if out.len() as u64 > limit {
            return Err(Fail::Limit { what: "output", limit });
        }
    }
    if arguments.next().is_some() {
        return Err(Fail::reason("more arguments than the format uses"));
    }
    out.push_str(rest);
    host.string(out)
}

fn directive<'v>(rest: &mut &str, arguments: &mut impl Iterator<Item = &'v Value>) -> Result<Directive, Fail> {
    let mut directive = Directive::default();
    while let Some(flag) = rest.chars().next() {
        match flag {
            '-' => directive.minus = true,
            '+' => directive.plus = true,
            '#' => directive.sharp = true,
            ' ' => directive.space = true,
            '0' => directive.zero = true,
            _ => break,
        }
        *rest = rest.get(1..).unwrap_or_default();
    }
    directive.width = number(rest, arguments)?;
    if let Some(after) = rest.strip_prefix('.') {
        *rest = after;
        directive.precision = Some(number(rest, arguments)?.unwrap_or(0));
    }
    Ok(directive)
}

/// A number, or `*` for one among the arguments.
fn number<'v>(rest: &mut &str, arguments: &mut impl Iterator<Item = &'v Value>) -> Result<Option<usize>, Fail> {
    if let Some(after) = rest.strip_prefix('*') {
        *rest = after;
        let value = arguments.next().ok_or_else(|| Fail::reason("no argument for *"))?;
        let number = super::arguments::count(std::slice::from_ref(value), 0)?;
        return bounded(number).map(Some);
    }
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let (number, after) = rest.split_at_checked(digits).unwrap_or(("", rest));
    *rest = after;
    match number {
        "" => Ok(None),
        _ => bounded(number.parse().unwrap_or(usize::MAX)).map(Some),
    }
}

fn bounded(number: usize) -> Result<usize, Fail> {
    if number > WIDEST {
        return Err(Fail::reason(format!("a width may be {WIDEST} at most")));
    }
    Ok(number)
}

fn mismatch(verb: char, value: &Value) -> Fail {
    match value {
        Value::Null => Fail::Null,
        _ => Fail::reason(format!("%{verb} does not fit a {}", value.kind())),
    }
}

fn integer(verb: char, value: &Value) -> Result<i64, Fail> {
    match value {
        Value::Int(int) => Ok(*int),
        Value::Float(float) if float.fract() == 0.0 => float_to_int(*float).ok_or_else(|| mismatch(verb, value)),
        _ => Err(mismatch(verb, value)),
    }
}

fn float(verb: char, value: &Value) -> Result<f64, Fail> {
    match value {
        Value::Int(int) => Ok(*int as f64),
        Value::Float(float) => Ok(*float),
        _ => Err(mismatch(verb, value)),
    }
}

/// One value, without padding.
fn one(host: &mut Host, directive: &Directive, verb: char, value: &Value) -> Result<String, Fail> {
    let mut out = String::new();
    match verb {
        'v' | 's' => {
            let text = host.print(value)?;
            match (value, directive.precision) {
                (Value::Float(_) | Value::Int(_), _) | (_, None) => {
                    sign(
                        &mut out,
                        directive,
                        !text.starts_with('-') && matches!(value, Value::Float(_) | Value::Int(_)),
                    );
                    out.push_str(&text);
                }
                (_, Some(most)) => out.extend(text.chars().take(most)),
            }
        }
        'q' => match value {
            Value::Int(_) => {
                let c = u32::try_from(integer(verb, value)?).ok().and_then(char::from_u32);
                let _ = write!(out, "{:?}", c.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            _ => go_quote(&mut out, &host.print(value)?),
        },
        't' => match value {
            Value::Bool(b) => out.push_str(if *b { "true" } else { "false" }),
            _ => return Err(mismatch(verb, value)),
        },
        'T' => out.push_str(value.kind()),
        'c' | 'U' => {
            let code = u32::try_from(integer(verb, value)?).ok().and_then(char::from_u32);
            let c = code.unwrap_or(char::REPLACEMENT_CHARACTER);
            match verb {
                'c' => out.push(c),
                _ => {
                    let _ = write!(out, "U+{:04X}", c as u32);
                }
            }
        }
        'x' | 'X' if matches!(value, Value::String(_)) => {
            for byte in host.print(value)?.bytes() {
                let _ = if verb == 'x' { write!(out, "{byte:02x}") } else { write!(out, "{byte:02X}") };
            }
        }
        'd' | 'b' | 'o' | 'O' | 'x' | 'X' => write_integer(&mut out, directive, verb, integer(verb, value)?),
        'f' | 'F' | 'e' | 'E' | 'g' | 'G' => write_float(&mut out, directive, verb, float(verb, value)?),
        _ => return Err(Fail::reason(format!("unknown verb %{verb}"))),
    }
    Ok(out)
}

fn sign(out: &mut String, directive: &Directive, positive_number: bool) {
    if positive_number && directive.plus {
        out.push('+');
    } else if positive_number && directive.space {
        out.push(' ');
    }
}

fn write_integer(out: &mut String, directive: &Directive, verb: char, int: i64) {
    let size = int.unsigned_abs();
    let (prefix, digits) = match verb {
        'b' => ("0b", format!("{size:b}")),
        'o' => ("0", format!("{size:o}")),
        'O' => ("0o", format!("{size:o}")),
        'x' => ("0x", format!("{size:x}")),
        'X' => ("0X", format!("{size:X}")),
        _ => ("", size.to_string()),
    };
    if int < 0 {
        out.push('-');
    }
    sign(out, directive, int >= 0);
    if directive.sharp || verb == 'O' {
        out.push_str(prefix);
    }
    let zeros = directive.precision.unwrap_or(0).saturating_sub(digits.len());
    out.extend(std::iter::repeat_n('0', zeros));
    out.push_str(&digits);
}

fn write_float(out: &mut String, directive: &Directive, verb: char, float: f64) {
    if float.is_sign_negative() {
        out.push('-');
    }
    sign(out, directive, !float.is_sign_negative());
    let size = float.abs();
    let text = match verb {
        'f' | 'F' => format!("{size:.*}", directive.precision.unwrap_or(6)),
        'e' | 'E' => exponent(&format!("{size:.*e}", directive.precision.unwrap_or(6))),
        _ => general(size, directive.precision),
    };
    out.push_str(&if verb.is_ascii_uppercase() { text.to_uppercase() } else { text });
}

/// `1.5e2` as Go writes it, `1.5e+02`.
fn exponent(text: &str) -> String {
    let (digits, power) = text.split_once('e').unwrap_or((text, "0"));
    let (sign, power) = match power.strip_prefix('-') {
        Some(power) => ('-', power),
        None => ('+', power),
    };
    format!("{digits}e{sign}{power:0>2}")
}

/// `%g`: an exponent for very small and very large numbers, else plain digits, no zeros at the end.
fn general(size: f64, precision: Option<usize>) -> String {
    let scientific = match precision {
        Some(digits) => format!("{size:.*e}", digits.max(1) - 1),
        None => format!("{size:e}"),
    };
    let power: i32 = scientific.split_once('e').and_then(|(_, power)| power.parse().ok()).unwrap_or(0);
    let bound = precision.map_or(21, |digits| i32::try_from(digits.max(1)).unwrap_or(21));
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if power < -4 || power >= bound {
        let (digits, power) = scientific.split_once('e').unwrap_or((&scientific, "0"));
        return exponent(&format!("{}e{power}", trim(digits)));
    }
    match precision {
        None => format!("{size}"),
        Some(_) => trim(&format!("{size:.*}", usize::try_from(bound - 1 - power).unwrap_or(0))),
    }
}

fn pad(out: &mut String, directive: &Directive, verb: char, text: &str) {
    let missing = directive.width.unwrap_or(0).saturating_sub(text.chars().count());
    if missing == 0 {
        out.push_str(text);
    } else if directive.minus {
        out.push_str(text);
        out.extend(std::iter::repeat_n(' ', missing));
    } else if directive.zero && !matches!(verb, 'q' | 'T') {
        let signs = text.len() - text.trim_start_matches(['+', '-']).len();
        let (sign, digits) = match verb {
            's' => ("", text),
            _ => text.split_at_checked(signs).unwrap_or(("", text)),
        };
        out.push_str(sign);
        out.extend(std::iter::repeat_n('0', missing));
        out.push_str(digits);
    } else {
        out.extend(std::iter::repeat_n(' ', missing));
        out.push_str(text);
    }
}
