//! Event streams.

use http_body_util::BodyExt as _;
use hyper::body::Incoming;

use super::support::{Server, server, server_with, url};
use crate::api::Settings;

/// One frame of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    id: Option<String>,
    event: String,
    data: String,
}

/// Reads until the server closes the stream, or until a frame satisfies `enough`.
async fn read(mut body: Incoming, enough: impl Fn(&Frame) -> bool) -> Vec<Frame> {
    let (mut text, mut frames) = (String::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.unwrap().into_data() else { continue };
        text.push_str(std::str::from_utf8(&data).unwrap());
        while let Some((block, rest)) = text.split_once("\n\n") {
            let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)).map(str::to_owned);
            if let Some(event) = field("event: ") {
                frames.push(Frame { id: field("id: "), event, data: field("data: ").unwrap() });
            }
            text = rest.to_owned();
            if frames.last().is_some_and(&enough) {
                return frames;
            }
        }
    }
    frames
}

async fn stream(server: &Server, exec_id: &str, query: &str, headers: &[(&str, &str)]) -> Vec<Frame> {
    let (status, answer, body) = server.open("GET", &format!("{}/stream{query}", url(exec_id)), headers, "").await;
    assert_eq!(status, 200);
    assert_eq!(answer["content-type"], "text/event-stream");
    assert_eq!(answer["cache-control"], "no-cache");
    read(body, |_| false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_stream_shows_every_event_once_and_closes() {
    let server = server().await;
    let exec_id = server.start("quick").await;
    let frames = stream(&server, &exec_id, "", &[]).await;
    let ids: Vec<i64> = frames.iter().map(|frame| frame.id.as_ref().unwrap().parse().unwrap()).collect();
    assert_eq!(ids, (1..=i64::try_from(frames.len()).unwrap()).collect::<Vec<_>>());
    assert_eq!(frames.first().unwrap().event, "workflow_start");
    assert_eq!(frames.last().unwrap().event, "complete");
    // A finished run replays the same, and resumes after each id.
    assert_eq!(stream(&server, &exec_id, "", &[]).await, frames);
    for seen in 1..frames.len() {
        let id = seen.to_string();
        assert_eq!(stream(&server, &exec_id, "", &[("last-event-id", &id)]).await, frames[seen..]);
        assert_eq!(stream(&server, &exec_id, &format!("?last_event_id={id}.7"), &[]).await, frames[seen..]);
    }
    let last = frames.len().to_string();
    let path = format!("{}/stream", url(&exec_id));
    let (status, _, _) = server.open("GET", &path, &[("last-event-id", &last)], "").await;
    assert_eq!(status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_filter_leaves_the_end_in() {
    let server = server().await;
    let exec_id = server.run("fails").await;
    let frames = stream(&server, &exec_id, "?events=workflow_start&poll_ms=500", &[]).await;
    let events: Vec<&str> = frames.iter().map(|frame| frame.event.as_str()).collect();
    assert_eq!(events, ["workflow_start", "error"]);
    assert!(frames[1].data.contains(r#""status":"FAILED""#), "{}", frames[1].data);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_over_reconnects_misses_nothing() {
    let server = server().await;
    let exec_id = server.start("slow").await;
    let path = format!("{}/stream", url(&exec_id));
    let (_, _, body) = server.open("GET", &path, &[], "").await;
    let first = read(body, |frame| frame.event == "task_start").await;
    let id = first.last().unwrap().id.clone().unwrap();
    let resumed = async {
        let (_, _, body) = server.open("GET", &path, &[("last-event-id", &id)], "").await;
        read(body, |_| false).await
    };
    let cancel = async {
        server.app.clock.sleep(std::time::Duration::from_millis(30)).await;
        server.post(&format!("{}/cancel", url(&exec_id)), "").await
    };
    let (second, canceled) = tokio::join!(resumed, cancel);
    assert_eq!(canceled.status, 200);
    let together: Vec<Frame> = first.into_iter().chain(second).collect();
    assert_eq!(together, stream(&server, &exec_id, "", &[]).await);
    assert_eq!(together.last().unwrap().event, "error");
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_are_limited() {
    let mut settings = Settings::default();
    settings.limits.streams = 1;
    let server = server_with(settings).await;
    let exec_id = server.start("slow").await;
    let path = format!("{}/stream", url(&exec_id));
    let (_, _, open) = server.open("GET", &path, &[], "").await;
    assert_eq!(server.get(&path).await.json()["code"], "overloaded");
    drop(open);
}
