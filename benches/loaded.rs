//! What do 1,000 different plugins cost that are loaded at once: memory, and time from the code cache?

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use compozy::plugin::{Component, Host, HostOptions, Source};
use compozy_lang::plan::PluginKind;
use serde_json::{Value, json};

use crate::report::Report;
use crate::sample::Sample;
use crate::{machine, runtime};

const PLUGINS: usize = 1_000;

/// The argument with which this program calls itself: memory is that of a process that did nothing else before.
pub(crate) const CHILD: &str = "loaded-in-a-process-of-its-own";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    let scratch = machine::scratch()?;
    let first = child(scratch.path(), "compile them")?;
    let warm = child(scratch.path(), "load them from the code cache")?;
    let number = |measured: &Value, name: &str| measured[name].as_f64().context("read what the child measured");
    report.number(
        "first_load_ms",
        "first load of a Rust tool (94 KiB), compiled, p50",
        number(&first, "p50_ms")?,
        "ms",
        "",
    );
    report.number("warm_load_ms", "load of it from the code cache, p50", number(&warm, "p50_ms")?, "ms", "");
    let mebibytes = number(&warm, "taken_mib")?;
    report.number("loaded_1000_mib", "memory of 1,000 loaded plugins (Rust tools of 94 KiB)", mebibytes, "MiB", "");
    Ok(())
}

fn child(folder: &Path, what: &str) -> Result<Value> {
    eprintln!("  {PLUGINS} plugins: {what} …");
    let program = std::env::current_exe().context("find this program")?;
    let output = Command::new(program).arg(CHILD).arg(folder).output().context("start the measured process")?;
    ensure!(output.status.success(), "measure loading: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).context("read what the child measured")
}

/// Loads all plugins with the code cache in `folder` and prints what it took.
pub(crate) fn run_child(folder: &Path) -> Result<()> {
    let component = std::fs::read(machine::component("text-stats")?).context("read a component")?;
    runtime()?.block_on(async {
        let options = HostOptions { cache_dir: Some(folder.join("code")), ..HostOptions::default() };
        let host = Host::new(options).context("set up the engine")?;
        let before = resident_mebibytes()?;
        let mut loaded: Vec<Arc<Component>> = Vec::with_capacity(PLUGINS);
        let mut times = Sample::default();
        for number in 0..PLUGINS {
            let bytes = distinct(&component, number);
            let begun = Instant::now();
            loaded.push(host.load(Source::Bytes(bytes.into()), PluginKind::Tool).await.context("load a plugin")?);
            times.push(begun.elapsed());
        }
        let taken = resident_mebibytes()? - before;
        println!("{}", json!({"p50_ms": times.p50().as_secs_f64() * 1e3, "taken_mib": taken}));
        drop(loaded);
        Ok(())
    })
}

/// The component with a custom section behind it (component-model Binary.md): other bytes, another digest.
fn distinct(component: &[u8], number: usize) -> Vec<u8> {
    let mut bytes = component.to_vec();
    let name = format!("n{number:06}");
    bytes.extend([0, 8, 7]);
    bytes.extend(name.as_bytes());
    bytes
}

fn resident_mebibytes() -> Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("find VmRSS")?;
    let kibibytes: f64 = line.trim().trim_end_matches(" kB").parse().context("read VmRSS")?;
    Ok(kibibytes / 1024.0)
}
