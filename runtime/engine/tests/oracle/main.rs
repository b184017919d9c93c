//! Random programs against tiny independent interpreters.
//!
//! [`sequence`] walks lists of basic tasks with loops; [`nested`] runs programs of all containers, with strategies,
//! failures, retries, timeouts, sleeps and cancels, side by side in simulated time. The oracles know nothing of events,
//! timers or commands. The engine must do the same, also when it is thrown away and restored from its rows between any
//! two events.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod build;
mod interpreter;
mod nested;
mod program;
mod sequence;
mod simulation;
