//! The programs that builds call: found on the `PATH`, or missed with a word on how to install them.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::Error;

/// How to install something, by operating system.
#[derive(Debug, Clone, Copy)]
pub struct Install {
    /// Debian, Ubuntu and other systems than the two below.
    pub linux: &'static str,
    /// macOS.
    pub macos: &'static str,
    /// Windows.
    pub windows: &'static str,
}

impl Install {
    /// The same everywhere.
    #[must_use]
    pub const fn everywhere(how: &'static str) -> Self {
        Self { linux: how, macos: how, windows: how }
    }

    /// How it is done on this machine's system.
    #[must_use]
    pub fn here(&self) -> &'static str {
        match std::env::consts::OS {
            "macos" => self.macos,
            "windows" => self.windows,
            _ => self.linux,
        }
    }
}

/// A program of a build step.
#[derive(Debug, Clone)]
pub enum Program {
    /// The first of these names that is on the `PATH`.
    OnPath(&'static [&'static str], Install),
    /// A file that an earlier step made, relative to the project.
    Made(PathBuf),
}

impl Program {
    /// Where it is, for a step that does `what` in `folder`.
    ///
    /// # Errors
    /// [`Error::NoProgram`].
    pub fn locate(&self, folder: &Path, what: &str) -> Result<PathBuf, Error> {
        match self {
            Self::Made(path) => {
                // Absolute, since it is run in the folder.
                let path = folder.join(path);
                let path = std::path::absolute(&path).unwrap_or(path);
                let missing = || no_program(&path.display().to_string(), what, "run the build again");
                if path.is_file() { Ok(path) } else { Err(missing()) }
            }
            Self::OnPath(names, install) => names.iter().find_map(|name| find(name)).ok_or_else(|| {
                let shown = names.first().copied().unwrap_or_default();
                no_program(shown, what, install.here())
            }),
        }
    }
}

/// The error of a missing program.
#[must_use]
pub fn no_program(program: &str, what: &str, install: &str) -> Error {
    Error::NoProgram { program: program.to_owned(), what: what.to_owned(), install: install.to_owned() }
}

/// The program `name` in the folders of `PATH`.
#[must_use]
pub fn find(name: &str) -> Option<PathBuf> {
    find_in(name, &std::env::var_os("PATH")?)
}

fn find_in(name: &str, path: &OsString) -> Option<PathBuf> {
    let endings: &[&str] = if cfg!(windows) { &[".exe", ".cmd", ".bat"] } else { &[""] };
    std::env::split_paths(path)
        .filter(|folder| folder.is_absolute())
        .flat_map(|folder| endings.iter().map(move |ending| folder.join(format!("{name}{ending}"))))
        .find(|file| is_executable(file))
}

#[cfg(unix)]
fn is_executable(file: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(file).is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

#[cfg(not(unix))]
fn is_executable(file: &Path) -> bool {
    file.is_file()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_on_the_path_and_missed_with_a_hint() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("plain"), "").unwrap();
        let path = folder.path().as_os_str().to_owned();
        assert_eq!(find_in("plain", &path), None, "it is not executable");
        assert_eq!(find_in("sh", &"relative/bin".into()), None);
        assert!(find("sh").is_some());
        let absent = Program::OnPath(&["no-such-program"], Install::everywhere("get it"));
        let error = absent.locate(folder.path(), "compile").unwrap_err();
        assert_eq!(error.to_string(), "no-such-program is not installed; it is needed to compile");
        assert_eq!((error.code(), error.help().as_deref()), ("program_missing", Some("get it")));
    }
}
