//! Why a plugin could not be made, built or looked into.

use std::path::PathBuf;

/// What went wrong. [`Error::code`] gives the stable code, [`Error::help`] what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The name cannot be a plugin's.
    #[error("'{name}' cannot be the name of a plugin: {reason}")]
    Name {
        /// As given.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// There is no template for this language and kind.
    #[error("{title} has no template for kind '{kind}'")]
    NoTemplate {
        /// The language, for people.
        title: &'static str,
        /// The kind asked for.
        kind: &'static str,
        /// The kinds there are.
        kinds: String,
    },
    /// The folder of a new project holds something.
    #[error("{0} is not an empty folder")]
    NotEmpty(PathBuf),
    /// A folder holds no plugin project of a known language.
    #[error("{folder} holds no plugin project")]
    NoProject {
        /// Where one was looked for.
        folder: PathBuf,
        /// What would be recognised.
        known: String,
    },
    /// The project's own manifest cannot be understood.
    #[error("{file}: {reason}")]
    Manifest {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A program that a step needs is not installed.
    #[error("{program} is not installed; it is needed to {what}")]
    NoProgram {
        /// The program, or what it lacks.
        program: String,
        /// The step.
        what: String,
        /// How to install it.
        install: String,
    },
    /// A step of a build failed.
    #[error("the build failed: {command} ended with {status}")]
    Step {
        /// The command line.
        command: String,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// A build went well, but what it should have made is not there.
    #[error("the build made no WebAssembly: {0}")]
    NoResult(String),
    /// The bytes are no component that can be a plugin.
    #[error("{0}")]
    NotAPlugin(String),
    /// A file or folder cannot be read or written.
    #[error("cannot {action} {path}: {reason}")]
    File {
        /// `read`, `write`, …
        action: &'static str,
        /// Which.
        path: PathBuf,
        /// What the operating system said.
        reason: String,
    },
}

impl Error {
    /// A file that could not be used.
    pub(crate) fn file(action: &'static str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::File { action, path: path.to_owned(), reason: error.kind().to_string() }
    }

    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Name { .. } | Self::NoTemplate { .. } | Self::File { .. } => "usage",
            Self::NotEmpty(_) => "folder_not_empty",
            Self::NoProject { .. } => "plugin_project_not_found",
            Self::Manifest { .. } => "CZ0701",
            Self::NoProgram { .. } => "program_missing",
            Self::Step { .. } | Self::NoResult(_) => "build_failed",
            Self::NotAPlugin(_) => "CZ0702",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn help(&self) -> Option<String> {
        Some(match self {
            Self::Name { .. } => "use lower-case letters, digits and single hyphens, a letter first".to_owned(),
            Self::NoTemplate { kinds, .. } => format!("there is {kinds}; --lang rust has every kind"),
            Self::NotEmpty(_) => "choose another --dir, or empty it".to_owned(),
            Self::NoProject { known, .. } => format!("a project has one of {known}; `compozy plugin new` makes one"),
            Self::NoProgram { install, .. } => install.clone(),
            _ => return None,
        })
    }
}
