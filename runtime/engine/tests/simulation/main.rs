//! The engine on several nodes over a simulated store, in simulated time, with everything going wrong that may.
//!
//! One seed draws programs, clients, delays, crashes, lost and late messages, clocks that jump, nodes that stand still
//! for longer than their lease, and commits that fail or succeed unheard. Only text survives in the [`store`]. After
//! every commit the [`audit`] checks what must always hold, at the end that everything has come to what the oracle says.
//!
//! `COMPOZY_SIM_SEED=7 cargo test -p compozy-engine --test simulation` replays seed 7 and prints its last events;
//! `cargo simulate` tries 100,000 seeds.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on should stop")]

mod audit;
#[allow(dead_code, reason = "shared with the oracle's tests")]
#[path = "../oracle/build.rs"]
mod build;
mod clients;
mod driver;
mod effects;
mod fault;
#[allow(dead_code, reason = "shared with the oracle's tests")]
#[path = "../oracle/interpreter.rs"]
mod interpreter;
mod node;
#[allow(dead_code, reason = "shared with the oracle's tests")]
#[path = "../oracle/program.rs"]
mod program;
mod programs;
mod projection;
mod rng;
mod seeds;
mod store;
mod world;

use fault::Fault;

/// Seeds of an ordinary test run.
const SEEDS: u64 = 2_000;

/// Seeds within which each fault must be found.
const SEEDS_PER_FAULT: u64 = 2_000;

#[test]
fn seeds_hold_every_invariant() {
    if let Some(seed) = seeds::from_environment("COMPOZY_SIM_SEED") {
        return seeds::replay(seed);
    }
    let first = seeds::from_environment("COMPOZY_SIM_FROM").unwrap_or(1);
    let count = seeds::from_environment("COMPOZY_SIM_SEEDS").unwrap_or(SEEDS);
    let sum = seeds::try_all(first, count);
    // A simulation in which nothing happens proves nothing.
    assert!(sum.compared > count / 5, "the oracle was asked too rarely: {sum:?}");
}

#[test]
fn every_fault_is_found() {
    if seeds::from_environment("COMPOZY_SIM_SEED").is_some() {
        return;
    }
    let missed: Vec<Fault> =
        Fault::ALL.into_iter().filter(|fault| seeds::find(*fault, SEEDS_PER_FAULT).is_none()).collect();
    assert!(missed.is_empty(), "not found within {SEEDS_PER_FAULT} seeds: {missed:?}");
}
