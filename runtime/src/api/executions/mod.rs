//! Executions.

pub(super) mod cancel;
pub(super) mod events;
pub(super) mod get;
pub(super) mod list;
pub(super) mod stream;
pub(super) mod tasks;
