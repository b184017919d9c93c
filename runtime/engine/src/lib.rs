//! compozy's engine: plan, run state, event and time in; run state, records and commands out.
//!
//! Nothing here knows a clock, a disk, a network or wasm. [`decide::decide`] takes what happened and says what is to be
//! recorded and done; the node commits the records and then carries out the commands. Equal arguments give equal
//! answers, so every strategy, retry and timeout is tested as plain data and a run can be replayed from its rows.
//!
//! The parts, in reading order: [`status`] and [`error`] are the vocabulary; [`state`] is what a run has come to, with
//! [`opening`] for the steps that hold others; [`event`] is what can happen to it; [`record`] and [`command`] are the
//! answer; [`decide`] decides, with [`flow`] (which task comes next), [`retry`] (whether and when a failure is tried again)
//! and [`fork`] (which records of another run a new one keeps) beside it; [`container`] says what a container's children come to; [`context`] builds what templates see and
//! [`cel`] evaluates conditions over it.

pub mod cel;
pub mod command;
pub mod container;
pub mod context;
pub mod decide;
pub mod error;
pub mod event;
pub mod flow;
pub mod fork;
pub mod json;
pub mod opening;
pub mod record;
pub mod retry;
pub mod state;
pub mod status;
pub mod time;
