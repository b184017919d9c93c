//! The code cache: machine code of components compiled before, beside which a start would take seconds.
//!
//! A file is named by the component's SHA-256 and the engine's fingerprint, so it can never be stale. It carries a tag
//! (HMAC-SHA256 under a key kept in the same folder) over its name and content; a file that is damaged, from another
//! folder or not ours is compiled anew rather than trusted. Nothing here is ever fetched from anywhere.

use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use hmac::{Hmac, Mac};
use sha2::Sha256;
use wasmtime::component::Component;

use super::engine::Engine;
use crate::clock::random_bytes;

const MAGIC: &[u8; 8] = b"czcode1\n";
const TAG_BYTES: usize = 32;
const KEY_BYTES: usize = 32;

/// A folder of compiled components that only this user can read or write.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    key: [u8; KEY_BYTES],
    /// Our user, as the owner of a file we made ourselves.
    owner: u32,
}

impl Cache {
    /// Opens `folder`, making it with mode 0700 when it is not there.
    ///
    /// # Errors
    /// It cannot be made or written, or belongs to another user.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        make_private(folder)?;
        let owner = probe_owner(folder)?;
        if owner_of(&fs::metadata(folder)?) != owner {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
        }
        let key = key_of(folder, owner)?;
        Ok(Self { folder: folder.to_owned(), key, owner })
    }

    /// The compiled form of the component with SHA-256 `digest`, if it is here and sound.
    pub(crate) fn load(&self, engine: &Engine, digest: &str) -> Option<Component> {
        let name = file_name(digest, engine.fingerprint());
        let bytes = read_owned(&self.folder.join(&name), self.owner).ok()?;
        let code = self.verify(&name, &bytes)?;
        #[expect(
            unsafe_code,
            reason = "the bytes carry our tag, so they are what this user's compozy wrote for this very \
                      component and engine"
        )]
        // SAFETY: `deserialize` demands bytes made by `Component::serialize`. Only `store` writes files whose tag holds
        // under the key of this private folder, and it writes nothing else.
        let component = unsafe { Component::deserialize(engine.wasmtime(), code) };
        component.inspect_err(|error| tracing::debug!("failed to load compiled code: {error:#}")).ok()
    }

    /// Whether there is compiled code for the component with SHA-256 `digest`, sound or not.
    pub(crate) fn has(&self, engine: &Engine, digest: &str) -> bool {
        self.folder.join(file_name(digest, engine.fingerprint())).is_file()
    }

    /// Keeps the compiled form of a component. A failure is logged only: the next start compiles again.
    pub(crate) fn store(&self, engine: &Engine, digest: &str, component: &Component) {
        let name = file_name(digest, engine.fingerprint());
        let written = component
            .serialize()
            .map_err(|error| io::Error::other(format!("{error:#}")))
            .and_then(|code| self.write(&name, &code));
        if let Err(error) = written {
            tracing::warn!("failed to write the code cache {}: {error}", self.folder.display());
        }
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let temporary = self.folder.join(format!(".{}", hex(&random_bytes::<12>())));
        let written = create_private(&temporary).and_then(|mut file| {
            file.write_all(MAGIC)?;
            file.write_all(&self.tag(name, code).finalize().into_bytes())?;
            file.write_all(code)?;
            fs::rename(&temporary, self.folder.join(name))
        });
        if written.is_err() {
            drop(fs::remove_file(&temporary));
        }
        written
    }

    fn verify<'a>(&self, name: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let (tag, code) = bytes.strip_prefix(MAGIC)?.split_at_checked(TAG_BYTES)?;
        self.tag(name, code).verify_slice(tag).ok()?;
        Some(code)
    }

    fn tag(&self, name: &str, code: &[u8]) -> Hmac<Sha256> {
        let mut mac = mac(&self.key);
        mac.update(name.as_bytes());
        mac.update(&[0]);
        mac.update(code);
        mac
    }
}

/// An HMAC-SHA256 under `key`.
pub(crate) fn mac(key: &[u8]) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length (RFC 2104)")]
    Hmac::new_from_slice(key).expect("HMAC takes keys of every length")
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        // Writing into a string does not fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn file_name(digest: &str, fingerprint: &str) -> String {
    format!("{digest}-{}.cwasm", fingerprint.get(..16).unwrap_or(fingerprint))
}

fn key_of(folder: &Path, owner: u32) -> io::Result<[u8; KEY_BYTES]> {
    let path = folder.join("key");
    let read = || read_owned(&path, owner).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
    if let Some(key) = read() {
        return Ok(key);
    }
    // Two processes may come here at once: both rename a key into place and both then read the one that won.
    let temporary = folder.join(format!(".{}", hex(&random_bytes::<12>())));
    create_private(&temporary)?.write_all(&random_bytes::<KEY_BYTES>())?;
    fs::rename(&temporary, &path)?;
    read().ok_or_else(|| io::Error::other("the key of the code cache cannot be read back"))
}

fn probe_owner(folder: &Path) -> io::Result<u32> {
    let probe = folder.join(format!(".{}", hex(&random_bytes::<12>())));
    let owner = create_private(&probe).and_then(|file| file.metadata()).map(|metadata| owner_of(&metadata));
    drop(fs::remove_file(&probe));
    owner
}

fn read_owned(path: &Path, owner: u32) -> io::Result<Vec<u8>> {
    // Opening a FIFO would wait for somebody who writes to it.
    let is_file = fs::metadata(path)?.is_file();
    let foreign = || io::Error::new(io::ErrorKind::PermissionDenied, "not a file of this user");
    let mut file = if is_file { fs::File::open(path)? } else { return Err(foreign()) };
    let metadata = file.metadata()?;
    if !metadata.is_file() || owner_of(&metadata) != owner {
        return Err(foreign());
    }
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
    file.read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(unix)]
fn make_private(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::metadata(folder)?.permissions().mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

#[cfg(not(unix))]
fn make_private(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

fn create_private(path: &Path) -> io::Result<fs::File> {
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

#[cfg(unix)]
fn owner_of(metadata: &fs::Metadata) -> u32 {
    std::os::unix::fs::MetadataExt::uid(metadata)
}

#[cfg(not(unix))]
fn owner_of(_metadata: &fs::Metadata) -> u32 {
    0
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use wasmtime::component::Component;

    use super::{Cache, file_name};
    use crate::plugin::engine::Engine;

    /// Smallest component: its header (component-model Binary.md).
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    fn setup() -> (tempfile::TempDir, Engine, Cache, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::new(0).unwrap();
        let cache = Cache::open(&folder.path().join("code")).unwrap();
        let component = Component::from_binary(engine.wasmtime(), EMPTY).unwrap();
        cache.store(&engine, "d1", &component);
        let file = folder.path().join("code").join(file_name("d1", engine.fingerprint()));
        (folder, engine, cache, file)
    }

    #[test]
    fn what_was_stored_is_found_again_also_after_reopening() {
        let (folder, engine, cache, file) = setup();
        assert!(cache.load(&engine, "d1").is_some());
        assert!(cache.load(&engine, "d2").is_none());
        let reopened = Cache::open(&folder.path().join("code")).unwrap();
        assert!(reopened.load(&engine, "d1").is_some());
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(folder.path().join("code")).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::read_dir(folder.path().join("code")).unwrap().count(), 2, "key and one file, nothing temporary");
    }

    #[test]
    fn damaged_foreign_and_renamed_files_are_not_trusted() {
        let (folder, engine, cache, file) = setup();
        let sound = fs::read(&file).unwrap();
        let flipped = |at: usize| {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            bytes
        };
        for (what, bytes) in [
            ("magic", flipped(0)),
            ("tag", flipped(12)),
            ("code", flipped(sound.len() - 1)),
            ("cut", sound[..sound.len() / 2].to_vec()),
            ("short", sound[..9].to_vec()),
            ("empty", Vec::new()),
        ] {
            fs::write(&file, bytes).unwrap();
            assert!(cache.load(&engine, "d1").is_none(), "{what}");
        }
        fs::remove_file(&file).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&file).status().unwrap().success());
        assert!(cache.load(&engine, "d1").is_none(), "a pipe, which nobody waits for");
        fs::remove_file(&file).unwrap();
        fs::write(file.with_file_name(file_name("d2", engine.fingerprint())), &sound).unwrap();
        assert!(cache.load(&engine, "d2").is_none(), "another component's code under this name");
        fs::write(&file, &sound).unwrap();
        assert!(cache.load(&engine, "d1").is_some());
        fs::remove_file(folder.path().join("code/key")).unwrap();
        let other_key = Cache::open(&folder.path().join("code")).unwrap();
        assert!(other_key.load(&engine, "d1").is_none(), "tagged by another installation");
    }

    #[test]
    fn open_folders_are_closed_to_others() {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        Cache::open(folder.path()).unwrap();
        assert_eq!(fs::metadata(folder.path()).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
