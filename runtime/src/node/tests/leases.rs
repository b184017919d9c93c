//! Leases that are not renewed in time, on a PostgreSQL server and a machine whose time passes when it is told so.

use super::*;
use crate::storage::postgres::tests as postgres;

/// Waits in real time.
async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let patience = Clock::system();
    for _ in 0..600 {
        if is_so().await {
            return;
        }
        patience.sleep(Duration::from_millis(25)).await;
    }
    panic!("not within 15 s: {what}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_suspended_drops_its_runs_and_takes_them_up_anew() {
    let (url, storage) = postgres::fresh().await;
    let clock = Clock::simulated(Clock::system().now());
    let tasks =
        vec![task("slow", "sleep", &json!({"milliseconds": 700})), task("last", "add", &json!({"a": 2, "b": 2}))];
    let node = launch(storage.clone(), clock.clone(), project([workflow(tasks)])).await;
    let run = async |exec_id| storage.run(exec_id).await.unwrap().unwrap();
    let first = node.submit(start()).await.unwrap().exec_id;
    assert!(node.status().lease_ok && node.worker.drives(&first));
    clock.suspend(Duration::from_secs(60));
    assert!(!node.status().lease_ok, "before anybody has looked");
    // What comes now is queued and waits.
    let second = node.submit(start()).await.unwrap().exec_id;
    assert_eq!(run(&second).await.owner_node, None);
    clock.advance(Duration::from_millis(500));
    until("the run is dropped", async || node.status().running == 0).await;
    Clock::system().sleep(Duration::from_millis(900)).await;
    let dropped = run(&first).await;
    assert_eq!((dropped.epoch, dropped.last_seq), (1, 2), "nothing was written though the call would have ended");
    assert_eq!(dropped.owner_node.as_ref(), Some(node.id()), "and nobody has taken it");
    assert_eq!(run(&second).await.owner_node, None);
    clock.advance(Duration::from_secs(3));
    until("the lease is held again", async || node.status().lease_ok).await;
    for (exec_id, epoch) in [(&first, 2), (&second, 1)] {
        until("the run ends", async || run(exec_id).await.finished_at.is_some()).await;
        let ended = run(exec_id).await;
        assert_eq!((ended.status.as_str(), ended.epoch), ("SUCCESS", epoch));
    }
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    node.shutdown(Duration::ZERO).await;
    storage.close().await;
    postgres::server::drop_database(&url);
}

/// Nobody can take the runs of a server whose file is locked: however late its renewals are, they go on.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_on_a_file_keeps_its_runs() {
    let folder = tempfile::tempdir().unwrap();
    let options =
        sqlite::Options::new(&folder.path().join("c.db").display().to_string(), Role::Server, Clock::system());
    let storage: Arc<dyn Storage> = Arc::new(sqlite::open(options).await.unwrap());
    let clock = Clock::simulated(Clock::system().now());
    let tasks = vec![task("slow", "sleep", &json!({"milliseconds": 300}))];
    let node = launch(storage.clone(), clock.clone(), project([workflow(tasks)])).await;
    let exec_id = node.submit(start()).await.unwrap().exec_id;
    clock.suspend(Duration::from_secs(60));
    assert!(!node.status().lease_ok, "it is late all the same");
    clock.advance(Duration::from_millis(500));
    until("the run ends", async || storage.run(&exec_id).await.unwrap().unwrap().finished_at.is_some()).await;
    let run = storage.run(&exec_id).await.unwrap().unwrap();
    assert_eq!((run.status.as_str(), run.epoch), ("SUCCESS", 1));
}

/// A driver that panics, or fails, goes on under a new epoch.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_driver_let_go_is_taken_up_under_a_new_epoch() {
    let storage = memory().await;
    let tasks = vec![task("slow", "sleep", &json!({"milliseconds": 300}))];
    let node = node(storage.clone(), workflow(tasks)).await;
    let exec_id = node.submit(start()).await.unwrap().exec_id;
    assert!(node.worker.tell(&exec_id, crate::node::driver::Control::Stop));
    let run = node.wait(&exec_id, Some(Duration::from_secs(30))).await.unwrap().expect("the run ends");
    assert_eq!((run.status.as_str(), run.epoch), ("SUCCESS", 2));
    assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
}

/// An idle node asks at most two queries a second (cli-and-api §10).
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_node_asks_little() {
    const SECONDS: u64 = 10;
    let server = postgres::server::Postgres::start();
    let url = server.url("postgres");
    postgres::server::execute(&url, "ALTER DATABASE postgres SET log_statement = 'all'".into());
    let storage = postgres::opened(&url).await;
    let node = launch(storage.clone(), Clock::system(), project([workflow(Vec::new())])).await;
    Clock::system().sleep(Duration::from_secs(4)).await;
    let before = server.statements();
    Clock::system().sleep(Duration::from_secs(SECONDS)).await;
    let asked = server.statements() - before;
    // A query may fall just inside at either end.
    assert!((8..=2 * SECONDS as usize + 1).contains(&asked), "{asked} in {SECONDS} s");
    node.shutdown(Duration::ZERO).await;
    storage.close().await;
}
