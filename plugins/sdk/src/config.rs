//! The settings the project gives to this plugin.

use serde::de::DeserializeOwned;

use crate::bindings::host::compozy::host::config;
use crate::{Error, Result};

/// The `config:` map of the plugin, `{}` when absent.
///
/// # Errors
/// `invalid_config` when the map does not fit `T`.
pub fn get<T: DeserializeOwned>() -> Result<T> {
    serde_json::from_str(&config::get()).map_err(|error| Error::new("invalid_config", error.to_string()))
}

/// An environment variable granted with `permissions.env`; `None` when it is granted but unset.
///
/// # Errors
/// `CZ0703` when it is not granted.
pub fn env(name: &str) -> Result<Option<String>> {
    Ok(config::env(name)?)
}
