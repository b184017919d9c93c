//! Tables of templates and what they give: `template => JSON`, or `template => CZ0404 reason` where the message must hold
//! the reason, or `template => CZ0401 @4..5 reason` with the place. `⏎` in a template stands for a line break.
//! A line without ` => ` is a heading.

use serde_json::Value as Json;
use template_go::{Ambient, Limits, Problem, Source, Value, check, function_names, json, render};

const FUNCTIONS: &str = include_str!("tables/functions.txt");

/// 2024-03-05T06:07:08.5Z, a Tuesday.
const AMBIENT: Ambient = Ambient { now_unix_us: 1_709_618_828_500_000, seed: 7 };

#[test]
fn functions() {
    run(FUNCTIONS);
}

#[test]
fn language() {
    run(include_str!("tables/language.txt"));
}

#[test]
fn problems() {
    run(include_str!("tables/problems.txt"));
}

/// A function without a row has never been called by a test.
#[test]
fn every_function_has_a_row() {
    let templates: Vec<&str> = rows(FUNCTIONS).map(|(template, _)| template).collect();
    let words = |template: &'static str| template.split(|c: char| !c.is_alphanumeric() && c != '_');
    let used: std::collections::HashSet<&str> = templates.into_iter().flat_map(words).collect();
    let missing: Vec<&str> = function_names().filter(|name| !used.contains(name)).collect();
    assert!(missing.is_empty(), "functions without a row: {missing:?}");
}

/// The functions promised by dialect §6.7.
#[test]
fn every_promised_function_exists() {
    let promised = include_str!("tables/promised.txt").split_whitespace();
    let known: Vec<&str> = function_names().collect();
    let missing: Vec<&str> = promised.filter(|name| !known.contains(name)).collect();
    assert!(missing.is_empty(), "promised and missing: {missing:?}");
}

fn rows(table: &'static str) -> impl Iterator<Item = (&'static str, &'static str)> {
    table.lines().filter_map(|line| line.split_once(" => "))
}

fn run(table: &'static str) {
    let base: Json = serde_json::from_str(include_str!("../conformance.json")).unwrap();
    let context = json::parse(&base["context"].to_string()).unwrap();
    let wrong: Vec<String> = rows(table).filter_map(|row| wrong(row, &context)).collect();
    assert!(wrong.is_empty(), "{} rows:\n{}", wrong.len(), wrong.join("\n"));
}

fn wrong((template, expected): (&str, &str), context: &Value) -> Option<String> {
    let found = evaluate(&template.replace('⏎', "\n"), context);
    let fits = match &found {
        Ok(value) => serde_json::from_str::<Json>(expected).is_ok_and(|expected| written(&expected) == written(value)),
        Err(problem) => problem_fits(problem, expected),
    };
    (!fits).then(|| format!("{template}\n  expected {expected}\n  found    {found:?}"))
}

/// As text, so that 20 and 20.0 differ.
fn written(value: &Json) -> String {
    value.to_string()
}

fn problem_fits(problem: &Problem, expected: &str) -> bool {
    let Some(rest) = expected.strip_prefix(problem.code) else {
        return false;
    };
    let rest = rest.trim_start();
    let (place, reason) = match rest.strip_prefix('@') {
        Some(rest) => rest.split_once(' ').unwrap_or((rest, "")),
        None => ("", rest),
    };
    let found = format!("{}..{}", problem.span.start, problem.span.end);
    let text = format!("{} | {}", problem.message, problem.help.as_deref().unwrap_or_default());
    (place.is_empty() || place == found) && text.contains(reason)
}

fn evaluate(template: &str, context: &Value) -> Result<Json, Problem> {
    let source = Source { text: template.into(), ..Source::default() };
    let limits = Limits::default();
    if let Some(problem) = check(&source, &limits).problems.into_iter().find(|problem| !problem.warning) {
        return Err(problem);
    }
    let value = render(&source, context, &AMBIENT, &limits)?;
    let mut text = String::new();
    json::write(&mut text, &value, json::Style::Faithful, u64::MAX).unwrap();
    Ok(serde_json::from_str(&text).unwrap())
}
