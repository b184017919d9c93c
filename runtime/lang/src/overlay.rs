//! What lies over the project file: `--set`, `COMPOZY_<PATH>`, the short names, and what `mode` implies.
//!
//! The values are put into the tree before it is read, so they pass the same checks as written ones and every value
//! still says where it came from.

use std::sync::Arc;

use crate::diagnostic::Diagnostic;
use crate::environment::ProjectEnvironment;
use crate::schema::project::PROJECT;
use crate::schema::{Key, Kind, Table};
use crate::source::{Origin, Source};
use crate::suggest;
use crate::yaml::{self, Entry, Limits, Node, Span, Value};

/// Variables of Go Compozy that fill a key only where nothing else does.
const SHORT_NAMES: &[(&str, &str)] = &[
    ("DB_DRIVER", "database.driver"),
    ("DB_PATH", "database.path"),
    ("DB_HOST", "database.host"),
    ("DB_PORT", "database.port"),
    ("DB_USER", "database.user"),
    ("DB_PASSWORD", "database.password"),
    ("DB_NAME", "database.name"),
    ("DB_SSL_MODE", "database.ssl_mode"),
    ("DB_CONN_STRING", "database.conn_string"),
    ("SERVER_HOST", "server.host"),
    ("SERVER_PORT", "server.port"),
];

/// Lists whose entries are definitions of their own files, not settings.
const NOT_OVERRIDDEN: &[&str] = &["workflows", "schemas", "config"];

/// Lays everything over the tree of the project file.
pub(crate) fn apply(
    root: &mut Node,
    environment: &ProjectEnvironment,
    overrides: &[(String, String)],
    problems: &mut Vec<Diagnostic>,
) {
    let mut found = Vec::new();
    from_environment(Some(root), &Kind::Map(&PROJECT), &mut Vec::new(), environment, &mut found, 0);
    for (path, kind, name, value, origin) in found {
        let node = value_node(&value, &kind, Source::new(&name, origin, value.clone()));
        let segments: Vec<&str> = path.iter().map(String::as_str).collect();
        set(root, &PROJECT, &segments, node);
    }
    for (path, value) in overrides {
        override_one(root, path, value, problems);
    }
    for (name, path) in SHORT_NAMES {
        let segments: Vec<&str> = path.split('.').collect();
        let is_set = find(root, &PROJECT, &segments).is_some_and(|node| !node.is_null());
        // A path or host written in the file also decides the driver.
        let decided = *name == "DB_DRIVER"
            && ["path", "host", "name", "conn_string"]
                .iter()
                .any(|key| find(root, &PROJECT, &["database", key]).is_some());
        if !is_set
            && !decided
            && let Some((value, origin)) = environment.find(name)
        {
            set(root, &PROJECT, &segments, Node::given(&value, Arc::new(Source::new(name, origin, value.clone()))));
        }
    }
    from_mode(root);
}

/// A variable that sets a key: path, kind, name, value, origin.
type Given = (Vec<String>, Kind, String, String, Origin);

fn from_environment(
    node: Option<&Node>,
    kind: &Kind,
    path: &mut Vec<String>,
    environment: &ProjectEnvironment,
    found: &mut Vec<Given>,
    level: usize,
) {
    if level > 8 {
        return;
    }
    match kind {
        Kind::Map(table) => {
            for key in table.keys.iter().filter(|key| !key.idle && !key.name.contains('*')) {
                if level == 0 && NOT_OVERRIDDEN.contains(&key.name) {
                    continue;
                }
                let value = node.and_then(|node| child(node, key));
                path.push(key.name.to_owned());
                from_environment(value, &key.kind, path, environment, found, level + 1);
                path.pop();
            }
        }
        Kind::List(inner) if matches!(inner, Kind::Map(_)) => {
            for item in node.and_then(Node::items).unwrap_or_default() {
                if let Some(id) = item.get("id").and_then(Node::scalar) {
                    path.push(id.text.to_string());
                    from_environment(Some(item), inner, path, environment, found, level + 1);
                    path.pop();
                }
            }
        }
        Kind::Either(kinds) => {
            let is_list = node.is_some_and(|node| node.items().is_some());
            if let Some(map) = kinds.iter().find(|kind| matches!(kind, Kind::Map(_))).filter(|_| !is_list) {
                from_environment(node, map, path, environment, found, level + 1);
            }
        }
        Kind::Any | Kind::MapOf(_) | Kind::Schema | Kind::Templates => {}
        _ => {
            let name = variable_name(path);
            if let Some((value, origin)) = environment.find(&name) {
                found.push((path.clone(), *kind, name, value, origin));
            }
        }
    }
}

/// `COMPOZY_SERVER_PORT` of `server.port`.
fn variable_name(path: &[String]) -> String {
    let mut name = String::from("COMPOZY");
    for segment in path {
        name.push('_');
        name.extend(segment.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }));
    }
    name
}

/// One `--set PATH=VALUE`.
fn override_one(root: &mut Node, path: &str, value: &str, problems: &mut Vec<Diagnostic>) {
    let name = format!("--set {path}");
    let source = Source::new(&name, Origin::Flag, value.to_owned());
    let segments: Vec<&str> = path.split('.').collect();
    match kind_of(root, &Kind::Map(&PROJECT), &segments) {
        Ok(kind) => set(root, &PROJECT, &segments, value_node(value, &kind, source)),
        Err((segment, near)) => {
            let message = match near {
                Some(near) => format!("unknown key '{segment}'. Did you mean '{near}'?"),
                None => format!("unknown key '{segment}'"),
            };
            problems.push(Diagnostic::error("CZ0108", message, source.whole()).path(path));
        }
    }
}

/// The kind at a path, or the segment that is unknown and the nearest known one.
fn kind_of(node: &Node, kind: &Kind, segments: &[&str]) -> Result<Kind, (String, Option<String>)> {
    let Some((segment, rest)) = segments.split_first() else { return Ok(*kind) };
    match kind {
        Kind::Map(table) => match table.key(segment) {
            Some(key) => {
                let value = child(node, key);
                kind_of(value.unwrap_or(node), &key.kind, rest)
            }
            None => Err(((*segment).to_owned(), suggest::nearest(segment, table.spellings()).map(str::to_owned))),
        },
        Kind::List(inner) => {
            let ids: Vec<&str> = node
                .items()
                .unwrap_or_default()
                .iter()
                .filter_map(|item| Some(&*item.get("id")?.scalar()?.text))
                .collect();
            match ids.iter().position(|id| id == segment) {
                Some(_) => kind_of(node, inner, rest),
                None => Err(((*segment).to_owned(), suggest::nearest(segment, ids).map(str::to_owned))),
            }
        }
        Kind::MapOf(inner) => kind_of(node, inner, rest),
        Kind::Any | Kind::Templates | Kind::Schema => Ok(Kind::Any),
        Kind::Either(kinds) => match kinds.iter().find(|kind| matches!(kind, Kind::Map(_))) {
            Some(map) => kind_of(node, map, segments),
            None => Err(((*segment).to_owned(), None)),
        },
        _ => Err(((*segment).to_owned(), None)),
    }
}

/// A given value: a list or map where one may stand, else text.
fn value_node(value: &str, kind: &Kind, source: Source) -> Node {
    let source = Arc::new(source);
    let is_structure =
        matches!(kind, Kind::List(_) | Kind::MapOf(_) | Kind::Any | Kind::Map(_) | Kind::Templates | Kind::Schema);
    if is_structure && value.trim_start().starts_with(['[', '{']) {
        let (node, _) = yaml::parse(source.clone(), &Limits::default());
        if let Some(node) = node {
            return given_within(node);
        }
    }
    if let Kind::List(inner) = kind
        && matches!(inner, Kind::Text)
    {
        let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
        let items = items.map(|item| Node::given(item, source.clone())).collect();
        return Node { value: Value::List(Arc::new(items)), span: Span::default(), source };
    }
    Node::given(value, source)
}

/// Scalars of a given structure hold no variables.
fn given_within(mut node: Node) -> Node {
    match &mut node.value {
        Value::Scalar(scalar) => {
            if scalar.style == yaml::Style::Plain {
                scalar.style = yaml::Style::Given;
            }
        }
        Value::List(items) => {
            let inner = items.iter().cloned().map(given_within).collect();
            *items = Arc::new(inner);
        }
        Value::Map(entries) => {
            let inner =
                entries.iter().cloned().map(|entry| Entry { value: given_within(entry.value), ..entry }).collect();
            *entries = Arc::new(inner);
        }
    }
    node
}

/// What `mode` chooses when nothing says anything about the database.
fn from_mode(root: &mut Node) {
    let mode = root.get("mode").and_then(Node::scalar).map(|scalar| scalar.text.trim().to_ascii_lowercase());
    if root.get("database").is_some_and(|node| !node.is_null()) {
        return;
    }
    let values: &[(&str, &str)] = match mode.as_deref() {
        Some("memory") => &[("driver", "sqlite"), ("path", ":memory:")],
        Some("distributed") => &[("driver", "postgres")],
        _ => return,
    };
    for (key, value) in values {
        let source = Arc::new(Source::new("mode", Origin::Mode, (*value).to_owned()));
        set(root, &PROJECT, &["database", key], Node::given(value, source));
    }
}

/// The value of a key in any spelling.
fn child<'n>(node: &'n Node, key: &Key) -> Option<&'n Node> {
    node.entries()?.iter().find(|entry| key.matches(&entry.key)).map(|entry| &entry.value)
}

/// The value at a path of maps.
pub(crate) fn find<'n>(root: &'n Node, table: &'static Table, path: &[&str]) -> Option<&'n Node> {
    let (segment, rest) = path.split_first()?;
    let key = table.key(segment)?;
    let value = child(root, key)?;
    match (rest.is_empty(), key.kind) {
        (true, _) => Some(value),
        (false, Kind::Map(inner)) => find(value, inner, rest),
        _ => None,
    }
}

/// Puts a value at a path, making the maps on the way.
fn set(node: &mut Node, table: &'static Table, path: &[&str], value: Node) {
    let Some((segment, rest)) = path.split_first() else {
        *node = value;
        return;
    };
    let key = table.key(segment);
    if node.entries().is_none() {
        *node = Node::empty(value.source.clone());
    }
    let Value::Map(entries) = &mut node.value else { return };
    let entries = Arc::make_mut(entries);
    let at = entries.iter().position(|entry| match key {
        Some(key) => key.matches(&entry.key),
        None => &*entry.key == *segment,
    });
    let name = key.map_or(*segment, |key| key.name);
    if rest.is_empty() {
        entries.retain(|entry| !key.map_or(&*entry.key == *segment, |key| key.matches(&entry.key)));
        entries.push(Entry { key: Arc::from(name), key_span: Span::default(), value });
        return;
    }
    let index = at.unwrap_or_else(|| {
        let empty = Node::empty(value.source.clone());
        entries.push(Entry { key: Arc::from(name), key_span: Span::default(), value: empty });
        entries.len() - 1
    });
    let Some(entry) = entries.get_mut(index) else { return };
    match key.map(|key| key.kind) {
        Some(Kind::Map(inner)) => set(&mut entry.value, inner, rest, value),
        Some(Kind::List(Kind::Map(inner))) => set_in_list(&mut entry.value, inner, rest, value),
        Some(Kind::Either(kinds)) => {
            if let Some(Kind::Map(inner)) = kinds.iter().find(|kind| matches!(kind, Kind::Map(_))) {
                set(&mut entry.value, inner, rest, value);
            }
        }
        _ => set(&mut entry.value, &FREE, rest, value),
    }
}

/// Puts a value into the entry of a list that has an id.
fn set_in_list(node: &mut Node, table: &'static Table, path: &[&str], value: Node) {
    let Some((id, rest)) = path.split_first() else { return };
    let Value::List(items) = &mut node.value else { return };
    let items = Arc::make_mut(items);
    let item =
        items.iter_mut().find(|item| item.get("id").and_then(Node::scalar).is_some_and(|scalar| &*scalar.text == *id));
    if let Some(item) = item {
        set(item, table, rest, value);
    }
}

/// A map with free keys.
static FREE: Table = Table { name: "map", is_settings: false, keys: &[] };
