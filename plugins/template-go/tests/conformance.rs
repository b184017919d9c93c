//! The conformance table of the dialect, §6.9, natively; the same file is run through the component elsewhere.

use serde_json::Value as Json;
use template_go::{Ambient, Leniency, Limits, Mode, Reference, Source, Span, Value, check, json, render};

#[test]
fn every_row_holds() {
    let table: Json = serde_json::from_str(include_str!("../conformance.json")).unwrap();
    let rows = table["rows"].as_array().unwrap();
    assert_eq!(rows.iter().filter(|row| row["n"].is_number()).count(), 80);
    let wrong: Vec<String> = rows.iter().filter_map(|row| run(row, &table["context"]).err()).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(row: &Json, base: &Json) -> Result<(), String> {
    let context = context(row, base);
    let source = source(row);
    let found = evaluate(&source, &context);
    let expected = match row["code"].as_str() {
        Some(code) => Err(code.to_owned()),
        None => Ok(row["result"].clone()),
    };
    let same = match (&found, &expected) {
        (Ok(found), Ok(expected)) => *found == *expected && kinds_agree(found, expected),
        (Err(found), Err(expected)) => found.starts_with(&**expected),
        _ => false,
    };
    if same {
        return Ok(());
    }
    Err(format!("row {}: {}\n  expected {expected:?}\n  found    {found:?}", row["n"], row["template"]))
}

fn kinds_agree(a: &Json, b: &Json) -> bool {
    a.is_i64() == b.is_i64()
}

fn context(row: &Json, base: &Json) -> Json {
    let mut context = base.clone();
    for (key, value) in row["context"].as_object().into_iter().flatten() {
        context[key] = value.clone();
    }
    context
}

fn source(row: &Json) -> Source {
    let mode = row["mode"].as_str().unwrap();
    let span = |span: &Json| {
        let at = |end: usize| usize::try_from(span[end].as_u64().unwrap()).unwrap();
        Span::new(at(0), at(1))
    };
    Source {
        text: row["template"].as_str().unwrap().into(),
        inert: row["inert"].as_array().into_iter().flatten().map(span).collect(),
        mode: if mode == "text" { Mode::Text } else { Mode::Value },
        leniency: Leniency { not_run_is_null: mode == "outputs", ..Leniency::default() },
    }
}

fn evaluate(source: &Source, context: &Json) -> Result<Json, String> {
    let limits = Limits::default();
    let report = check(source, &limits);
    if let Some(problem) = report.problems.iter().find(|problem| !problem.warning) {
        return Err(format!("{} {}", problem.code, problem.message));
    }
    unknown_variable(&report.references, context)?;
    let context = json::parse(&context.to_string()).unwrap();
    let value =
        render(source, &context, &Ambient::default(), &limits).map_err(|p| format!("{} {}", p.code, p.message))?;
    Ok(to_json(&value))
}

/// The part of the loader: variables and tasks must be declared.
fn unknown_variable(references: &[Reference], context: &Json) -> Result<(), String> {
    for reference in references {
        let path: Vec<&str> = reference.path.iter().map(|segment| &**segment).collect();
        let known = match path.as_slice() {
            ["tasks", id, ..] => context["tasks"].get(id).is_some(),
            [root, ..] => context.get(root).is_some(),
            [] => true,
        };
        if !known {
            return Err(format!("CZ0407 {path:?}"));
        }
    }
    Ok(())
}

fn to_json(value: &Value) -> Json {
    let mut text = String::new();
    json::write(&mut text, value, json::Style::Faithful, u64::MAX).unwrap();
    serde_json::from_str(&text).unwrap()
}
