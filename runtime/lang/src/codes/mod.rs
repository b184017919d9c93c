//! Every code a user can meet: numbers of diagnostics (`CZ0108`) and words of problems (`workflow_not_found`).
//!
//! One registry gives the HTTP status, the exit code, the text of `compozy explain` and the pages in `docs/errors/`.

mod diagnostics;
mod problems;

pub use diagnostics::DIAGNOSTICS;
pub use problems::PROBLEMS;

/// A code and what it means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code, never renamed.
    pub code: &'static str,
    /// What happened, in a few words.
    pub title: &'static str,
    /// HTTP status of an answer that carries it; `None`: it never is the code of an answer of its own.
    pub http: Option<u16>,
    /// Exit code of a command that ends with it.
    pub exit: u8,
    /// Why it happens.
    pub cause: &'static str,
    /// What to do.
    pub help: &'static str,
}

/// The entry of a code, a number in any letter case or a word.
pub fn find(code: &str) -> Option<&'static Code> {
    DIAGNOSTICS.iter().chain(PROBLEMS).find(|entry| entry.code.eq_ignore_ascii_case(code))
}

/// The text of `compozy explain CODE`.
pub fn explain(code: &str) -> Option<String> {
    let entry = find(code)?;
    let mut text = format!("{}: {}\n\nWhy: {}\nWhat to do: {}\n", entry.code, entry.title, entry.cause, entry.help);
    if let Some(status) = entry.http {
        text.push_str(&format!("HTTP status: {status}\n"));
    }
    text.push_str(&format!("Exit code: {}\n", entry.exit));
    Some(text)
}

/// The page `docs/errors/README.md`, one anchor per code.
pub fn page() -> String {
    let mut text = String::from(
        "# Error codes\n\n\
         Generated from the registry in `runtime/lang/src/codes/`; a test says how to renew it.\n\n\
         Numbers are diagnostics: something is wrong in YAML, a template, a plugin, a provider or a run.\n\
         Words are problems of the HTTP API and of commands: what the caller can do about it.\n\
         `compozy explain CODE` prints the same.\n\n## Diagnostics\n",
    );
    for entry in DIAGNOSTICS {
        section(&mut text, entry);
    }
    text.push_str("\n## Problems\n");
    for entry in PROBLEMS {
        section(&mut text, entry);
    }
    text
}

fn section(text: &mut String, entry: &Code) {
    let Code { code, title, http, exit, cause, help } = entry;
    text.push_str(&format!("\n<a id=\"{code}\"></a>\n\n### {code}: {title}\n\n{cause}\n\nWhat to do: {help}\n\n"));
    let status = http.map(|status| format!("HTTP status {status}, ")).unwrap_or_default();
    text.push_str(&format!("{status}exit code {exit}.\n"));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::{Path, PathBuf};

    use super::*;

    fn repository() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn every_code_stands_once_and_is_explained() {
        let mut seen = BTreeSet::new();
        for entry in DIAGNOSTICS.iter().chain(PROBLEMS) {
            assert!(seen.insert(entry.code), "{} twice", entry.code);
            assert!(entry.cause.ends_with('.') && entry.help.ends_with('.'), "{}: whole sentences", entry.code);
            assert!(!entry.title.is_empty() && explain(entry.code).is_some());
        }
        assert!(find("cz0108").is_some());
        assert!(explain("CZ9999").is_none());
    }

    /// Renew the page with `COMPOZY_RENEW=1 cargo test -p compozy-lang codes`.
    #[test]
    fn the_page_is_up_to_date() {
        let path = repository().join("docs/errors/README.md");
        if std::env::var_os("COMPOZY_RENEW").is_some() {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, page()).unwrap();
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap(), page());
    }

    #[test]
    fn the_page_that_cz0601_names_exists() {
        let page = std::fs::read_to_string(repository().join("docs/database/sqlite.md")).unwrap();
        assert!(page.lines().any(|line| line == "## Vector database requirement"));
    }

    /// Every `CZxxxx` in a source file is registered.
    #[test]
    fn every_code_in_the_sources_is_registered() {
        fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(&path, found);
                } else if path.extension().is_some_and(|extension| extension == "rs") {
                    found.push(path);
                }
            }
        }
        let mut files = Vec::new();
        walk(&repository().join("runtime"), &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).unwrap();
            for (at, _) in text.match_indices("\"CZ") {
                let code: String = text[at + 1..].chars().take_while(char::is_ascii_alphanumeric).collect();
                let is_code = code.len() == 6 && code[2..].bytes().all(|byte| byte.is_ascii_digit());
                assert!(
                    !is_code || code == "CZ9999" || find(&code).is_some(),
                    "{code} in {} is not registered",
                    file.display()
                );
            }
        }
    }
}
