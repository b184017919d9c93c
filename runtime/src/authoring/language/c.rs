//! C: clang with a C library for wasm32-wasi, and our encoder.

use std::path::{Path, PathBuf};
use std::process::Command;

use compozy_lang::plan::PluginKind;

use super::{Language, Step, build_folder, checked_name, text_of};
use crate::authoring::Error;
use crate::authoring::programs::{Install, Program, find, no_program};
use crate::authoring::project::{Blank, File};

const INSTALL: Install = Install {
    linux: "run `apt install clang-19 lld-19 wasi-libc libclang-rt-19-dev-wasm32`, or set WASI_SDK_PATH to a WASI SDK",
    macos: "run `brew install llvm lld wasi-libc wasi-runtimes`, or set WASI_SDK_PATH to a WASI SDK",
    windows: "install a WASI SDK from https://github.com/WebAssembly/wasi-sdk and set WASI_SDK_PATH to its folder",
};

/// What clang's names end with, the newest first.
const VERSIONS: &[&str] = &["", "-22", "-21", "-20", "-19", "-18", "-17", "-16"];

/// What clang needs beside itself: what it is, and the file it finds by this name.
const PARTS: &[(&str, &str)] = &[
    ("the C library for wasm32-wasi", "libc.a"),
    ("clang's runtime library for wasm32", "libclang_rt.builtins-wasm32.a"),
];

/// The smaller stack stands before the data, so that an instance has less to wipe.
const STACK: &str = "-Wl,-z,stack-size=65536";

/// Plugins in C.
pub(super) const C: Language = Language {
    name: "c",
    title: "C",
    kinds: &[PluginKind::Tool],
    notes: include_str!("../templates/c/notes.md"),
    files,
    mark: "compile_flags.txt (with PLUGIN_NAME)",
    is_at: |folder| text_of(folder, "compile_flags.txt").is_some_and(|flags| flags.contains("-DPLUGIN_NAME=")),
    name_of,
    steps,
    result: |folder, _| Some(folder.join("build/module.wasm")),
};

macro_rules! c {
    ($file:literal) => {
        File::filled($file, include_str!(concat!("../templates/c/", $file)))
    };
}

fn files(_: &Blank) -> Vec<File> {
    vec![
        c!("tool.c"),
        c!("compile_flags.txt"),
        c!("glue/compozy.h"),
        c!("glue/compozy.c"),
        c!("glue/json.c"),
        File::filled(".gitignore", include_str!("../templates/c/gitignore")),
    ]
}

fn name_of(folder: &Path) -> Result<String, Error> {
    let flags = text_of(folder, "compile_flags.txt").unwrap_or_default();
    checked_name(folder, "compile_flags.txt", flags.lines().find_map(|line| line.trim().strip_prefix("-DPLUGIN_NAME=")))
}

fn steps(folder: &Path) -> Result<Vec<Step>, Error> {
    build_folder(folder)?;
    let (clang, linker) = compiler()?;
    let mut arguments =
        vec!["@compile_flags.txt", "-mexec-model=reactor", STACK, "-Wl,--strip-all", "-o", "build/module.wasm"];
    arguments.extend(linker.as_deref());
    let mut compile = Step::new("compile the plugin", Program::Made(clang), &arguments);
    compile.arguments.extend(sources(folder).into_iter().map(Into::into));
    Ok(vec![compile])
}

/// Every `.c` file of the project and its glue, relative to it.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let below = |name: &str| {
        let entries = std::fs::read_dir(folder.join(name)).into_iter().flatten().flatten();
        let names = entries.map(|entry| Path::new(name).join(entry.file_name()));
        names.filter(|path| path.extension().is_some_and(|ending| ending == "c")).collect::<Vec<_>>()
    };
    let mut found: Vec<PathBuf> = below("").into_iter().chain(below("glue")).collect();
    found.sort();
    found
}

/// The compiler, and the argument that names its linker.
fn compiler() -> Result<(PathBuf, Option<String>), Error> {
    if let Some(sdk) = std::env::var_os("WASI_SDK_PATH") {
        let clang = Path::new(&sdk).join(if cfg!(windows) { "bin/clang.exe" } else { "bin/clang" });
        return if clang.is_file() { Ok((clang, None)) } else { Err(missing(&clang.display().to_string())) };
    }
    let pairs = VERSIONS
        .iter()
        .filter_map(|version| Some((find(&format!("clang{version}"))?, find(&format!("wasm-ld{version}"))?)));
    let has_clang = VERSIONS.iter().any(|version| find(&format!("clang{version}")).is_some());
    let mut lacking = if has_clang { "wasm-ld of clang's version" } else { "clang" };
    for (clang, linker) in pairs {
        match PARTS.iter().find(|(_, file)| !knows(&clang, file)) {
            None => return Ok((clang, Some(format!("-fuse-ld={}", linker.display())))),
            Some((part, _)) => lacking = part,
        }
    }
    Err(missing(lacking))
}

/// Whether this clang finds a file among its libraries for wasm32; it prints the bare name if it does not.
fn knows(clang: &Path, file: &str) -> bool {
    let asked = Command::new(clang).args(["--target=wasm32-wasi", &format!("-print-file-name={file}")]).output();
    asked.is_ok_and(|asked| Path::new(String::from_utf8_lossy(&asked.stdout).trim()).is_file())
}

fn missing(program: &str) -> Error {
    no_program(program, "compile the plugin", INSTALL.here())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_compiled() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("glue")).unwrap();
        for name in ["tool.c", "other.c", "tool.h", "glue/json.c"] {
            std::fs::write(folder.path().join(name), "").unwrap();
        }
        assert_eq!(sources(folder.path()), ["glue/json.c", "other.c", "tool.c"].map(PathBuf::from));
    }
}
