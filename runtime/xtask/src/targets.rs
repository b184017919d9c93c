//! The wasm targets of the toolchain: found in its sysroot, installed through rustup when missing.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process;

/// Core modules without WASI: the plugins.
pub(crate) const PLAIN: &str = "wasm32-unknown-unknown";
/// Components of Rust's own standard library on wasi:0.2: one of the test guests.
pub(crate) const WASI: &str = "wasm32-wasip2";

/// Installs those of `targets` that the toolchain lacks.
///
/// # Errors
/// Names the one command to run when rustup is absent or fails.
pub(crate) fn ensure(targets: &[&str]) -> Result<()> {
    let libraries = sysroot()?.join("lib/rustlib");
    let missing: Vec<&str> =
        targets.iter().copied().filter(|target| !libraries.join(target).join("lib").is_dir()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let by_hand = format!("rustup target add {}", missing.join(" "));
    let mut rustup = Command::new("rustup");
    rustup.current_dir(process::project_root()).args(["target", "add"]).args(&missing);
    if let Err(error) = process::run(&mut rustup) {
        bail!("install the wasm target: {error:#}\n  help: run `{by_hand}` in the project folder, then try again");
    }
    Ok(())
}

fn sysroot() -> Result<PathBuf> {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(rustc)
        .current_dir(process::project_root())
        .args(["--print", "sysroot"])
        .output()
        .context("ask rustc for its sysroot")?;
    let path = String::from_utf8(output.stdout).context("read the path of the sysroot")?;
    Ok(PathBuf::from(path.trim()))
}
