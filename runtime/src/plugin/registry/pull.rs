//! Fetches what a project names, and pins it.

use std::path::Path;

use compozy_lang::oci::{self, Reference};
use compozy_lang::plan::Plugin;

use super::Error;
use super::cache::{Cache, Content};
use super::client::{self, Repository};
use super::lock::{Lock, Pinned};
use super::manifest::{self, Layer};
use crate::plugin::entry;

/// What may be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// What is pinned stays so; what is new is pinned.
    Add,
    /// Tags are asked for anew.
    Update,
    /// Nothing is pinned that is not.
    Locked,
}

/// What was done for a plugin.
#[derive(Debug, Clone)]
pub struct Pulled {
    /// Id of its entry.
    pub id: String,
    /// What it is pinned to.
    pub pinned: Pinned,
    /// The component had to be fetched.
    pub is_fetched: bool,
    /// The lock changes.
    pub is_changed: bool,
}

/// Whether an entry's component comes from a registry.
#[must_use]
pub fn is_remote(entry: &Plugin) -> bool {
    entry.source.starts_with(oci::SCHEME)
}

/// Pulls `wanted`, entries of the project in `root` whose entries from registries are `all`, and brings the lock up to
/// date; entries that are gone leave it. Nothing of the lock is written unless all went well.
///
/// # Errors
/// The first entry that could not be pulled, with its id, or `None` where it is the lock's matter.
pub async fn pull(
    root: &Path,
    all: &[&Plugin],
    wanted: &[&Plugin],
    mode: Mode,
) -> Result<Vec<Pulled>, (Option<String>, Error)> {
    let before = Lock::read(root).map_err(|error| (None, error))?;
    let cache = Cache::of(root);
    let http = client::http().map_err(|error| (None, error))?;
    let mut lock = before.clone();
    lock.plugins.retain(|id, pinned| all.iter().any(|entry| entry.id == *id && entry.source == pinned.source));
    let mut done = Vec::with_capacity(wanted.len());
    for entry in wanted {
        let pulled = one(&http, &cache, &before, entry, mode).await;
        let pulled = pulled.map_err(|error| (Some(entry.id.clone()), error))?;
        lock.plugins.insert(entry.id.clone(), pulled.pinned.clone());
        done.push(pulled);
    }
    if lock != before {
        if mode == Mode::Locked {
            return Err((None, Error::Lock("compozy.lock names plugins that the project does not".to_owned())));
        }
        lock.write(root).map_err(|error| (None, error))?;
    }
    Ok(done)
}

async fn one(http: &reqwest::Client, cache: &Cache, lock: &Lock, entry: &Plugin, mode: Mode) -> Result<Pulled, Error> {
    let reference = Reference::parse(&entry.source).map_err(Error::Reference)?;
    let before = lock.pinned(&entry.id, &entry.source);
    if before.is_none() && mode == Mode::Locked {
        return Err(Error::Lock(format!("compozy.lock has nothing for {}", entry.source)));
    }
    let kept = before.filter(|_| mode != Mode::Update).map(|pinned| digits(&pinned.manifest)).transpose()?;
    let digest = reference.digest.clone().or(kept);
    let mut repository = Repository::new(http, &reference)?;
    let (digest, layer) = manifest_of(&mut repository, cache, digest).await?;
    // What is here and damaged is fetched again.
    let present = cache.load(&layer.digest, Content::Component).ok().flatten();
    let is_fetched = present.is_none();
    let bytes = match present {
        Some(bytes) => bytes,
        None => {
            repository.component(&layer, cache).await?;
            let kept = cache.load(&layer.digest, Content::Component)?;
            kept.ok_or_else(|| Error::NotFound(format!("sha256:{} in the cache", layer.digest)))?
        }
    };
    entry::inspect(&bytes, entry.kind)?;
    entry::check_digest(entry, &layer.digest)?;
    let pinned = Pinned {
        source: entry.source.clone(),
        manifest: format!("sha256:{digest}"),
        component: format!("sha256:{}", layer.digest),
        size: layer.size,
    };
    let is_changed = before != Some(&pinned);
    if is_changed && mode == Mode::Locked {
        return Err(Error::Lock(format!("compozy.lock says something else of {}", entry.source)));
    }
    Ok(Pulled { id: entry.id.clone(), pinned, is_fetched, is_changed })
}

/// The manifest of a digest, from the cache if it is there, else of the tag; with its digest.
async fn manifest_of(
    repository: &mut Repository<'_>,
    cache: &Cache,
    digest: Option<String>,
) -> Result<(String, Layer), Error> {
    let present = digest.as_deref().and_then(|digest| cache.load(digest, Content::Manifest).ok().flatten());
    let (digest, bytes) = match (digest, present) {
        (Some(digest), Some(bytes)) => (digest, bytes),
        (digest, _) => {
            let (digest, bytes) = repository.manifest(digest.as_deref()).await?;
            cache.store(&digest, Content::Manifest, &bytes)?;
            (digest, bytes)
        }
    };
    let layer = manifest::layer(&bytes).map_err(Error::NotAComponent)?;
    Ok((digest, layer))
}

fn digits(digest: &str) -> Result<String, Error> {
    oci::hex_of(digest).map_err(Error::Lock)
}
