//! What does a plugin cost in each language: size, first compilation, a call with a fresh instance?
//!
//! The components are those that the tests of the newcomer's path leave in `target/tools/components`
//! (`cargo verify --only languages`); a language that is not there is left out with a word.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use compozy::clock::Clock;
use compozy::plugin::{Binding, CallContext, Grants, Host, HostOptions, Services, Source, tool};
use compozy_lang::plan::{PluginKind, PluginLimits};

use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, runtime};

const LANGUAGES: &[&str] = &["rust", "c", "go", "js", "python"];

const CALLS: usize = 300;

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    runtime()?.block_on(async {
        let host = Host::new(HostOptions::default()).context("set up the engine")?;
        for language in LANGUAGES {
            let path = machine::root().join("target/tools/components").join(language).with_extension("wasm");
            if !path.is_file() {
                eprintln!(
                    "{language} is left out: there is no {}; `cargo verify --only languages` makes it",
                    path.display()
                );
                continue;
            }
            let size = std::fs::metadata(&path).context("find the component")?.len() as f64 / 1e3;
            let begun = Instant::now();
            let component = host.load(Source::Path(path), PluginKind::Tool).await.context("compile the component")?;
            let compiled = begun.elapsed();
            let binding = Binding {
                plugin_id: (*language).into(),
                component,
                grants: Arc::new(Grants::none()),
                limits: PluginLimits::default(),
                config: "{}".into(),
                services: Arc::new(Services { clock: Clock::system(), ..Services::default() }),
            };
            let calls = calls(&binding).await?;
            let name = |what: &str| (format!("language_{language}_{what}"), format!("plugin in {language}: "));
            let (key, what) = name("kb");
            report.number(&key, &format!("{what}component"), size, "KB", "");
            let (key, what) = name("compile");
            report.duration(&key, &format!("{what}first compilation"), compiled, "");
            let (key, what) = name("call_p50");
            report.duration(&key, &format!("{what}call with a fresh instance, p50"), calls.p50(), "");
        }
        Ok(())
    })
}

async fn calls(binding: &Binding) -> Result<Sample> {
    let mut sample = Sample::default();
    for number in 0..CALLS + 20 {
        let ctx = CallContext::outside_runs(Duration::from_secs(30));
        let begun = Instant::now();
        tool::run(binding, &ctx, "greet", r#"{"name":"Ada"}"#).await.map_err(|error| anyhow!("call greet: {error}"))?;
        if number >= 20 {
            sample.push(begun.elapsed());
        }
    }
    Ok(sample)
}
