//! A template plugin: a language of its own, in which `<name>` stands for a variable. It is pure and imports nothing.

wit_bindgen::generate!({ path: "wit", world: "compozy:plugin/template-plugin" });

use exports::compozy::plugin::template::{
    Ambient, Failure, Guest, Limits, Mode, Problem, Reference, Report, Source, Span,
};
use serde_json::Value;

struct Template;

impl Guest for Template {
    fn check(sources: Vec<Source>, _limits: Limits) -> Vec<Report> {
        sources.iter().map(report).collect()
    }

    fn render(
        sources: Vec<Source>,
        context: String,
        _ambient: Ambient,
        limits: Limits,
    ) -> Result<Vec<String>, Failure> {
        let context: Value = serde_json::from_str(&context).unwrap_or_default();
        let render = |(index, source): (usize, &Source)| {
            let failed = |problem| Failure { source: index as u32, problem };
            let value = value(source, &context).map_err(failed)?.to_string();
            if value.len() as u64 > limits.max_output {
                let whole = Span { start: 0, end: source.text.len() as u32 };
                return Err(failed(problem("CZ0410", "the result is too large".to_owned(), whole)));
            }
            Ok(value)
        };
        sources.iter().enumerate().map(render).collect()
    }
}

/// The variables of a text: each name with the range that stands for it, `<` and `>` included.
fn variables(source: &Source) -> Vec<(&str, Span)> {
    let text = source.text.as_str();
    let mut found = Vec::new();
    for (start, _) in text.match_indices('<') {
        let rest = &text[start + 1..];
        let length = rest.find(|letter: char| !(letter.is_alphanumeric() || letter == '_')).unwrap_or(rest.len());
        let span = Span { start: start as u32, end: (start + length + 2) as u32 };
        // What came from outside is text, whatever it holds.
        let is_inert = source.inert.iter().any(|inert| inert.start <= span.start && span.start < inert.end);
        if length > 0 && rest[length..].starts_with('>') && !is_inert {
            found.push((&rest[..length], span));
        }
    }
    found
}

fn report(source: &Source) -> Report {
    let reference = |(name, span): (&str, Span)| Reference {
        path: vec![name.to_owned()],
        whole: true,
        guarded: false,
        span,
    };
    let references: Vec<Reference> = variables(source).into_iter().map(reference).collect();
    Report { is_template: !references.is_empty(), references, problems: Vec::new() }
}

/// A lone variable keeps its type; everything else is text.
fn value(source: &Source, context: &Value) -> Result<Value, Problem> {
    let lookup = |name: &str, span: Span| {
        context.get(name).ok_or_else(|| problem("CZ0402", format!("no variable '{name}'"), span))
    };
    let found = variables(source);
    if let ([(name, span)], Mode::Value) = (found.as_slice(), source.mode)
        && (span.start, span.end as usize) == (0, source.text.len())
    {
        return lookup(name, *span).cloned();
    }
    let mut text = String::new();
    let mut at = 0;
    for (name, span) in found {
        text.push_str(&source.text[at..span.start as usize]);
        match lookup(name, span)? {
            Value::String(value) => text.push_str(value),
            other => text.push_str(&other.to_string()),
        }
        at = span.end as usize;
    }
    text.push_str(&source.text[at..]);
    Ok(text.into())
}

fn problem(code: &str, message: String, span: Span) -> Problem {
    Problem { code: code.to_owned(), message, help: None, span, warning: false }
}

export!(Template);

#[cfg(test)]
mod tests {
    use super::*;

    fn source(text: &str) -> Source {
        let leniency = exports::compozy::plugin::template::Leniency::empty();
        Source { text: text.to_owned(), inert: Vec::new(), mode: Mode::Value, leniency }
    }

    #[test]
    fn variables_are_filled_in() {
        let context = serde_json::json!({"name": "Ada", "count": 3});
        for (text, expected) in [
            ("Hello, <name>! <count> < 4", serde_json::json!("Hello, Ada! 3 < 4")),
            ("<count>", serde_json::json!(3)),
            ("plain", serde_json::json!("plain")),
        ] {
            assert_eq!(value(&source(text), &context).expect("known variables"), expected);
        }
        assert_eq!(value(&source("<none>"), &context).expect_err("unknown").code, "CZ0402");
    }
}
