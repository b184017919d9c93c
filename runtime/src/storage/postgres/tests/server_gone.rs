//! Connections that are cut, and servers that restart.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use compozy_engine::time::Timestamp;

use super::server::Postgres;
use super::*;
use crate::id::ExecId;
use crate::storage::row::{Demand, Wanted};

/// What nobody knows is asked again, as a node does.
macro_rules! again {
    ($work:expr) => {
        for attempt in 0.. {
            match $work.await {
                Ok(_) => break,
                Err(Error::Unavailable(_) | Error::Busy(_)) if attempt < 200 => {
                    Clock::system().sleep(Duration::from_millis(50)).await;
                }
                Err(error) => panic!("{error:?}"),
            }
        }
    };
}

/// Starts runs and takes them to their end until `stop`, and says which were acknowledged as ended.
async fn work(bench: &Bench, stop: &Arc<AtomicBool>) -> tokio::task::JoinSet<Vec<ExecId>> {
    let mut workers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (storage, node, stop) = (Arc::clone(&bench.storage), bench.node.clone(), Arc::clone(stop));
        let runs: Vec<_> = (0..400).map(|_| bench.new_run()).collect();
        workers.spawn(async move {
            let mut ended = Vec::new();
            for new in runs {
                if stop.load(Ordering::SeqCst) {
                    break;
                }
                let exec_id = new.run.exec_id.clone();
                again!(storage.start(new.clone()));
                let (first, last) = (begin(&exec_id, 2, "a#1"), finish(&exec_id, 3, "a#1"));
                again!(storage.commit(&exec_id, &node, 1, &first));
                again!(storage.commit(&exec_id, &node, 1, &last));
                ended.push(exec_id);
            }
            ended
        });
    }
    workers
}

async fn everything_is_there(bench: &Bench, ended: Vec<Vec<ExecId>>) {
    let ended: Vec<ExecId> = ended.into_iter().flatten().collect();
    assert!(ended.len() > 8, "{}", ended.len());
    for exec_id in &ended {
        let run = bench.storage.run(exec_id).await.unwrap().unwrap();
        assert_eq!((run.status.as_str(), run.last_seq), ("SUCCESS", 4));
        assert_eq!(bench.storage.usage(exec_id).await.unwrap()[0].prompt_tokens, 3, "recorded once");
    }
    bench.sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cut_connections_lose_and_double_nothing() {
    let url = server::database();
    let bench = Bench::new(opened(&url).await).await;
    let stop = Arc::new(AtomicBool::new(false));
    let workers = work(&bench, &stop).await;
    for _ in 0..12 {
        Clock::system().sleep(Duration::from_millis(120)).await;
        server::execute(
            &url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
             WHERE application_name = 'compozy' AND datname = current_database()"
                .into(),
        );
    }
    stop.store(true, Ordering::SeqCst);
    everything_is_there(&bench, workers.join_all().await).await;
    bench.storage.close().await;
    server::drop_database(&url);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_loses_and_doubles_nothing() {
    let server = Arc::new(Postgres::start());
    let bench = Bench::new(opened(&server.url("postgres")).await).await;
    let stop = Arc::new(AtomicBool::new(false));
    let workers = work(&bench, &stop).await;
    // Once in order, once as a crash.
    for mode in ["fast", "immediate"] {
        Clock::system().sleep(Duration::from_millis(300)).await;
        let server = Arc::clone(&server);
        tokio::task::spawn_blocking(move || server.restart(mode)).await.unwrap();
    }
    Clock::system().sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::SeqCst);
    everything_is_there(&bench, workers.join_all().await).await;
    bench.storage.close().await;
}

/// One connection for everything is slow, and enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn few_connections_are_enough() {
    for most in [1, 2, 3] {
        let url = server::database();
        let settings = Database { max_open_conns: most, ..settings(&url) };
        let storage = open(Options::new(&settings, Role::Server, Clock::system()).unwrap()).await.unwrap();
        let bench = Bench::new(Arc::new(storage)).await;
        let mut runs = tokio::task::JoinSet::new();
        for index in 0..48 {
            let (storage, node) = (Arc::clone(&bench.storage), bench.node.clone());
            let new = bench.new_run();
            runs.spawn(async move {
                let exec_id = new.run.exec_id.clone();
                storage.start(new).await.unwrap();
                if index % 2 == 0 {
                    let (exec_id, by) = (exec_id.clone(), "ada".to_owned());
                    let demand = Demand { exec_id, wanted: Wanted::Cancel, by, reason: None };
                    storage.request(&demand, Timestamp(5)).await.unwrap();
                }
                storage.commit(&exec_id, &node, 1, &begin(&exec_id, 2, "a#1")).await.unwrap();
                assert_eq!(storage.load(&exec_id).await.unwrap().unwrap().steps.len(), 1);
            });
        }
        runs.join_all().await;
        bench.sound().await;
        bench.storage.close().await;
        server::drop_database(&url);
    }
}
