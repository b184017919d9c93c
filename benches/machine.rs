//! What the figures were measured on, and where things are.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The root of the repository.
pub(crate) fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest)
}

/// A component that `cargo plugins` has built.
pub(crate) fn component(name: &str) -> Result<PathBuf> {
    let path = root().join("plugins/target/components").join(name).with_extension("wasm");
    if !path.is_file() {
        bail!("find {}: run `cargo plugins`", path.display());
    }
    Ok(path)
}

/// Where databases are measured: below the target folder, since `/tmp` is often no disk.
pub(crate) fn scratch() -> Result<tempfile::TempDir> {
    tempfile::Builder::new().prefix("bench-").tempdir_in(target()?).context("make a scratch folder")
}

/// The target folder, made if it is not there.
pub(crate) fn target() -> Result<PathBuf> {
    let given = std::env::var_os("CARGO_TARGET_DIR");
    let folder = given.map_or_else(|| root().join("target"), |folder| root().join(folder));
    std::fs::create_dir_all(&folder).context("make the target folder")?;
    Ok(folder)
}

/// How much of something is measured: as much as a figure needs, or in a build without optimisation, which measures
/// nothing, as much as shows that it works.
pub(crate) fn amount<T>(measured: T, tried: T) -> T {
    if cfg!(debug_assertions) { tried } else { measured }
}

/// The release binary, built now; or the one that `COMPOZY_BINARY` names.
pub(crate) fn binary() -> Result<PathBuf> {
    if let Some(binary) = std::env::var_os("COMPOZY_BINARY") {
        return Ok(PathBuf::from(binary));
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(root())
        .args(["build", "--quiet", "--release", "--package", "compozy", "--bin", "compozy"])
        .status()
        .context("start cargo")?;
    if !status.success() {
        bail!("build the release binary: {status}");
    }
    Ok(target()?.join("release/compozy"))
}

pub(crate) fn describe() -> Result<Value> {
    let scratch = scratch()?;
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    Ok(json!({
        "cpu": format!("{} × {cores}", cpu.trim_start_matches([' ', '\t', ':'])),
        "kernel": first_line(Command::new("uname").arg("-sr")),
        "file system": first_line(Command::new("stat").args(["-f", "-c", "%T"]).arg(scratch.path())),
        "commit": first_line(Command::new("git").current_dir(root()).args(["rev-parse", "--short", "HEAD"])),
        "load before": std::fs::read_to_string("/proc/loadavg").unwrap_or_default().split(' ').next().unwrap_or_default(),
        "durability": "full (WAL, synchronous=FULL)",
        "command": "cargo measure",
    }))
}

fn first_line(command: &mut Command) -> String {
    let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    output.ok().and_then(|text| text.lines().next().map(str::to_owned)).unwrap_or_else(|| "unknown".to_owned())
}
