//! Everything that is tested from outside: the built binary, its server and its plugins.
//!
//! One binary, since each links the whole engine. A module per question; what they share stands in `support`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test ends by panicking")]

mod agents;
mod api;
mod bad_input;
mod canaries;
mod cli;
mod cluster;
mod conformance;
mod control;
mod crash;
mod disk;
mod docs;
mod events;
mod forks;
mod hostile;
mod languages;
mod migrate;
mod plugins;
mod postgres;
mod providers;
mod registry;
mod schedules;
mod scripts;
mod secrets;
mod support;
mod tidy;
mod transfer;
mod unusable;
mod walkthroughs;
