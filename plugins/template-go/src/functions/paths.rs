//! Paths with `/`, on every machine: Go's `path` package.

use super::{Function, Host, arguments::text};
use crate::{problem::Fail, value::Value};

pub(crate) const FUNCTIONS: &[Function] = &[
    Function::new("base", 1, 1, |h, a| path(h, a, base)),
    Function::new("clean", 1, 1, |h, a| path(h, a, clean)),
    Function::new("dir", 1, 1, |h, a| path(h, a, dir)),
    Function::new("ext", 1, 1, |h, a| path(h, a, ext)),
    Function::new("isAbs", 1, 1, is_abs),
    Function::new("osBase", 1, 1, |h, a| path(h, a, base)),
    Function::new("osClean", 1, 1, |h, a| path(h, a, clean)),
    Function::new("osDir", 1, 1, |h, a| path(h, a, dir)),
    Function::new("osExt", 1, 1, |h, a| path(h, a, ext)),
    Function::new("osIsAbs", 1, 1, is_abs),
];

fn path(host: &mut Host, a: &[Value], of: fn(&str) -> String) -> Result<Value, Fail> {
    let path = text(a, 0)?;
    host.string(of(path))
}

fn is_abs(_: &mut Host, a: &mut [Value]) -> Result<Value, Fail> {
    Ok(Value::Bool(text(a, 0)?.starts_with('/')))
}

/// The last element; `.` for nothing, `/` for only slashes.
pub(crate) fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".into();
    }
    match path.trim_end_matches('/').rsplit('/').next() {
        Some("") | None => "/".into(),
        Some(last) => last.into(),
    }
}

/// All but the last element.
fn dir(path: &str) -> String {
    let end = path.rfind('/').map_or(0, |slash| slash + 1);
    clean(path.get(..end).unwrap_or_default())
}

/// The suffix from the last `.` of the last element.
fn ext(path: &str) -> String {
    let last = path.rsplit('/').next().unwrap_or_default();
    last.rfind('.').and_then(|dot| last.get(dot..)).unwrap_or_default().into()
}

/// The shortest path of the same meaning: no `//`, no `.`, no `x/..`.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}
