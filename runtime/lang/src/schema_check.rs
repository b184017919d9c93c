//! JSON Schema (2020-12): defaults filled in at every depth, then the value checked.
//!
//! References stay within the document: nothing is ever fetched. Patterns run in linear time.

use serde_json::Value;

/// Most violations named in one message.
const NAMED: usize = 5;

/// A schema ready to check values.
#[derive(Debug)]
pub struct Schema {
    validator: jsonschema::Validator,
    schema: Value,
}

/// A place where a value breaks its schema.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// JSON Pointer into the value; empty: the value itself.
    pub pointer: String,
    /// What is wrong there.
    pub message: String,
}

/// Prepares a schema.
///
/// # Errors
/// What is wrong with the schema, in words.
pub fn compile(schema: &Value) -> Result<Schema, String> {
    if !matches!(schema, Value::Object(_) | Value::Bool(_)) {
        return Err("a schema is a map, true or false".into());
    }
    if let Some(reference) = outside_reference(schema) {
        return Err(format!("$ref '{reference}' leaves the document"));
    }
    let validator = jsonschema::options()
        .with_draft(jsonschema::Draft::Draft202012)
        .offline()
        .with_pattern_options(jsonschema::PatternOptions::regex())
        .build(schema)
        .map_err(|error| {
            let path = error.instance_path().to_string();
            if path.is_empty() { error.to_string() } else { format!("{error} at {path}") }
        })?;
    Ok(Schema { validator, schema: schema.clone() })
}

impl Schema {
    /// Fills in the defaults of properties that are absent, at every depth.
    pub fn fill_defaults(&self, value: &mut Value) {
        fill(&self.schema, &self.schema, value, 0, &mut { STEPS });
    }

    /// Checks a value.
    ///
    /// # Errors
    /// Everything that breaks the schema, the first hundred.
    pub fn check(&self, value: &Value) -> Result<(), Vec<Violation>> {
        let violations: Vec<Violation> = self
            .validator
            .iter_errors(value)
            .take(100)
            .map(|error| Violation { pointer: error.instance_path().to_string(), message: shorten(&error.to_string()) })
            .collect();
        if violations.is_empty() { Ok(()) } else { Err(violations) }
    }
}

/// Fills in the defaults of `schema` and checks the value.
///
/// # Errors
/// As [`compile`] (with an empty pointer) and [`Schema::check`].
pub fn accept(schema: &Value, value: &mut Value) -> Result<(), Vec<Violation>> {
    let schema = compile(schema).map_err(|message| vec![Violation { pointer: String::new(), message }])?;
    schema.fill_defaults(value);
    schema.check(value)
}

/// Violations as the `{violations}` of a message: `/a: …; /b: … (2 more)`.
pub fn describe(violations: &[Violation]) -> String {
    let named: Vec<String> = violations
        .iter()
        .take(NAMED)
        .map(|violation| match violation.pointer.as_str() {
            "" => violation.message.clone(),
            pointer => format!("{pointer}: {}", violation.message),
        })
        .collect();
    let rest = violations.len().saturating_sub(NAMED);
    let more = if rest > 0 { format!(" ({rest} more)") } else { String::new() };
    format!("{}{more}", named.join("; "))
}

fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(200).collect();
    if text.chars().nth(200).is_some() {
        shown.push('…');
    }
    shown
}

/// A `$ref` or `$dynamicRef` that does not begin with `#`.
fn outside_reference(schema: &Value) -> Option<String> {
    match schema {
        Value::Object(members) => members.iter().find_map(|(key, value)| match (key.as_str(), value) {
            ("$ref" | "$dynamicRef", Value::String(target)) if !target.starts_with('#') => Some(target.clone()),
            ("const" | "enum" | "default" | "examples", _) => None,
            (_, value) => outside_reference(value),
        }),
        Value::Array(items) => items.iter().find_map(outside_reference),
        _ => None,
    }
}

/// Levels of schema in schema that defaults are followed through; a schema may refer to itself.
const LEVELS: usize = 64;

/// Schemas looked at while filling in the defaults of one value; branches of a schema that refers to itself multiply.
const STEPS: u32 = 1_000_000;

fn fill(root: &Value, schema: &Value, value: &mut Value, level: usize, steps: &mut u32) {
    let Value::Object(members) = schema else { return };
    if level > LEVELS || *steps == 0 {
        return;
    }
    *steps -= 1;
    if let Some(target) = members.get("$ref").and_then(Value::as_str).and_then(|target| resolve(root, target)) {
        fill(root, target, value, level + 1, steps);
    }
    for part in members.get("allOf").and_then(Value::as_array).into_iter().flatten() {
        fill(root, part, value, level + 1, steps);
    }
    match value {
        Value::Object(object) => {
            for (name, property) in members.get("properties").and_then(Value::as_object).into_iter().flatten() {
                let property = follow(root, property);
                if !object.contains_key(name)
                    && let Some(default) = property.get("default")
                {
                    object.insert(name.clone(), default.clone());
                }
                if let Some(found) = object.get_mut(name) {
                    fill(root, property, found, level + 1, steps);
                }
            }
        }
        Value::Array(items) => {
            let prefix = members.get("prefixItems").and_then(Value::as_array);
            for (index, item) in items.iter_mut().enumerate() {
                let schema = prefix.and_then(|schemas| schemas.get(index)).or_else(|| members.get("items"));
                if let Some(schema) = schema {
                    fill(root, schema, item, level + 1, steps);
                }
            }
        }
        _ => {}
    }
}

/// The schema a property means, through one reference.
fn follow<'s>(root: &'s Value, schema: &'s Value) -> &'s Value {
    match schema.get("$ref").and_then(Value::as_str).and_then(|target| resolve(root, target)) {
        Some(target) if schema.get("default").is_none() => target,
        _ => schema,
    }
}

fn resolve<'s>(root: &'s Value, target: &str) -> Option<&'s Value> {
    root.pointer(target.strip_prefix('#')?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_are_filled_in_at_every_depth() {
        let schema = json!({
            "type": "object",
            "properties": {
                "a": {"default": 1},
                "b": {"type": "object", "default": {}, "properties": {"c": {"default": [1]}}},
                "d": {"type": "array", "items": {"properties": {"e": {"default": true}}}},
                "f": {"$ref": "#/$defs/f"},
                "g": {"properties": {"h": {"default": 1}}},
            },
            "allOf": [{"properties": {"i": {"default": "i"}}}],
            "$defs": {"f": {"default": "f"}},
        });
        let mut value = json!({"d": [{}, {"e": false}], "a": null});
        accept(&schema, &mut value).unwrap();
        assert_eq!(value, json!({"d": [{"e": true}, {"e": false}], "a": null, "b": {"c": [1]}, "f": "f", "i": "i"}));
    }

    #[test]
    fn violations_are_named_with_their_place() {
        let schema =
            json!({"type": "object", "required": ["city"], "properties": {"n": {"type": "integer", "minimum": 1}}});
        let violations = accept(&schema, &mut json!({"n": 0})).unwrap_err();
        assert_eq!(describe(&violations), "\"city\" is a required property; /n: 0 is less than the minimum of 1");
        assert!(accept(&schema, &mut json!({"city": "x", "other": 1})).is_ok());
    }

    #[test]
    fn bad_schemas_are_refused() {
        for (schema, part) in [
            (json!({"type": "objekt"}), "objekt"),
            (json!({"$ref": "https://example.com/x.json"}), "leaves the document"),
            (json!({"properties": {"a": {"$ref": "file:///etc/passwd"}}}), "leaves the document"),
            (json!({"pattern": "(a"}), "(a"),
            (json!([]), "a schema is a map"),
            (json!({"$ref": "#/nowhere"}), "nowhere"),
        ] {
            let error = compile(&schema).unwrap_err();
            assert!(error.contains(part), "{schema}: {error}");
        }
    }

    #[test]
    fn schemas_that_go_in_circles_end() {
        for schema in [
            json!({"$ref": "#"}),
            json!({"allOf": [{"$ref": "#"}, {"$ref": "#"}]}),
            json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"anyOf": [{"$ref": "#/$defs/a"}]}}}),
        ] {
            let _ = accept(&schema, &mut json!({"a": {}}));
        }
    }

    #[test]
    fn a_schema_may_refer_to_itself() {
        let schema = json!({"properties": {"a": {"$ref": "#", "default": {}}}});
        let mut value = json!({});
        accept(&schema, &mut value).unwrap();
        assert!(value.pointer("/a/a/a").is_some());
    }
}
