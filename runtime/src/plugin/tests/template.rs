//! The template plugin in warm instances.

use std::sync::Arc;

use compozy_lang::plan::{PluginKind, TemplateLimits};
use serde_json::{Value, json};

use super::{host, path};
use crate::plugin::Source as Bytes;
use crate::plugin::template::{Ambient, Leniency, Limits, Mode, RenderError, Renderer, Source};

pub(super) async fn renderer() -> Renderer {
    Renderer::new(host().load(Bytes::Path(path("template-go")), PluginKind::Template).await.unwrap()).unwrap()
}

pub(super) fn source(text: &str, mode: Mode) -> Source {
    Source { text: text.into(), inert: Vec::new(), mode, leniency: Leniency::empty() }
}

pub(super) fn limits() -> Limits {
    let limits = TemplateLimits::default();
    Limits {
        max_source: limits.max_source_bytes,
        max_depth: limits.max_depth,
        max_steps: limits.max_steps,
        max_output: limits.max_output_bytes,
    }
}

pub(super) const AMBIENT: Ambient = Ambient { now_unix_us: 0, seed: 1 };

async fn render(renderer: &Renderer, text: &str, context: Value) -> Result<Vec<String>, RenderError> {
    renderer.render(&[source(text, Mode::Text)], &context.to_string(), AMBIENT, limits()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn renders_share_a_few_warm_instances() {
    let renderer = Arc::new(renderer().await);
    let renders: Vec<_> = (0..200)
        .map(|number| {
            let renderer = Arc::clone(&renderer);
            tokio::spawn(async move {
                let rendered = render(&renderer, "Hello {{ .input.name }}!", json!({"input": {"name": number}})).await;
                assert_eq!(rendered.unwrap(), [format!("\"Hello {number}!\"")]);
            })
        })
        .collect();
    for render in renders {
        render.await.unwrap();
    }
    assert!((1..=8).contains(&renderer.warm_instances()), "{renderer:?}");
}

#[tokio::test]
async fn check_names_problems_and_variables() {
    let renderer = renderer().await;
    let sources = [
        source("{{ .tasks.greet.output }} {{ .input.name }}", Mode::Text),
        source("{{ nosuch 1 }}", Mode::Text),
        source("plain", Mode::Text),
    ];
    let reports = renderer.check(&sources, limits()).await.unwrap();
    let paths: Vec<_> = reports[0].references.iter().map(|reference| reference.path.join(".")).collect();
    assert_eq!(paths, ["tasks.greet.output", "input.name"]);
    assert_eq!(reports[1].problems[0].code, "CZ0406");
    assert!(!reports[2].is_template);
}

#[tokio::test]
async fn a_failing_template_costs_only_its_render() {
    let renderer = renderer().await;
    let error = render(&renderer, "{{ .input.none }}", json!({"input": {}})).await.unwrap_err();
    let RenderError::Template(failure) = error else { panic!("{error}") };
    assert_eq!((failure.source, failure.problem.code.as_str()), (0, "CZ0402"));
    assert!(render(&renderer, "ok", json!({})).await.is_ok());
    assert_eq!(renderer.warm_instances(), 1);
}
