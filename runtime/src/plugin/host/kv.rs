//! `compozy:host/kv`: the plugin's own key-value space, kept in the project's database.

use std::sync::Arc;
use std::time::Duration;

use compozy_engine::time::Timestamp;

use super::quota::{Quotas, SPACE_BYTES};
use super::{over_limit, unavailable};
use crate::plugin::bindings::lent::compozy::host::{kv, types};
use crate::plugin::state::State;
use crate::storage::row::KvEntry;
use crate::storage::{self, Storage};

/// Most bytes of a key.
const KEY_BYTES: usize = 512;

/// Bytes of a value.
const VALUE_BYTES: usize = 1 << 20;

/// Keys of one answer.
const KEYS: u32 = 1_000;

/// What an allowed call works with.
struct Space {
    storage: Arc<dyn Storage>,
    quotas: Arc<Quotas>,
    id: String,
    now: Timestamp,
}

impl Space {
    async fn set(&self, entry: KvEntry, expected: Option<Option<Vec<u8>>>) -> Result<bool, types::Error> {
        let bytes = (entry.key.len() + entry.value.len()) as u64;
        match self.quotas.take(&*self.storage, &self.id, bytes).await {
            Ok(true) => self.storage.kv_set(entry, expected, self.now).await.map_err(|error| failed(&error)),
            Ok(false) => Err(over_limit(format!("all keys and values together have at most {SPACE_BYTES} bytes"))),
            Err(error) => Err(failed(&error)),
        }
    }
}

impl State {
    /// The space, if the plugin may use it so; decided before anything is touched.
    fn space(&mut self, write: bool) -> wasmtime::Result<Result<Space, types::Error>> {
        let call = self.enter()?;
        let binding = &call.binding;
        if let Err(refusal) = binding.grants.kv(&binding.plugin_id, write) {
            return Ok(Err(call.refused(refusal)));
        }
        let services = &binding.services;
        Ok(match &services.storage {
            Some(storage) => Ok(Space {
                storage: Arc::clone(storage),
                quotas: Arc::clone(&services.quotas),
                id: binding.plugin_id.to_string(),
                now: services.clock.now(),
            }),
            None => Err(unavailable("no database is open", false)),
        })
    }

    /// As [`Self::space`], for calls on one key.
    fn space_of_key(&mut self, key: &str, write: bool) -> wasmtime::Result<Result<Space, types::Error>> {
        let space = self.space(write)?;
        if (1..=KEY_BYTES).contains(&key.len()) || matches!(&space, Err(error) if error.code == "CZ0703") {
            return Ok(space);
        }
        Ok(Err(over_limit(format!("a key has 1 to {KEY_BYTES} bytes"))))
    }
}

/// The error of a failed storage call, without what the driver says about files and hosts.
fn failed(error: &storage::Error) -> types::Error {
    let retryable = matches!(error, storage::Error::Busy(_) | storage::Error::DiskFull);
    tracing::warn!("failed to reach a plugin's key-value space: {error}");
    unavailable("the database did not answer", retryable)
}

fn entry(space: &Space, key: String, value: Vec<u8>, ttl: Option<Duration>) -> Result<KvEntry, types::Error> {
    if value.len() > VALUE_BYTES {
        return Err(over_limit(format!("a value has at most {VALUE_BYTES} bytes")));
    }
    let expires_at = ttl.map(|ttl| {
        let micros = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
        Timestamp(space.now.0.saturating_add(micros))
    });
    Ok(KvEntry { space: space.id.clone(), key, value, expires_at })
}

impl kv::Host for State {
    async fn get(&mut self, key: String) -> wasmtime::Result<Result<Option<Vec<u8>>, types::Error>> {
        Ok(match self.space_of_key(&key, false)? {
            Ok(space) => space.storage.kv_get(&space.id, &key, space.now).await.map_err(|error| failed(&error)),
            Err(error) => Err(error),
        })
    }

    async fn set(
        &mut self,
        key: String,
        value: Vec<u8>,
        ttl_ms: Option<u64>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        let space = match self.space_of_key(&key, true)? {
            Ok(space) => space,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match entry(&space, key, value, ttl_ms.map(Duration::from_millis)) {
            Ok(entry) => space.set(entry, None).await.map(drop),
            Err(error) => Err(error),
        })
    }

    async fn compare_and_set(
        &mut self,
        key: String,
        expected: Option<Vec<u8>>,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<bool, types::Error>> {
        let space = match self.space_of_key(&key, true)? {
            Ok(space) => space,
            Err(error) => return Ok(Err(error)),
        };
        Ok(match entry(&space, key, value, None) {
            Ok(entry) => space.set(entry, Some(expected)).await,
            Err(error) => Err(error),
        })
    }

    async fn delete(&mut self, key: String) -> wasmtime::Result<Result<bool, types::Error>> {
        Ok(match self.space_of_key(&key, true)? {
            Ok(space) => {
                space.quotas.removed(&space.id);
                space.storage.kv_delete(&space.id, &key).await.map_err(|error| failed(&error))
            }
            Err(error) => Err(error),
        })
    }

    async fn keys(
        &mut self,
        prefix: String,
        after: Option<String>,
        limit: u32,
    ) -> wasmtime::Result<Result<Vec<String>, types::Error>> {
        let space = match self.space(false)? {
            Ok(space) => space,
            Err(error) => return Ok(Err(error)),
        };
        if prefix.len() > KEY_BYTES {
            return Ok(Err(over_limit(format!("a prefix has at most {KEY_BYTES} bytes"))));
        }
        let keys = space.storage.kv_keys(&space.id, &prefix, after.as_deref(), limit.clamp(1, KEYS), space.now).await;
        Ok(keys.map_err(|error| failed(&error)))
    }
}
