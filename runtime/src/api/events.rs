//! Server-sent events: ids, resuming, filtering and frames (cli-and-api §7.4). Pure; `executions/stream.rs` feeds it.

use std::fmt::Write as _;

use super::code;
use super::document::event;
use super::error::Problem;
use super::query::nearest;
use crate::id::ExecId;
use crate::storage::row::Journal;

/// How far a stream has come: the last journal event sent, and the last chunk after it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Position {
    /// Seq of the last journal event; 0 before the first.
    pub seq: i64,
    /// Number of the last chunk after that event; 0 before the first.
    pub chunk: u64,
}

/// What to do with something new.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It has been sent before.
    Skip,
    /// It comes next.
    Send,
    /// Events before it are missing; they are in the journal.
    Gap,
}

impl Position {
    /// Reads `<seq>` or `<seq>.<n>`.
    pub(super) fn parse(id: &str) -> Option<Self> {
        let (seq, chunk) = match id.split_once('.') {
            Some((seq, chunk)) => (seq, digits(chunk)?.parse().ok()?),
            None => (id, 0),
        };
        Some(Self { seq: digits(seq)?.parse().ok()?, chunk })
    }

    /// What a journal event of `seq` is to this stream.
    pub(super) fn judge_event(self, seq: i64) -> Verdict {
        if seq <= self.seq {
            Verdict::Skip
        } else if seq == self.seq + 1 {
            Verdict::Send
        } else {
            Verdict::Gap
        }
    }

    /// What chunk `number` after event `seq` is to this stream. Chunks are best effort: a lost one leaves no gap.
    pub(super) fn judge_chunk(self, seq: i64, number: u64) -> Verdict {
        if seq > self.seq {
            Verdict::Gap
        } else if (Self { seq, chunk: number }) > self {
            Verdict::Send
        } else {
            Verdict::Skip
        }
    }
}

/// `text`, if nothing but digits is in it; number parsers would also take a sign.
fn digits(text: &str) -> Option<&str> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then_some(text)
}

/// Which events a stream shows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Wanted(Vec<String>);

impl Wanted {
    /// Only events of `names`; none: all.
    pub(super) fn parse<'n>(names: impl Iterator<Item = &'n str>) -> Result<Self, Problem> {
        let mut wanted = Vec::new();
        for name in names {
            if !event::NAMES.contains(&name) {
                let shown: String = name.chars().take(64).collect();
                let hint = match nearest(name, event::NAMES.iter().copied()) {
                    Some(near) => format!("did you mean '{near}'?"),
                    None => format!("event types are: {}", event::NAMES.join(", ")),
                };
                let detail = format!("unknown event type '{shown}'");
                return Err(Problem::new(code::UNKNOWN_EVENT_TYPE, detail).hint(hint));
            }
            wanted.push(name.to_owned());
        }
        Ok(Self(wanted))
    }

    /// Whether the stream shows `name`. How a stream ended is always shown.
    pub(super) fn shows(&self, name: &str) -> bool {
        self.0.is_empty()
            || event::is_terminal(name)
            || name == "server_shutdown"
            || self.0.iter().any(|wanted| wanted == name)
    }
}

/// Appends the frame of a journal event.
pub(super) fn push_event(frames: &mut String, exec_id: &ExecId, event: &Journal) {
    let data = event::data(exec_id, event);
    // Names come from the engine; a damaged or imported row must not be able to forge a frame.
    let name = event.event.replace(['\n', '\r'], " ");
    let _ = write!(frames, "id: {}\nevent: {name}\ndata: {data}\n\n", event.seq);
}

/// Appends the frame of what is not journaled: a chunk, or something inside a step.
pub(super) fn push_between(frames: &mut String, (seq, number): (i64, u64), name: &str, data: &str) {
    let _ = write!(frames, "id: {seq}.{number}\nevent: {name}\ndata: {data}\n\n");
}

/// The frame that says that the server goes down; it has no id, so the client resumes where it was.
pub(super) fn shutdown_frame(exec_id: &ExecId) -> String {
    format!("event: server_shutdown\ndata: {{\"exec_id\":{}}}\n\n", serde_json::Value::from(exec_id.as_str()))
}

#[cfg(test)]
mod tests {
    use compozy_engine::time::Timestamp;

    use super::*;

    #[test]
    fn ids_are_read_back() {
        for (id, expected) in [
            ("0", Some((0, 0))),
            ("17", Some((17, 0))),
            ("17.3", Some((17, 3))),
            ("", None),
            ("-1", None),
            ("+1", None),
            ("1.", None),
            (".1", None),
            ("1.2.3", None),
            ("99999999999999999999", None),
            ("abc", None),
        ] {
            let position = Position::parse(id).map(|position| (position.seq, position.chunk));
            assert_eq!(position, expected, "{id}");
        }
    }

    #[test]
    fn everything_is_sent_once_and_in_order() {
        let at = |seq, chunk| Position { seq, chunk };
        for (position, seq, verdict) in [
            (at(0, 0), 1, Verdict::Send),
            (at(4, 2), 5, Verdict::Send),
            (at(4, 0), 4, Verdict::Skip),
            (at(4, 0), 1, Verdict::Skip),
            (at(4, 0), 6, Verdict::Gap),
        ] {
            assert_eq!(position.judge_event(seq), verdict, "{position:?} {seq}");
        }
        for (position, seq, number, verdict) in [
            (at(4, 0), 4, 1, Verdict::Send),
            (at(4, 2), 4, 3, Verdict::Send),
            (at(4, 2), 4, 9, Verdict::Send),
            (at(4, 2), 4, 2, Verdict::Skip),
            (at(4, 0), 3, 7, Verdict::Skip),
            (at(4, 0), 5, 1, Verdict::Gap),
        ] {
            assert_eq!(position.judge_chunk(seq, number), verdict, "{position:?} {seq}.{number}");
        }
    }

    #[test]
    fn filters_name_known_events_only() {
        let wanted = Wanted::parse(["task_start", "log"].into_iter()).unwrap();
        assert!(wanted.shows("log") && wanted.shows("complete") && wanted.shows("error"));
        assert!(!wanted.shows("task_status") && Wanted::default().shows("task_status"));
        let problem = Wanted::parse(["task_strat"].into_iter()).unwrap_err();
        assert_eq!((problem.code().word, problem.advice()), ("unknown_event_type", Some("did you mean 'task_start'?")));
    }

    #[test]
    fn frames_cannot_be_forged() {
        let event = Journal {
            seq: 2,
            at: Timestamp(0),
            event: "log\nid: 9".into(),
            task_id: Some("a\n\nb".into()),
            data: "{\"x\":\n\n1}".into(),
        };
        let mut frames = String::new();
        push_event(&mut frames, &ExecId::from("01"), &event);
        assert_eq!(
            frames,
            "id: 2\nevent: log id: 9\ndata: {\"exec_id\":\"01\",\"seq\":2,\"at\":\"1970-01-01T00:00:00.000Z\",\"task_id\":\"a\\n\\nb\",\"x\":  1}\n\n"
        );
        frames.clear();
        let data = event::chunk(&ExecId::from("01"), 2, 1, "ask", "a\n\nb");
        push_between(&mut frames, (2, 1), "llm_chunk", &data);
        assert!(
            frames.starts_with("id: 2.1\nevent: llm_chunk\ndata: {") && frames.matches('\n').count() == 4,
            "{frames}"
        );
    }
}
