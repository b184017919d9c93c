//! Random programs on three nodes that are killed at random moments and started again: each is asked for until somebody
//! acknowledges it, and then it ends with the result that the oracle knows.
//!
//! `COMPOZY_TEST_NODE_KILLS=100` kills more often, `COMPOZY_TEST_SEED` chooses other programs.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use super::nodes::{AtEnd, Cluster};
use crate::crash::ledger::{Ledger, check_ends};
use crate::support::program::Program;
use crate::support::random::Random;
use crate::support::{postgres, setting};

/// Programs that clients choose from.
const PROGRAMS: u64 = 24;
/// Nodes.
const NODES: usize = 3;
/// Long enough that a busy machine does not take a living node for dead.
const LEASE: &str = "2s";

/// What was acknowledged, and the key under which it was asked for: key, run, number of the program.
type Acknowledged = Mutex<BTreeMap<String, (String, usize)>>;

#[test]
fn nodes_are_killed_at_random_moments() {
    let (kills, seed) = (setting("COMPOZY_TEST_NODE_KILLS", 12), setting("COMPOZY_TEST_SEED", 1));
    let programs: Vec<Program> = (0..PROGRAMS).map(|number| Program::random(seed * 20_000 + number)).collect();
    let url = postgres::database();
    let cluster = Cluster::started(&url, LEASE, NODES, &programs);
    let (acknowledged, done) = (Acknowledged::default(), AtomicBool::new(false));
    let mut ledger = Ledger::default();
    std::thread::scope(|scope| {
        for client in 0..2 {
            let (cluster, programs, acknowledged, done) = (&cluster, &programs, &acknowledged, &done);
            scope.spawn(move || starts(cluster, programs, acknowledged, done, Random::new(seed * 100 + client)));
        }
        let _done = AtEnd(&done);
        let mut random = Random::new(seed);
        for _ in 0..kills {
            std::thread::sleep(Duration::from_millis(random.between(20, 400)));
            let number = (random.next() % NODES as u64) as usize;
            cluster.kill(number);
            for (exec_id, program) in acknowledged.lock().unwrap().values() {
                ledger.acknowledged.insert(exec_id.clone(), *program);
            }
            ledger.check(cluster.project(), &cluster.effects);
            std::thread::sleep(Duration::from_millis(random.between(0, 500)));
            cluster.start(number);
        }
    });
    cluster.wait_all();
    let ended = cluster.documents(0);
    cluster.stop();
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.len() as u64 >= kills, "too few starts to mean anything: {}", acknowledged.len());
    for (key, (exec_id, program)) in &acknowledged {
        let run = ended.get(exec_id).unwrap_or_else(|| panic!("{exec_id} ({key}) was acknowledged and is lost"));
        assert_eq!(run["workflow_id"], programs[*program].id.as_str());
        ledger.acknowledged.insert(exec_id.clone(), *program);
    }
    let asked = ended.values().filter(|run| run["parent_exec_id"].is_null()).count();
    assert_eq!(asked, acknowledged.len(), "one key, one run, and every key was acknowledged in the end");
    check_ends(&ended, &programs, &cluster.effects);
    // What was recorded when a node died has not run since.
    ledger.check(cluster.project(), &cluster.effects);
    let counts: Vec<u32> = cluster.effects.counts().values().map(|lives| lives.values().sum()).collect();
    let most = counts.iter().max().copied().unwrap_or_default();
    assert!(u64::from(most) <= kills + 1, "an effect happened {most} times with {kills} kills");
    let again: u32 = counts.iter().map(|count| count - 1).sum();
    println!(
        "{} runs ({} of them sub-runs), {kills} kills, {} effects, {again} of them again after a kill",
        ended.len(),
        ended.len() - asked,
        counts.len(),
    );
    postgres::drop_database(&url);
}

/// Starts runs, each through any node, and asks again, elsewhere, until it is acknowledged.
fn starts(cluster: &Cluster, programs: &[Program], acknowledged: &Acknowledged, done: &AtomicBool, mut random: Random) {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    while !done.load(Ordering::SeqCst) {
        let choice = (random.next() % programs.len() as u64) as usize;
        let key = format!("start-{}", NUMBER.fetch_add(1, Ordering::SeqCst));
        let program = &programs[choice];
        let exec_id = loop {
            let node = (random.next() % cluster.count() as u64) as usize;
            match cluster.start_run(node, &program.id, &json!({"n": program.input}), &key) {
                Some(exec_id) => break exec_id,
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        acknowledged.lock().unwrap().insert(key, (exec_id, choice));
        std::thread::sleep(Duration::from_millis(random.between(10, 80)));
    }
}
