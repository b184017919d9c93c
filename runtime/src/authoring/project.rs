//! A new project: its name, the files every project has, and those of its language.

use std::borrow::Cow;
use std::fs;
use std::path::{Path, PathBuf};

use compozy_lang::plan::PluginKind;

use super::Error;
use super::language::Language;
use crate::plugin::component::word;

/// Longest name, in characters.
const NAME_LENGTH: usize = 64;

/// Words that a compiler or package manager of one of the languages keeps to itself, in their snake form.
const RESERVED: &[&str] = &[
    "abstract",
    "alloc",
    "as",
    "async",
    "await",
    "become",
    "box",
    "break",
    "build",
    "case",
    "catch",
    "chan",
    "char",
    "class",
    "compozy_plugin",
    "const",
    "continue",
    "core",
    "crate",
    "def",
    "default",
    "defer",
    "del",
    "deps",
    "do",
    "double",
    "dyn",
    "elif",
    "else",
    "enum",
    "except",
    "export",
    "extends",
    "extern",
    "false",
    "final",
    "finally",
    "float",
    "fn",
    "for",
    "from",
    "func",
    "function",
    "global",
    "go",
    "goto",
    "if",
    "impl",
    "import",
    "in",
    "incremental",
    "int",
    "interface",
    "is",
    "lambda",
    "let",
    "long",
    "loop",
    "macro",
    "main",
    "map",
    "match",
    "mod",
    "move",
    "mut",
    "new",
    "node_modules",
    "none",
    "not",
    "null",
    "or",
    "override",
    "package",
    "pass",
    "priv",
    "proc_macro",
    "pub",
    "raise",
    "range",
    "ref",
    "return",
    "select",
    "self",
    "short",
    "signed",
    "sizeof",
    "static",
    "std",
    "struct",
    "super",
    "switch",
    "test",
    "this",
    "throw",
    "trait",
    "true",
    "try",
    "type",
    "typedef",
    "typeof",
    "union",
    "unsafe",
    "unsigned",
    "unsized",
    "use",
    "var",
    "virtual",
    "void",
    "volatile",
    "where",
    "while",
    "with",
    "yield",
];

/// What a template is filled with.
#[derive(Debug, Clone)]
pub struct Blank {
    name: String,
    kind: PluginKind,
}

impl Blank {
    /// A plugin called `name`: lower-case letters, digits and single hyphens, a letter first, at most 64 characters, so
    /// that it can be a package in every language, a file and an id.
    ///
    /// # Errors
    /// [`Error::Name`].
    pub fn new(name: &str, kind: PluginKind) -> Result<Self, Error> {
        let wrong = |reason| Error::Name { name: name.chars().take(NAME_LENGTH).collect(), reason };
        let known = |letter: u8| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == b'-';
        let reason = match name.as_bytes() {
            [] => "it is empty",
            bytes if bytes.len() > NAME_LENGTH => "it has more than 64 characters",
            bytes if !bytes.iter().all(|letter| known(*letter)) => "it holds a character that some language refuses",
            [first, ..] if !first.is_ascii_lowercase() => "it does not begin with a letter",
            [.., b'-'] => "it ends with a hyphen",
            _ if name.contains("--") => "it holds two hyphens side by side",
            _ if RESERVED.contains(&snake(name).as_str()) => "some language keeps this word to itself",
            _ => return Ok(Self { name: name.to_owned(), kind }),
        };
        Err(wrong(reason))
    }

    /// The name: `text-stats`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The name as a module or variable: `text_stats`.
    #[must_use]
    pub fn snake(&self) -> String {
        snake(&self.name)
    }

    /// What the plugin is to be.
    #[must_use]
    pub fn kind(&self) -> PluginKind {
        self.kind
    }

    /// `text` with `@name@`, `@snake@` and `@kind@` filled in.
    #[must_use]
    pub fn fill(&self, text: &str) -> String {
        text.replace("@name@", &self.name).replace("@snake@", &self.snake()).replace("@kind@", word(self.kind))
    }
}

fn snake(name: &str) -> String {
    name.replace('-', "_")
}

/// A file of a project.
#[derive(Debug, Clone)]
pub struct File {
    /// Where it stands, relative to the project, with `/`; placeholders are filled in.
    pub path: Cow<'static, str>,
    /// What it holds.
    pub content: Content,
}

/// What a file holds.
#[derive(Debug, Clone)]
pub enum Content {
    /// A text whose placeholders are filled in ([`Blank::fill`]).
    Filled(Cow<'static, str>),
    /// Bytes as they are.
    Verbatim(Cow<'static, [u8]>),
}

impl File {
    /// A text with placeholders.
    #[must_use]
    pub fn filled(path: &'static str, text: &'static str) -> Self {
        Self { path: path.into(), content: Content::Filled(text.into()) }
    }

    /// A file that is written as it is.
    #[must_use]
    pub fn verbatim(path: impl Into<Cow<'static, str>>, bytes: impl Into<Cow<'static, [u8]>>) -> Self {
        Self { path: path.into(), content: Content::Verbatim(bytes.into()) }
    }
}

macro_rules! shared {
    ($file:literal) => {
        include_str!(concat!("templates/shared/", $file))
    };
}

/// Files of a project whatever its language: how it is used, and its cases.
fn shared(language: &Language, blank: &Blank) -> Vec<File> {
    let (project, cases) = match blank.kind {
        PluginKind::Tool => (shared!("tool/compozy.yaml"), shared!("tool/cases.yaml")),
        PluginKind::Llm => (shared!("llm/compozy.yaml"), shared!("llm/cases.yaml")),
        PluginKind::Embedder => (shared!("embedder/compozy.yaml"), shared!("embedder/cases.yaml")),
        PluginKind::Template => (shared!("template/compozy.yaml"), shared!("template/cases.yaml")),
    };
    let workflow = match blank.kind {
        PluginKind::Tool => {
            Some(("workflows/greet.yaml", shared!("tool/workflows/greet.yaml"), shared!("tool/use.md")))
        }
        PluginKind::Llm => Some(("workflows/ask.yaml", shared!("llm/workflows/ask.yaml"), shared!("llm/use.md"))),
        PluginKind::Embedder | PluginKind::Template => None,
    };
    let used = workflow.map_or(shared!("no-use.md"), |(_, _, used)| used);
    let readme = shared!("README.md").replace("@use@", used).replace("@notes@", language.notes);
    let readme = readme.replace("@title@", language.title).replace("@lang@", language.name);
    let mut files = vec![
        File { path: "README.md".into(), content: Content::Filled(readme.into()) },
        File::filled("compozy.yaml", project),
        File::filled("cases.yaml", cases),
    ];
    files.extend(workflow.map(|(path, text, _)| File::filled(path, text)));
    files
}

/// Writes a new project into `folder`, which is made if it is not there, and says which files it has.
///
/// # Errors
/// The language has no such template, the folder holds something, or it cannot be written.
pub fn write(folder: &Path, language: &'static Language, blank: &Blank) -> Result<Vec<PathBuf>, Error> {
    if !language.kinds.contains(&blank.kind) {
        let kinds = language.kinds.iter().map(|kind| word(*kind)).collect::<Vec<_>>().join(", ");
        return Err(Error::NoTemplate { title: language.title, kind: word(blank.kind), kinds });
    }
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => {}
        Ok(false) => return Err(Error::NotEmpty(folder.to_owned())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Error::file("use", folder, &error)),
    }
    let mut files = shared(language, blank);
    files.extend((language.files)(blank));
    let mut written = Vec::new();
    for file in files {
        let path = folder.join(blank.fill(&file.path));
        let parent = path.parent().unwrap_or(folder);
        fs::create_dir_all(parent).map_err(|error| Error::file("make", parent, &error))?;
        let bytes: Cow<'_, [u8]> = match &file.content {
            Content::Filled(text) => blank.fill(text).into_bytes().into(),
            Content::Verbatim(bytes) => bytes.as_ref().into(),
        };
        fs::write(&path, &bytes).map_err(|error| Error::file("write", &path, &error))?;
        written.push(path);
    }
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::language::LANGUAGES;

    #[test]
    fn names_suit_every_language() {
        for name in ["a", "text-stats", "a1-b2", "greet"] {
            assert_eq!(Blank::new(name, PluginKind::Tool).unwrap().name(), name);
        }
        let long = "a".repeat(65);
        for (name, part) in [
            ("", "empty"),
            ("Greet", "character"),
            ("a_b", "character"),
            ("../x", "character"),
            ("ä", "character"),
            ("1a", "begin"),
            ("-a", "begin"),
            ("a-", "ends"),
            ("a--b", "side by side"),
            ("test", "keeps"),
            ("proc-macro", "keeps"),
            (long.as_str(), "64"),
        ] {
            let error = Blank::new(name, PluginKind::Tool).unwrap_err();
            assert!(error.to_string().contains(part), "{error}");
            assert_eq!(error.code(), "usage");
        }
    }

    #[test]
    fn every_template_is_written_without_a_placeholder_left() {
        for language in LANGUAGES {
            for kind in language.kinds {
                let folder = tempfile::tempdir().unwrap();
                let blank = Blank::new("word-count", *kind).unwrap();
                let written = write(&folder.path().join("new"), language, &blank).unwrap();
                for name in ["README.md", "compozy.yaml", "cases.yaml", ".gitignore"] {
                    assert!(written.contains(&folder.path().join("new").join(name)), "{} {name}", language.name);
                }
                assert!((language.is_at)(&folder.path().join("new")), "{}", language.name);
                assert_eq!((language.name_of)(&folder.path().join("new")).unwrap(), "word-count");
                for path in &written {
                    let text = String::from_utf8_lossy(&fs::read(path).unwrap()).into_owned();
                    for mark in ["@name@", "@snake@", "@kind@", "@use@", "@notes@", "@title@", "@lang@"] {
                        assert!(!text.contains(mark), "{}: {mark}", path.display());
                    }
                }
                let again = write(&folder.path().join("new"), language, &blank).unwrap_err();
                assert_eq!(again.code(), "folder_not_empty");
            }
        }
    }
}
