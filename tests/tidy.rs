//! The rules of the house, read from the sources: who may use which crate and module, how files begin and how long they
//! are. ARCHITECTURE.md says why; the offender is named with its line.

use std::path::{Path, PathBuf};

use crate::support::root;

/// A file of the project's own Rust code.
struct Source {
    /// Relative to the root, `runtime/src/node/mod.rs`.
    path: String,
    text: String,
}

impl Source {
    /// Lines of code with their numbers, without comments and without what only tests compile.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let tests = self.text.find("#[cfg(test)]\nmod ").unwrap_or(self.text.len());
        self.text[..tests]
            .lines()
            .enumerate()
            .map(|(number, line)| (number + 1, line.trim()))
            .filter(|(_, line)| !line.starts_with("//"))
    }

    /// A file of tests beside the code may use what a test needs.
    fn is_test(&self) -> bool {
        self.path.contains("/tests/") || self.path.ends_with("tests.rs")
    }

    fn is_below(&self, folders: &[&str]) -> bool {
        folders.iter().any(|folder| self.path.starts_with(folder))
    }
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.sort_by(|left, right| left.path.cmp(&right.path));
    assert!(!found.is_empty());
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let path: PathBuf = entry.path();
        if path.is_dir() && entry.file_name() != "target" {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("a source file");
            let path = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            found.push(Source { path, text });
        }
    }
}

/// True if `line` names `path` as a path of its own: `sqlx::query`, not `mysqlx::query`.
fn names(line: &str, path: &str) -> bool {
    line.match_indices(path).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        before.is_none_or(|before| !before.is_alphanumeric() && before != '_' && before != ':' && before != '.')
    })
}

/// Crates that one part of the house keeps to itself: crate path, folders (or files) that may use it.
const OWNED_CRATES: &[(&str, &[&str])] = &[
    ("sqlx::", &["runtime/src/storage/", "runtime/src/plugin/host/sql"]),
    ("rusqlite::", &["runtime/src/storage/sqlite/"]),
    ("wasmtime::", &["runtime/src/plugin/"]),
    ("wasmtime_wasi::", &["runtime/src/plugin/"]),
    ("wasmtime_wasi_http::", &["runtime/src/plugin/"]),
    ("axum::", &["runtime/src/api/"]),
    ("hyper::server", &["runtime/src/api/"]),
    ("hyper_util::server", &["runtime/src/api/"]),
    ("clap::", &["runtime/src/cli/"]),
    ("clap_complete::", &["runtime/src/cli/"]),
    ("miette::", &["runtime/src/cli/"]),
];

#[test]
fn crates_have_one_owner() {
    let mut offences = Vec::new();
    let code = sources(&["runtime/src", "runtime/lang/src", "runtime/engine/src"]);
    for source in code.iter().filter(|source| !source.is_test()) {
        for (number, line) in source.code() {
            for (name, owners) in OWNED_CRATES {
                if names(line, name) && !source.is_below(owners) {
                    offences.push(format!("{}:{number}: {name} belongs to {}: {line}", source.path, owners.join(", ")));
                }
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

/// Modules of the root package from the bottom up; each may use those before it.
const FLOORS: &[&str] =
    &["id", "clock", "storage", "transfer", "plugin", "authoring", "provider", "agent", "memory", "node", "api", "cli"];

#[test]
fn arrows_point_down() {
    let floor = |module: &str| FLOORS.iter().position(|floor| *floor == module);
    let mut offences = Vec::new();
    for source in sources(&["runtime/src"]).iter().filter(|source| !source.is_test()) {
        let relative = source.path.trim_start_matches("runtime/src/");
        let module = relative.split('/').next().unwrap_or_default().trim_end_matches(".rs");
        if ["main", "lib"].contains(&module) {
            continue;
        }
        let Some(own) = floor(module) else {
            offences
                .push(format!("{}: a new module of the root package must be given its floor in FLOORS", source.path));
            continue;
        };
        for (number, line) in source.code() {
            for used in line.match_indices("crate::").map(|(at, found)| &line[at + found.len()..]) {
                let names =
                    used.trim_start_matches('{').split(|other: char| !(other.is_alphanumeric() || other == '_'));
                let used = names.into_iter().next().unwrap_or_default();
                // Rows and ids are plain data; a floor may use itself.
                let allowed = used == module || floor(used).is_none_or(|used| used < own);
                if !allowed {
                    offences.push(format!("{}:{number}: {module} must not use {used}: {line}", source.path));
                }
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

/// What a pure crate must not touch, and the files that may.
const IMPURE: &[(&str, &[&str])] = &[
    ("tokio::", &[]),
    ("wasmtime", &[]),
    ("sqlx::", &[]),
    ("rusqlite::", &[]),
    ("reqwest::", &[]),
    ("std::net", &[]),
    ("std::process", &[]),
    ("std::thread", &[]),
    ("SystemTime", &[]),
    ("Instant::now", &[]),
    ("getrandom::", &[]),
    ("std::env", &[]),
    ("std::fs", &["runtime/lang/src/source.rs", "runtime/lang/src/files.rs"]),
    ("fs::read", &["runtime/lang/src/source.rs", "runtime/lang/src/files.rs"]),
];

#[test]
fn pure_crates_are_pure() {
    let mut offences = Vec::new();
    for source in sources(&["runtime/lang/src", "runtime/engine/src"]).iter().filter(|source| !source.is_test()) {
        for (number, line) in source.code() {
            for (name, but) in IMPURE {
                if names(line, name) && !source.is_below(but) {
                    offences.push(format!("{}:{number}: {name}: {line}", source.path));
                }
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

/// Only the clock reads the clock, sleeps or rolls dice.
#[test]
fn time_comes_from_the_clock() {
    /// The clock, and the crash points of the tests.
    const TIMED: &[&str] = &["runtime/src/clock.rs", "runtime/src/storage/crash.rs"];
    const READINGS: &[&str] = &["SystemTime::now", "Utc::now", "tokio::time::sleep(", "thread::sleep"];
    let mut offences = Vec::new();
    for source in
        sources(&["runtime/src"]).iter().filter(|source| !TIMED.contains(&source.path.as_str()) && !source.is_test())
    {
        for (number, line) in source.code() {
            if READINGS.iter().any(|reading| names(line, reading)) {
                offences.push(format!("{}:{number}: {line}", source.path));
            }
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

const OURS: &[&str] = &[
    "runtime",
    "tests",
    "benches",
    "plugins/sdk",
    "plugins/ask-model",
    "plugins/http-secret",
    "plugins/js",
    "plugins/llm-mock",
    "plugins/llm-anthropic",
    "plugins/llm-google",
    "plugins/llm-ollama",
    "plugins/llm-openai",
    "plugins/sql-ledger",
    "plugins/llm-wire",
    "plugins/template-go",
    "plugins/text-stats",
];

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> =
        sources(OURS).into_iter().filter(|source| !source.text.starts_with("//!")).map(|source| source.path).collect();
    assert_eq!(silent, Vec::<String>::new(), "each file begins with `//!` and a sentence");
}

/// Lines beyond which a file should be two things.
const LONG: usize = 500;

/// Files that may be longer, and why.
const LONG_ALLOWED: &[(&str, &str)] = &[];

#[test]
fn files_are_short() {
    let mut offences = Vec::new();
    for source in sources(OURS) {
        let lines = source.text.lines().count();
        let allowed = LONG_ALLOWED.iter().any(|(path, _)| *path == source.path);
        match (lines > LONG, allowed) {
            (true, false) => offences.push(format!("{}: {lines} lines", source.path)),
            (false, true) => offences.push(format!("{}: {lines} lines; take it off LONG_ALLOWED", source.path)),
            _ => {}
        }
    }
    assert_eq!(offences, Vec::<String>::new());
}

#[test]
fn the_entry_points_are_short() {
    for file in ["runtime/src/main.rs", "runtime/src/lib.rs"] {
        let lines = std::fs::read_to_string(root().join(file)).expect(file).lines().count();
        assert!(lines < 60, "{file} has {lines} lines");
    }
}
