//! The loaded project.

pub(super) mod get;
pub(super) mod reload;
