//! The plugin's own durable key-value space, granted with `permissions.kv`.
//! Keys are 1 to 512 bytes, values at most 1 MiB.

use std::time::Duration;

use crate::Result;
use crate::bindings::host::compozy::host::kv;

/// The value of `key`.
///
/// # Errors
/// `CZ0703` when not granted, `CZ0704` when a limit is passed; so for every function here.
pub fn get(key: &str) -> Result<Option<Vec<u8>>> {
    Ok(kv::get(key)?)
}

/// Stores `value` for good.
///
/// # Errors
/// As [`get`].
pub fn set(key: &str, value: &[u8]) -> Result<()> {
    Ok(kv::set(key, value, None)?)
}

/// Stores `value` until `lifetime` has passed.
///
/// # Errors
/// As [`get`].
pub fn set_for(key: &str, value: &[u8], lifetime: Duration) -> Result<()> {
    let milliseconds = u64::try_from(lifetime.as_millis()).unwrap_or(u64::MAX);
    Ok(kv::set(key, value, Some(milliseconds))?)
}

/// Stores `value` only if the present value equals `expected` (`None`: absent); true when stored.
///
/// # Errors
/// As [`get`].
pub fn compare_and_set(key: &str, expected: Option<&[u8]>, value: &[u8]) -> Result<bool> {
    Ok(kv::compare_and_set(key, expected, value)?)
}

/// Removes `key`; true when it was there.
///
/// # Errors
/// As [`get`].
pub fn delete(key: &str) -> Result<bool> {
    Ok(kv::delete(key)?)
}

/// At most `limit` (1 to 1,000) keys that start with `prefix` and come after `after`, in byte order.
///
/// # Errors
/// As [`get`].
pub fn keys(prefix: &str, after: Option<&str>, limit: u32) -> Result<Vec<String>> {
    Ok(kv::keys(prefix, after, limit)?)
}
