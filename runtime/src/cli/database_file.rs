//! Whether the file of the database is still the one that was opened.
//!
//! SQLite goes on with a file that was deleted or replaced under it, and what it writes there is lost with the process.
//! Only the file's entry is looked at: to open and close it here would drop the locks of this process (POSIX).

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};

/// A database file as it was when it was opened.
#[derive(Debug)]
pub struct DatabaseFile {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
    /// Most bytes it was seen with since it was last shortened: only the server itself does that.
    length: AtomicU64,
}

impl DatabaseFile {
    /// The file at `path`, which has just been opened.
    #[must_use]
    pub fn opened(path: PathBuf) -> Self {
        let identity = std::fs::metadata(&path).ok().map(|found| (found.dev(), found.ino()));
        Self { path, identity, length: AtomicU64::new(0) }
    }

    /// What happened to it since then; `None`: nothing. `shrunk_to` are the fewest bytes to which the server itself
    /// has cut it.
    #[must_use]
    pub fn trouble(&self, shrunk_to: Option<u64>) -> Option<&'static str> {
        let Ok(found) = std::fs::metadata(&self.path) else { return Some("the database file is gone") };
        if self.identity.is_some_and(|identity| identity != (found.dev(), found.ino())) {
            return Some("the database file was replaced by another one");
        }
        let before = self.length.fetch_max(found.len(), Ordering::Relaxed);
        if found.len() >= before {
            return None;
        }
        if shrunk_to.is_some_and(|bytes| found.len() >= bytes) {
            self.length.store(found.len(), Ordering::Relaxed);
            return None;
        }
        Some("the database file was cut short")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_happens_to_the_file_is_seen_and_forgotten_when_it_is_mended() {
        let folder = tempfile::tempdir().unwrap();
        let (path, aside) = (folder.path().join("a.db"), folder.path().join("aside"));
        std::fs::write(&path, "four").unwrap();
        let file = DatabaseFile::opened(path.clone());
        assert_eq!(file.trouble(None), None);
        std::fs::rename(&path, &aside).unwrap();
        assert_eq!(file.trouble(None), Some("the database file is gone"));
        std::fs::write(&path, "four").unwrap();
        assert_eq!(file.trouble(None), Some("the database file was replaced by another one"));
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(file.trouble(None), None);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(1).unwrap();
        assert_eq!(file.trouble(None), Some("the database file was cut short"));
        std::fs::write(&path, "longer").unwrap();
        assert_eq!(file.trouble(None), None);
        std::fs::write(&path, "four").unwrap();
        assert_eq!(file.trouble(Some(5)), Some("the database file was cut short"));
        assert_eq!(file.trouble(Some(4)), None, "the server did it");
        std::fs::write(&path, "two").unwrap();
        assert_eq!(file.trouble(Some(4)), Some("the database file was cut short"));
    }
}
