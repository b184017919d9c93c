//! Every row of the dialect's template table (dialect.md §6.9) through the built wasm component and the host's renderer.
//!
//! The same file is run natively by the plugin's own tests; what this adds is the boundary: JSON as text, warm
//! instances, failures as variants.

use std::sync::Arc;

use compozy::plugin::template::{Ambient, Leniency, Limits, Mode, RenderError, Renderer, Source, Span};
use compozy::plugin::{Host, HostOptions};
use compozy_lang::plan::PluginKind;
use serde_json::Value;

use crate::support::{component, root};

const LIMITS: Limits = Limits { max_source: 256 << 10, max_depth: 64, max_steps: 1_000_000, max_output: 4 << 20 };

fn table() -> Value {
    let path = root().join("plugins/template-go/conformance.json");
    serde_json::from_slice(&std::fs::read(path).expect("the table")).expect("JSON")
}

async fn renderer() -> Renderer {
    let host = Host::new(HostOptions { pooling: false, ..HostOptions::default() }).expect("an engine");
    let loaded = host.load(compozy::plugin::Source::Path(component("template-go")), PluginKind::Template).await;
    Renderer::new(loaded.expect("the component")).expect("a template language")
}

#[test]
fn every_row_holds_through_the_component() {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let renderer = Arc::new(renderer().await);
        let table = table();
        let rows = table["rows"].as_array().expect("rows");
        assert_eq!(rows.iter().filter(|row| row["n"].is_number()).count(), 80, "the rows of the dialect");
        let mut wrong = Vec::new();
        for row in rows {
            wrong.extend(complaint(&renderer, row, &table["context"]).await);
        }
        assert_eq!(wrong, Vec::<String>::new());
        assert!(renderer.warm_instances() >= 1, "instances are kept");
    });
}

async fn complaint(renderer: &Renderer, row: &Value, base: &Value) -> Option<String> {
    let context = context(row, base);
    let found = evaluate(renderer, source(row), &context).await;
    let expected = row["code"].as_str().map_or_else(|| Ok(row["result"].clone()), |code| Err(code.to_owned()));
    // Numbers compare by their spelling too: 42 is not 42.0.
    let same =
        found == expected && found.as_ref().map(Value::to_string).ok() == expected.as_ref().map(Value::to_string).ok();
    (!same).then(|| format!("row {}: {}: expected {expected:?}, found {found:?}", row["n"], row["template"]))
}

fn context(row: &Value, base: &Value) -> Value {
    let mut context = base.clone();
    for (key, value) in row["context"].as_object().into_iter().flatten() {
        context[key] = value.clone();
    }
    context
}

fn source(row: &Value) -> Source {
    let mode = row["mode"].as_str().expect("a mode");
    let at = |span: &Value, end: usize| u32::try_from(span[end].as_u64().expect("an offset")).expect("small");
    let inert = row["inert"].as_array().into_iter().flatten();
    Source {
        text: row["template"].as_str().expect("a template").to_owned(),
        inert: inert.map(|span| Span { start: at(span, 0), end: at(span, 1) }).collect(),
        mode: if mode == "text" { Mode::Text } else { Mode::Value },
        leniency: if mode == "outputs" { Leniency::NOT_RUN_IS_NULL } else { Leniency::empty() },
    }
}

/// The value, or the code of the error: of the check, of an undeclared name (which the loader adds), of the render.
async fn evaluate(renderer: &Renderer, source: Source, context: &Value) -> Result<Value, String> {
    let reports = renderer.check(std::slice::from_ref(&source), LIMITS).await.map_err(|error| error.code)?;
    let report = reports.first().expect("a report per source");
    if let Some(problem) = report.problems.iter().find(|problem| !problem.warning) {
        return Err(problem.code.clone());
    }
    let declared = |path: &[String]| match path {
        [tasks, id, ..] if tasks == "tasks" => context["tasks"].get(id).is_some(),
        [root, ..] => context.get(root).is_some(),
        [] => true,
    };
    if !report.references.iter().all(|reference| declared(&reference.path)) {
        return Err("CZ0407".to_owned());
    }
    let ambient = Ambient { now_unix_us: 0, seed: 1 };
    let rendered = renderer.render(&[source], &context.to_string(), ambient, LIMITS).await;
    let texts = rendered.map_err(|error| match error {
        RenderError::Template(failure) => failure.problem.code,
        RenderError::Call(error) => error.code,
    })?;
    Ok(serde_json::from_str(texts.first().expect("a value per source")).expect("JSON"))
}
