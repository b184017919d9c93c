//! Every message as a reviewed file: `tests/cases/diagnostics/<case>/` is a project and `expected.txt` what is said of it.
//!
//! A case may hold `flags.txt` (lines `PATH=VALUE` of `--set`, `loose` for a load without `--strict`) and `env.txt` (the
//! process environment). `COMPOZY_RENEW=1` writes the expected files; read them before committing.

use std::fs;
use std::path::{Path, PathBuf};

use compozy_lang::load::{Checked, Disk};

use crate::support::{Options, load};

fn cases() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/diagnostics");
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir()).collect();
    found.sort();
    found
}

fn options(case: &Path) -> Options {
    let pairs = |name: &str| -> Vec<(String, String)> {
        let text = fs::read_to_string(case.join(name)).unwrap_or_default();
        text.lines().filter_map(|line| line.split_once('=')).map(|(a, b)| (a.to_owned(), b.to_owned())).collect()
    };
    let flags = fs::read_to_string(case.join("flags.txt")).unwrap_or_default();
    let has = |flag: &str| flags.lines().any(|line| line == flag);
    Options {
        environment: pairs("env.txt").into_iter().collect(),
        overrides: pairs("flags.txt"),
        strict: !has("loose"),
        ..Options::default()
    }
}

fn show(checked: &Checked, case: &Path) -> String {
    let mut parts: Vec<String> = checked.diagnostics.iter().map(ToString::to_string).collect();
    if checked.omitted > 0 {
        parts.push(format!("and {} more", checked.omitted));
    }
    parts.extend(checked.missing_variables.iter().map(|problem| format!("missing {problem}")));
    let outcome = match &checked.project {
        Some(project) => format!("loads: {}", project.workflows.keys().cloned().collect::<Vec<_>>().join(", ")),
        None => "does not load".to_owned(),
    };
    parts.push(outcome.trim_end().to_owned());
    let folder = fs::canonicalize(case).unwrap();
    format!("{}\n", parts.join("\n\n"))
        .replace(&*folder.to_string_lossy(), "CASE")
        .replace(&*case.to_string_lossy(), "CASE")
}

#[test]
fn messages_are_as_reviewed() {
    let renew = std::env::var_os("COMPOZY_RENEW").is_some();
    let mut wrong = Vec::new();
    let cases = cases();
    assert!(cases.len() >= 40, "only {} cases", cases.len());
    for case in &cases {
        let checked = load(&Disk, case, &options(case));
        let shown = show(&checked, case);
        let expected = case.join("expected.txt");
        if renew {
            fs::write(&expected, &shown).unwrap();
        } else if fs::read_to_string(&expected).unwrap_or_default() != shown {
            wrong.push(format!("--- {}\n{shown}", case.file_name().unwrap().to_string_lossy()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Every code that stands in the sources of loading occurs in some reviewed file.
#[test]
fn every_code_of_loading_has_a_case() {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("codes") {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let reviewed: String =
        cases().iter().map(|case| fs::read_to_string(case.join("expected.txt")).unwrap_or_default()).collect();
    // Unreadable and huge files are made in the tests `environment` and `hostile`.
    let elsewhere = ["CZ0102", "CZ0103"];
    let mut files = Vec::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (at, _) in text.match_indices("\"CZ") {
            let code: String = text[at + 1..].chars().take_while(char::is_ascii_alphanumeric).collect();
            let is_code = code.len() == 6 && code[2..].bytes().all(|byte| byte.is_ascii_digit());
            let is_shown = elsewhere.contains(&code.as_str()) || reviewed.contains(&format!("[{code}]"));
            assert!(!is_code || is_shown, "{code} of {} has no case", file.display());
        }
    }
}
