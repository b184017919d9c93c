//! Nodes that wake each other, and how little they ask while nothing happens.

use std::time::{Duration, Instant};

use super::*;

async fn node(url: &str, notify: bool) -> Arc<PgStorage> {
    let options = Options::new(&settings(url), Role::Server, Clock::system()).unwrap();
    Arc::new(open(options.notifying(notify)).await.unwrap())
}

/// Looks until nothing is new, so that the next look is as far away as they get.
async fn settled(storage: &Arc<PgStorage>) {
    while tokio::time::timeout(Duration::from_millis(2_500), storage.changed_elsewhere()).await.is_ok() {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_elsewhere_is_heard_also_after_the_listener_was_lost() {
    let url = server::database();
    let (one, two) = (Bench::new(node(&url, true).await).await, node(&url, true).await);
    let other = server::database();
    let stranger = node(&other, true).await;
    settled(&two).await;
    for round in 0..2 {
        let heard = tokio::spawn({
            let two = Arc::clone(&two);
            async move {
                two.changed_elsewhere().await;
                Instant::now()
            }
        });
        one.storage.start(one.queued()).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), heard).await.expect("it is noticed").unwrap();
        // What stays in the queue is looked at again and again.
        assert_eq!(one.storage.claim(&one.node, 9, one.clock.now()).await.unwrap().len(), 1);
        if round == 0 {
            let listeners = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                             WHERE query LIKE 'LISTEN%' AND datname = current_database()";
            server::execute(&url, listeners.into());
            // The connection is made anew by itself.
            let again = Instant::now();
            while again.elapsed() < Duration::from_secs(10)
                && !server::asks(
                    &url,
                    "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND datname = current_database())",
                )
            {
                Clock::system().sleep(Duration::from_millis(100)).await;
            }
            assert!(again.elapsed() < Duration::from_secs(10), "nobody listens any more");
            settled(&two).await;
        }
    }
    // Hundreds of starts at once ring at most twenty times a second.
    let before = two.bell.as_ref().unwrap().rung();
    let (since, ringing) = (Instant::now(), Bench::new(Arc::clone(&two) as Arc<dyn Storage>).await);
    for _ in 0..200 {
        ringing.storage.start(ringing.queued()).await.unwrap();
    }
    let rung = two.bell.as_ref().unwrap().rung() - before;
    assert!(rung as f64 <= since.elapsed().as_secs_f64() * 20.0 + 2.0, "{rung} in {:?}", since.elapsed());
    assert_eq!(stranger.bell.as_ref().unwrap().rung(), 0);
    for storage in [&one.storage, &(two as Arc<dyn Storage>), &(stranger as Arc<dyn Storage>)] {
        storage.close().await;
    }
    server::drop_database(&url);
    server::drop_database(&other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_bell_looking_is_enough() {
    let url = server::database();
    let (one, two) = (Bench::new(node(&url, false).await).await, node(&url, false).await);
    assert!(two.bell.is_none());
    settled(&two).await;
    one.storage.start(one.queued()).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), two.changed_elsewhere()).await.expect("it is noticed");
    one.storage.close().await;
    two.close().await;
    server::drop_database(&url);
}
