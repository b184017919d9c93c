//! `compozy plugin build`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use serde_json::{Value, json};

use super::{listed, shown, size};
use crate::authoring::build::{self, Built, Watch};
use crate::authoring::{self, inspect::Findings};
use crate::cli::compose;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, duration_text, escaped};
use crate::cli::session::Session;
use crate::plugin::Source;
use crate::plugin::component::word;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin build\n  compozy plugin build plugins/word-count -v\n  compozy plugin build target/module.wasm --out plugins/word-count.wasm\n\nExit codes:\n  0 built, 1 a step failed, 2 usage, 3 the result is no plugin, 4 no plugin project, 6 a program is missing";

/// Arguments of `plugin build`.
#[derive(Debug, Args)]
pub struct BuildArgs {
    /// The project, or a core module to make a component of; default: the folder here
    #[arg(value_name = "PATH", default_value = ".")]
    pub path: PathBuf,
    /// Where to write the component of a core module; default: NAME.component.wasm beside it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Builds.
pub(super) async fn run(session: &Session, args: BuildArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    let output = session.output.clone();
    let building = tokio::task::spawn_blocking(move || carry_out(&output, &args));
    let built = building.await.map_err(|error| Failure::internal(&error.to_string()))??;
    compile(&built).await?;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    print(&session.output, &built, duration_ms).map(|()| exit::OK)
}

/// Fills the code cache, so that the first run that uses the plugin does not wait for that.
async fn compile(built: &Built) -> Result<(), Failure> {
    let Some(kind) = built.findings.kinds.first() else { return Ok(()) };
    let host = compose::host(Path::new("compozy.yaml"))?;
    let loaded = host.load(Source::Path(built.path.clone()), *kind).await;
    loaded.map(drop).map_err(|error| Failure::new(error.code(), error.to_string()))
}

fn carry_out(output: &Output, args: &BuildArgs) -> Result<Built, Failure> {
    let built = if args.path.is_dir() {
        if args.out.is_some() {
            return Err(Failure::usage("--out is for a core module; a project's component stands beside its manifest"));
        }
        build::project(&args.path, &Shown(output))
    } else {
        let beside = || args.path.with_extension("component.wasm");
        build::module(&args.path, &args.out.clone().unwrap_or_else(beside))
    };
    built.map_err(|error| failure(output, error))
}

/// What a failed step printed goes to stderr, as its program wrote it, before the problem itself.
fn failure(output: &Output, error: authoring::Error) -> Failure {
    let printed = match &error {
        authoring::Error::Step { output, .. } => output.clone(),
        _ => String::new(),
    };
    if !printed.is_empty() && output.verbose == 0 && output.format == Format::Table {
        output.talk(&escaped(&printed));
    }
    let failure = Failure::from(error);
    if printed.is_empty() { failure } else { failure.member("output", printed) }
}

/// Tells the steps, and with `-v` what they print.
struct Shown<'a>(&'a Output);

impl Watch for Shown<'_> {
    fn step(&self, command: &str) {
        self.0.talk(&format!("$ {}", escaped(command)));
    }

    fn line(&self, line: &str) {
        self.0.detail(&escaped(line));
    }
}

fn print(output: &Output, built: &Built, duration_ms: u64) -> Result<(), Failure> {
    if output.format != Format::Table {
        return output.document(&document(built, duration_ms));
    }
    let Findings { size_bytes, digest, exports, grants, .. } = &built.findings;
    output.line(&format!("Built {} ({}) in {}", shown(&built.path), size(*size_bytes), duration_text(duration_ms)))?;
    output.line(&format!("  exports  {}", listed(exports)))?;
    output.line(&format!("  needs    {}", listed(grants)))?;
    output.line(&format!("  digest   sha256:{digest}"))
}

fn document(built: &Built, duration_ms: u64) -> Value {
    let mut document = findings(&built.findings);
    if let Value::Object(members) = &mut document {
        members.insert("name".to_owned(), built.name.as_str().into());
        members.insert("language".to_owned(), built.language.into());
        members.insert("file".to_owned(), json!(built.path));
        members.insert("duration_ms".to_owned(), duration_ms.into());
    }
    document
}

/// What is in a component, as data.
pub(super) fn findings(found: &Findings) -> Value {
    json!({
        "kinds": found.kinds.iter().map(|kind| word(*kind)).collect::<Vec<_>>(),
        "exports": found.exports,
        "imports": found.imports,
        "grants": found.grants,
        "possible_grants": found.possible_grants,
        "size_bytes": found.size_bytes,
        "memory_bytes": found.memory_bytes,
        "digest": format!("sha256:{}", found.digest),
    })
}
