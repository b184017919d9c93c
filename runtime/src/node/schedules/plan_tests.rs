//! Decisions as a table: a schedule, what is known of it at a moment, what is to be done.

use std::time::Duration;

use compozy_engine::time::Timestamp;
use compozy_lang::cron;
use compozy_lang::plan::{Overlap, Schedule};

use super::{Decision, Outcome, Reason, Seen, asks_for_the_run, decide};
use crate::node::schedules::effective::{Effective, Override};

const HOURLY: &str = "0 * * * *";
const DAY: Duration = Duration::from_secs(86_400);

/// A schedule, and the few things in which the rows differ.
#[derive(Clone, Copy)]
struct Of {
    cron: &'static str,
    zone: &'static str,
    overlap: Overlap,
    catch_up: Duration,
    enabled: bool,
    end: &'static str,
}

const OF: Of =
    Of { cron: HOURLY, zone: "UTC", overlap: Overlap::Skip, catch_up: Duration::ZERO, enabled: true, end: "" };

/// A moment of the first of June 2026, or of the day that is written.
fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') { format!("2026-{text}Z") } else { format!("2026-06-01T{text}Z") };
    Timestamp(cron::instant(&text, &cron::TimeZone::UTC).unwrap())
}

fn maybe(text: &str) -> Option<Timestamp> {
    (text != "-").then(|| at(text))
}

fn effective(of: Of) -> Effective {
    let schedule = Schedule {
        id: "flow".into(),
        cron: of.cron.into(),
        timezone: of.zone.into(),
        enabled: of.enabled,
        jitter: Duration::ZERO,
        start_at: None,
        end_at: maybe(if of.end.is_empty() { "-" } else { of.end }).map(|time| time.0),
        input: serde_json::Value::Null,
        overlap: of.overlap,
        catch_up: of.catch_up,
    };
    Effective::new(&schedule, &Override::default()).unwrap()
}

fn shown(decision: Decision) -> String {
    let time = |time: Option<Timestamp>| {
        time.map_or("-".to_owned(), |time| {
            let text = time.to_rfc3339();
            text.trim_start_matches("2026-").trim_start_matches("06-01T").trim_end_matches(".000Z").to_owned()
        })
    };
    match decision {
        Decision::Rest(until) => format!("rest until {}", time(until)),
        Decision::Plan(next) => format!("plan {}", time(next)),
        Decision::Record { time: fire, outcome, next } => {
            let outcome = match outcome {
                Outcome::Start => "start",
                Outcome::Replace => "replace",
                Outcome::Keep => "keep",
                Outcome::Skip(Reason::Missed) => "miss",
                Outcome::Skip(Reason::Running) => "skip",
                Outcome::Skip(Reason::Disabled) => "drop",
            };
            format!("{outcome} {}, then {}", time(Some(fire)), time(next))
        }
    }
}

const IDLE: bool = false;
const BUSY: bool = true;

/// Schedule; planned, kept; the last run; watched since, now; what is decided.
type Row = (Of, [&'static str; 2], bool, [&'static str; 2], &'static str);

#[test]
fn decisions() {
    let (allow, keep, replace) = (
        Of { overlap: Overlap::Allow, ..OF },
        Of { overlap: Overlap::BufferOne, ..OF },
        Of { overlap: Overlap::CancelOther, ..OF },
    );
    let off = Of { enabled: false, ..OF };
    let caught = Of { catch_up: Duration::from_secs(7_200), ..OF };
    let secondly = Of { cron: "@every 1s", catch_up: DAY, ..OF };
    let once = Of { cron: "0 0 12 1 6 * 2026", ..OF };
    let berlin = Of { cron: "30 2 * * *", zone: "Europe/Berlin", ..OF };
    let ends = Of { end: "12:00:00", ..OF };
    let rows: &[Row] = &[
        // Planning.
        (OF, ["-", "-"], IDLE, ["11:00:00", "11:30:00"], "plan 12:00:00"),
        (OF, ["-", "-"], IDLE, ["11:00:00", "12:00:00"], "plan 13:00:00"),
        (OF, ["12:00:00", "-"], IDLE, ["11:00:00", "11:30:00"], "rest until 12:00:00"),
        (OF, ["12:10:00", "-"], IDLE, ["11:00:00", "11:30:00"], "plan 12:00:00"),
        (off, ["-", "-"], IDLE, ["11:00:00", "11:30:00"], "rest until -"),
        (off, ["12:00:00", "-"], IDLE, ["11:00:00", "12:30:00"], "plan -"),
        (ends, ["-", "-"], IDLE, ["11:00:00", "12:00:00"], "rest until -"),
        (ends, ["13:00:00", "-"], IDLE, ["11:00:00", "12:30:00"], "plan -"),
        // A time has come.
        (OF, ["12:00:00", "-"], IDLE, ["11:00:00", "12:00:00"], "start 12:00:00, then 13:00:00"),
        (OF, ["12:00:00", "-"], IDLE, ["11:00:00", "12:00:20"], "start 12:00:00, then 13:00:00"),
        (ends, ["12:00:00", "-"], IDLE, ["11:00:00", "12:00:00"], "start 12:00:00, then -"),
        (once, ["12:00:00", "-"], IDLE, ["11:00:00", "12:00:00"], "start 12:00:00, then -"),
        (OF, ["12:00:00", "-"], BUSY, ["11:00:00", "12:00:00"], "skip 12:00:00, then 13:00:00"),
        (allow, ["12:00:00", "-"], BUSY, ["11:00:00", "12:00:00"], "start 12:00:00, then 13:00:00"),
        (replace, ["12:00:00", "-"], BUSY, ["11:00:00", "12:00:00"], "replace 12:00:00, then 13:00:00"),
        (replace, ["12:00:00", "-"], IDLE, ["11:00:00", "12:00:00"], "start 12:00:00, then 13:00:00"),
        // One that waits for the run before it.
        (keep, ["12:00:00", "-"], BUSY, ["11:00:00", "12:00:00"], "keep 12:00:00, then 13:00:00"),
        (keep, ["13:00:00", "12:00:00"], BUSY, ["11:00:00", "12:30:00"], "rest until 13:00:00"),
        (keep, ["13:00:00", "12:00:00"], BUSY, ["11:00:00", "13:00:00"], "skip 13:00:00, then 14:00:00"),
        (keep, ["13:00:00", "12:00:00"], IDLE, ["11:00:00", "12:30:00"], "start 12:00:00, then 13:00:00"),
        (keep, ["13:00:00", "12:00:00"], IDLE, ["20:00:00", "20:00:00"], "start 12:00:00, then 13:00:00"),
        (off, ["-", "12:00:00"], BUSY, ["11:00:00", "12:30:00"], "drop 12:00:00, then -"),
        // Nobody was there.
        (OF, ["12:00:00", "-"], IDLE, ["12:30:00", "12:30:00"], "miss 12:00:00, then 13:00:00"),
        (OF, ["12:00:00", "-"], IDLE, ["12:00:01", "12:00:01"], "miss 12:00:00, then 13:00:00"),
        (OF, ["12:00:00", "-"], IDLE, ["18:30:00", "18:31:00"], "miss 18:00:00, then 19:00:00"),
        (caught, ["12:00:00", "-"], IDLE, ["18:30:00", "18:31:00"], "start 18:00:00, then 19:00:00"),
        (caught, ["12:00:00", "-"], BUSY, ["18:30:00", "18:31:00"], "skip 18:00:00, then 19:00:00"),
        (caught, ["12:00:00", "-"], IDLE, ["13:00:00", "13:00:00"], "start 12:00:00, then 13:00:00"),
        (
            Of { cron: "0 12 * * *", ..caught },
            ["12:00:00", "-"],
            IDLE,
            ["14:00:01", "14:00:01"],
            "miss 12:00:00, then 06-02T12:00:00",
        ),
        (
            Of { cron: "0 12 * * *", ..caught },
            ["12:00:00", "-"],
            IDLE,
            ["14:00:00", "14:00:00"],
            "start 12:00:00, then 06-02T12:00:00",
        ),
        (secondly, ["01-01T00:00:00", "-"], IDLE, ["12:00:05", "12:00:05"], "start 12:00:04, then 12:00:05"),
        (Of { catch_up: DAY, ..once }, ["12:00:00", "-"], IDLE, ["18:00:00", "18:00:00"], "start 12:00:00, then -"),
        (once, ["12:00:00", "-"], IDLE, ["18:00:00", "18:00:00"], "miss 12:00:00, then -"),
        // It was, but could not write: only the latest counts.
        (OF, ["12:00:00", "-"], IDLE, ["11:00:00", "12:05:00"], "start 12:00:00, then 13:00:00"),
        (OF, ["12:00:00", "-"], IDLE, ["11:00:00", "15:05:00"], "start 15:00:00, then 16:00:00"),
        // The clock was set back: what was dealt with stays so. A plan of a clock that ran years ahead is made anew.
        (OF, ["12:00:00", "-"], IDLE, ["10:10:00", "10:10:00"], "rest until 12:00:00"),
        (
            Of { cron: "0 0 1 * *", ..OF },
            ["08-01T00:00:00", "-"],
            IDLE,
            ["06-20T00:00:00", "06-20T00:00:00"],
            "plan 07-01T00:00:00",
        ),
        (
            Of { cron: "0 0 1 * *", ..OF },
            ["07-01T00:00:00", "-"],
            IDLE,
            ["05-31T23:00:00", "05-31T23:00:00"],
            "plan 00:00:00",
        ),
        (OF, ["06-03T00:00:00", "-"], IDLE, ["10:10:00", "10:10:00"], "plan 11:00:00"),
        // Clocks go forward on 29 March and back on 25 October.
        (
            berlin,
            ["03-28T01:30:00", "-"],
            IDLE,
            ["03-28T00:00:00", "03-28T01:30:00"],
            "start 03-28T01:30:00, then 03-30T00:30:00",
        ),
        (
            berlin,
            ["10-25T00:30:00", "-"],
            IDLE,
            ["10-25T00:00:00", "10-25T00:30:00"],
            "start 10-25T00:30:00, then 10-26T01:30:00",
        ),
        (berlin, ["10-26T01:30:00", "-"], IDLE, ["10-25T00:00:00", "10-25T01:30:00"], "rest until 10-26T01:30:00"),
    ];
    for (of, [planned, kept], busy, [since, now], expected) in rows {
        let seen =
            Seen { planned: maybe(planned), kept: maybe(kept), busy: *busy, watched_since: at(since), now: at(now) };
        let told = format!("{} {:?} {seen:?}", of.cron, of.overlap);
        assert_eq!(shown(decide(&effective(*of), &seen)), *expected, "{told}");
        // Unless it is asked for, the run that was started last decides nothing.
        if !asks_for_the_run(seen.planned, seen.kept, seen.now) {
            assert_eq!(shown(decide(&effective(*of), &Seen { busy: !busy, ..seen })), *expected, "{told}");
        }
    }
}

/// Whatever the moments at which a node looks, and whenever it was down: every time is recorded at most once and in
/// order, and it comes to rest.
#[test]
fn no_time_is_recorded_twice() {
    let mut seed = 7_u64;
    let mut random = |most: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % most
    };
    let policies = [Overlap::Skip, Overlap::Allow, Overlap::BufferOne, Overlap::CancelOther];
    for case in 0..200 {
        let overlap = policies[case % policies.len()];
        let cron = ["@every 7s", "*/5 * * * * *", "* * * * *", HOURLY][case / 4 % 4];
        let schedule = effective(Of { cron, overlap, catch_up: Duration::from_secs(random(7_200)), ..OF });
        let (mut now, mut since, mut planned, mut kept) = (at("00:00:00"), at("00:00:00"), None, None);
        let mut recorded: Vec<Timestamp> = Vec::new();
        for _ in 0..200 {
            now = now.after(Duration::from_millis(random(90_000)));
            if random(10) == 0 {
                now = now.after(Duration::from_secs(random(50_000)));
                since = now;
            }
            let busy = random(2) == 0;
            for turn in 0.. {
                assert!(turn < 100, "it never rests");
                match decide(&schedule, &Seen { planned, kept, busy, watched_since: since, now }) {
                    Decision::Rest(until) => {
                        assert!(until.is_none_or(|until| until > now));
                        break;
                    }
                    Decision::Plan(next) => planned = next,
                    Decision::Record { time, outcome, next } => {
                        assert!(schedule.due(time) <= now, "too early");
                        planned = next;
                        match (outcome, kept.take_if(|kept| *kept == time)) {
                            (Outcome::Keep, _) => assert_eq!(kept.replace(time), None),
                            (_, Some(_)) => continue,
                            _ => {}
                        }
                        assert!(recorded.last().is_none_or(|last| *last < time), "{time:?} after {recorded:?}");
                        recorded.push(time);
                    }
                }
            }
        }
        assert!(!recorded.is_empty());
    }
}
