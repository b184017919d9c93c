//! Secrets by name, as placeholders whose value the host puts into outgoing requests.

use crate::Result;
use crate::bindings::host::compozy::host::secrets;

/// The placeholder of the secret `name`, granted with `permissions.secrets`. Use it in a header or a body.
///
/// # Errors
/// `CZ0703` when it is not granted.
pub fn get(name: &str) -> Result<String> {
    Ok(secrets::get(name)?)
}
