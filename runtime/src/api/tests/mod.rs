//! The API from outside: a real server on a port of its own, over a real database.

mod connections;
mod executions;
mod forks;
mod memory;
mod problems;
mod schedules;
mod start;
mod stopping;
mod stream;
pub(in crate::api) mod support;
