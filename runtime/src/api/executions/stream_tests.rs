//! Streams against journals and notices made by hand.

use tokio::sync::broadcast;

use super::*;
use crate::api::tests::support::{Server, server};

/// A live stream of a waiting run, with all that is recorded already read, and the other end of its notices.
async fn live(server: &Server, backlog: usize) -> (Feed, broadcast::Sender<Notice>) {
    let exec_id = ExecId::from(server.start("slow").await);
    let mut looks = 0;
    let run = loop {
        looks += 1;
        let run = server.storage.run(&exec_id).await.unwrap().unwrap();
        assert!(run.finished_at.is_none() && looks < 2_000, "the run does not wait: {run:?}");
        if run.status == "WAITING" {
            break run;
        }
        server.app.clock.sleep(Duration::from_millis(5)).await;
    };
    let place = Arc::clone(&server.app.streams).try_acquire_owned().unwrap();
    let mut feed = Feed::new(Arc::clone(&server.app), run, Position::default(), Wanted::default(), place);
    let sender = broadcast::Sender::new(backlog);
    feed.notices = Some(sender.subscribe());
    assert_eq!(feed.next().await.as_deref(), Some(GREETING));
    assert!(feed.next().await.unwrap().starts_with("id: 1\nevent: workflow_start\n"));
    assert_eq!(feed.position.seq, feed.run.last_seq);
    (feed, sender)
}

fn chunk(seq: i64, number: u64) -> Notice {
    Notice::Chunk { seq, number, task_id: "ask".into(), text: "word ".into() }
}

fn event(seq: i64) -> Notice {
    let data = "{}".to_owned();
    Notice::Events([Journal { seq, at: Timestamp(0), event: "log".into(), task_id: None, data }].into())
}

/// The ids of frames.
fn ids(frames: &str) -> Vec<&str> {
    frames.lines().filter_map(|line| line.strip_prefix("id: ")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_and_events_are_sent_once_in_order() {
    let server = server().await;
    let (mut feed, sender) = live(&server, 64).await;
    let last = feed.position.seq;
    let old = [event(last), chunk(last - 1, 4), chunk(last, 1), chunk(last, 1), chunk(last, 3)];
    for notice in old.into_iter().chain([event(last + 1), chunk(last + 1, 1), event(last + 1), event(last + 2)]) {
        sender.send(notice).unwrap();
    }
    let frames = feed.next().await.unwrap();
    let expected = [
        format!("{last}.1"),
        format!("{last}.3"),
        (last + 1).to_string(),
        format!("{}.1", last + 1),
        (last + 2).to_string(),
    ];
    assert_eq!(ids(&frames), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_reader_is_cut_off() {
    let server = server().await;
    let (mut feed, sender) = live(&server, 4_096).await;
    let last = feed.position.seq;
    for number in 1..=1_002 {
        sender.send(chunk(last, number)).unwrap();
    }
    assert_eq!(feed.next().await, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_lost_a_few_notices_goes_on() {
    let server = server().await;
    let (mut feed, sender) = live(&server, 4).await;
    let last = feed.position.seq;
    for number in 1..=9 {
        sender.send(chunk(last, number)).unwrap();
    }
    assert_eq!(ids(&feed.next().await.unwrap()), [6, 7, 8, 9].map(|number| format!("{last}.{number}")));
    // An event whose predecessor never came is left to the journal, which does not have it either.
    sender.send(event(last + 2)).unwrap();
    sender.send(event(last + 1)).unwrap();
    assert_eq!(ids(&feed.next().await.unwrap()), [(last + 1).to_string()]);
}
