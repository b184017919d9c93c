//! Rust: a library for wasm32-unknown-unknown, which imports nothing that it does not use, and our encoder.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use compozy_lang::plan::PluginKind;

use super::{Language, Step, text_of};
use crate::authoring::programs::{Install, Program, find, no_program};
use crate::authoring::project::{Blank, File};
use crate::authoring::{Error, interfaces, sdk};

/// Core modules without WASI.
const TARGET: &str = "wasm32-unknown-unknown";

const CARGO: Program = Program::OnPath(&["cargo"], INSTALL);
const INSTALL: Install = Install::everywhere("install Rust 1.95 or newer from https://rustup.rs");

/// Flags meant for the host would replace those of the project's `.cargo/config.toml`.
const FOREIGN: &[&str] = &["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET", "CARGO_INCREMENTAL"];

/// Plugins in Rust.
pub(super) const RUST: Language = Language {
    name: "rust",
    title: "Rust",
    kinds: &[PluginKind::Tool, PluginKind::Llm, PluginKind::Embedder, PluginKind::Template],
    notes: include_str!("../templates/rust/notes.md"),
    files,
    mark: "Cargo.toml (with a cdylib)",
    is_at: |folder| text_of(folder, "Cargo.toml").is_some_and(|manifest| manifest.contains("\"cdylib\"")),
    name_of,
    steps,
    result: |_, printed| artifact(printed),
};

macro_rules! rust {
    ($file:literal) => {
        include_str!(concat!("../templates/rust/", $file))
    };
}

fn files(blank: &Blank) -> Vec<File> {
    let (manifest, source) = match blank.kind() {
        PluginKind::Tool => (rust!("sdk/Cargo.toml"), rust!("tool/lib.rs")),
        PluginKind::Llm => (rust!("sdk/Cargo.toml"), rust!("llm/lib.rs")),
        PluginKind::Embedder => (rust!("bare/Cargo.toml"), rust!("embedder/lib.rs")),
        PluginKind::Template => (rust!("bare/Cargo.toml"), rust!("template/lib.rs")),
    };
    let mut files = vec![
        File::filled("Cargo.toml", manifest),
        File::filled("src/lib.rs", source),
        File::filled(".cargo/config.toml", rust!("config.toml")),
        File::filled(".gitignore", rust!("gitignore")),
    ];
    match blank.kind() {
        PluginKind::Tool | PluginKind::Llm => files.extend(sdk::files()),
        // The SDK has nothing for them; their interface is all they need.
        PluginKind::Embedder | PluginKind::Template => files.extend(interfaces::files("wit")),
    }
    files
}

/// The first `name` of the manifest, which stands in `[package]`.
fn name_of(folder: &Path) -> Result<String, Error> {
    let manifest = text_of(folder, "Cargo.toml").unwrap_or_default();
    let line = manifest.lines().find(|line| line.starts_with("name"));
    let name = line.and_then(|line| line.split('"').nth(1)).filter(|name| !name.is_empty() && !name.contains('/'));
    name.map(str::to_owned).ok_or_else(|| Error::Manifest {
        file: folder.join("Cargo.toml"),
        reason: "its [package] has no name".to_owned(),
    })
}

fn steps(folder: &Path) -> Result<Vec<Step>, Error> {
    let mut steps = Vec::new();
    let cargo = CARGO.locate(folder, "compile the plugin")?;
    if !has_target(folder) {
        let what = "install the wasm32 target";
        let rustup = find("rustup").map(|_| Program::OnPath(&["rustup"], INSTALL));
        let rustup = rustup.ok_or_else(|| no_target(&cargo))?;
        steps.push(Step::new(what, rustup, &["target", "add", TARGET]));
    }
    let arguments = ["build", "--release", "--lib", "--target", TARGET, "--message-format", "json-render-diagnostics"];
    let mut compile = Step::new("compile the plugin", CARGO, &arguments);
    compile.arguments.extend(["--config".into(), neutral_paths(folder)]);
    compile.without = FOREIGN;
    steps.push(compile);
    Ok(steps)
}

fn no_target(cargo: &Path) -> Error {
    let program = format!("the target {TARGET} of {}", cargo.display());
    let install = format!("run `rustup target add {TARGET}`, or install your system's package of it");
    no_program(&program, "compile the plugin", &install)
}

/// Whether the compiler of this folder has the target's standard library.
fn has_target(folder: &Path) -> bool {
    let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let asked = Command::new(rustc).current_dir(folder).args(["--print", "sysroot"]).output();
    let sysroot = asked.ok().and_then(|output| String::from_utf8(output.stdout).ok());
    sysroot.is_some_and(|sysroot| Path::new(sysroot.trim()).join("lib/rustlib").join(TARGET).join("lib").is_dir())
}

/// Flags that keep the folders of this machine out of the component.
fn neutral_paths(folder: &Path) -> OsString {
    let cargo = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo = cargo.or_else(|| std::env::home_dir().map(|home| home.join(".cargo")));
    let sources = cargo.map(|cargo| (cargo.join("registry/src"), "registry"));
    let project = (std::path::absolute(folder).unwrap_or_else(|_| folder.to_owned()), ".");
    let flags = sources
        .into_iter()
        .chain([project])
        .map(|(from, to)| serde_json::Value::from(format!("--remap-path-prefix={}={to}", from.display())).to_string());
    format!("target.{TARGET}.rustflags=[{}]", flags.collect::<Vec<_>>().join(", ")).into()
}

/// The module among cargo's messages, wherever its target folder is.
fn artifact(messages: &str) -> Option<PathBuf> {
    let messages = messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let artifacts =
        messages.filter(|message| message.get("reason").is_some_and(|reason| reason == "compiler-artifact"));
    let files = artifacts.filter_map(|message| message.get("filenames")?.as_array().cloned()).flatten();
    files
        .filter_map(|file| file.as_str().map(PathBuf::from))
        .rfind(|file| file.extension().is_some_and(|e| e == "wasm"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_module_is_found_among_cargos_messages() {
        let messages = "{\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/liba.rlib\"]}\nno json\n\
             {\"reason\":\"compiler-artifact\",\"filenames\":[\"/t/a.d\",\"/t/a.wasm\"]}\n{\"reason\":\"build-finished\"}";
        assert_eq!(artifact(messages), Some("/t/a.wasm".into()));
        assert_eq!(artifact("{\"reason\":\"build-finished\"}"), None);
    }

    #[test]
    fn names_of_packages() {
        let folder = tempfile::tempdir().unwrap();
        for (manifest, name) in [
            ("[package]\nname = \"a-b\"\n[lib]\nname = \"c\"", Some("a-b")),
            ("[package]\nname=\"a\"", Some("a")),
            ("[package]\nname = \"../a\"", None),
            ("[workspace]", None),
        ] {
            std::fs::write(folder.path().join("Cargo.toml"), manifest).unwrap();
            assert_eq!(name_of(folder.path()).ok().as_deref(), name);
        }
    }
}
