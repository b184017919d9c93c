//! The JavaScript of `script:` tools: the file a tool names and every file it imports, read when the project is loaded, so
//! that a run keeps the script it began with.
//!
//! Nothing is parsed here but the imports; what is wrong with the rest is told by the engine.

mod imports;

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;
use crate::document::Name;
use crate::files::{Files, leaves_folder};
use crate::source::Place;

use self::imports::Import;

/// Bytes of a script with everything it imports: it is stored with every version of a workflow that uses it.
const MOST_BYTES: u64 = 1 << 20;

/// Files of a script.
const MOST_FILES: usize = 64;

/// The module that the engine itself brings along.
const LENT: &str = "compozy";

/// A script that something of the project names.
#[derive(Debug, Clone)]
pub(crate) struct ScriptRef {
    /// Id of the tool, or the key that names the script.
    pub(crate) owner: String,
    /// The path as written.
    pub(crate) path: Name,
}

/// A script that has been read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Modules {
    /// Name of the module that the tool names.
    pub(crate) main: String,
    /// Texts by name: paths below the project folder.
    pub(crate) texts: BTreeMap<String, String>,
}

/// Reads a script and what it imports. Paths of the files read are added to `seen`.
pub(crate) fn read(
    files: &dyn Files,
    root: &Path,
    script: &ScriptRef,
    seen: &mut Vec<PathBuf>,
) -> Result<Modules, Diagnostic> {
    let written = &script.path.text;
    let at = |problem: Problem| problem.diagnostic(script, None);
    if leaves_folder(written) {
        return Err(at(Problem::Outside(written.clone())));
    }
    let Some(main) = resolve("", &format!("./{written}")) else {
        return Err(at(Problem::Outside(written.clone())));
    };
    check_ending(&main, false).map_err(at)?;
    let mut reading = Reading { files, root, left: MOST_BYTES, texts: BTreeMap::new(), seen };
    reading.file(&main).map_err(at)?;
    let mut open = vec![main.clone()];
    while let Some(name) = open.pop() {
        let found = reading.texts.get(&name).map(|text| imports::of(text)).unwrap_or_default();
        for import in found {
            let imported = reading
                .import(&name, &import.specifier)
                .map_err(|problem| problem.diagnostic(script, Some((&name, &import))))?;
            open.extend(imported);
        }
    }
    Ok(Modules { main, texts: reading.texts })
}

struct Reading<'r> {
    files: &'r dyn Files,
    root: &'r Path,
    /// Bytes that may still be read.
    left: u64,
    texts: BTreeMap<String, String>,
    seen: &'r mut Vec<PathBuf>,
}

impl Reading<'_> {
    /// Reads what `from` imports, unless it has been read; its name if it may import something itself.
    fn import(&mut self, from: &str, specifier: &str) -> Result<Option<String>, Problem> {
        if specifier == LENT {
            return Ok(None);
        }
        if !specifier.starts_with("./") && !specifier.starts_with("../") {
            return Err(Problem::Package(specifier.to_owned()));
        }
        let name = resolve(from, specifier).ok_or_else(|| Problem::Outside(specifier.to_owned()))?;
        if self.texts.contains_key(&name) {
            return Ok(None);
        }
        check_ending(&name, true)?;
        if self.texts.len() >= MOST_FILES {
            return Err(Problem::Unusable(format!("it is made of more than {MOST_FILES} files")));
        }
        self.file(&name)?;
        Ok((!name.ends_with(".json")).then_some(name))
    }

    fn file(&mut self, name: &str) -> Result<(), Problem> {
        let path = self.root.join(name);
        let unreadable = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => Problem::Unusable(format!("there is no file {name}")),
            _ => Problem::Unusable(format!("cannot read {name}: {error}")),
        };
        let (real_root, real) =
            (self.files.real(self.root).map_err(unreadable)?, self.files.real(&path).map_err(unreadable)?);
        if !real.starts_with(&real_root) {
            return Err(Problem::Outside(name.to_owned()));
        }
        let bytes = self.files.read(&path, self.left).map_err(unreadable)?;
        self.seen.push(path);
        let size = bytes.len() as u64;
        self.left = self.left.checked_sub(size).ok_or_else(|| {
            Problem::Unusable(format!("the script and what it imports have more than {MOST_BYTES} bytes"))
        })?;
        let text = String::from_utf8(bytes).map_err(|_| Problem::Unusable(format!("{name} is not UTF-8")))?;
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        self.texts.insert(name.to_owned(), text);
        Ok(())
    }
}

/// What keeps a script from being used.
#[derive(Debug)]
enum Problem {
    Outside(String),
    TypeScript(String),
    Package(String),
    Unusable(String),
}

impl Problem {
    /// The diagnostic, at the import if there is one, else where the project names the script.
    fn diagnostic(self, script: &ScriptRef, import: Option<(&str, &Import)>) -> Diagnostic {
        let owner = &script.owner;
        let (code, message, help) = match self {
            Self::Outside(path) => ("CZ0206", format!("path '{path}' leaves the project folder"), "move it"),
            Self::TypeScript(path) => {
                ("CZ0706", format!("'{owner}' script error: {path} is TypeScript"), "compile it to JavaScript first")
            }
            Self::Package(name) => (
                "CZ0701",
                format!("'{owner}': no usable implementation: '{name}' is no file of the project"),
                if name.starts_with("node:") {
                    "scripts have no Node API; see docs/plugins/javascript.md"
                } else {
                    "import files by ./ or ../; bundle packages into one file first"
                },
            ),
            Self::Unusable(reason) => {
                ("CZ0701", format!("'{owner}': no usable implementation: {reason}"), "fix the script or its path")
            }
        };
        match import {
            None => script.path.diagnostic(code, message).help(help),
            Some((file, import)) => {
                let place = Place { file: file.into(), line: import.line, column: import.column };
                let length = u32::try_from(import.specifier.chars().count() + 2).unwrap_or(1);
                Diagnostic::error(code, message, place)
                    .length(length)
                    .related(script.path.place.clone(), "the script is named here")
                    .help(help)
            }
        }
    }
}

/// Which files a script may be made of.
fn check_ending(name: &str, imported: bool) -> Result<(), Problem> {
    let ending = name.rsplit('/').next().and_then(|name| name.rsplit_once('.')).map_or("", |(_, ending)| ending);
    match ending {
        "js" | "mjs" => Ok(()),
        "json" if imported => Ok(()),
        "ts" | "mts" | "cts" | "tsx" => Err(Problem::TypeScript(name.to_owned())),
        "cjs" => Err(Problem::Unusable(format!("{name} is no ES module; write import and export"))),
        _ => Err(Problem::Unusable(format!("{name} does not end with .js or .mjs"))),
    }
}

/// The path that `specifier` means in the file `from`, both below the project folder; `None`: it leaves that folder.
fn resolve(from: &str, specifier: &str) -> Option<String> {
    let mut segments: Vec<&str> = from.split('/').collect();
    segments.pop();
    for segment in specifier.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()?),
            name => segments.push(name),
        }
    }
    Some(segments.join("/"))
}

#[cfg(test)]
mod tests {
    use super::resolve;

    #[test]
    fn specifiers_are_paths_below_the_project() {
        for (from, specifier, expected) in [
            ("", "./a.js", Some("a.js")),
            ("", "././/tools/a.js", Some("tools/a.js")),
            ("tools/a.js", "./b.js", Some("tools/b.js")),
            ("tools/a.js", "../b.js", Some("b.js")),
            ("tools/a.js", "../../b.js", None),
            ("tools/a.js", "./x/../../tools/./b.js", Some("tools/b.js")),
        ] {
            assert_eq!(resolve(from, specifier).as_deref(), expected, "{from} {specifier}");
        }
    }
}
