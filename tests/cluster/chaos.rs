//! The database goes away while small runs go on over several nodes: it is restarted in order and as a crash, all its
//! sessions are ended, and other clients take all of its connections.
//!
//! A start that is answered with an error or not at all may or may not exist; asked for again under its key, by way of
//! any node, it is one run. `COMPOZY_TEST_RUNS=5000` starts more of them, `COMPOZY_TEST_SEED` chooses another order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use serde_json::json;
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::nodes::{AtEnd, Cluster};
use crate::crash::ledger::Ledger;
use crate::support::database::server_column;
use crate::support::postgres::{Postgres, blocking};
use crate::support::random::Random;
use crate::support::setting;

const NODES: usize = 2;
const CLIENTS: u64 = 4;
const WORKFLOW: &str = "id: small
tasks:
  - {id: a, tool: effect, with: {url: \"URL\", value: \"{{ .input.n }}\"}}
  - {id: b, tool: add, with: {a: \"{{ .tasks.a.output.value }}\", b: 1}}
output: {n: \"{{ .tasks.b.output.sum }}\"}
";

/// What happens to the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Blow {
    /// It stops after it has ended every session, and starts again.
    Restart,
    /// It stops as in a crash, and starts again.
    Crash,
    /// Every session of ours is ended.
    Terminate,
    /// Every session of ours is ended, and others take all connections for a while.
    Exhaust,
}

#[test]
fn the_database_goes_away_while_runs_go_on() {
    let (runs, seed) = (setting("COMPOZY_TEST_RUNS", 1_000), setting("COMPOZY_TEST_SEED", 1));
    let server = Postgres::start();
    let url = server.url("postgres");
    let cluster = Cluster::new(&url, "5s", NODES, &[]);
    cluster.file("workflows/small.yaml", &WORKFLOW.replace("URL", &cluster.effects.url()));
    (0..NODES).for_each(|number| cluster.start(number));
    let clients = Clients {
        cluster: &cluster,
        runs,
        next: AtomicU64::new(0),
        all_struck: AtomicBool::new(false),
        done: AtomicUsize::new(0),
        acknowledged: Mutex::default(),
        repeated: AtomicU64::new(0),
    };
    let since = Instant::now();
    let mut blows: BTreeMap<Blow, u32> = BTreeMap::new();
    let mut ledger = Ledger::default();
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let clients = &clients;
            scope.spawn(move || clients.start_runs(Random::new(seed * 1_000 + client)));
        }
        let _all_struck = AtEnd(&clients.all_struck);
        let mut random = Random::new(seed);
        // Each of them at least once, while runs are started, and again until all are.
        let mut order = [Blow::Crash, Blow::Terminate, Blow::Restart, Blow::Exhaust].into_iter().cycle();
        while clients.done.load(Ordering::SeqCst) < CLIENTS as usize || blows.len() < 4 {
            std::thread::sleep(Duration::from_millis(random.between(300, 1_200)));
            let blow = order.next().expect("endless");
            blow.strike(&server, &url);
            *blows.entry(blow).or_default() += 1;
            clients.all_struck.store(blows.len() == 4, Ordering::SeqCst);
            ledger
                .acknowledged
                .extend(clients.acknowledged.lock().unwrap().values().map(|exec_id| (exec_id.clone(), 0)));
            ledger.check(cluster.project(), &cluster.effects);
        }
    });
    let started = since.elapsed();
    cluster.wait_all();
    let took = since.elapsed();
    clients.check(&url);
    cluster.stop();
    ledger.check(cluster.project(), &cluster.effects);
    let counts: Vec<u32> = cluster.effects.counts().values().map(|lives| lives.values().sum()).collect();
    let runs = clients.acknowledged.lock().unwrap().len();
    assert_eq!(counts.len(), runs, "an effect of each run");
    println!(
        "{runs} runs started in {started:.1?} and ended after {took:.1?}, {blows:?}, {} starts asked again, \
         {} effects again",
        clients.repeated.load(Ordering::SeqCst),
        counts.iter().map(|count| count - 1).sum::<u32>(),
    );
}

impl Blow {
    fn strike(self, server: &Postgres, url: &str) {
        match self {
            Self::Restart => server.restart("fast"),
            Self::Crash => server.restart("immediate"),
            Self::Terminate => terminate(url, 0),
            Self::Exhaust => terminate(url, 400),
        }
    }
}

/// Ends all sessions but its own, and takes at most so many connections for a while.
fn terminate(url: &str, most: usize) {
    const END: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
    let url = url.to_owned();
    let taken = blocking(async move {
        let mut first = PgConnection::connect(&url).await.expect("connect");
        first.execute(AssertSqlSafe(END)).await.expect("end them");
        let (mut taken, since) = (Vec::new(), Instant::now());
        while taken.len() < most && since.elapsed() < Duration::from_millis(2_500) {
            match PgConnection::connect(&url).await {
                Ok(connection) => taken.push(connection),
                // Whoever had one and gives it back finds that it is gone.
                Err(_) => std::thread::sleep(Duration::from_millis(5)),
            }
        }
        taken.len()
    });
    assert_eq!(taken > 0, most > 0);
}

/// Those who start runs.
struct Clients<'a> {
    cluster: &'a Cluster,
    /// How many at least.
    runs: u64,
    next: AtomicU64,
    /// Everything has happened to the database.
    all_struck: AtomicBool,
    done: AtomicUsize,
    /// Runs by number, which is their key and their input.
    acknowledged: Mutex<BTreeMap<u64, String>>,
    repeated: AtomicU64,
}

impl Clients<'_> {
    fn start_runs(&self, mut random: Random) {
        loop {
            let number = self.next.fetch_add(1, Ordering::SeqCst);
            if number >= self.runs && self.all_struck.load(Ordering::SeqCst) {
                break;
            }
            let exec_id = self.start_run(number, &mut random);
            self.acknowledged.lock().unwrap().insert(number, exec_id);
        }
        self.done.fetch_add(1, Ordering::SeqCst);
    }

    /// Asks one node or another until it is acknowledged.
    fn start_run(&self, number: u64, random: &mut Random) -> String {
        let since = Instant::now();
        loop {
            let node = (random.next() % NODES as u64) as usize;
            if let Some(exec_id) =
                self.cluster.start_run(node, "small", &json!({"n": number}), &format!("key-{number}"))
            {
                return exec_id;
            }
            assert!(since.elapsed() < Duration::from_secs(60), "nobody takes a start any more");
            self.repeated.fetch_add(1, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every key is one run, and it has ended as it must.
    fn check(&self, url: &str) {
        let acknowledged = self.acknowledged.lock().unwrap();
        let ids: BTreeSet<&String> = acknowledged.values().collect();
        assert!(acknowledged.len() as u64 >= self.runs);
        assert_eq!(acknowledged.len(), ids.len(), "two keys have one run");
        let mut random = Random::new(7);
        for (number, exec_id) in acknowledged.iter().step_by(50) {
            assert_eq!(self.start_run(*number, &mut random), *exec_id, "key-{number} is one run");
        }
        let found =
            server_column(url, "SELECT exec_id || ' ' || status || ' ' || coalesce(output, '') FROM executions");
        let found: BTreeSet<String> = found.into_iter().collect();
        let expected: BTreeSet<String> = acknowledged
            .iter()
            .map(|(number, exec_id)| format!("{exec_id} SUCCESS {{\"n\":{}}}", number + 1))
            .collect();
        let wrong: Vec<_> = found.symmetric_difference(&expected).take(10).collect();
        assert_eq!(wrong, Vec::<&String>::new(), "{} of {}", found.len(), expected.len());
    }
}
