//! What a model is told of the tools it may call.

use compozy_lang::plan::ValueTemplate;
use serde_json::{Map, Value, json};

/// Longest name that providers of the OpenAI protocol take, in bytes; of letters, digits, `_` and `-`.
/// Source: <https://platform.openai.com/docs/api-reference/chat/create>, `tools[].function.name`.
const LONGEST_NAME: usize = 64;

/// Names for the tools with these ids, each once.
#[must_use]
pub fn names(ids: &[&str]) -> Vec<String> {
    let mut names: Vec<String> = Vec::with_capacity(ids.len());
    for id in ids {
        let plain = |letter: char| if letter.is_ascii_alphanumeric() || letter == '-' { letter } else { '_' };
        let plain: String = id.chars().map(plain).take(LONGEST_NAME).collect();
        let mut name = plain.clone();
        for number in 2.. {
            if !names.contains(&name) {
                break;
            }
            let suffix = format!("_{number}");
            name = plain.chars().take(LONGEST_NAME - suffix.len()).chain(suffix.chars()).collect();
        }
        names.push(name);
    }
    names
}

/// The schema that arguments are checked against: the tool's own, else what its plugin says.
#[must_use]
pub fn checked(own: Option<&Value>, described: Option<&str>) -> Option<Value> {
    own.cloned().or_else(|| serde_json::from_str(described?).ok())
}

/// The schema a model is shown, as JSON text: an object, in which nothing is required that the tool's `with` gives.
#[must_use]
pub fn shown(schema: Option<&Value>, with: Option<&ValueTemplate>) -> String {
    let mut shown: Map<String, Value> = schema.and_then(Value::as_object).cloned().unwrap_or_default();
    // Providers want to see both, even of a function that takes nothing.
    shown.entry("type").or_insert_with(|| json!("object"));
    shown.entry("properties").or_insert_with(|| json!({}));
    if let Some(Value::Array(required)) = shown.get_mut("required") {
        required.retain(|name| name.as_str().is_none_or(|name| !gives(with, name)));
    }
    Value::Object(shown).to_string()
}

fn gives(with: Option<&ValueTemplate>, name: &str) -> bool {
    match with {
        Some(ValueTemplate::Map(members)) => members.iter().any(|(key, _)| key == name),
        Some(ValueTemplate::Fixed(value)) => value.get(name).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use compozy_lang::plan::ValueTemplate;
    use serde_json::{Value, json};

    use super::{checked, names, shown};

    #[test]
    fn names_are_plain_and_unique() {
        assert_eq!(
            names(&["look-up", "shop.find:all", "shop_find.all", "größe"]),
            ["look-up", "shop_find_all", "shop_find_all_2", "gr__e"]
        );
        let long = "x".repeat(100);
        let found = names(&[&long, &long, &long]);
        assert!(found.iter().all(|name| name.len() == 64), "{found:?}");
        assert!(found[1].ends_with("x_2") && found[2].ends_with("x_3"), "{found:?}");
    }

    #[test]
    fn the_tools_own_schema_counts() {
        let own = json!({"type": "object"});
        assert_eq!(checked(Some(&own), Some("{}")), Some(own));
        assert_eq!(checked(None, Some(r#"{"required":["a"]}"#)), Some(json!({"required": ["a"]})));
        assert_eq!(checked(None, None), None);
    }

    #[test]
    fn what_the_tool_gives_is_not_asked_for() {
        let schema = json!({"type": "object", "required": ["sku", "site"], "properties": {"sku": {}, "site": {}}});
        for (schema, with, expected) in [
            (None, None, json!({"type": "object", "properties": {}})),
            (Some(json!(true)), None, json!({"type": "object", "properties": {}})),
            (Some(schema.clone()), None, schema.clone()),
            (
                Some(schema),
                Some(ValueTemplate::Fixed(json!({"site": "main"}))),
                json!({"type": "object", "required": ["sku"], "properties": {"sku": {}, "site": {}}}),
            ),
        ] {
            let text = shown(schema.as_ref(), with.as_ref());
            assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), expected);
        }
    }
}
