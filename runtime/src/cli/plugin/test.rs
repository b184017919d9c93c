//! `compozy plugin test`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use compozy_lang::cases::{self, Case};
use compozy_lang::plan::PluginKind;
use compozy_lang::source::Place;
use serde_json::{Value, json};

use super::stage::Scene;
use super::{located, noun, shown};
use crate::authoring::cases::{self as runner, Outcome};
use crate::authoring::{build, inspect, language};
use crate::cli::exit;
use crate::cli::failure::{Diagnostics, Failure};
use crate::cli::output::{Format, Output, Paint, duration_text, escaped, painted};
use crate::cli::session::Session;
use crate::cli::{compose, report};
use crate::plugin::Source;
use crate::plugin::tool::Function;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin test\n  compozy plugin test plugins/word-count --case empty\n  compozy plugin test plugins/word-count.wasm\n\nCases stand in cases.yaml or cases/*.yaml; hosts, databases and models are played.\n\nExit codes:\n  0 all cases hold, 1 a case fails, 2 usage, 3 the cases are not valid or there is no plugin, 4 no cases";

/// Largest file of cases, in bytes.
const FILE_BYTES: u64 = 10 << 20;

/// Arguments of `plugin test`.
#[derive(Debug, Args)]
pub struct TestArgs {
    /// The project, a file of cases, or a component beside its cases; default: the folder here
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// Only cases whose name holds this text
    #[arg(long, value_name = "TEXT")]
    pub case: Option<String>,
}

/// One case and what became of it.
struct Done {
    name: String,
    place: Place,
    outcome: Outcome,
}

/// Runs the cases.
pub(super) async fn run(session: &Session, args: TestArgs) -> Result<u8, Failure> {
    let (folder, files) = files(&args.path)?;
    let component = args.path.extension().is_some_and(|ending| ending == "wasm").then(|| args.path.clone());
    let mut done = Vec::new();
    for file in &files {
        done.extend(run_file(session, &folder, file, component.as_deref(), args.case.as_deref()).await?);
    }
    if done.is_empty() {
        return Err(Failure::usage("no case has such a name"));
    }
    let failed = done.iter().filter(|case| !case.outcome.is_ok()).count();
    print(&session.output, &done, failed)?;
    Ok(if failed == 0 { exit::OK } else { exit::of("cases_failed", None) })
}

/// The folder of the plugin, and its files of cases.
fn files(path: &Path) -> Result<(PathBuf, Vec<PathBuf>), Failure> {
    let beside = |file: &Path| {
        file.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or_else(|| ".".into(), Path::to_owned)
    };
    let ending = path.extension().and_then(|ending| ending.to_str());
    let folder = match ending {
        Some("yaml" | "yml") if !path.is_dir() => return Ok((beside(path), vec![path.to_owned()])),
        Some("wasm") if !path.is_dir() => beside(path),
        _ => path.to_owned(),
    };
    let mut found: Vec<PathBuf> =
        ["cases.yaml", "cases.yml"].map(|name| folder.join(name)).into_iter().filter(|file| file.is_file()).collect();
    let mut more: Vec<PathBuf> = std::fs::read_dir(folder.join("cases"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| file.is_file() && file.extension().is_some_and(|ending| ending == "yaml" || ending == "yml"))
        .collect();
    more.sort();
    found.extend(more);
    if found.is_empty() {
        let message = format!("{} holds no cases", folder.display());
        return Err(
            Failure::new("plugin_project_not_found", message).hint("write them into cases.yaml or cases/*.yaml")
        );
    }
    Ok((folder, found))
}

async fn run_file(
    session: &Session,
    folder: &Path,
    file: &Path,
    component: Option<&Path>,
    wanted: Option<&str>,
) -> Result<Vec<Done>, Failure> {
    let unreadable = |reason: String| Failure::usage(format!("cannot read {}: {reason}", file.display()));
    let size = std::fs::metadata(file).map_err(|error| unreadable(error.kind().to_string()))?.len();
    if size > FILE_BYTES {
        return Err(unreadable(format!("it has {size} bytes; the limit is {FILE_BYTES}")));
    }
    let text = std::fs::read_to_string(file).map_err(|error| unreadable(error.kind().to_string()))?;
    let (cases, all) = cases::read(&shown(file), text);
    let found = Diagnostics { all, omitted: 0, root: std::env::current_dir().unwrap_or_default() };
    let Some(cases) = cases else { return Err(Failure::Diagnostics(Box::new(found))) };
    report::warnings(&session.output, &found);
    let written = cases.plugin.as_deref().map(|written| match written.strip_prefix("builtin:") {
        Some(_) => PathBuf::from(written),
        None => file.parent().unwrap_or(Path::new(".")).join(written),
    });
    let path = match component.map(Path::to_owned).or(written) {
        Some(path) => path,
        None => {
            let path = built(folder)?;
            if let Some(source) = build::newer(folder, &path) {
                session.output.talk(&format!(
                    "warning: {} was changed after {} was built: build it again",
                    shown(&source),
                    shown(&path)
                ));
            }
            path
        }
    };
    let bytes = located(&path.to_string_lossy())?;
    let kinds = inspect::findings(&bytes)?.kinds;
    let kind = cases.kind.or_else(|| kinds.first().copied());
    let kind = kind
        .ok_or_else(|| Failure::new("CZ0702", format!("{} exports no interface of compozy:plugin", path.display())))?;
    let host = compose::host(&folder.join("compozy.yaml"))?;
    let component = host.load(Source::Bytes(bytes.into()), kind).await;
    let component = component.map_err(|error| Failure::new(error.code(), format!("{}: {error}", path.display())))?;
    let scene = Scene { component, folder, file: &cases, clock: session.clock.clone() };
    let functions = if kind == PluginKind::Tool { scene.functions().await? } else { Vec::new() };
    let wanted = |case: &&Case| wanted.is_none_or(|text| case.name.contains(text));
    let mut done = Vec::new();
    for case in cases.cases.iter().filter(wanted) {
        done.push(run_case(&scene, case, &functions).await?);
    }
    Ok(done)
}

async fn run_case(scene: &Scene<'_>, case: &Case, functions: &[Function]) -> Result<Done, Failure> {
    let (stage, _databases) = scene.stage(case).await?;
    let outcome = runner::run(stage, case, functions).await;
    Ok(Done { name: case.name.clone(), place: case.place.clone(), outcome })
}

/// The component of a project: what its build writes, else the only one there is.
fn built(folder: &Path) -> Result<PathBuf, Failure> {
    if let Ok(language) = language::of(folder) {
        let path = folder.join(format!("{}.wasm", (language.name_of)(folder)?));
        if path.is_file() {
            return Ok(path);
        }
    }
    let entries = std::fs::read_dir(folder).into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    let mut found: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|ending| ending == "wasm")).collect();
    match (found.pop(), found.pop()) {
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => Err(Failure::new("CZ0701", format!("{} holds several components", folder.display()))
            .hint("name one with `plugin:` in the file of cases")),
        (None, _) => Err(Failure::new("CZ0701", format!("{} holds no component yet", folder.display()))
            .hint("run `compozy plugin build` first")),
    }
}

fn print(output: &Output, done: &[Done], failed: usize) -> Result<(), Failure> {
    if output.format != Format::Table {
        let cases: Vec<Value> = done.iter().map(document).collect();
        let document = json!({"cases": cases, "passed": done.len() - failed, "failed": failed});
        return output.list("cases", &document);
    }
    for Done { name, place, outcome } in done {
        let took = took(outcome.duration);
        if outcome.is_ok() {
            let word = painted("ok", Paint::Green, output.color_out);
            output.line(&format!("{word}      {} ({took})", escaped(name)))?;
            continue;
        }
        let word = painted("FAILED", Paint::Red, output.color_out);
        output.line(&format!("{word}  {} ({took})", escaped(name)))?;
        output.line(&format!("        at {place}, function {}", escaped(&outcome.function)))?;
        let differences = outcome.differences.iter().map(runner::difference::Difference::text);
        for problem in differences.chain(outcome.problems.iter().cloned()) {
            output.line(&format!("        {}", escaped(&problem).replace('\n', "\n        ")))?;
        }
    }
    output.line(&format!("{}: {} ok, {failed} failed", noun(done.len(), "case"), done.len() - failed))
}

/// `0.4ms`, `1.2s`.
fn took(duration: Duration) -> String {
    match duration.as_micros() {
        micros @ 0..10_000 => format!("{}.{}ms", micros / 1_000, micros % 1_000 / 100),
        micros => duration_text(u64::try_from(micros / 1_000).unwrap_or(u64::MAX)),
    }
}

fn document(done: &Done) -> Value {
    let Outcome { function, answer, differences, problems, duration } = &done.outcome;
    let differences: Vec<Value> = differences
        .iter()
        .map(|found| json!({"pointer": found.pointer, "expected": found.expected, "found": found.found}))
        .collect();
    let (output, error) = match answer {
        Ok(output) => (Some(output), None),
        Err(error) => {
            let error = json!({"code": error.code, "message": error.message, "retryable": error.retryable, "kind": error.kind.as_str()});
            (None, Some(error))
        }
    };
    json!({
        "name": done.name, "function": function, "ok": done.outcome.is_ok(),
        "duration_us": u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        "file": &*done.place.file, "line": done.place.line, "column": done.place.column,
        "output": output, "error": error, "differences": differences, "problems": problems,
    })
}
