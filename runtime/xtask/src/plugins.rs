//! `cargo plugins`: compiles the guests' workspace and writes one component per plugin.
//!
//! A plugin is a folder below `plugins/` whose manifest makes a `cdylib`; a test guest the same below `tests/guests/`.
//! A guest whose manifest names `target = "wasm32-wasip2"` is compiled for that target instead.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::{component, process, targets};

/// Whether the misbehaving components of `tests/guests/` are built too.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Guests {
    /// All of them.
    Included,
    /// None of them.
    Left,
}

/// One folder that becomes a component.
struct Guest {
    /// Name of the folder and of the component.
    name: String,
    /// Name of the package.
    package: String,
    target: &'static str,
    /// It belongs to the tests and may break every rule.
    is_test: bool,
}

/// Builds all plugins, and the test guests if asked for.
///
/// # Errors
/// A target cannot be installed, a guest does not compile or is no component of ours.
pub(crate) fn build(guests: Guests) -> Result<()> {
    let mut found = discover("plugins", false)?;
    if guests == Guests::Included {
        found.extend(discover("tests/guests", true)?);
    }
    for target in [targets::PLAIN, targets::WASI] {
        let packages: Vec<&Guest> = found.iter().filter(|guest| guest.target == target).collect();
        if !packages.is_empty() {
            targets::ensure(&[target])?;
            process::run(&mut compile(target, &packages))?;
        }
    }
    found.iter().try_for_each(|guest| write(guest).with_context(|| format!("make the component {}", guest.name)))
}

fn discover(folder: &str, is_test: bool) -> Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for entry in fs::read_dir(process::project_root().join(folder)).with_context(|| format!("list {folder}"))? {
        let entry = entry.with_context(|| format!("list {folder}"))?;
        let manifest = match fs::read_to_string(entry.path().join("Cargo.toml")) {
            Ok(manifest) => manifest,
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                continue;
            }
            Err(error) => {
                return Err(error).with_context(|| format!("read {}/Cargo.toml", entry.path().display()));
            }
        };
        if !manifest.contains("\"cdylib\"") {
            continue;
        }
        let target = if manifest.contains("target = \"wasm32-wasip2\"") { targets::WASI } else { targets::PLAIN };
        let name = entry.file_name().to_string_lossy().into_owned();
        let package = package_name(&manifest)
            .with_context(|| format!("find the package's name in {folder}/{name}/Cargo.toml"))?;
        guests.push(Guest { name, package, target, is_test });
    }
    guests.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(guests)
}

/// The first `name` of a manifest, which stands in `[package]`.
fn package_name(manifest: &str) -> Option<String> {
    let line = manifest.lines().find(|line| line.starts_with("name"))?;
    line.split('"').nth(1).map(str::to_owned)
}

fn compile(target: &str, guests: &[&Guest]) -> Command {
    let mut command = process::cargo("plugins", ["build", "--release", "--target", target, "--target-dir", "target"]);
    command.arg("--config").arg(format!("target.{target}.rustflags=[{}]", neutral_paths()));
    for guest in guests {
        command.args(["--package", &guest.package]);
    }
    // Flags meant for the host would replace those of plugins/.cargo/config.toml.
    for variable in
        ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_TARGET_DIR", "CARGO_INCREMENTAL"]
    {
        command.env_remove(variable);
    }
    command
}

/// Flags that keep the folders of this machine out of the components: equal sources make equal bytes everywhere.
fn neutral_paths() -> String {
    let cargo_home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = std::env::home_dir().map(|home| home.join(".cargo"));
    let sources = cargo_home.or(home).map(|cargo| (cargo.join("registry/src"), "registry"));
    let root = (process::project_root().to_owned(), "compozy");
    let flag = |(from, to): (PathBuf, &str)| format!("'--remap-path-prefix={}={to}'", from.display());
    sources.into_iter().chain([root]).map(flag).collect::<Vec<_>>().join(", ")
}

fn write(guest: &Guest) -> Result<()> {
    let built = process::project_root().join("plugins/target");
    let module = built.join(guest.target).join("release").join(format!("{}.wasm", guest.package.replace('-', "_")));
    let module = fs::read(&module).with_context(|| format!("read {}", module.display()))?;
    let bytes = component::encode(&module)?;
    let interfaces = component::interfaces(&bytes)?;
    ensure!(
        guest.is_test || interfaces.exports.iter().any(|name| name.starts_with("compozy:plugin/")),
        "find an export of compozy:plugin; it exports {:?}",
        interfaces.exports
    );
    let folder: PathBuf = if guest.is_test { built.join("components/guests") } else { built.join("components") };
    write_if_changed(&folder.join(format!("{}.wasm", guest.name)), &bytes)?;
    if !guest.is_test {
        pack(&folder.join("packed"), &guest.name, &bytes)?;
    }
    println!(
        "{:<14} {:>6.1} KiB  exports {}  imports {}",
        guest.name,
        bytes.len() as f64 / 1024.0,
        list(&interfaces.exports),
        list(&interfaces.imports),
    );
    Ok(())
}

/// What the binary embeds: the component packed, and beside it SHA-256 (hex) and size of what is packed.
fn pack(folder: &Path, name: &str, bytes: &[u8]) -> Result<()> {
    let digest = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let facts = format!("{digest} {}\n", bytes.len());
    let (packed_path, facts_path) = (folder.join(format!("{name}.z")), folder.join(format!("{name}.facts")));
    // Packing well takes a second for each megabyte.
    if packed_path.is_file() && fs::read_to_string(&facts_path).is_ok_and(|present| present == facts) {
        return Ok(());
    }
    write_if_changed(&packed_path, &miniz_oxide::deflate::compress_to_vec_zlib(bytes, 10))?;
    write_if_changed(&facts_path, facts.as_bytes())
}

/// Leaves an equal file alone, so that its new time does not make the root package build again.
fn write_if_changed(path: &Path, bytes: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|present| present == bytes) {
        return Ok(());
    }
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    fs::write(path, bytes).with_context(|| format!("write {}", path.display()))
}

/// Our interfaces by name, those of WASI by package; the plugin's own types come with every export.
fn list(names: &[String]) -> String {
    let mut shown: Vec<&str> = Vec::new();
    for name in names.iter().filter(|name| !name.starts_with("compozy:plugin/types")) {
        let name = match name.split_once('/') {
            Some((package, _)) if package.starts_with("wasi:") => package,
            _ => name.split('@').next().unwrap_or(name),
        };
        if !shown.contains(&name) {
            shown.push(name);
        }
    }
    if shown.is_empty() { "nothing".to_owned() } else { shown.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::{list, package_name};

    #[test]
    fn names_of_packages() {
        for (manifest, expected) in [
            ("[package]\nname = \"a-b\"\n[lib]\nname = \"c\"", Some("a-b")),
            ("# name\n[package]\nname=\"a\"", Some("a")),
            ("[workspace]", None),
        ] {
            assert_eq!(package_name(manifest).as_deref(), expected);
        }
    }

    #[test]
    fn interfaces_are_named_shortly() {
        let names =
            ["compozy:host/log@0.1.0", "compozy:plugin/types@0.1.0", "wasi:io/poll@0.2.12", "wasi:io/error@0.2.12"];
        assert_eq!(list(&names.map(str::to_owned)), "compozy:host/log wasi:io");
        assert_eq!(list(&[]), "nothing");
    }
}
