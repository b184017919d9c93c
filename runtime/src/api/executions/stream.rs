//! `GET /executions/workflows/{exec}/stream`: events of a run as they are committed (cli-and-api §7.4).
//!
//! The journal is the truth and the node's notices are the alarm clock: a stream first reads what is recorded, then
//! passes on notices that follow without a gap, and goes back to the journal whenever there is one. It is pulled by the
//! connection, so a client that does not read costs a ring buffer and nothing more.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::Response;
use bytes::Bytes;
use compozy_engine::time::Timestamp;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{Interval, MissedTickBehavior};

use super::get::parse;
use crate::api::answer::Answer;
use crate::api::document::event;
use crate::api::error::{Problem, not_found};
use crate::api::events::{Position, Verdict, Wanted, push_between, push_event, shutdown_frame};
use crate::api::query::{Query, invalid};
use crate::api::shutdown::Phase;
use crate::api::{AppState, code};
use crate::id::ExecId;
use crate::node::Notice;
use crate::storage::Error;
use crate::storage::row::{Journal, Run};

const PARAMETERS: &[&str] = &["events", "last_event_id", "poll_ms"];
/// First bytes of every stream: how long a client waits before it comes back.
const GREETING: &str = "retry: 2000\n\n";
/// Events read from the journal at once.
const READ: u32 = 256;
/// A reader so many events behind is cut off; it resumes by id.
const SLOW: usize = 1_000;
/// How often a stream looks at the journal unasked, should a notice have been lost.
const LOOK: Duration = Duration::from_secs(5);
/// Every so many looks a ping is sent: each 15 s.
const LOOKS_PER_PING: u32 = 3;
/// How often the journal of a run that another process owns is read.
const POLL: Duration = Duration::from_millis(250);

pub(in crate::api) async fn stream(
    State(app): State<Arc<AppState>>,
    Path(exec): Path<String>,
    uri: Uri,
    headers: HeaderMap,
) -> Answer {
    let query = Query::parse(&uri, PARAMETERS)?;
    let wanted = Wanted::parse(query.list(&["events"]))?;
    let position = position(&query, &headers)?;
    let exec_id = parse(&exec)?;
    let run = app.node.storage().run(&exec_id).await?.ok_or_else(|| not_found(&exec))?;
    if run.finished_at.is_some() && position.seq >= run.last_seq {
        // Everything was delivered; 204 tells an EventSource to stay away.
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        return Ok(response);
    }
    let place = Arc::clone(&app.streams)
        .try_acquire_owned()
        .map_err(|_| Problem::new(code::OVERLOADED, "too many event streams are open").retry_after_ms(2_000))?;
    let feed = Feed::new(app, run, position, wanted, place);
    let frames = futures_util::stream::unfold(feed, |mut feed| async move {
        let frames = feed.next().await?;
        Some((Ok::<_, Infallible>(Bytes::from(frames)), feed))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert(HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no"));
    Ok(response)
}

/// Where the client says it was; the header, which browsers send by themselves, wins.
fn position(query: &Query, headers: &HeaderMap) -> Result<Position, Problem> {
    let header = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    match header.or_else(|| query.get("last_event_id")).filter(|id| !id.is_empty()) {
        Some(id) => Position::parse(id).ok_or_else(|| invalid("last_event_id", "must be an id of this stream")),
        None => Ok(Position::default()),
    }
}

/// One stream.
struct Feed {
    app: Arc<AppState>,
    exec_id: ExecId,
    /// The run as it was when the stream began.
    run: Run,
    position: Position,
    wanted: Wanted,
    stage: Stage,
    /// Live notices; `None` once the run has ended or left this node.
    notices: Option<Receiver<Notice>>,
    looks: Interval,
    look: u32,
    _place: OwnedSemaphorePermit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Greeting,
    Reading,
    Live,
    Done,
}

/// What woke a live stream.
enum Wake {
    Notice(Result<Notice, RecvError>),
    Look,
    Poll,
    Shutdown,
}

impl Feed {
    fn new(app: Arc<AppState>, run: Run, position: Position, wanted: Wanted, place: OwnedSemaphorePermit) -> Self {
        let exec_id = run.exec_id.clone();
        let foreign = run.owner_node.as_ref().is_some_and(|owner| owner != app.node.id());
        // Subscribed before the journal is read: nothing falls between the two.
        let notices = (run.finished_at.is_none() && !foreign).then(|| app.node.subscribe(&exec_id));
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        looks.reset();
        Self { app, exec_id, run, position, wanted, stage: Stage::Greeting, notices, looks, look: 0, _place: place }
    }

    /// The next frames; `None` ends the stream.
    async fn next(&mut self) -> Option<String> {
        loop {
            let frames = match self.stage {
                Stage::Greeting => {
                    self.stage = Stage::Reading;
                    GREETING.to_owned()
                }
                Stage::Reading => match self.read().await {
                    Ok(frames) => frames,
                    Err(error) => {
                        tracing::warn!(exec_id = %self.exec_id, "an event stream ended early: {error}");
                        return None;
                    }
                },
                Stage::Live => self.live().await,
                Stage::Done => return None,
            };
            if !frames.is_empty() {
                return Some(frames);
            }
        }
    }

    /// Reads a piece of the journal; an empty one ends the reading.
    async fn read(&mut self) -> Result<String, Error> {
        let events = self.app.node.storage().journal(&self.exec_id, self.position.seq, READ).await?;
        let mut frames = String::new();
        self.push(&mut frames, events.iter());
        if self.stage == Stage::Done {
            return Ok(frames);
        }
        if events.is_empty() {
            self.stage = Stage::Live;
            if self.run.finished_at.is_some() {
                // Retention has trimmed the journal: what remains to be told is how the run ended.
                let end = ending(&self.run);
                self.push(&mut frames, std::iter::once(&end));
                self.stage = Stage::Done;
            }
        }
        Ok(frames)
    }

    /// Waits for something new.
    async fn live(&mut self) -> String {
        let shutdown = self.app.shutdown.clone();
        let notices = self.notices.as_mut();
        let polled = notices.is_none();
        let wake = tokio::select! {
            biased;
            notice = receive(notices) => Wake::Notice(notice),
            () = shutdown.reached(Phase::Closing) => Wake::Shutdown,
            _ = self.looks.tick() => Wake::Look,
            () = self.app.clock.sleep(POLL), if polled => Wake::Poll,
        };
        match wake {
            Wake::Notice(Ok(notice)) => self.hear(notice),
            Wake::Notice(Err(RecvError::Lagged(_))) => self.fall_behind().await,
            Wake::Notice(Err(RecvError::Closed)) => {
                // The run has ended or left this node; its journal tells.
                self.notices = None;
                self.stage = Stage::Reading;
                String::new()
            }
            Wake::Poll => {
                self.stage = Stage::Reading;
                String::new()
            }
            Wake::Look => {
                self.look += 1;
                self.stage = Stage::Reading;
                if self.look.is_multiple_of(LOOKS_PER_PING) { ": ping\n\n".to_owned() } else { String::new() }
            }
            Wake::Shutdown => {
                self.stage = Stage::Done;
                shutdown_frame(&self.exec_id)
            }
        }
    }

    /// Passes a notice on, with those that wait behind it.
    fn hear(&mut self, notice: Notice) -> String {
        let waiting = self.notices.as_ref().map_or(0, Receiver::len);
        if waiting > SLOW {
            self.stage = Stage::Done;
            return String::new();
        }
        let mut frames = String::new();
        let mut queue = VecDeque::from([notice]);
        while let Some(notice) = queue.pop_front() {
            match notice {
                Notice::Events(events) => self.push(&mut frames, events.iter()),
                Notice::Chunk { seq, number, task_id, text } => {
                    let data = |exec_id: &ExecId| event::chunk(exec_id, seq, number, &task_id, &text);
                    self.between(&mut frames, (seq, number), "llm_chunk", data);
                }
                Notice::Live { seq, number, at, task_id, event: name, data } => {
                    let data = |exec_id: &ExecId| event::live(exec_id, (seq, number), at, &task_id, &data);
                    self.between(&mut frames, (seq, number), name, data);
                }
            }
            if self.stage != Stage::Live {
                break;
            }
            if let Some(Ok(next)) = self.notices.as_mut().map(Receiver::try_recv) {
                queue.push_back(next);
            }
        }
        frames
    }

    /// Appends what comes next of `events`; a gap sends the stream back to the journal, a terminal event ends it.
    fn push<'e>(&mut self, frames: &mut String, events: impl Iterator<Item = &'e Journal>) {
        for event in events {
            // The journal itself may begin late, where retention trimmed it; only notices can leave a gap.
            match self.position.judge_event(event.seq) {
                Verdict::Skip => continue,
                Verdict::Gap if self.stage == Stage::Live => {
                    self.stage = Stage::Reading;
                    return;
                }
                Verdict::Gap | Verdict::Send => {}
            }
            self.position = Position { seq: event.seq, chunk: 0 };
            if self.wanted.shows(&event.event) {
                push_event(frames, &self.exec_id, event);
            }
            if event::is_terminal(&event.event) {
                self.stage = Stage::Done;
                return;
            }
        }
    }

    /// Appends what is not journaled, unless it has been sent before.
    fn between(
        &mut self,
        frames: &mut String,
        (seq, number): (i64, u64),
        name: &str,
        data: impl FnOnce(&ExecId) -> String,
    ) {
        match self.position.judge_chunk(seq, number) {
            Verdict::Skip => {}
            // The event before it is in the journal; the chunk itself is best effort.
            Verdict::Gap => self.stage = Stage::Reading,
            Verdict::Send => {
                self.position.chunk = number;
                if self.wanted.shows(name) {
                    push_between(frames, (seq, number), name, &data(&self.exec_id));
                }
            }
        }
    }

    /// Notices were lost. A reader that is far behind is cut off, another catches up from the journal.
    async fn fall_behind(&mut self) -> String {
        let last = match self.app.node.storage().run(&self.exec_id).await {
            Ok(Some(run)) => run.last_seq,
            Ok(None) | Err(_) => i64::MAX,
        };
        let behind = usize::try_from(last.saturating_sub(self.position.seq)).unwrap_or(0);
        self.stage = if behind > SLOW { Stage::Done } else { Stage::Reading };
        String::new()
    }
}

/// The next notice; never, without a receiver.
async fn receive(notices: Option<&mut Receiver<Notice>>) -> Result<Notice, RecvError> {
    match notices {
        Some(notices) => notices.recv().await,
        None => std::future::pending().await,
    }
}

/// The terminal event of a run whose journal is gone.
fn ending(run: &Run) -> Journal {
    let error = run.error.as_deref().unwrap_or("null");
    let status = serde_json::Value::from(run.status.as_str());
    let (event, data) = if run.status == "SUCCESS" {
        ("complete", format!(r#"{{"status":{status}}}"#))
    } else {
        ("error", format!(r#"{{"status":{status},"error":{error}}}"#))
    };
    Journal {
        seq: run.last_seq,
        at: run.finished_at.unwrap_or(Timestamp(0)),
        event: event.to_owned(),
        task_id: None,
        data,
    }
}

#[cfg(test)]
#[path = "stream_tests.rs"]
mod tests;
