//! Components compiled into this binary.

use super::Source;

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// The component behind `builtin:NAME`.
#[must_use]
pub fn source(name: &str) -> Option<Source> {
    BUNDLED.iter().find(|(known, _)| *known == name).map(|(_, bytes)| Source::embedded(bytes))
}

/// Names of the bundled components.
#[must_use]
pub fn names() -> Vec<&'static str> {
    BUNDLED.iter().map(|(name, _)| *name).collect()
}
