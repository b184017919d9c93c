//! Go: the usual compiler for wasip1, and our encoder with an adapter for its runtime.

use std::path::Path;

use compozy_lang::plan::PluginKind;

use super::{Language, Step, build_folder, checked_name, text_of};
use crate::authoring::Error;
use crate::authoring::programs::{Install, Program};
use crate::authoring::project::{Blank, File};

const COMPILER: Program = Program::OnPath(
    &["go"],
    Install {
        linux: "install Go 1.24 or newer from https://go.dev/dl",
        macos: "install Go 1.24 or newer: `brew install go`, or from https://go.dev/dl",
        windows: "install Go 1.24 or newer from https://go.dev/dl",
    },
);

/// Plugins in Go.
pub(super) const GO: Language = Language {
    name: "go",
    title: "Go",
    kinds: &[PluginKind::Tool],
    notes: include_str!("../templates/go/notes.md"),
    files,
    mark: "go.mod (with a folder compozy)",
    is_at: |folder| folder.join("go.mod").is_file() && folder.join("compozy/abi.go").is_file(),
    name_of,
    steps,
    result: |folder, _| Some(folder.join("build/module.wasm")),
};

macro_rules! go {
    ($file:literal) => {
        File::filled($file, include_str!(concat!("../templates/go/", $file)))
    };
}

fn files(_: &Blank) -> Vec<File> {
    vec![
        go!("tool.go"),
        File::filled("go.mod", include_str!("../templates/go/go.mod")),
        go!("compozy/tool.go"),
        go!("compozy/schema.go"),
        go!("compozy/host.go"),
        go!("compozy/abi.go"),
        File::filled(".gitignore", include_str!("../templates/go/gitignore")),
    ]
}

/// The last part of the module's path.
fn name_of(folder: &Path) -> Result<String, Error> {
    let manifest = text_of(folder, "go.mod").unwrap_or_default();
    let module = manifest.lines().find_map(|line| line.strip_prefix("module "));
    checked_name(folder, "go.mod", module.and_then(|module| module.trim().trim_matches('"').rsplit('/').next()))
}

fn steps(folder: &Path) -> Result<Vec<Step>, Error> {
    build_folder(folder)?;
    let arguments = [
        "build",
        "-buildmode=c-shared",
        "-trimpath",
        "-buildvcs=false",
        "-ldflags=-s -w",
        "-o",
        "build/module.wasm",
        ".",
    ];
    let mut compile = Step::new("compile the plugin", COMPILER, &arguments);
    compile.variables = vec![("GOOS", "wasip1".into()), ("GOARCH", "wasm".into()), ("GOWORK", "off".into())];
    Ok(vec![compile])
}
