//! Executions.

mod asked;
pub(super) mod cancel;
pub(super) mod events;
pub(super) mod fork;
pub(super) mod get;
pub(super) mod list;
pub(super) mod pause;
pub(super) mod signals;
pub(super) mod stream;
pub(super) mod tasks;
