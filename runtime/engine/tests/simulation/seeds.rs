//! Ranges of seeds, tried on all cores; each simulation runs on one thread.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::world::{End, World};

/// What a range of seeds came to.
#[derive(Debug, Default)]
pub(crate) struct Sum {
    pub(crate) runs: u64,
    pub(crate) compared: u64,
    pub(crate) commits: u64,
}

pub(crate) fn from_environment(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Runs one seed and shows its last events when it fails.
pub(crate) fn replay(seed: u64) {
    let end = World::new(seed, None, true).run();
    if let Some(violation) = end.violation {
        for line in &end.trace {
            eprintln!("{line}");
        }
        panic!("seed {seed}: {violation}");
    }
    eprintln!("seed {seed} holds: {} runs, {} commits, {} compared", end.runs, end.commits, end.compared);
}

/// Runs `count` seeds from `first` on; shows the smallest that fails.
pub(crate) fn try_all(first: u64, count: u64) -> Sum {
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let (sum, failed) = (Mutex::new(Sum::default()), Mutex::new(None::<u64>));
    let began = Instant::now();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let work = || {
            while failed.lock().unwrap().is_none() {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= first + count {
                    return;
                }
                match attempt(seed, None) {
                    Ok(End { violation: None, runs, compared, commits, .. }) => {
                        let mut sum = sum.lock().unwrap();
                        sum.runs += runs as u64;
                        sum.compared += compared as u64;
                        sum.commits += commits;
                    }
                    _ => {
                        let mut failed = failed.lock().unwrap();
                        *failed = Some(failed.map_or(seed, |other| other.min(seed)));
                    }
                }
                done.fetch_add(1, Ordering::Relaxed);
            }
        };
        for _ in 0..workers {
            scope.spawn(work);
        }
        let mut told = Duration::ZERO;
        while done.load(Ordering::Relaxed) < count && failed.lock().unwrap().is_none() {
            std::thread::park_timeout(Duration::from_millis(20));
            if began.elapsed() > told + Duration::from_secs(5) {
                told = began.elapsed();
                progress(done.load(Ordering::Relaxed), count, told);
            }
        }
    });
    if let Some(seed) = *failed.lock().unwrap() {
        eprintln!(
            "seed {seed} fails; replay it with COMPOZY_SIM_SEED={seed} cargo test -p compozy-engine --test simulation"
        );
        replay(seed);
        panic!("seed {seed} failed, and did not when it was replayed");
    }
    progress(count, count, began.elapsed());
    let sum = sum.into_inner().unwrap();
    eprintln!("{} runs, {} commits, {} compared with the oracle", sum.runs, sum.commits, sum.compared);
    sum
}

fn progress(done: u64, count: u64, elapsed: Duration) {
    eprintln!("{done} of {count} seeds, {:.0} per second", done as f64 / elapsed.as_secs_f64());
}

/// The first seed that finds a fault, and how many seeds that took.
pub(crate) fn find(fault: Fault, seeds: u64) -> Option<u64> {
    for seed in 1..=seeds {
        let found = match attempt(seed, Some(fault)) {
            Ok(end) => end.violation,
            Err(panicked) => Some(panicked),
        };
        if let Some(violation) = found {
            let first_line = violation.lines().next().unwrap_or_default();
            let short: String = first_line.chars().take(150).collect();
            eprintln!("{fault:?}: found by seed {seed}: {short}");
            return Some(seed);
        }
    }
    eprintln!("{fault:?}: not found within {seeds} seeds");
    None
}

/// Runs one seed; what panics is found too.
fn attempt(seed: u64, fault: Option<Fault>) -> Result<End, String> {
    catch_unwind(AssertUnwindSafe(|| World::new(seed, fault, false).run())).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}
