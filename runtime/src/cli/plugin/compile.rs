//! `compozy plugin compile`.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::size;
use crate::authoring::{build, inspect};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, duration_text};
use crate::cli::session::Session;
use crate::plugin;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin compile word-count.wasm\n  compozy plugin compile word-count.wasm --target x86_64-unknown-linux-gnu --out build/word-count.cwasm\n\nThe result is machine code, which no sandbox holds: it is loaded only by this version of compozy, and only with its\ndigest in the project. Pin nothing that you have not compiled yourself.\n\nExit codes:\n  0 compiled, 2 usage, 3 no plugin";

/// Arguments of `plugin compile`.
#[derive(Debug, Args)]
pub struct CompileArgs {
    /// The component
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Machine to compile for, such as x86_64-unknown-linux-gnu; default: this very one, with all its processor can do
    #[arg(long, value_name = "TRIPLE")]
    pub target: Option<String>,
    /// Where to write; default: beside the component, ending in .cwasm
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

/// Compiles.
pub(super) async fn run(session: &Session, args: CompileArgs) -> Result<u8, Failure> {
    let started = Instant::now();
    let wasm = build::read(&args.file)?;
    let findings = inspect::findings(&wasm)?;
    if findings.kinds.is_empty() {
        return Err(Failure::new("CZ0702", format!("{} exports no interface of compozy:plugin", args.file.display())));
    }
    let target = args.target.clone();
    let compiling = tokio::task::spawn_blocking(move || plugin::precompiled::compile(&wasm, target.as_deref()));
    let compiled = compiling.await.map_err(|error| Failure::internal(&error.to_string()))?;
    let compiled = compiled.map_err(|error| match &args.target {
        Some(target) => Failure::usage(format!("cannot compile for {target}: {}", reason(error)))
            .hint(format!("this program compiles for {} processors", std::env::consts::ARCH)),
        None => Failure::new(error.code(), error.to_string()),
    })?;
    let out = args.out.clone().unwrap_or_else(|| args.file.with_extension("cwasm"));
    // A run that reads the file meanwhile sees the old one or the new one.
    let temporary = out.with_extension("cwasm.new");
    std::fs::write(&temporary, &compiled)
        .and_then(|()| std::fs::rename(&temporary, &out))
        .map_err(|error| Failure::usage(format!("cannot write {}: {}", out.display(), error.kind())))?;
    let digest = plugin::hex(&Sha256::digest(&compiled));
    let size_bytes = compiled.len() as u64;
    let duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    let output = &session.output;
    if output.format != Format::Table {
        let document = json!({
            "file": out, "size_bytes": size_bytes, "digest": format!("sha256:{digest}"), "target": args.target,
            "duration_ms": duration_ms,
        });
        return output.document(&document).map(|()| exit::OK);
    }
    output.line(&format!("Compiled {} ({}) in {}", out.display(), size(size_bytes), duration_text(duration_ms)))?;
    output.line(&format!("  digest: sha256:{digest}"))?;
    output.talk("It is loaded only where its entry of `plugins` has this digest, by this version of compozy.");
    Ok(exit::OK)
}

/// Why an engine that only compiles could not be made.
fn reason(error: plugin::Error) -> String {
    match error {
        plugin::Error::Engine(reason) | plugin::Error::Unusable(reason) => reason,
        other => other.to_string(),
    }
}
