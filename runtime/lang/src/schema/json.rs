//! The published JSON Schema, generated from the key tables.
//!
//! It accepts what the reader accepts; where a value may be given by a variable or a template, it accepts any scalar.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Key, Kind, Table, cases, definitions, knowledge, memory, project, settings, task, workflow};

/// Published kinds.
pub static KINDS: &[&str] = &[
    "project",
    "workflow",
    "task",
    "agent",
    "tool",
    "plugin",
    "provider",
    "mcp",
    "memory",
    "vector_db",
    "embedder",
    "knowledge_base",
    "database",
    "server",
    "cases",
];

/// The kinds and their tables.
pub(super) static TABLES: &[(&str, &Table)] = &[
    ("project", &project::PROJECT),
    ("workflow", &workflow::WORKFLOW),
    ("task", &task::TASK),
    ("agent", &definitions::AGENT),
    ("tool", &definitions::TOOL),
    ("plugin", &definitions::PLUGIN),
    ("provider", &definitions::PROVIDER),
    ("mcp", &definitions::MCP),
    ("memory", &memory::MEMORY),
    ("vector_db", &knowledge::VECTOR_DB),
    ("embedder", &knowledge::EMBEDDER),
    ("knowledge_base", &knowledge::KNOWLEDGE_BASE),
    ("database", &settings::DATABASE),
    ("server", &settings::SERVER),
    ("cases", &cases::CASES),
];

/// The JSON Schema (2020-12) of a kind of [`KINDS`]; `None`: there is no such kind.
pub fn json_schema(kind: &str) -> Option<Value> {
    let (name, table) = TABLES.iter().find(|(name, _)| *name == kind)?;
    let mut definitions = Definitions::default();
    let reference = definitions.table(table);
    let bodies: Map<String, Value> = definitions.bodies.into_iter().collect();
    let mut schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": format!("/schema/v1/{name}.json"),
        "title": format!("compozy {name}"),
    });
    if let Value::Object(members) = &mut schema {
        members.insert("$ref".into(), reference);
        members.insert("$defs".into(), Value::Object(bodies));
    }
    Some(schema)
}

/// Tables already written, by name; tables refer to each other, so each is written once.
#[derive(Default)]
struct Definitions {
    names: Vec<(*const Table, String)>,
    bodies: BTreeMap<String, Value>,
}

impl Definitions {
    /// `"#/$defs/NAME"` of a table, which is written on first use.
    fn table(&mut self, table: &'static Table) -> Value {
        let pointer = std::ptr::from_ref(table);
        if let Some((_, name)) = self.names.iter().find(|(known, _)| *known == pointer) {
            return json!(format!("#/$defs/{name}"));
        }
        let same =
            self.names.iter().filter(|(known, _)| !known.is_null()).filter(|(_, name)| name.starts_with(table.name));
        let name = match same.count() {
            0 => table.name.replace(' ', "_"),
            count => format!("{}_{}", table.name.replace(' ', "_"), count + 1),
        };
        self.names.push((pointer, name.clone()));
        let mut properties = Map::new();
        let mut patterns = Map::new();
        patterns.insert("^x-".into(), json!(true));
        for key in table.keys {
            let value = self.key(key);
            match key.name.split_once('*') {
                Some((start, end)) => {
                    patterns.insert(format!("^{start}.*{end}$"), value);
                }
                None => {
                    for alias in key.aliases {
                        properties.insert(
                            (*alias).into(),
                            json!({"$ref": format!("#/$defs/{name}/properties/{}", key.name)}),
                        );
                    }
                    properties.insert(key.name.into(), value);
                }
            }
        }
        let body = json!({
            "type": "object",
            "properties": properties,
            "patternProperties": patterns,
            "additionalProperties": false,
        });
        self.bodies.insert(name.clone(), body);
        json!(format!("#/$defs/{name}"))
    }

    fn key(&mut self, key: &Key) -> Value {
        let kind = self.kind(&key.kind);
        let mut schema = json!({"description": key.doc});
        if let Value::Object(members) = &mut schema {
            if !key.idle && !matches!(key.kind, Kind::Any) {
                // A null value means that the key is absent.
                members.insert("anyOf".into(), json!([kind, {"type": "null"}]));
            }
            if let Some(default) = key.default {
                members.insert("default".into(), crate::yaml::core::filled_value(default));
            }
        }
        schema
    }

    fn kind(&mut self, kind: &Kind) -> Value {
        const SCALAR: [&str; 3] = ["string", "number", "boolean"];
        match kind {
            Kind::Text | Kind::Template => json!({"type": SCALAR}),
            Kind::Int(least, most) => json!({"anyOf": [
                {"type": "integer", "minimum": least, "maximum": most}, {"type": "string"}
            ]}),
            Kind::Float => json!({"type": ["number", "string"]}),
            Kind::Bool => json!({"type": ["boolean", "string", "integer"]}),
            Kind::Duration(_) | Kind::Size => json!({"type": ["string", "integer"]}),
            Kind::Choice(words) => json!({"anyOf": [{"enum": words}, {"type": "string"}]}),
            Kind::Any | Kind::Templates => json!(true),
            Kind::Schema => json!({"type": ["object", "boolean", "string"]}),
            Kind::Typed(inner) => {
                let inner = self.kind(inner);
                json!({"anyOf": [inner, {"type": "string"}]})
            }
            Kind::Map(table) => json!({"$ref": self.table(table)}),
            Kind::List(inner) => {
                let inner = self.kind(inner);
                json!({"anyOf": [{"type": "array", "items": inner}, inner]})
            }
            // A null route is a route, and elsewhere it means that the entry is absent.
            Kind::MapOf(inner) => {
                let inner = self.kind(inner);
                json!({"type": "object", "additionalProperties": {"anyOf": [inner, {"type": "null"}]}})
            }
            Kind::Either(kinds) => {
                let kinds: Vec<Value> = kinds.iter().map(|kind| self.kind(kind)).collect();
                json!({"anyOf": kinds})
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_a_valid_schema() {
        assert!(KINDS.iter().eq(TABLES.iter().map(|(name, _)| name)));
        for kind in KINDS {
            let schema = json_schema(kind).unwrap();
            jsonschema::draft202012::new(&schema).unwrap();
        }
        assert!(json_schema("nonsense").is_none());
    }

    #[test]
    fn it_accepts_projects_and_refuses_unknown_keys() {
        let validator = jsonschema::draft202012::new(&json_schema("project").unwrap()).unwrap();
        for (document, valid) in [
            (json!({}), true),
            (json!({"database": {"driver": "sqlite", "file": "x.db"}, "x-anchors": 1}), true),
            (json!({"server": {"port": 8080}, "llm": {"mcp_anything": 1}}), true),
            (json!({"server": null}), true),
            (json!({"databse": {}}), false),
            (json!({"server": {"prt": 8080}}), false),
            (json!({"server": {"port": 99999}}), false),
        ] {
            assert_eq!(validator.is_valid(&document), valid, "{document}");
        }
    }

    #[test]
    fn aliases_and_recursion_are_followed() {
        let validator = jsonschema::draft202012::new(&json_schema("workflow").unwrap()).unwrap();
        let nested = json!({"tasks": [{"id": "a", "type": "composite", "tasks": [{"id": "b", "promt": "x"}]}]});
        assert!(!validator.is_valid(&nested));
        assert!(validator.is_valid(&json!({"tasks": {"id": "a", "prompt": "x"}, "output": {"a": "b"}})));
    }
}
