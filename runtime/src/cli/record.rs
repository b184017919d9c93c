//! Run records: how a client finds the server of its project (cli-and-api §4.2).
//!
//! A server writes `<root>/.compozy/run/<instance>.json` as its first act and removes it last. The folder is 0700 and
//! the file 0600, since the file holds the key that proves the server's identity.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Largest record that is read, bytes.
const LARGEST: u64 = 64 << 10;

/// How far a server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does not listen yet.
    Starting,
    /// It listens.
    Listening,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Id of the process.
    pub instance_id: String,
    /// Process id.
    pub pid: u32,
    /// `http://127.0.0.1:8080`, once it listens.
    pub url: Option<String>,
    /// Project file, absolute.
    pub config: PathBuf,
    /// Project name.
    pub project: String,
    /// `sqlite` or `postgres`.
    pub driver: String,
    /// 32 bytes in hex, once the database is open.
    pub identity_key: Option<String>,
    /// Version of compozy.
    pub version: String,
    /// How far it is.
    pub state: State,
}

/// A record in its file; dropping it removes the file.
#[derive(Debug)]
pub struct Written {
    path: PathBuf,
    record: Record,
}

impl Written {
    /// Writes a record below `root`, or, where that cannot be written, below `runtime` (`$XDG_RUNTIME_DIR`).
    ///
    /// # Errors
    /// The last attempt's.
    pub fn create(root: &Path, runtime: Option<&Path>, record: Record) -> std::io::Result<Self> {
        let mut last = std::io::Error::other("no folder to write to");
        for folder in folders(root, runtime) {
            let path = folder.join(format!("{}.json", record.instance_id));
            match private_folder(&folder).and_then(|()| write(&path, &record)) {
                Ok(()) => return Ok(Self { path, record }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Changes the record and writes it again.
    ///
    /// # Errors
    /// The file cannot be replaced.
    pub fn update(&mut self, change: impl FnOnce(&mut Record)) -> std::io::Result<()> {
        change(&mut self.record);
        write(&self.path, &self.record)
    }
}

impl Drop for Written {
    fn drop(&mut self) {
        let _already_gone = std::fs::remove_file(&self.path);
    }
}

/// A record that was found, with its file.
#[derive(Debug, Clone)]
pub struct Found {
    /// Its file.
    pub path: PathBuf,
    /// What it says.
    pub record: Record,
}

impl Found {
    /// Reads it again; `None` when it is gone.
    #[must_use]
    pub fn again(&self) -> Option<Self> {
        read(&self.path)
    }

    /// Removes the record of a server that is no more.
    pub fn discard(&self) {
        let _already_gone = std::fs::remove_file(&self.path);
    }

    /// Whether its process lives, as far as can be told.
    #[must_use]
    pub fn alive(&self) -> bool {
        let processes = Path::new("/proc");
        !processes.join("self").exists() || processes.join(self.record.pid.to_string()).exists()
    }
}

/// The records of this user below `root`, only those of the project file `config` if one is given.
#[must_use]
pub fn list(root: &Path, runtime: Option<&Path>, config: Option<&Path>) -> Vec<Found> {
    let entries =
        folders(root, runtime).into_iter().filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let mut found: Vec<Found> = entries
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .filter_map(|path| read(&path))
        .filter(|found| config.is_none_or(|config| same(&found.record.config, config)))
        .collect();
    found.sort_by(|one, other| one.record.instance_id.cmp(&other.record.instance_id));
    found
}

fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    one == other || real(one) == real(other)
}

/// Where records of a root may stand, best first.
fn folders(root: &Path, runtime: Option<&Path>) -> Vec<PathBuf> {
    let mut folders = vec![root.join(".compozy/run")];
    let real = std::fs::canonicalize(root).unwrap_or_else(|_| root.to_owned());
    let hash = hex(&Sha256::digest(real.as_os_str().as_encoded_bytes()));
    folders.extend(runtime.and_then(|runtime| Some(runtime.join("compozy").join(hash.get(..16)?))));
    folders
}

/// Bytes as lower-case hex digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Bytes of hex digits; `None` for anything else.
#[must_use]
pub fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u32> = text.chars().map(|c| c.to_digit(16)).collect::<Option<_>>()?;
    digits
        .chunks(2)
        .map(|pair| match pair {
            [high, low] => u8::try_from(high * 16 + low).ok(),
            _ => None,
        })
        .collect()
}

fn private_folder(folder: &Path) -> std::io::Result<()> {
    if let Some(parent) = folder.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    #[cfg(unix)]
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o700))?;
    Ok(())
}

/// Writes beside and renames, so that no reader sees half a record.
fn write(path: &Path, record: &Record) -> std::io::Result<()> {
    let draft = path.with_extension("new");
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&draft)?;
    file.write_all(&serde_json::to_vec_pretty(record)?)?;
    drop(file);
    std::fs::rename(&draft, path)
}

/// Reads a record of this user's; whatever else lies there is passed over.
fn read(path: &Path) -> Option<Found> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > LARGEST || !is_own(&metadata) {
        return None;
    }
    let record = serde_json::from_slice(&std::fs::read(path).ok()?).ok()?;
    Some(Found { path: path.to_owned(), record })
}

#[cfg(unix)]
fn is_own(metadata: &std::fs::Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;
    user_id().is_none_or(|own| own == metadata.uid()) && metadata.mode() & 0o077 == 0
}

#[cfg(not(unix))]
fn is_own(_metadata: &std::fs::Metadata) -> bool {
    true
}

/// The user this process runs as: the owner of its entry in `/proc`.
#[must_use]
pub fn user_id() -> Option<u32> {
    #[cfg(unix)]
    return std::fs::metadata("/proc/self").ok().map(|metadata| std::os::unix::fs::MetadataExt::uid(&metadata));
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(instance: &str, config: &Path) -> Record {
        Record {
            instance_id: instance.to_owned(),
            pid: std::process::id(),
            url: None,
            config: config.to_owned(),
            project: "p".into(),
            driver: "sqlite".into(),
            identity_key: None,
            version: "0".into(),
            state: State::Starting,
        }
    }

    #[test]
    fn records_are_private_filtered_and_removed() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let (root, config) = (folder.path(), folder.path().join("compozy.yaml"));
        let mut one = Written::create(root, None, record("1", &config)).unwrap();
        let other = Written::create(root, None, record("2", &root.join("other.yaml"))).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&root.join(".compozy/run")), mode(&one.path)), (0o700, 0o600));

        assert_eq!(list(root, None, None).len(), 2);
        let found = list(root, None, Some(&config));
        assert_eq!(found.len(), 1);
        assert!(found[0].alive());
        one.update(|record| record.state = State::Listening).unwrap();
        assert_eq!(found[0].again().unwrap().record.state, State::Listening);
        drop(one);
        assert!(found[0].again().is_none());
        drop(other);
        assert!(list(root, None, None).is_empty());
    }

    #[test]
    fn what_is_no_private_record_is_passed_over() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let run = folder.path().join(".compozy/run");
        private_folder(&run).unwrap();
        std::fs::write(run.join("junk.json"), "{").unwrap();
        let open = run.join("open.json");
        std::fs::write(&open, serde_json::to_vec(&record("3", Path::new("/c"))).unwrap()).unwrap();
        std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(list(folder.path(), None, None).is_empty());
    }

    #[test]
    fn an_unwritable_root_falls_back_to_the_runtime_folder() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("file");
        std::fs::write(&root, "").unwrap();
        let written = Written::create(&root, Some(folder.path()), record("4", Path::new("/c"))).unwrap();
        assert!(written.path.starts_with(folder.path().join("compozy")));
        assert_eq!(list(&root, Some(folder.path()), None).len(), 1);
    }

    #[test]
    fn hex_goes_both_ways() {
        assert_eq!(unhex(&hex(&[0, 15, 255])), Some(vec![0, 15, 255]));
        assert_eq!(unhex("0"), None);
        assert_eq!(unhex("zz"), None);
    }
}
