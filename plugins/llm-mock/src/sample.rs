//! The smallest value valid for a JSON Schema.
//!
//! Of the keywords that constrain values, `pattern`, `not`, `if`, `contains` and `dependentRequired` are not looked at.

use serde_json::{Map, Number, Value};

/// Schemas inside schemas that are followed; a schema that requires itself has no finite value.
const DEPTH: usize = 32;
/// Characters and items made at most, whatever a schema asks for.
const SIZE: u64 = 10_000;

/// The smallest value valid for `schema`.
pub(crate) fn smallest(schema: &Value) -> Value {
    Sampler { root: schema }.value(schema, 0, 0)
}

struct Sampler<'a> {
    /// What `$ref` points into.
    root: &'a Value,
}

impl Sampler<'_> {
    /// `variant` tells the items of a list with `uniqueItems` apart.
    fn value(&self, schema: &Value, variant: u64, depth: usize) -> Value {
        let Value::Object(keywords) = schema else {
            return Value::Null;
        };
        if depth > DEPTH {
            return Value::Null;
        }
        let keywords = &self.flatten(keywords, depth);
        if let Some(value) = keywords.get("const") {
            return value.clone();
        }
        if let Some(Value::Array(values)) = keywords.get("enum") {
            return values.get(variant as usize).or(values.first()).cloned().unwrap_or_default();
        }
        match kind(keywords) {
            "object" => self.object(keywords, depth),
            "array" => self.array(keywords, depth),
            "string" => string(keywords, variant),
            "integer" | "number" => number(keywords, variant),
            "boolean" => Value::Bool(variant % 2 == 1),
            _ => Value::Null,
        }
    }

    /// Lays `$ref`, all of `allOf` and the first of `anyOf` and `oneOf` over the schema's own keywords.
    fn flatten(&self, keywords: &Map<String, Value>, depth: usize) -> Map<String, Value> {
        let mut flat = keywords.clone();
        if depth > DEPTH {
            return flat;
        }
        let target = keywords.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
        let mut parts: Vec<&Value> = target.and_then(|pointer| self.root.pointer(pointer)).into_iter().collect();
        if let Some(Value::Array(all)) = keywords.get("allOf") {
            parts.extend(all);
        }
        for choice in ["anyOf", "oneOf"] {
            parts.extend(keywords.get(choice).and_then(|choices| choices.get(0)));
        }
        for keyword in ["$ref", "allOf", "anyOf", "oneOf"] {
            flat.remove(keyword);
        }
        for part in parts {
            if let Value::Object(part) = part {
                lay_over(&mut flat, self.flatten(part, depth + 1));
            }
        }
        flat
    }

    fn object(&self, keywords: &Map<String, Value>, depth: usize) -> Value {
        let mut object = Map::new();
        let empty = Map::new();
        let properties = keywords.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        let other = keywords.get("additionalProperties").filter(|schema| schema.is_object());
        let required: Vec<&str> = keywords
            .get("required")
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        // In the order of `properties`, then what is required without being described.
        let named = properties.keys().map(String::as_str).filter(|name| required.contains(name));
        let unnamed = required.iter().copied().filter(|name| !properties.contains_key(*name));
        for name in named.chain(unnamed) {
            let schema = properties.get(name).or(other);
            object.insert(name.to_owned(), schema.map_or(Value::Null, |schema| self.value(schema, 0, depth + 1)));
        }
        let least = at_least(keywords, "minProperties") as usize;
        for (name, schema) in properties {
            if object.len() < least && !object.contains_key(name) {
                object.insert(name.clone(), self.value(schema, 0, depth + 1));
            }
        }
        for number in 1..=least {
            if object.len() < least {
                let value = other.map_or(Value::Null, |schema| self.value(schema, 0, depth + 1));
                object.entry(format!("property{number}")).or_insert(value);
            }
        }
        Value::Object(object)
    }

    fn array(&self, keywords: &Map<String, Value>, depth: usize) -> Value {
        let first = keywords.get("prefixItems").and_then(Value::as_array);
        let unique = keywords.get("uniqueItems") == Some(&Value::Bool(true));
        let item = |index: u64| {
            let schema = first.and_then(|first| first.get(index as usize)).or(keywords.get("items"));
            let variant = if unique { index } else { 0 };
            schema.map_or(Value::from(variant), |schema| self.value(schema, variant, depth + 1))
        };
        (0..at_least(keywords, "minItems")).map(item).collect()
    }
}

/// `properties` and `required` add up; of limits the narrower counts; of other keywords those already there.
fn lay_over(flat: &mut Map<String, Value>, part: Map<String, Value>) {
    for (keyword, value) in part {
        match (keyword.as_str(), flat.get_mut(&keyword), value) {
            ("properties", Some(Value::Object(present)), Value::Object(more)) => {
                for (name, schema) in more {
                    present.entry(name).or_insert(schema);
                }
            }
            ("required", Some(Value::Array(present)), Value::Array(more)) => present.extend(more),
            (name, Some(present), value) if name.starts_with("min") || name == "exclusiveMinimum" => {
                if value.as_f64() > present.as_f64() {
                    *present = value;
                }
            }
            (_, Some(_), _) => {}
            (_, None, value) => {
                flat.insert(keyword, value);
            }
        }
    }
}

/// The type asked for, else the one that the keywords imply.
fn kind(keywords: &Map<String, Value>) -> &str {
    const IMPLIED: [(&str, &str); 10] = [
        ("properties", "object"),
        ("required", "object"),
        ("minProperties", "object"),
        ("items", "array"),
        ("prefixItems", "array"),
        ("minItems", "array"),
        ("minLength", "string"),
        ("format", "string"),
        ("minimum", "number"),
        ("exclusiveMinimum", "number"),
    ];
    match keywords.get("type") {
        Some(Value::String(kind)) => kind,
        Some(Value::Array(kinds)) => kinds.first().and_then(Value::as_str).unwrap_or("null"),
        _ => IMPLIED.iter().find(|(keyword, _)| keywords.contains_key(*keyword)).map_or("null", |(_, kind)| kind),
    }
}

fn string(keywords: &Map<String, Value>, variant: u64) -> Value {
    let text = match keywords.get("format").and_then(Value::as_str) {
        Some("date-time") => "1970-01-01T00:00:00Z",
        Some("date") => "1970-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "PT0S",
        Some("email" | "idn-email") => "a@example.com",
        Some("hostname" | "idn-hostname") => "example.com",
        Some("ipv4") => "0.0.0.0",
        Some("ipv6") => "::",
        Some("uri" | "iri" | "uri-reference" | "iri-reference") => "https://example.com/",
        Some("uuid") => "00000000-0000-0000-0000-000000000000",
        _ => "",
    };
    let length = (at_least(keywords, "minLength") + variant) as usize;
    let missing = length.saturating_sub(text.chars().count());
    Value::String(format!("{text}{}", "x".repeat(missing)))
}

/// Zero where it is allowed, else the allowed value nearest to it; then `variant` steps further.
fn number(keywords: &Map<String, Value>, variant: u64) -> Value {
    let limit = |keyword| keywords.get(keyword).and_then(Value::as_f64);
    let is_integer = kind(keywords) == "integer";
    let step = limit("multipleOf").filter(|step| *step > 0.0).unwrap_or(1.0);
    let lowest = limit("minimum").map(|least| (least / step).ceil() * step);
    let above = limit("exclusiveMinimum").map(|below| ((below / step).floor() + 1.0) * step);
    let highest = limit("maximum").map(|most| (most / step).floor() * step);
    let under = limit("exclusiveMaximum").map(|above| ((above / step).ceil() - 1.0) * step);
    let low = [lowest, above].into_iter().flatten().fold(f64::NEG_INFINITY, f64::max);
    let high = [highest, under].into_iter().flatten().fold(f64::INFINITY, f64::min);
    let mut value = 0_f64.max(low);
    if value > high {
        // A range narrower than a step: its own end is the only value at hand.
        value = if low > high { limit("minimum").or(limit("maximum")).unwrap_or(high) } else { high };
    }
    value += variant as f64 * step;
    let whole = value.fract() == 0.0 && value.abs() < 9e15;
    if is_integer || whole {
        Value::from(value as i64)
    } else {
        Number::from_f64(value).map_or(Value::Null, Value::Number)
    }
}

fn at_least(keywords: &Map<String, Value>, keyword: &str) -> u64 {
    keywords.get(keyword).and_then(Value::as_u64).unwrap_or(0).min(SIZE)
}

#[cfg(test)]
mod tests {
    use super::smallest;

    fn check(schema: &str) -> String {
        smallest(&serde_json::from_str(schema).expect("JSON")).to_string()
    }

    #[test]
    fn makes_the_smallest_value() {
        for (schema, expected) in [
            ("true", "null"),
            ("{}", "null"),
            (r#"{"type": "string"}"#, r#""""#),
            (r#"{"type": "string", "minLength": 3}"#, r#""xxx""#),
            (r#"{"type": "string", "format": "date"}"#, r#""1970-01-01""#),
            (r#"{"type": ["integer", "null"]}"#, "0"),
            (r#"{"type": "integer", "minimum": 3}"#, "3"),
            (r#"{"type": "integer", "minimum": 2.5}"#, "3"),
            (r#"{"type": "integer", "exclusiveMinimum": 3, "multipleOf": 5}"#, "5"),
            (r#"{"type": "integer", "maximum": -2}"#, "-2"),
            (r#"{"type": "number", "minimum": 0.2, "maximum": 0.8}"#, "0.2"),
            (r#"{"type": "number", "multipleOf": 0.5, "exclusiveMinimum": 0}"#, "0.5"),
            (r#"{"type": "boolean"}"#, "false"),
            (r#"{"type": "null"}"#, "null"),
            (r#"{"const": {"a": 1}}"#, r#"{"a":1}"#),
            (r#"{"enum": ["b", "a"]}"#, r#""b""#),
            (r#"{"type": "array", "items": {"type": "string"}}"#, "[]"),
            (r#"{"type": "array", "minItems": 2, "items": {"type": "string"}}"#, r#"["",""]"#),
            (
                r#"{"type": "array", "minItems": 3, "uniqueItems": true, "items": {"type": "string"}}"#,
                r#"["","x","xx"]"#,
            ),
            (
                r#"{"type": "array", "minItems": 2, "prefixItems": [{"const": 7}], "items": {"type": "boolean"}}"#,
                "[7,false]",
            ),
            (r#"{"type": "object"}"#, "{}"),
            (
                r#"{"type": "object", "required": ["a", "z"], "properties": {"z": {"type": "string"}, "b": {}, "a": {"type": "integer"}}}"#,
                r#"{"z":"","a":0}"#,
            ),
            (r#"{"required": ["a"]}"#, r#"{"a":null}"#),
            (
                r#"{"type": "object", "minProperties": 2, "properties": {"a": {"type": "integer"}}}"#,
                r#"{"a":0,"property1":null}"#,
            ),
            (r##"{"$ref": "#/$defs/n", "$defs": {"n": {"type": "integer", "minimum": 1}}}"##, "1"),
            (
                r#"{"allOf": [{"required": ["a"], "properties": {"a": {"const": 1}}}, {"required": ["b"], "properties": {"b": {"const": 2}}}]}"#,
                r#"{"a":1,"b":2}"#,
            ),
            (r#"{"anyOf": [{"type": "string"}, {"type": "integer"}]}"#, r#""""#),
            (r#"{"type": "integer", "minimum": 1, "allOf": [{"minimum": 4}]}"#, "4"),
        ] {
            assert_eq!(check(schema), expected, "{schema}");
        }
    }

    #[test]
    fn ends_on_schemas_without_end() {
        let text = check(r##"{"type": "object", "required": ["a"], "properties": {"a": {"$ref": "#"}}}"##);
        assert!(text.len() < 1000, "{text}");
        assert_eq!(check(r##"{"$ref": "#"}"##), "null");
        assert_eq!(check(r#"{"type": "string", "minLength": 99999999999}"#).len(), 10_002);
    }
}
