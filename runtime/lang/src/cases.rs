//! What a plugin is expected to do, as its author writes it down: `cases.yaml`, read without a project.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::diagnostic::{Diagnostic, Severity};
use crate::dotenv::DotEnv;
use crate::environment::ProjectEnvironment;
use crate::plan::{Permissions, PluginKind, PluginLimits};
use crate::source::{Origin, Place, Source};
use crate::yaml::{self, Limits};

/// A file of cases.
#[derive(Debug, Clone)]
pub struct CaseFile {
    /// The component, relative to the file; `None`: the one the project builds.
    pub plugin: Option<String>,
    /// What it is called as; `None`: what it exports.
    pub kind: Option<PluginKind>,
    /// What it may do.
    pub permissions: Permissions,
    /// Caps on one call.
    pub limits: PluginLimits,
    /// The cases, at least one.
    pub cases: Vec<Case>,
}

/// One case.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is expected, in a few words.
    pub name: String,
    /// What is called; `None`: the only function.
    pub function: Option<String>,
    /// Its input.
    pub input: Value,
    /// What is expected.
    pub expected: Expected,
    /// The plugin's `config`.
    pub config: Value,
    /// What it finds around itself.
    pub world: World,
    /// Where the case is written.
    pub place: Place,
}

/// How a call is expected to end.
#[derive(Debug, Clone, PartialEq)]
pub enum Expected {
    /// Without an error.
    Success,
    /// With this answer.
    Output(Value),
    /// With an answer that holds this.
    Contains(Value),
    /// With an error.
    Error(ExpectedError),
}

/// An error that is expected, or that is played.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExpectedError {
    /// Its code.
    pub code: Option<String>,
    /// A piece of its message.
    pub message: Option<String>,
    /// Whether the call may be tried again.
    pub retryable: Option<bool>,
}

/// What a plugin finds around itself: everything that is granted is played.
#[derive(Debug, Clone, Default)]
pub struct World {
    /// Requests that are answered.
    pub http: Vec<Exchange>,
    /// Values behind placeholders.
    pub secrets: BTreeMap<String, String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// What the key-value space holds: text as it is, everything else as JSON.
    pub kv: BTreeMap<String, Value>,
    /// Statements that set up databases, by label.
    pub sql: BTreeMap<String, Vec<String>>,
    /// What models answer.
    pub llm: Vec<ModelAnswer>,
}

/// A request and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    /// In upper case.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// Headers that the request must have.
    pub headers: BTreeMap<String, String>,
    /// The body it must have: a text exactly, anything else as JSON.
    pub body: Option<Value>,
    /// Status of the answer.
    pub status: u16,
    /// Headers of the answer.
    pub reply_headers: BTreeMap<String, String>,
    /// Body of the answer.
    pub reply: Reply,
    /// How long the answer takes.
    pub delay: Duration,
}

/// The body of an answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Reply {
    /// Nothing.
    Empty,
    /// A text.
    Text(String),
    /// A JSON value.
    Json(Value),
}

/// What a model answers.
#[derive(Debug, Clone)]
pub struct ModelAnswer {
    /// A piece of the last message.
    pub expect: Option<String>,
    /// The answer.
    pub answer: Answer,
}

/// The answer of a model.
#[derive(Debug, Clone, PartialEq)]
pub enum Answer {
    /// A text.
    Text(String),
    /// Vectors, for texts that are embedded.
    Vectors(Vec<Vec<f64>>),
    /// An error.
    Error(ExpectedError),
}

/// Reads a file of cases. Unknown keys are errors.
///
/// Gives no file when an error is among the diagnostics.
pub fn read(file: &str, text: String) -> (Option<CaseFile>, Vec<Diagnostic>) {
    let source = Arc::new(Source::new(file, Origin::File, text));
    let (root, mut found) = yaml::parse(source, &Limits::default());
    let Some(root) = root else { return (None, found) };
    // A file of cases stands for itself: nothing of the surroundings decides about it.
    let nothing: BTreeMap<String, String> = BTreeMap::new();
    let environment = ProjectEnvironment::new(Arc::new(nothing), DotEnv::default());
    let mut reader = crate::document::Reader::new(&environment, true);
    let cases = reader.cases(&root);
    found.extend(reader.diagnostics);
    found.sort_by(|one, other| one.place.cmp(&other.place));
    let is_sound = found.iter().all(|problem| problem.severity != Severity::Error);
    (cases.filter(|_| is_sound), found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn problems(text: &str) -> Vec<String> {
        let (cases, found) = read("cases.yaml", text.to_owned());
        assert_eq!(cases.is_none(), found.iter().any(|problem| problem.severity == Severity::Error), "{text}");
        found.iter().map(|problem| format!("{} {} {}", problem.place, problem.code, problem.message)).collect()
    }

    #[test]
    fn a_file_with_everything_is_read() {
        let text = r#"
plugin: ./build/shop.wasm
kind: tool
permissions: {http: [api.example.com], sql: [{id: shop, mode: rw}], kv: true, secrets: [TOKEN], env: [REGION], llm: true}
limits: {timeout: 2s}
config: {currency: EUR, key: "${TOKEN}"}
secrets: {TOKEN: s3cr3t}
http:
  - url: https://api.example.com/a
    expect: {headers: {Authorization: Bearer s3cr3t}, body: {a: 1}}
    reply: {json: {b: "{{ not a template }}"}, delay: 20ms}
cases:
  - name: one
    function: f
    input: {a: "${NOT_A_VARIABLE}"}
    output: 3
    env: {REGION: eu}
    kv: {seen: "1", count: {n: 2}}
    sql: {shop: ["CREATE TABLE t(a)", "INSERT INTO t VALUES (1)"]}
    llm: [{expect: why, text: because}, {json: {a: 1}}, {vectors: [[0.5, 1]]}, {error: {code: CZ0506, retryable: true}}]
  - output_contains: {a: 1}
    http: {method: post, url: "https://api.example.com/b", reply: {status: 503, text: busy}}
    config: {}
  - error: {code: no, message: not there}
  - {}
"#;
        let (cases, found) = read("cases.yaml", text.to_owned());
        assert_eq!(found, []);
        let CaseFile { plugin, kind, permissions, limits, cases } = cases.unwrap();
        assert_eq!((plugin.as_deref(), kind), (Some("./build/shop.wasm"), Some(PluginKind::Tool)));
        assert_eq!((permissions.secrets, limits.timeout), (vec!["TOKEN".to_owned()], Duration::from_secs(2)));
        assert!(permissions.llm.is_some() && permissions.sql[0].write);
        assert_eq!(cases.len(), 4);
        let one = &cases[0];
        assert_eq!(one.input, json!({"a": "${NOT_A_VARIABLE}"}));
        assert_eq!(one.config, json!({"currency": "EUR", "key": "${TOKEN}"}));
        assert_eq!(one.expected, Expected::Output(json!(3)));
        assert_eq!(one.world.http[0].headers["Authorization"], "Bearer s3cr3t");
        assert_eq!(one.world.http[0].reply, Reply::Json(json!({"b": "{{ not a template }}"})));
        assert_eq!(one.world.http[0].delay, Duration::from_millis(20));
        assert_eq!(one.world.kv["count"], json!({"n": 2}));
        assert_eq!(one.world.sql["shop"].len(), 2);
        let answers: Vec<_> = one.world.llm.iter().map(|answer| &answer.answer).collect();
        assert_eq!(answers[1], &Answer::Text(r#"{"a":1}"#.into()));
        assert_eq!(answers[2], &Answer::Vectors(vec![vec![0.5, 1.0]]));
        let two = &cases[1];
        assert_eq!((two.name.as_str(), &two.config), ("case 2", &json!({})));
        assert_eq!((two.world.http.len(), two.world.http[0].method.as_str()), (1, "POST"));
        assert_eq!(two.world.secrets["TOKEN"], "s3cr3t", "what a case does not say, the file does");
        assert_eq!(cases[3].expected, Expected::Success);
        assert_eq!((&cases[3].input, cases[3].place.line), (&json!({}), 25));
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (text, expected) in [
            ("cases: []", "cases.yaml:1:1 CZ0110 a file of cases needs at least one case"),
            ("cases: {name: x, functon: f}", "cases.yaml:1:18 CZ0108 unknown key 'functon'. Did you mean 'function'?"),
            ("case: []\ncases: [{}]", "cases.yaml:1:1 CZ0108 unknown key 'case'. Did you mean 'cases'?"),
            (
                "cases:\n  - output: 1\n    error: {code: x}",
                "cases.yaml:3:5 CZ0110 a case has one of output, output_contains, error",
            ),
            ("cases: [{error: {cod: x}}]", "cases.yaml:1:18 CZ0108 unknown key 'cod'. Did you mean 'code'?"),
            ("cases: [{http: [{reply: {}}]}]", "cases.yaml:1:17 CZ0110 cases[0].http[0]: an exchange needs a url"),
            (
                "cases: [{http: [{url: 'https://a/', reply: {json: 1, text: a}}]}]",
                "cases.yaml:1:54 CZ0110 a reply has one of json, text",
            ),
            ("cases: [{llm: [{expect: a}]}]", "cases.yaml:1:16 CZ0110 an answer has one of text, json, vectors, error"),
            (
                "cases: [{llm: [{vectors: [a]}]}]",
                "cases.yaml:1:26 CZ0110 cases[0].llm[0].vectors: expected lists of numbers, got a list",
            ),
            ("cases: [{kv: [a]}]", "cases.yaml:1:14 CZ0110 cases[0].kv: expected a map, got a list"),
            ("permissions: {htp: [a]}\ncases: [{}]", "cases.yaml:1:15 CZ0108 unknown key 'htp'. Did you mean 'http'?"),
            ("cases: [{", ""),
        ] {
            let found = problems(text);
            assert!(!found.is_empty(), "{text}");
            if !expected.is_empty() {
                assert_eq!(found, [expected], "{text}");
            }
        }
    }
}
