//! From an entry with a source in a registry to its bytes, without asking anyone.

use std::path::Path;

use compozy_lang::oci::{self, Reference};
use compozy_lang::plan::Plugin;

use super::cache::{Cache, Content};
use super::lock::Lock;
use super::manifest;
use crate::plugin::component::Source;
use crate::plugin::error::Error;

/// The component that was pulled for an entry of the project in `root`.
///
/// # Errors
/// It was not pulled, or is something else than lock and digest say ([`Error::NotPulled`], [`Error::Digest`]).
pub(in crate::plugin) fn component(root: &Path, entry: &Plugin) -> Result<Source, Error> {
    let lock = Lock::read(root).map_err(told)?;
    find(&Cache::of(root), &lock, entry)
}

fn find(cache: &Cache, lock: &Lock, entry: &Plugin) -> Result<Source, Error> {
    let reference = Reference::parse(&entry.source).map_err(Error::Unusable)?;
    let pinned = lock.pinned(&entry.id, &entry.source);
    let component = match (&reference.digest, pinned) {
        (Some(written), Some(pinned)) if digits(&pinned.manifest) != *written => {
            return Err(Error::Digest {
                expected: format!("sha256:{written}"),
                found: format!("{} in the lock", pinned.manifest),
            });
        }
        (_, Some(pinned)) => digits(&pinned.component),
        // The digest says which manifest is meant, and that says which component.
        (Some(written), None) => {
            let manifest = cache.load(written, Content::Manifest).map_err(told)?;
            let manifest = manifest.ok_or_else(|| Error::NotPulled("it is not on this machine".to_owned()))?;
            manifest::layer(&manifest).map_err(Error::Unusable)?.digest
        }
        (None, None) => return Err(Error::NotPulled("it has no digest, and compozy.lock none for it".to_owned())),
    };
    let bytes = cache.load(&component, Content::Component).map_err(told)?;
    let bytes = bytes.ok_or_else(|| Error::NotPulled("it is not on this machine".to_owned()))?;
    Ok(Source::Bytes(bytes.into()))
}

fn digits(digest: &str) -> String {
    oci::hex_of(digest).unwrap_or_default()
}

fn told(error: super::Error) -> Error {
    match error {
        super::Error::Digest { expected, found } => Error::Digest { expected: format!("sha256:{expected}"), found },
        other => Error::NotPulled(other.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use compozy_lang::plan::PluginKind;
    use serde_json::json;
    use sha2::{Digest, Sha256};

    use super::super::lock::Pinned;
    use super::*;
    use crate::plugin::cache::hex;

    #[test]
    fn lock_and_cache_say_which_bytes_are_meant() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let component = hex(&Sha256::digest(b"bytes"));
        let layers = json!([{"mediaType": "application/wasm", "digest": format!("sha256:{component}"), "size": 5}]);
        let manifest = json!({"layers": layers}).to_string();
        let digest = hex(&Sha256::digest(&manifest));
        let by_tag = "oci:ghcr.io/acme/shop:1.2".to_owned();
        let by_digest = format!("oci:ghcr.io/acme/shop@sha256:{digest}");
        let mut lock = Lock::default();
        let code = |lock: &Lock, source: &str| {
            find(&cache, lock, &Plugin::builtin(source, PluginKind::Tool, Default::default()))
                .map_or_else(|error| format!("{} {error}", error.code()), |_| "found".to_owned())
        };
        let id = Plugin::builtin(&by_tag, PluginKind::Tool, Default::default()).id;
        assert!(code(&lock, &by_tag).starts_with("CZ0711 not pulled: it has no digest"), "{}", code(&lock, &by_tag));
        assert_eq!(code(&lock, &by_digest), "CZ0711 not pulled: it is not on this machine");

        cache.store(&digest, Content::Manifest, manifest.as_bytes()).unwrap();
        assert_eq!(code(&lock, &by_digest), "CZ0711 not pulled: it is not on this machine");
        cache.store(&component, Content::Component, b"bytes").unwrap();
        assert_eq!(code(&lock, &by_digest), "found");

        let pinned = |source: &str, manifest: &str| Pinned {
            source: source.into(),
            manifest: format!("sha256:{manifest}"),
            component: format!("sha256:{component}"),
            size: 5,
        };
        lock.plugins.insert(id.clone(), pinned(&by_tag, &digest));
        assert_eq!(code(&lock, &by_tag), "found");
        assert!(code(&lock, "oci:ghcr.io/acme/shop:1.3").starts_with("CZ0711 not pulled"));
        let id = Plugin::builtin(&by_digest, PluginKind::Tool, Default::default()).id;
        lock.plugins.insert(id, pinned(&by_digest, &"0".repeat(64)));
        assert!(code(&lock, &by_digest).starts_with("CZ0711 digest mismatch"), "{}", code(&lock, &by_digest));
    }
}
