//! `urlParse` and `urlJoin`: URLs as maps and back (RFC 3986, as Go's `net/url` reads them).

use std::fmt::Write;

use super::{
    Function, Host,
    arguments::{map, text},
};
use crate::{
    problem::Fail,
    value::{Map, Value},
};

pub(crate) const FUNCTIONS: &[Function] =
    &[Function::new("urlJoin", 1, 1, url_join), Function::new("urlParse", 1, 1, url_parse)];

/// The scheme before the first `:`, if it is one.
fn scheme(url: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = url.split_once(':')?;
    let letters = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    letters.then_some((scheme, rest))
}

fn url_parse(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let url = text(a, 0)?;
    host.budget.allow(url.len().saturating_mul(2))?;
    if url.chars().any(|c| c.is_ascii_control()) {
        return Err(Fail::reason("the URL holds a control character"));
    }
    let (rest, fragment) = url.split_once('#').unwrap_or((url, ""));
    let (scheme, rest) = scheme(rest).unwrap_or(("", rest));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (mut authority, mut path, mut opaque) = ("", rest, "");
    if let Some(after) = rest.strip_prefix("//") {
        let end = after.find('/').unwrap_or(after.len());
        (authority, path) = after.split_at_checked(end).unwrap_or((after, ""));
    } else if !scheme.is_empty() && !rest.starts_with('/') {
        (opaque, path) = (rest, "");
    }
    let (userinfo, address) = authority.rsplit_once('@').unwrap_or(("", authority));
    let mut parts = Map::default();
    for (key, value) in [
        ("scheme", scheme.to_ascii_lowercase()),
        ("host", address.into()),
        ("hostname", hostname(address).into()),
        ("path", unescape(path)?),
        ("query", query.into()),
        ("opaque", opaque.into()),
        ("fragment", unescape(fragment)?),
        ("userinfo", userinfo.into()),
    ] {
        parts.insert(key.into(), Value::string(value))?;
    }
    Ok(Value::map(parts))
}

/// The host without its port and without the brackets of an IPv6 address.
fn hostname(address: &str) -> &str {
    if let Some(rest) = address.strip_prefix('[') {
        return rest.split(']').next().unwrap_or_default();
    }
    match address.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => address,
    }
}

fn unescape(text: &str) -> Result<String, Fail> {
    let wrong = || Fail::reason("the URL holds an invalid % escape");
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(wrong());
        };
        out.push((high * 16 + low) as u8);
    }
    String::from_utf8(out).map_err(|_| wrong())
}

/// Writes what may not stand in a path or fragment as `%XX`.
fn escape(out: &mut String, text: &str) {
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~$&+,/:;=@!'()*".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn url_join(host: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    let parts = map(a, 0)?;
    let mut part = |key: &str| match parts.get(key) {
        Some(value) => host.print(value),
        None => Ok("".into()),
    };
    let (scheme, address, path) = (part("scheme")?, part("host")?, part("path")?);
    let (query, opaque, fragment, userinfo) = (part("query")?, part("opaque")?, part("fragment")?, part("userinfo")?);
    let mut url = String::new();
    if !scheme.is_empty() {
        let _ = write!(url, "{scheme}:");
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !address.is_empty() || !userinfo.is_empty() {
            url.push_str("//");
        }
        if !userinfo.is_empty() {
            let _ = write!(url, "{userinfo}@");
        }
        url.push_str(&address);
        if !path.is_empty() && !path.starts_with('/') && !address.is_empty() {
            url.push('/');
        }
        escape(&mut url, &path);
    } else {
        url.push_str(&opaque);
    }
    if !query.is_empty() {
        let _ = write!(url, "?{query}");
    }
    if !fragment.is_empty() {
        url.push('#');
        escape(&mut url, &fragment);
    }
    host.string(url)
}
