//! Structured log records.

pub use crate::bindings::host::compozy::host::log::Level;
use crate::bindings::host::compozy::host::log::log as write;

/// Writes one record with `fields`. Never fails; what exceeds the host's cap is dropped there.
pub fn record(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<(String, String)> =
        fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    write(level, message, &fields);
}

/// Writes a message at level `debug`.
pub fn debug(message: &str) {
    write(Level::Debug, message, &[]);
}

/// Writes a message at level `info`.
pub fn info(message: &str) {
    write(Level::Info, message, &[]);
}

/// Writes a message at level `warn`.
pub fn warn(message: &str) {
    write(Level::Warn, message, &[]);
}

/// Writes a message at level `error`.
pub fn error(message: &str) {
    write(Level::Error, message, &[]);
}

/// Sends the message of a panic to the log, since a trap carries no text. `export_tool!` does it for tools.
pub fn panics() {
    #[cfg(target_arch = "wasm32")]
    std::panic::set_hook(Box::new(|panic| error(&panic.to_string())));
}
