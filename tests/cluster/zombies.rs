//! A node that is stopped past its lease while it has runs in flight and calls open, and then goes on: others have taken
//! its runs over, it writes nothing to them any more, and it takes part again.
//!
//! Who writes what is known to the database: each node logs in as a role of its own, and a trigger keeps the role of
//! every event of a journal.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::nodes::{Cluster, UNDER_WAY};
use crate::crash::ledger::check_ends;
use crate::support::database::server_column;
use crate::support::program::Program;
use crate::support::{postgres, wait};

/// Runs that a node may have been stopped in a transaction of: PostgreSQL keeps them from others for ten seconds more.
const MAY_BE_LOCKED: usize = 6;
const LEASE: Duration = Duration::from_millis(1500);
/// Runs under way on the node when it is stopped.
const SLOW: i64 = 12;
/// A run that goes on for long enough to be met on the way: every step leaves a trace, takes a while and rests.
const WORKFLOW: &str = "id: slow
tasks:
  - {id: a, tool: effect, with: {url: \"URL\", value: \"{{ .input.n }}\"}, sleep: 100ms}
  - id: side
    type: parallel
    tasks:
      - {id: nap, tool: nap, with: {milliseconds: 700}}
      - {id: b, tool: effect, with: {url: \"URL\", value: 1}, sleep: 300ms}
  - id: each
    type: collection
    mode: sequential
    items: [1, 2, 3, 4, 5, 6]
    task: {id: \"c{{ .item }}\", tool: effect, with: {url: \"URL\", value: \"{{ .item }}\"}, sleep: 250ms}
  - {id: last, tool: add, with: {a: \"{{ .tasks.a.output.value }}\", b: 1}}
output: {n: \"{{ .tasks.last.output.sum }}\"}
";

/// Keeps who has written which event.
const WITNESS: &str = "
CREATE SCHEMA witness;
CREATE TABLE witness.written (exec_id text NOT NULL, seq bigint NOT NULL, role text NOT NULL);
CREATE FUNCTION witness.write() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO witness.written VALUES (NEW.exec_id, NEW.seq, session_user);
  RETURN NULL;
END $$;
CREATE TRIGGER witness AFTER INSERT ON public.journal FOR EACH ROW EXECUTE FUNCTION witness.write();
";

/// When the node goes on.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Moment {
    /// While others drive what it had.
    During,
    /// When that has ended.
    After,
}

#[test]
fn a_node_that_was_stopped_past_its_lease_writes_nothing() {
    let programs: Vec<Program> = (0..12).map(|number| Program::random(30_000 + number)).collect();
    let url = postgres::database();
    let roles: Vec<String> = (0..3).map(|number| format!("zombie_{}_{number}", std::process::id())).collect();
    let logins = roles.iter().map(|role| {
        postgres::execute(&url, format!("CREATE ROLE {role} LOGIN SUPERUSER PASSWORD 'none'"));
        postgres::with_user(&url, role, "none")
    });
    let logins: Vec<String> = logins.collect();
    let cluster = Cluster::of(&logins, &format!("{}ms", LEASE.as_millis()), &programs);
    cluster.file("workflows/slow.yaml", &WORKFLOW.replace("URL", &cluster.effects.url()));
    (0..3).for_each(|number| cluster.start(number));
    postgres::execute(&url, WITNESS.to_owned());
    for (moment, victim) in [(Moment::During, 0), (Moment::After, 1)] {
        let before = server_column(&url, "SELECT exec_id FROM executions").len();
        stop_and_go_on(&cluster, &url, (victim, &roles[victim]), moment, &programs);
        let runs = server_column(&url, "SELECT exec_id FROM executions").len();
        assert!(runs - before >= SLOW as usize + programs.len(), "{runs} runs after {before}");
    }
    let witnessed =
        "SELECT exec_id || seq FROM journal LEFT JOIN witness.written USING (exec_id, seq) WHERE role IS NULL";
    assert_eq!(server_column(&url, witnessed), Vec::<String>::new());
    let mut ended = cluster.documents(2);
    cluster.stop();
    let slow: Vec<Value> = ended.values().filter(|run| run["workflow_id"] == "slow").cloned().collect();
    ended.retain(|_, run| run["workflow_id"] != "slow");
    check_ends(&ended, &programs, &cluster.effects);
    for run in slow {
        let n = run["input"]["n"].as_i64().map(|n| n + 1);
        assert_eq!((&run["status"], run["output"]["n"].as_i64()), (&json!("SUCCESS"), n), "{run:#}");
    }
    postgres::drop_database(&url);
    roles.iter().for_each(|role| postgres::drop_role(&url, role));
}

/// Runs of which the node with this process id is the owner.
fn owned(pid: u32) -> String {
    format!("SELECT exec_id FROM executions JOIN nodes ON node_id = owner_node WHERE pid = {pid}")
}

/// One node is stopped past its lease and goes on.
fn stop_and_go_on(cluster: &Cluster, url: &str, (victim, role): (usize, &str), moment: Moment, programs: &[Program]) {
    let start = |node: usize, workflow: &str, n: i64, key: &str| {
        cluster.start_run(node, workflow, &json!({"n": n}), key).expect("it lives")
    };
    for n in 0..SLOW {
        start(victim, "slow", n, &format!("{moment:?}-{n}"));
    }
    for program in programs {
        start(victim, &program.id, program.input, &format!("{moment:?}-{}", program.id));
    }
    std::thread::sleep(Duration::from_millis(250));
    let pid = cluster.with(victim, |server| server.process_id());
    let node = server_column(url, &format!("SELECT node_id FROM nodes WHERE pid = {pid}")).remove(0);
    cluster.with(victim, |server| server.signal("STOP"));
    let since = Instant::now();
    // What it has sent to the database arrives there.
    std::thread::sleep(Duration::from_millis(100));
    let runs = server_column(url, &owned(pid));
    let open = "SELECT exec_id || ':' || replace(step_key, '#', ':') FROM steps WHERE status = 'RUNNING'";
    let open: BTreeSet<String> = server_column(url, open).into_iter().collect();
    assert!(runs.len() >= SLOW as usize && open.len() >= SLOW as usize, "{} runs, {open:?}", runs.len());
    let left = format!("SELECT exec_id FROM executions WHERE owner_node = '{node}'");
    let left = wait::until("the takeover", || {
        let left = server_column(url, &left);
        (left.len() <= MAY_BE_LOCKED).then_some(left)
    });
    let took = since.elapsed();
    assert!(took < LEASE * 4, "taken over after {took:?}, with a lease of {LEASE:?}");
    let runs: Vec<String> = runs.into_iter().filter(|exec_id| !left.contains(exec_id)).collect();
    if moment == Moment::After {
        let under_way = format!("{UNDER_WAY} AND exec_id IN ('{}')", runs.join("', '"));
        wait::until("the end of the runs", || server_column(url, &under_way).is_empty().then_some(()));
    }
    let written = written_by(url, role, &runs);
    assert!(written.len() >= runs.len(), "it wrote before");
    let recorded = recorded(cluster);
    let going_on = server_column(url, UNDER_WAY).len();
    assert!(moment == Moment::After || going_on > left.len(), "{going_on} runs go on");
    cluster.with(victim, |server| server.signal("CONT"));
    // It notices and takes part: what it is asked for ends well, some of it on itself.
    let alive = format!(
        "SELECT node_id FROM nodes WHERE pid = {pid} AND lease_until > extract(epoch FROM clock_timestamp()) * 1000000"
    );
    wait::until("a new lease", || (!server_column(url, &alive).is_empty()).then_some(()));
    let mut again = 0;
    wait::until("something that it does", || {
        again += 1;
        let exec_id = start(victim, "slow", again, &format!("{moment:?}-again-{again}"));
        let run = cluster.with(victim, |server| server.wait_run(&exec_id));
        assert_eq!(run["status"], "SUCCESS", "{run:#}");
        (!written_by(url, role, &[exec_id]).is_empty()).then_some(())
    });
    cluster.wait_all();
    assert_eq!(written_by(url, role, &runs), written, "it wrote to runs that were no longer its own");
    for (key, count) in recorded {
        // A call that was open may have gone out late; nothing that was recorded was called anew.
        let most = count + u32::from(open.contains(&key));
        let now = cluster.effects.count(&key);
        assert!((count..=most).contains(&now), "{key} was recorded and ran again: {count}, now {now}");
    }
    println!("{moment:?}: {} runs with {} open steps taken over after {took:?}", runs.len(), open.len());
}

/// The events of these runs that a role has written.
fn written_by(url: &str, role: &str, runs: &[String]) -> Vec<String> {
    let runs = runs.join("', '");
    let who = format!("role = '{role}' AND exec_id IN ('{runs}')");
    server_column(url, &format!("SELECT exec_id || ' ' || seq FROM witness.written WHERE {who} ORDER BY exec_id, seq"))
}

/// The keys of recorded steps with the effects they have had so far.
fn recorded(cluster: &Cluster) -> BTreeMap<String, u32> {
    let snapshot = cluster.project().snapshot();
    assert_eq!(snapshot.violations, Vec::<String>::new());
    snapshot.recorded.into_iter().map(|key| (key.clone(), cluster.effects.count(&key))).collect()
}
