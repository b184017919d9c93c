//! `compozy.lock`: which bytes each source of a registry meant when it was pulled.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use compozy_lang::oci;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::clock::random_bytes;
use crate::plugin::cache::hex;

/// Its name beside the project file.
pub const FILE: &str = "compozy.lock";

const COMMENT: &str = "# Which components the oci: sources of this project mean. Written by `compozy plugin pull`: commit it,\n\
                       # and let `compozy plugin pull --update` change it.\n";

/// Version of the file's form.
const VERSION: u32 = 1;

/// Most bytes of the file.
const MOST_BYTES: u64 = 4 << 20;

/// Most brackets and braces: ids and sources may hold some, nothing else does.
const MOST_BRACKETS: usize = 1_000;

/// The lock file of a project.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lock {
    version: u32,
    /// By id, in the order of ids.
    #[serde(default)]
    pub plugins: BTreeMap<String, Pinned>,
}

/// One plugin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pinned {
    /// As the project wrote it when it was pulled.
    pub source: String,
    /// Digest of the manifest, `sha256:…`.
    pub manifest: String,
    /// Digest of the component, `sha256:…`.
    pub component: String,
    /// Of the component, in bytes.
    pub size: u64,
}

impl Default for Lock {
    fn default() -> Self {
        Self { version: VERSION, plugins: BTreeMap::new() }
    }
}

impl Lock {
    /// The lock file of the project in `root`; empty when there is none.
    ///
    /// # Errors
    /// It cannot be read, or is none.
    pub fn read(root: &Path) -> Result<Self, Error> {
        let path = root.join(FILE);
        let unusable = |reason: String| Error::Lock(format!("{FILE} cannot be used: {reason}"));
        match fs::metadata(&path) {
            Ok(metadata) if !metadata.is_file() => return Err(unusable("it is no file".to_owned())),
            Ok(metadata) if metadata.len() > MOST_BYTES => return Err(unusable("it is too long".to_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            _ => {}
        }
        let text = fs::read_to_string(&path).map_err(Error::file(&path))?;
        // The reader of YAML takes long for deep nesting, which nothing here writes.
        if text.matches(['[', '{']).count() > MOST_BRACKETS {
            return Err(unusable("it is not what compozy writes".to_owned()));
        }
        let lock: Self = serde_yaml::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        if lock.version != VERSION {
            return Err(unusable(format!("its version is {}, this compozy knows {VERSION}", lock.version)));
        }
        for (id, pinned) in &lock.plugins {
            for digest in [&pinned.manifest, &pinned.component] {
                oci::hex_of(digest).map_err(|reason| unusable(format!("plugins.{id}: {reason}")))?;
            }
        }
        Ok(lock)
    }

    /// Writes it beside the project file, whole or not at all.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn write(&self, root: &Path) -> Result<(), Error> {
        let path = root.join(FILE);
        let temporary: PathBuf = root.join(format!(".{FILE}.{}", hex(&random_bytes::<6>())));
        let text = serde_yaml::to_string(self).map_err(|error| Error::Lock(error.to_string()))?;
        let write = || {
            let mut file = fs::File::create_new(&temporary)?;
            file.write_all(COMMENT.as_bytes())?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)
        };
        let written = write().map_err(Error::file(&path));
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written
    }

    /// What an entry's source is pinned to.
    pub(super) fn pinned(&self, id: &str, source: &str) -> Option<&Pinned> {
        self.plugins.get(id).filter(|pinned| pinned.source == source)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{FILE, Lock, Pinned};

    #[test]
    fn the_file_reads_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(Lock::read(folder.path()).unwrap(), Lock::default());
        let mut lock = Lock::default();
        for id in ["shop", "on", "7"] {
            let pinned = Pinned {
                source: "oci:ghcr.io/acme/shop:1.2".into(),
                manifest: format!("sha256:{}", "a".repeat(64)),
                component: format!("sha256:{}", "b".repeat(64)),
                size: 9,
            };
            lock.plugins.insert(id.into(), pinned);
        }
        lock.write(folder.path()).unwrap();
        assert_eq!(Lock::read(folder.path()).unwrap(), lock);
        let text = fs::read_to_string(folder.path().join(FILE)).unwrap();
        assert!(text.starts_with("# Which components") && text.contains("\nversion: 1\nplugins:\n"), "{text}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(lock.pinned("shop", "oci:ghcr.io/acme/shop:1.2").is_some());
        assert!(lock.pinned("shop", "oci:ghcr.io/acme/shop:1.3").is_none());
    }

    #[test]
    fn what_is_no_lock_is_told() {
        let folder = tempfile::tempdir().unwrap();
        for (text, part) in [
            ("", "cannot be used"),
            ("version: 2", "its version is 2, this compozy knows 1"),
            ("version: 1\nplugins: []", "cannot be used"),
            ("version: 1\nmore: x", "unknown field"),
            (&format!("version: {}", "[".repeat(100_000)), "it is not what compozy writes"),
            (
                "version: 1\nplugins: {a: {source: s, manifest: m, component: c, size: 1}}",
                "plugins.a: 'm' is not a digest",
            ),
        ] {
            fs::write(folder.path().join(FILE), text).unwrap();
            let error = Lock::read(folder.path()).unwrap_err();
            assert!(error.code() == "lock_outdated" && error.to_string().contains(part), "{text}: {error}");
        }
    }
}
