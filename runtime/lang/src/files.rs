//! Files of a project, and globs over them.

use std::io;
use std::path::{Component, Path, PathBuf};

/// Entries looked at by one glob.
const VISITED: usize = 10_000;

/// Gives the contents of files: the disk, or a map in tests and editors.
pub trait Files: Send + Sync {
    /// The first `most_bytes + 1` bytes of a file: one more than allowed tells that it is too large.
    ///
    /// # Errors
    /// The file does not exist, is no regular file, or cannot be read.
    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>>;

    /// The entries of a folder, in any order.
    ///
    /// # Errors
    /// The folder does not exist or cannot be read.
    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>>;

    /// Where a path leads when symbolic links are followed.
    ///
    /// # Errors
    /// There is nothing.
    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        Ok(path.components().collect())
    }
}

/// An entry of a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FolderEntry {
    /// Its name.
    pub name: String,
    /// Whether it is a folder itself.
    pub is_folder: bool,
}

/// The files of this machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path, most_bytes: u64) -> io::Result<Vec<u8>> {
        use std::io::Read as _;
        // Opening a pipe waits for a writer, and a device may never end.
        if !std::fs::metadata(path)?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
        }
        let mut bytes = Vec::new();
        std::fs::File::open(path)?.take(most_bytes.saturating_add(1)).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<FolderEntry>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let is_folder = entry.path().is_dir();
            if let Ok(name) = entry.file_name().into_string() {
                found.push(FolderEntry { name, is_folder });
            }
        }
        Ok(found)
    }

    fn real(&self, path: &Path) -> io::Result<PathBuf> {
        path.canonicalize()
    }
}

/// Whether a path written in a file leaves the project folder.
pub(crate) fn leaves_folder(path: &str) -> bool {
    let mut depth = 0i32;
    for component in Path::new(path).components() {
        match component {
            Component::Normal(_) => depth += 1,
            Component::ParentDir => depth -= 1,
            Component::CurDir => {}
            Component::RootDir | Component::Prefix(_) => return true,
        }
        if depth < 0 {
            return true;
        }
    }
    path.contains('\0')
}

/// Whether a path is a glob.
pub(crate) fn is_glob(path: &str) -> bool {
    path.contains(['*', '?', '['])
}

/// Files below `root` that a glob names, sorted, relative to `root`. Names that begin with a dot are found only by a
/// segment that begins with one; `**` stands for any number of folders.
pub(crate) fn glob(files: &dyn Files, root: &Path, pattern: &str) -> Vec<String> {
    let segments: Vec<&str> = pattern.split('/').filter(|segment| !segment.is_empty() && *segment != ".").collect();
    let mut walk = Walk { files, root, found: Vec::new(), visited: 0 };
    walk.folder("", &segments);
    walk.found.sort();
    walk.found.dedup();
    walk.found
}

struct Walk<'f> {
    files: &'f dyn Files,
    root: &'f Path,
    found: Vec<String>,
    visited: usize,
}

impl Walk<'_> {
    /// Looks for `segments` in the folder `at`. Recursion is as deep as the folders are.
    fn folder(&mut self, at: &str, segments: &[&str]) {
        let Some((segment, rest)) = segments.split_first() else { return };
        let Ok(mut entries) = self.files.list(&self.root.join(at)) else { return };
        entries.sort();
        if *segment == "**" && !rest.is_empty() {
            self.folder(at, rest);
        }
        for FolderEntry { name, is_folder } in entries {
            self.visited += 1;
            if self.visited > VISITED {
                return;
            }
            let path = if at.is_empty() { name.clone() } else { format!("{at}/{name}") };
            let is_hidden = name.starts_with('.') && !segment.starts_with('.');
            if *segment == "**" {
                if is_folder && !is_hidden && path.len() < 1024 {
                    self.folder(&path, segments);
                } else if !is_folder && !is_hidden && rest.is_empty() {
                    self.found.push(path);
                }
            } else if !is_hidden && matches(segment, &name) {
                if rest.is_empty() && !is_folder {
                    self.found.push(path);
                } else if is_folder {
                    self.folder(&path, rest);
                }
            }
        }
    }
}

/// Whether one segment of a glob matches a name: `*` and `?` within the segment.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || Some(c) == name.get(n) => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(p).all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_leave_the_folder_are_seen() {
        for (path, leaves) in [
            ("a/b.yaml", false),
            ("./a/../b.yaml", false),
            ("../a.yaml", true),
            ("a/../../b", true),
            ("/etc/passwd", true),
            ("a\0b", true),
        ] {
            assert_eq!(leaves_folder(path), leaves, "{path:?}");
        }
    }

    #[test]
    fn globs_match_segments() {
        for (pattern, name, matched) in [
            ("*.yaml", "a.yaml", true),
            ("*.yaml", "a.yml", false),
            ("a?c*", "abcd", true),
            ("*a*b*", "xxaxxbxx", true),
            ("", "", true),
            ("*", "", true),
            ("a", "", false),
        ] {
            assert_eq!(matches(pattern, name), matched, "{pattern} {name}");
        }
    }
}
