//! Components compiled ahead of time (`.cwasm`): machine code, which no sandbox holds.
//!
//! Whoever can write such a file can run anything as this user. So one is loaded only if the project has written down
//! its SHA-256 ([`Pinned`]): the operator vouches for these very bytes, as for the program itself. The bytes that are
//! hashed are the bytes that are loaded; the file is read once.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use wasmtime::Precompiled;
use wasmtime::component::Component;

use super::cache::hex;
use super::engine::{self, Engine};
use super::entry;
use super::error::Error;

/// Compiled code whose digest is the one that the project names.
#[derive(Debug, Clone)]
pub(crate) struct Pinned {
    bytes: Arc<[u8]>,
    digest: String,
}

impl Pinned {
    /// Checks `bytes` against the digest, `sha256:` and 64 hex digits, that somebody has written down for them.
    ///
    /// # Errors
    /// [`Error::Digest`]; [`Error::Precompiled`] where they are no compiled component.
    pub(crate) fn new(bytes: Arc<[u8]>, written: &str) -> Result<Self, Error> {
        let digest = hex(&Sha256::digest(&bytes));
        entry::compare(written, &digest)?;
        match wasmtime::Engine::detect_precompiled(&bytes) {
            Some(Precompiled::Component) => Ok(Self { bytes, digest }),
            _ => Err(Error::Precompiled),
        }
    }

    /// SHA-256 (hex).
    pub(crate) fn digest(&self) -> &str {
        &self.digest
    }

    /// Loads the code, if it was compiled by this version with these settings for a machine like this.
    ///
    /// # Errors
    /// [`Error::Precompiled`].
    pub(crate) fn load(&self, engine: &Engine) -> Result<Component, Error> {
        #[expect(
            unsafe_code,
            reason = "the digest of these very bytes stands in the project: its operator vouches for them"
        )]
        // SAFETY: `deserialize` demands bytes made by `Component::serialize` or `precompile_component`, and checks itself
        // that version and settings are this engine's. Whether they are such bytes nothing in them can prove; `Pinned` is
        // only made of bytes whose SHA-256 the operator has written into the project, which says so.
        let component = unsafe { Component::deserialize(engine.wasmtime(), &self.bytes) };
        component.map_err(|error| {
            tracing::warn!(digest = self.digest, "failed to load compiled code: {error:#}");
            Error::Precompiled
        })
    }
}

/// Compiles a component ahead of time, for `target` or for this very machine. Without a target the code may use all that
/// this machine's processor has; with one, only what every machine of that kind has.
///
/// # Errors
/// There is no such target, or the component is not valid.
pub fn compile(wasm: &[u8], target: Option<&str>) -> Result<Vec<u8>, Error> {
    let engine = engine::compiler(target)?;
    engine
        .precompile_component(wasm)
        .map_err(|error| Error::Unusable(format!("the component cannot be compiled: {error:#}")))
}

/// Whether the bytes are compiled code.
#[must_use]
pub fn is_compiled(bytes: &[u8]) -> bool {
    wasmtime::Engine::detect_precompiled(bytes).is_some()
}
