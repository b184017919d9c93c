//! kill -9 at any moment, any number of times: no acknowledged start is lost, no recorded step runs again, no run gets
//! stuck, and every run ends with the result that the oracle knows.
//!
//! `points` kills at each commit of small workflows, `process` at each commit of a process, `kills` at random moments,
//! `schedules` around a fire.

mod cases;
mod kills;
pub(crate) mod ledger;
mod points;
mod process;
mod schedules;
