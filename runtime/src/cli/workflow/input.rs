//! The input of a run, put together from files, JSON and single parameters.

use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value};

use crate::cli::failure::Failure;

/// Largest input that is read, bytes (16 MiB); the project's own limit is checked later.
const LARGEST: u64 = 16 << 20;

/// Where the input comes from, lowest first.
#[derive(Debug, Default)]
pub struct Sources<'a> {
    /// `--input-file`.
    pub file: Option<&'a Path>,
    /// `--input`: JSON, `@FILE` or `-`.
    pub inline: Option<&'a str>,
    /// `--param k=v`, in order.
    pub params: &'a [String],
}

/// Lays the sources over each other, key by key at the top level.
///
/// # Errors
/// Usage (exit 2) for what cannot be read or is no JSON object.
pub fn read(sources: &Sources<'_>, stdin: impl Read) -> Result<Value, Failure> {
    let mut input = Map::new();
    if let Some(path) = sources.file {
        input.extend(object(&file(path)?, &path.display().to_string())?);
    }
    match sources.inline {
        None => {}
        Some("-") => {
            input.extend(object(&text(stdin, "stdin")?, "stdin")?);
        }
        Some(text) => match text.strip_prefix('@') {
            Some("") => {
                return Err(Failure::usage("--input @: the name of a file must follow")
                    .hint("--input @FILE, or --input - for stdin"));
            }
            Some(path) => input.extend(object(&file(Path::new(path))?, path)?),
            None => input.extend(object(text, "--input")?),
        },
    }
    for param in sources.params {
        let Some((path, value)) = param.split_once('=') else {
            return Err(Failure::usage(format!("--param {param}: expected KEY=VALUE")));
        };
        set(&mut input, path, typed(value))
            .ok_or_else(|| Failure::usage(format!("--param {param}: '{path}' is not a key path such as city.name")))?;
    }
    Ok(Value::Object(input))
}

/// One JSON value: `text` itself, `@FILE`, or `-` for stdin. `flag` names it in messages.
///
/// # Errors
/// Usage (exit 2) for what cannot be read or is no JSON.
pub fn value(text: &str, flag: &str, stdin: impl Read) -> Result<Value, Failure> {
    let (text, name) = match text.strip_prefix('@') {
        _ if text == "-" => (self::text(stdin, "stdin")?, "stdin"),
        Some(path) => (file(Path::new(path))?, path),
        None => (text.to_owned(), flag),
    };
    serde_json::from_str(text.trim_start_matches('\u{feff}'))
        .map_err(|error| Failure::usage(format!("{name}: invalid JSON: {error}")))
}

fn file(path: &Path) -> Result<String, Failure> {
    let name = path.display().to_string();
    let cannot = |error: std::io::Error| Failure::usage(format!("cannot read '{name}': {error}"));
    // Looked at before it is opened: opening a pipe waits for its other end.
    if !std::fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(Failure::usage(format!("cannot read '{name}': not a regular file"))
            .hint("name a file, or pass --input - to read stdin"));
    }
    text(std::fs::File::open(path).map_err(cannot)?, &name)
}

/// All of `source`, refused as soon as it proves too long, whatever it said of its size.
fn text(source: impl Read, name: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    let read = source.take(LARGEST + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("cannot read '{name}': {error}")))?;
    if bytes.len() as u64 > LARGEST {
        return Err(Failure::new("payload_too_large", format!("'{name}' is larger than {} MiB", LARGEST >> 20))
            .hint("keep large data in a file or database that the workflow reads"));
    }
    String::from_utf8(bytes).map_err(|_| Failure::usage(format!("cannot read '{name}': not UTF-8 text")))
}

fn object(text: &str, name: &str) -> Result<Map<String, Value>, Failure> {
    let text = text.trim_start_matches('\u{feff}');
    match serde_json::from_str(text) {
        Ok(Value::Object(map)) => Ok(map),
        Ok(other) => Err(Failure::usage(format!("{name}: input must be a JSON object, got {}", kind(&other)))
            .hint(r#"for example --input '{"name": "Ada"}' or --param name=Ada"#)),
        Err(error) => Err(Failure::usage(format!("{name}: invalid JSON: {error}"))
            .hint(r#"for example --input '{"name": "Ada"}' or --param name=Ada"#)),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// JSON literals are typed, all else is text.
fn typed(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|_| text.into())
}

/// Sets a dotted key; what stands in the way and is no object gives way. `None` for an empty segment.
fn set(map: &mut Map<String, Value>, path: &str, value: Value) -> Option<()> {
    match path.split_once('.') {
        _ if path.is_empty() => None,
        None => {
            map.insert(path.to_owned(), value);
            Some(())
        }
        Some(("", _)) => None,
        Some((head, rest)) => {
            let inner = map.entry(head).or_insert_with(|| Map::new().into());
            if !inner.is_object() {
                *inner = Map::new().into();
            }
            set(inner.as_object_mut()?, rest, value)
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn merged(inline: Option<&str>, params: &[&str]) -> Result<Value, Failure> {
        let params: Vec<String> = params.iter().map(ToString::to_string).collect();
        read(&Sources { file: None, inline, params: &params }, r#"{"from": "stdin"}"#.as_bytes())
    }

    #[test]
    fn parameters_are_typed_and_nested() {
        for (param, expected) in [
            ("a=true", json!({"a": true})),
            ("a=12", json!({"a": 12})),
            ("a=-1.5", json!({"a": -1.5})),
            ("a=null", json!({"a": null})),
            ("a=[1, \"x\"]", json!({"a": [1, "x"]})),
            ("a={\"b\": 1}", json!({"a": {"b": 1}})),
            ("a=\"12\"", json!({"a": "12"})),
            ("a=Ada Lovelace", json!({"a": "Ada Lovelace"})),
            ("a=", json!({"a": ""})),
            ("a=1=2", json!({"a": "1=2"})),
            ("a={{ .x }}", json!({"a": "{{ .x }}"})),
            ("a=TRUE", json!({"a": "TRUE"})),
            ("a=0123", json!({"a": "0123"})),
            ("a.b.c=1", json!({"a": {"b": {"c": 1}}})),
        ] {
            assert_eq!(merged(None, &[param]).unwrap(), expected, "{param}");
        }
    }

    #[test]
    fn later_sources_win() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("in.json");
        std::fs::write(&path, r#"{"a": 1, "b": 1, "c": 1}"#).unwrap();
        let params = ["c=3".to_owned(), "d.x=4".to_owned(), "d.y=5".to_owned()];
        let inline = format!("@{}", path.display());
        let sources = Sources { file: Some(&path), inline: Some(r#"{"b": 2, "c": 2}"#), params: &params };
        assert_eq!(read(&sources, std::io::empty()).unwrap(), json!({"a": 1, "b": 2, "c": 3, "d": {"x": 4, "y": 5}}));
        let sources = Sources { file: None, inline: Some(&inline), params: &[] };
        assert_eq!(read(&sources, std::io::empty()).unwrap(), json!({"a": 1, "b": 1, "c": 1}));
        assert_eq!(merged(Some("-"), &["from=param"]).unwrap(), json!({"from": "param"}));
        assert_eq!(merged(None, &[]).unwrap(), json!({}));
    }

    #[test]
    fn what_has_no_end_or_no_name_is_refused() {
        let endless = read(&Sources { inline: Some("-"), ..Sources::default() }, std::io::repeat(b' ')).unwrap_err();
        assert_eq!((endless.code(), endless.exit()), (Some("payload_too_large"), 2));
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), Path::new("/dev/zero"), Path::new("")] {
            let sources = Sources { file: Some(path), ..Sources::default() };
            assert_eq!(read(&sources, std::io::empty()).unwrap_err().exit(), 2, "{}", path.display());
            assert_eq!(merged(Some(&format!("@{}", path.display())), &[]).unwrap_err().exit(), 2, "{}", path.display());
        }
        let large = folder.path().join("large.json");
        std::fs::File::create(&large).unwrap().set_len(LARGEST + 1).unwrap();
        let failure = read(&Sources { file: Some(&large), ..Sources::default() }, std::io::empty()).unwrap_err();
        assert_eq!(failure.code(), Some("payload_too_large"));
        let unnamed = merged(Some("@"), &[]).unwrap_err().document();
        assert_eq!(unnamed["detail"], "--input @: the name of a file must follow");
    }

    #[test]
    fn what_is_no_object_is_a_usage_error() {
        for inline in ["[1]", "1", "null", "{", "", "@/nonexistent/file"] {
            assert_eq!(merged(Some(inline), &[]).unwrap_err().exit(), 2, "{inline}");
        }
        for param in ["novalue", "=1", "a..b=1", ".a=1"] {
            assert_eq!(merged(None, &[param]).unwrap_err().exit(), 2, "{param}");
        }
    }
}
