//! The languages that plugins can be written in: one file per language, one line in [`LANGUAGES`].

mod c;
mod go;
mod js;
mod python;
mod rust;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use compozy_lang::plan::PluginKind;

use super::Error;
use super::programs::Program;
use super::project::{Blank, File};

/// Every language, in the order of `--help`.
pub const LANGUAGES: &[&Language] = &[&rust::RUST, &js::JS, &python::PYTHON, &c::C, &go::GO];

/// How plugins are written in one language.
#[derive(Debug)]
pub struct Language {
    /// As `--lang` names it: `rust`.
    pub name: &'static str,
    /// For people: `Rust`.
    pub title: &'static str,
    /// Kinds that have a template.
    pub kinds: &'static [PluginKind],
    /// Lines of the project's README: what must be installed, and which file holds what. Markdown.
    pub notes: &'static str,
    /// Files of a new project, beside those that every project has ([`super::project`]).
    pub files: fn(&Blank) -> Vec<File>,
    /// A file by which a project is recognised, for people: `Cargo.toml`.
    pub mark: &'static str,
    /// Whether the folder is a project in this language.
    pub is_at: fn(&Path) -> bool,
    /// The plugin's name, as the project's manifest says it.
    pub name_of: fn(&Path) -> Result<String, Error>,
    /// What a build of the project in this folder runs, in order.
    pub steps: fn(&Path) -> Result<Vec<Step>, Error>,
    /// The module or component that the steps made; the text is what the last step printed to stdout.
    pub result: fn(&Path, &str) -> Option<PathBuf>,
}

/// One command of a build.
#[derive(Debug, Clone)]
pub struct Step {
    /// What it does, as the end of "it is needed to …": `compile the plugin`.
    pub what: &'static str,
    /// What is run.
    pub program: Program,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Variables set for it.
    pub variables: Vec<(&'static str, OsString)>,
    /// Variables of the surroundings that it must not see.
    pub without: &'static [&'static str],
    /// The step is left out if this file or folder of the project exists and is newer than `depends_on`.
    pub makes: Option<PathBuf>,
    /// What `makes` is made from, relative to the project.
    pub depends_on: Option<PathBuf>,
}

impl Step {
    /// A step that always runs, in the surroundings as they are.
    #[must_use]
    pub fn new(what: &'static str, program: Program, arguments: &[&str]) -> Self {
        Self {
            what,
            program,
            arguments: arguments.iter().map(OsString::from).collect(),
            variables: Vec::new(),
            without: &[],
            makes: None,
            depends_on: None,
        }
    }

    /// Whether what it makes is there already.
    #[must_use]
    pub fn is_done(&self, folder: &Path) -> bool {
        let time = |path: &Path| folder.join(path).metadata().and_then(|metadata| metadata.modified()).ok();
        let Some(made) = self.makes.as_deref().and_then(time) else { return false };
        self.depends_on.as_deref().and_then(time).is_none_or(|source| source <= made)
    }
}

/// The language called `name`.
#[must_use]
pub fn find(name: &str) -> Option<&'static Language> {
    LANGUAGES.iter().copied().find(|language| language.name == name)
}

/// The language of the project in `folder`.
///
/// # Errors
/// [`Error::NoProject`].
pub fn of(folder: &Path) -> Result<&'static Language, Error> {
    LANGUAGES.iter().copied().find(|language| (language.is_at)(folder)).ok_or_else(|| Error::NoProject {
        folder: folder.to_owned(),
        known: LANGUAGES.iter().map(|language| language.mark).collect::<Vec<_>>().join(", "),
    })
}

/// The text of a file of the project; `None` when there is none.
pub(crate) fn text_of(folder: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(folder.join(file)).ok()
}

/// Where builds put what is not the component yet; made if it is not there.
fn build_folder(folder: &Path) -> Result<(), Error> {
    let path = folder.join("build");
    std::fs::create_dir_all(&path).map_err(|error| Error::file("make", &path, &error))
}

/// A name as a manifest says it, which becomes the name of a file.
fn checked_name(folder: &Path, manifest: &str, name: Option<&str>) -> Result<String, Error> {
    let plain = |name: &&str| !name.is_empty() && !name.contains(['/', '\\']) && *name != "." && *name != "..";
    name.filter(plain).map(str::to_owned).ok_or_else(|| Error::Manifest {
        file: folder.join(manifest),
        reason: "it has no name, or one with a slash".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_left_out_while_what_it_makes_is_newer() {
        let folder = tempfile::tempdir().unwrap();
        let mut step = Step::new("x", Program::Made("p".into()), &[]);
        assert!(!step.is_done(folder.path()));
        step.makes = Some("made".into());
        step.depends_on = Some("source".into());
        assert!(!step.is_done(folder.path()));
        let write = |name: &str, seconds: u64| {
            let file = std::fs::File::create(folder.path().join(name)).unwrap();
            file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds)).unwrap();
        };
        write("made", 10);
        assert!(step.is_done(folder.path()));
        write("source", 11);
        assert!(!step.is_done(folder.path()));
    }

    #[test]
    fn a_folder_without_project_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let error = of(folder.path()).unwrap_err();
        assert_eq!(error.code(), "plugin_project_not_found");
        assert!(error.help().unwrap().contains("Cargo.toml"));
    }
}
