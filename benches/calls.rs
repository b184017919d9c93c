//! What does crossing into a plugin cost: a tool call with a fresh instance, a render in a warm one?

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use compozy::clock::Clock;
use compozy::plugin::template::{Ambient, Leniency, Limits, Mode, Renderer, Source as Template};
use compozy::plugin::{Binding, CallContext, Grants, Host, HostOptions, Services, Source, tool};
use compozy_lang::plan::{PluginKind, PluginLimits};
use serde_json::json;

use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, runtime};

const CALLS: usize = 5000;

const PROMPT: &str = "You write for {{ .input.audience | default \"everyone\" }}.
Summarise the following {{ len .input.articles }} articles about {{ .input.topic | upper }} in {{ .input.words }} words:
{{ range $i, $article := .input.articles }}
{{ add $i 1 }}. {{ $article.title }} ({{ $article.year }}): {{ $article.text | trunc 80 }}
{{ end }}
{{ if .tasks.outline.output.text }}Follow this outline: {{ .tasks.outline.output.text }}{{ end }}";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    runtime()?.block_on(async {
        let host = Host::new(HostOptions::default()).context("set up the engine")?;
        let small = "{\"a\":1,\"b\":2}".to_owned();
        let kilobyte = json!({"text": "x".repeat(1000)}).to_string();
        let zoo = zoo(&host).await?;
        let least = tools(&zoo, "add", &small).await?;
        let usual = tools(&zoo, "echo", &kilobyte).await?;
        let renders = renders(&host).await?;
        report.duration(
            "tool_call_small_p50",
            "tool call with a fresh instance, 13 bytes, p50",
            least.p50(),
            "≤ 30 µs",
        );
        report.duration(
            "tool_call_p50",
            "tool call with a fresh instance, 1 KB in and out, p50",
            usual.p50(),
            "≤ 30 µs",
        );
        report.duration("tool_call_p99", "tool call with a fresh instance, 1 KB in and out, p99", usual.p99(), "");
        report.duration("render_p50", "template render of a typical prompt, p50", renders.p50(), "≤ 20 µs");
        report.duration("render_p99", "template render of a typical prompt, p99", renders.p99(), "");
        Ok(())
    })
}

async fn zoo(host: &Arc<Host>) -> Result<Binding> {
    let source = Source::Path(machine::component("guests/zoo")?);
    Ok(Binding {
        plugin_id: "zoo".into(),
        component: host.load(source, PluginKind::Tool).await.context("load the zoo")?,
        grants: Arc::new(Grants::none()),
        limits: PluginLimits::default(),
        config: "{}".into(),
        services: Arc::new(Services { clock: Clock::system(), ..Services::default() }),
    })
}

async fn tools(binding: &Binding, function: &str, input: &str) -> Result<Sample> {
    let mut sample = Sample::default();
    for number in 0..CALLS + 200 {
        let ctx = CallContext::outside_runs(Duration::from_secs(30));
        let begun = Instant::now();
        tool::run(binding, &ctx, function, input).await.map_err(|error| anyhow!("call {function}: {error}"))?;
        if number >= 200 {
            sample.push(begun.elapsed());
        }
    }
    Ok(sample)
}

async fn renders(host: &Arc<Host>) -> Result<Sample> {
    let source = Source::Path(machine::component("template-go")?);
    let component = host.load(source, PluginKind::Template).await.context("load the template language")?;
    let renderer = Renderer::new(component).context("make a renderer")?;
    let articles: Vec<_> = (0..3)
        .map(|n| json!({"title": format!("Article {n}"), "year": 2020 + n, "text": "Durable execution is older than its name. ".repeat(4)}))
        .collect();
    let context = json!({
        "input": {"topic": "durable workflows", "words": 120, "articles": articles},
        "tasks": {"outline": {"output": {"text": "history, mechanism, cost"}}},
    })
    .to_string();
    let template =
        [Template { text: PROMPT.to_owned(), inert: Vec::new(), mode: Mode::Text, leniency: Leniency::empty() }];
    let limits = Limits { max_source: 256 << 10, max_depth: 64, max_steps: 1_000_000, max_output: 4 << 20 };
    let mut sample = Sample::default();
    for number in 0..CALLS + 200 {
        let ambient = Ambient { now_unix_us: 0, seed: 1 };
        let begun = Instant::now();
        renderer.render(&template, &context, ambient, limits).await.map_err(|error| anyhow!("render: {error}"))?;
        if number >= 200 {
            sample.push(begun.elapsed());
        }
    }
    Ok(sample)
}
