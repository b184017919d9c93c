//! The JavaScript engine in the real host: `tests/cases/scripts/NAME.js` is a script, `NAME.expected` what comes of a call.
//!
//! A first line `// call: {…}` gives `input`, `config`, `function`, `permissions` and `limits`; `ORIGIN` stands for a server on
//! this machine, and everything in `lib/` can be imported. `COMPOZY_RENEW=1` writes the expected files; read them before
//! committing.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{Permissions, PluginLimits};
use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::lent::{Recorder, echo_server};
use super::{bind_with, context, environment};
use crate::plugin::{Binding, Grants, Services, tool};

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Call {
    input: Value,
    config: Value,
    function: Option<String>,
    permissions: Permissions,
    limits: PluginLimits,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases/scripts")
}

fn library() -> BTreeMap<String, String> {
    let files = std::fs::read_dir(folder().join("lib")).unwrap().map(|entry| entry.unwrap().path());
    let name = |path: &Path| format!("lib/{}", path.file_name().unwrap().to_str().unwrap());
    files.map(|path| (name(&path), std::fs::read_to_string(&path).unwrap())).collect()
}

/// A script as the node binds it.
async fn script(name: &str, text: &str, call: &Call, services: Arc<Services>) -> Binding {
    let mut modules = library();
    modules.insert(name.to_owned(), text.to_owned());
    let config =
        json!({"tool": "pet", "main": name, "function": call.function, "modules": modules, "config": call.config});
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Binding {
        grants: Arc::new(Grants::new(&call.permissions, root, environment()).unwrap()),
        limits: call.limits.clone(),
        config: config.to_string().into(),
        services,
        ..bind_with("js", Permissions::default(), Services::default()).await
    }
}

/// What came of a call, in a form that is the same each time.
async fn outcome(name: &str, text: &str) -> String {
    let call = text.lines().next().and_then(|line| line.strip_prefix("// call: "));
    let call: Call = call.map(|call| serde_json::from_str(call).expect(name)).unwrap_or_default();
    let recorder = Recorder::default();
    let services = Services {
        storage: Some(Arc::new(super::memory::Memory::default())),
        databases: Some(Arc::new(recorder.clone())),
        ..Services::default()
    };
    let binding = script(name, text, &call, Arc::new(services)).await;
    let mut shown = match tool::run(&binding, &context(), "run", &call.input.to_string()).await {
        Ok(answer) => {
            let shown = serde_json::from_str::<Value>(&answer).map_or(answer, |value| format!("{value:#}"));
            format!("answer\n{shown}\n")
        }
        Err(error) => {
            let mut shown = format!("error {} {}", error.code, error.kind.as_str());
            if error.retryable {
                shown.push_str(" retryable");
            }
            if let Some(after) = error.retry_after {
                let _ = write!(shown, " after {} ms", after.as_millis());
            }
            let message: String = error.message.chars().take(300).collect();
            let _ = write!(shown, "\n{}\n", steady(&message));
            if let Some(help) = error.help {
                let _ = writeln!(shown, "help: {help}");
            }
            shown
        }
    };
    for statement in recorder.taken() {
        let _ = writeln!(shown, "sql: {statement}");
    }
    shown
}

/// Without measured times.
fn steady(message: &str) -> String {
    match message.split_once("time limit after ") {
        Some((before, _)) => format!("{before}time limit after N ms"),
        None => message.to_owned(),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scripts_do_what_their_cases_say() {
    let origin = echo_server().await;
    let renew = std::env::var_os("COMPOZY_RENEW").is_some();
    let only = std::env::var("COMPOZY_CASE").ok();
    let mut cases: Vec<PathBuf> = std::fs::read_dir(folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.retain(|path| path.extension().is_some_and(|ending| ending == "js"));
    cases.sort();
    assert!(cases.len() >= 60, "only {} cases", cases.len());
    let origin = &origin;
    let run = async |path: PathBuf| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let text = std::fs::read_to_string(&path).unwrap().replace("ORIGIN", origin);
        let found = outcome(&name, &text).await.replace(origin, "ORIGIN");
        let expected = path.with_extension("expected");
        if renew {
            std::fs::write(&expected, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&expected).unwrap_or_default();
        (found != expected).then(|| format!("{name}\n--- expected\n{expected}--- found\n{found}"))
    };
    let chosen =
        cases.into_iter().filter(|path| only.as_ref().is_none_or(|only| path.to_string_lossy().contains(only)));
    let wrong: Vec<Option<String>> = futures_util::stream::iter(chosen.map(run)).buffered(4).collect().await;
    let wrong: Vec<String> = wrong.into_iter().flatten().collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[tokio::test]
async fn checking_reads_every_module_and_runs_nothing() {
    for (text, expected) in [
        ("throw new Error('ran'); export default () => 1", Ok("{}")),
        ("import { half } from './lib/half.js'; export { half as default }", Ok("{}")),
        ("export default () => { return 1 +; }", Err(("CZ0706", "'pet' script error: SyntaxError: "))),
        (
            "import { none } from './lib/half.js'; export default none",
            Err(("CZ0706", "'pet' script error: SyntaxError: ")),
        ),
        (
            "import './lib/none.js'; export default () => 1",
            Err(("CZ0706", "'pet' script error: Error: there is no file")),
        ),
        ("export const a = 1", Err(("CZ0701", "'pet': no usable implementation: pet.js exports no function"))),
    ] {
        let binding = script("pet.js", text, &Call::default(), Arc::new(Services::default())).await;
        let found = tool::run(&binding, &context(), "check", "null").await;
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(error), Err((code, message))) => {
                assert_eq!(error.code, code, "{text}");
                assert!(error.message.starts_with(message), "{text}: {}", error.message);
            }
            _ => panic!("{text}: {found:?}"),
        }
    }
}

#[tokio::test]
async fn a_call_without_a_script_says_what_to_write() {
    let bare = bind_with("js", Permissions::default(), Services::default()).await;
    let error = tool::run(&bare, &context(), "run", "null").await.unwrap_err();
    assert_eq!(error.code, "CZ0701");
    assert!(error.message.starts_with("builtin:js runs the script of a tool"), "{}", error.message);
    let described = tool::describe(&bare).await.unwrap();
    let names: Vec<&str> = described.functions.iter().map(|function| function.name.as_str()).collect();
    assert_eq!(names, ["run", "check"]);
}

/// Calls leave nothing behind for the next one.
#[tokio::test]
async fn every_call_begins_anew() {
    let text = "let calls = 0; globalThis.seen ??= 0;\n\
                export default () => { calls += 1; globalThis.seen += 1; return [calls, globalThis.seen]; }";
    let binding = script("anew.js", text, &Call::default(), Arc::new(Services::default())).await;
    for _ in 0..3 {
        assert_eq!(tool::run(&binding, &context(), "run", "null").await.unwrap(), "[1,1]");
    }
}

/// Not a test of speed, but its figures are read now and then: `--nocapture`.
#[tokio::test]
async fn calls_take_milliseconds_and_not_seconds() {
    let text = "export default (input) => ({ sum: input.a + input.b })";
    let binding = script("sum.js", text, &Call::default(), Arc::new(Services::default())).await;
    let mut took = Vec::new();
    for _ in 0..200 {
        let begun = std::time::Instant::now();
        tool::run(&binding, &context(), "run", r#"{"a":1,"b":2}"#).await.unwrap();
        took.push(begun.elapsed());
    }
    took.sort();
    println!("a call: p50 {:?}, p99 {:?}", took[100], took[198]);
    assert!(took[100] < Duration::from_millis(200), "{:?}", took[100]);
}
