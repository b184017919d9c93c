//! Workflows, and starting them.

pub(super) mod executions;
pub(super) mod get;
pub(super) mod list;
pub(super) mod run_sync;
pub(super) mod start;
