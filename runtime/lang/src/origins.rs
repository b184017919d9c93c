//! Where every setting came from, for `config show --origin`.

use crate::environment::ProjectEnvironment;
use crate::interpolate::Parts;
use crate::schema::project::PROJECT;
use crate::schema::settings::SECTIONS;
use crate::schema::{Kind, Table};
use crate::source::{Origin, Place};
use crate::yaml::{Node, Style, Value};

/// One effective setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Key path.
    pub path: String,
    /// The value as it would be written; variables filled in, a missing one as it is written.
    pub value: String,
    /// `flag`, `env NAME`, `.env:LINE`, `FILE:LINE:COL`, `mode` or `default`.
    pub origin: String,
    /// Where it is written, if in a file.
    pub place: Option<Place>,
    /// It must be shown as `***`.
    pub secret: bool,
}

/// Every setting of the sections, in the order of their tables.
pub(crate) fn settings(root: &Node, environment: &ProjectEnvironment) -> Vec<Setting> {
    let mut found = Vec::new();
    for name in ["name", "version", "mode"] {
        if let Some(node) = root.get(name).filter(|node| !node.is_null()) {
            found.push(written(name.to_owned(), node, false, environment));
        }
    }
    for (name, table) in SECTIONS {
        let node = PROJECT.key(name).and_then(|key| root.entries()?.iter().find(|entry| key.matches(&entry.key)));
        section(node.map(|entry| &entry.value), table, name, environment, &mut found);
    }
    found
}

fn section(node: Option<&Node>, table: &Table, path: &str, environment: &ProjectEnvironment, found: &mut Vec<Setting>) {
    for key in table.keys.iter().filter(|key| !key.idle && !key.name.contains('*')) {
        let path = format!("{path}.{}", key.name);
        let entry =
            node.and_then(Node::entries).and_then(|entries| entries.iter().find(|entry| key.matches(&entry.key)));
        let value = entry.map(|entry| &entry.value).filter(|value| !value.is_null());
        match (key.kind, value) {
            (Kind::Map(inner), value) => section(value, inner, &path, environment, found),
            // Definitions are listed by their own commands.
            (Kind::List(Kind::Map(_)), _) => {}
            (_, Some(value)) => {
                let secret = key.secret || key.name == "conn_string";
                found.push(written(path, value, secret, environment));
            }
            (_, None) => {
                if let Some(default) = key.default {
                    found.push(Setting {
                        path,
                        value: default.to_owned(),
                        origin: "default".into(),
                        place: None,
                        secret: false,
                    });
                }
            }
        }
    }
}

fn written(path: String, node: &Node, secret: bool, environment: &ProjectEnvironment) -> Setting {
    let origin = match &node.source.origin {
        Origin::File => node.place().to_string(),
        Origin::Environment(name) => format!("env {name}"),
        Origin::DotEnv(line) => format!(".env:{line}"),
        Origin::Flag => "flag".into(),
        Origin::Mode => "mode".into(),
    };
    let place = matches!(node.source.origin, Origin::File).then(|| node.place());
    Setting { path, value: show(node, environment), origin, place, secret }
}

fn show(node: &Node, environment: &ProjectEnvironment) -> String {
    match &node.value {
        Value::Scalar(scalar) if scalar.style == Style::Given => scalar.text.to_string(),
        Value::Scalar(scalar) => {
            let parts = Parts::of(&scalar.text, &|_, _| node.place());
            let (resolved, missing, _) = parts.fill(environment);
            if missing.is_empty() { resolved.text } else { scalar.text.to_string() }
        }
        Value::List(items) => {
            format!("[{}]", items.iter().map(|item| show(item, environment)).collect::<Vec<_>>().join(", "))
        }
        Value::Map(entries) => {
            let entries: Vec<_> =
                entries.iter().map(|entry| format!("{}: {}", entry.key, show(&entry.value, environment))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}
