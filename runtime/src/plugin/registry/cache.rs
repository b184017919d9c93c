//! What was pulled, by content: components and the manifests that name them.
//!
//! A file is named by its SHA-256 and checked on each load, so it does not matter who could write it. Files come into
//! place by renaming: a reader sees all of one or none.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::Error;
use crate::clock::random_bytes;
use crate::plugin::MAX_COMPONENT_BYTES;
use crate::plugin::cache::hex;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    Component,
    Manifest,
}

/// The folder of the user's caches: `$XDG_CACHE_HOME/compozy`, else `~/.cache/compozy`; `None` when neither can be made.
#[must_use]
pub fn user_folder() -> Option<PathBuf> {
    let absolute = |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let home = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    home.map(|cache| cache.join("compozy")).filter(|folder| fs::create_dir_all(folder).is_ok())
}

/// A folder of files by content.
#[derive(Debug, Clone)]
pub struct Cache(PathBuf);

impl Cache {
    /// The cache of this user, else of the project in `root`.
    #[must_use]
    pub fn of(root: &Path) -> Self {
        Self::at(&user_folder().unwrap_or_else(|| root.join(".compozy/cache")))
    }

    /// The cache below a folder of caches.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self(folder.join("plugins/sha256"))
    }

    fn path(&self, digest: &str, content: Content) -> PathBuf {
        let extension = match content {
            Content::Component => "wasm",
            Content::Manifest => "json",
        };
        self.0.join(format!("{digest}.{extension}"))
    }

    /// The file of this digest; `None` when it is not here.
    ///
    /// # Errors
    /// [`Error::Digest`] when what is here is something else; [`Error::File`].
    pub(super) fn load(&self, digest: &str, content: Content) -> Result<Option<Vec<u8>>, Error> {
        let path = self.path(digest, content);
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(Error::file(&path)(error)),
        };
        if !metadata.is_file() || metadata.len() > MAX_COMPONENT_BYTES {
            let found = "something that is no file of a component".to_owned();
            return Err(Error::Digest { expected: digest.to_owned(), found });
        }
        let bytes = fs::read(&path).map_err(Error::file(&path))?;
        let found = hex(&Sha256::digest(&bytes));
        if found == digest {
            return Ok(Some(bytes));
        }
        Err(Error::Digest { expected: digest.to_owned(), found: format!("sha256:{found} in {}", path.display()) })
    }

    /// Keeps bytes whose digest is known to be this.
    pub(super) fn store(&self, digest: &str, content: Content, bytes: &[u8]) -> Result<(), Error> {
        let mut incoming = self.begin()?;
        incoming.write(bytes)?;
        incoming.keep(digest, content)
    }

    /// Begins a file whose bytes arrive bit by bit.
    pub(super) fn begin(&self) -> Result<Incoming<'_>, Error> {
        let path = self.0.join(format!(".{}", hex(&random_bytes::<12>())));
        let make = || {
            make_private(&self.0)?;
            let mut options = fs::OpenOptions::new();
            options.write(true).create_new(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            options.open(&path)
        };
        let file = make().map_err(Error::file(&path))?;
        Ok(Incoming { cache: self, path, file, digest: Sha256::new(), size: 0 })
    }
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    std::os::unix::fs::DirBuilderExt::mode(fs::DirBuilder::new().recursive(true), 0o700).create(folder)
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

/// A file on its way into the cache; dropped early, nothing is left of it.
#[derive(Debug)]
pub(super) struct Incoming<'a> {
    cache: &'a Cache,
    path: PathBuf,
    file: fs::File,
    digest: Sha256,
    size: u64,
}

impl Incoming<'_> {
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.digest.update(bytes);
        self.size = self.size.saturating_add(bytes.len() as u64);
        self.file.write_all(bytes).map_err(Error::file(&self.path))
    }

    /// Bytes so far.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Puts the file into its place, if it is the one of this digest.
    pub(super) fn keep(self, digest: &str, content: Content) -> Result<(), Error> {
        let found = hex(&self.digest.clone().finalize());
        if found != digest {
            return Err(Error::Digest { expected: digest.to_owned(), found: format!("sha256:{found}") });
        }
        let target = self.cache.path(digest, content);
        self.file.sync_all().and_then(|()| fs::rename(&self.path, &target)).map_err(Error::file(&target))
    }
}

impl Drop for Incoming<'_> {
    fn drop(&mut self) {
        // After the renaming there is none.
        drop(fs::remove_file(&self.path));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sha2::{Digest, Sha256};

    use super::{Cache, Content};
    use crate::plugin::cache::hex;

    #[test]
    fn only_what_its_name_says_is_kept_and_loaded() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let digest = hex(&Sha256::digest(b"hello"));
        assert!(cache.load(&digest, Content::Component).unwrap().is_none());
        cache.store(&digest, Content::Component, b"hello").unwrap();
        assert_eq!(cache.load(&digest, Content::Component).unwrap().as_deref(), Some(&b"hello"[..]));
        assert!(cache.load(&digest, Content::Manifest).unwrap().is_none());

        let error = cache.store(&digest, Content::Manifest, b"other").unwrap_err();
        assert_eq!(error.code(), "CZ0711");
        let mut left = cache.begin().unwrap();
        left.write(b"hel").unwrap();
        drop(left);
        let names: Vec<_> = fs::read_dir(&cache.0).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, [format!("{digest}.wasm").as_str()], "nothing half-made is left");

        fs::write(cache.path(&digest, Content::Component), "hellO").unwrap();
        assert_eq!(cache.load(&digest, Content::Component).unwrap_err().code(), "CZ0711");
        fs::remove_file(cache.path(&digest, Content::Component)).unwrap();
        fs::create_dir(cache.path(&digest, Content::Component)).unwrap();
        assert_eq!(cache.load(&digest, Content::Component).unwrap_err().code(), "CZ0711");
    }
}
