//! Running other programs, and where the project's folders are.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// Folder of the root `Cargo.toml`.
pub(crate) fn project_root() -> &'static Path {
    // runtime/xtask stands two levels below the root, wherever the project is.
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.ancestors().nth(2).unwrap_or(manifest)
}

/// Where the root workspace builds to.
pub(crate) fn target_dir() -> PathBuf {
    match std::env::var_os("CARGO_TARGET_DIR") {
        Some(dir) => project_root().join(dir),
        None => project_root().join("target"),
    }
}

/// A `cargo` of the toolchain that runs us, in `folder` (relative to the root).
pub(crate) fn cargo<I, S>(folder: &str, arguments: I) -> Command
where
    I: IntoIterator<Item = S>,
    S: AsRef<OsStr>,
{
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(program);
    command.current_dir(project_root().join(folder)).args(arguments);
    if std::env::var("CI").is_ok_and(|ci| ci == "true") {
        // A machine that builds once gains nothing from either, and pays for both in disk and time.
        command.env("CARGO_INCREMENTAL", "0").env("CARGO_PROFILE_DEV_DEBUG", "0");
    }
    command
}

/// Prints the command on standard error, runs it and fails unless it ends with 0.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = describe(command);
    eprintln!("$ {line}");
    let status = command.status().with_context(|| format!("start `{line}`"))?;
    if !status.success() {
        bail!("run `{line}`: {status}");
    }
    Ok(())
}

/// The command as one would type it.
pub(crate) fn describe(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let mut words = vec![program.to_string_lossy().into_owned()];
    words.extend(command.get_args().map(|argument| quoted(&argument.to_string_lossy())));
    let folder = command.get_current_dir().and_then(|folder| folder.strip_prefix(project_root()).ok());
    match folder {
        Some(folder) if folder != Path::new("") => {
            format!("(cd {} && {})", folder.display(), words.join(" "))
        }
        _ => words.join(" "),
    }
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_./:=,+@".contains(character);
    if word.chars().all(is_plain) {
        word.to_owned()
    } else {
        format!("\"{}\"", word.replace('\\', "\\\\").replace('"', "\\\""))
    }
}
