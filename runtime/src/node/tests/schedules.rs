//! Schedules on a simulated clock: every overlap policy, downtime, restarts, clocks that jump, several nodes.

use std::sync::Arc;
use std::time::Duration;

use compozy_engine::time::Timestamp;
use compozy_lang::cron::{self, TimeZone};
use compozy_lang::plan::{Overlap, Project, Schedule, TaskKind, TemplateMode, Wait, Workflow};
use serde_json::{Value, json};

use super::containers::{holding, template};
use super::{launch, memory, project, task, workflow};
use crate::clock::Clock;
use crate::node::schedules::Change;
use crate::node::{Error, Node};
use crate::storage::Storage;
use crate::storage::row::{Idempotency, Run, RunFilter, Schedule as Row};

/// A moment of the first of June 2026, or of the day that is written.
fn at(text: &str) -> Timestamp {
    let text = if text.contains('T') { format!("2026-{text}Z") } else { format!("2026-06-01T{text}Z") };
    Timestamp(cron::instant(&text, &TimeZone::UTC).unwrap())
}

fn shown(time: Option<Timestamp>) -> String {
    time.map_or("-".into(), |time| time.to_rfc3339().trim_end_matches(":00.000Z").trim_start_matches("2026-").into())
}

fn hourly() -> Schedule {
    Schedule {
        id: "flow".into(),
        cron: "0 * * * *".into(),
        timezone: "UTC".into(),
        enabled: true,
        jitter: Duration::ZERO,
        start_at: None,
        end_at: None,
        input: Value::Null,
        overlap: Overlap::Skip,
        catch_up: Duration::ZERO,
    }
}

/// Ends soon, but not at once: here an hour may pass before a run of a millisecond has ended.
fn quick(schedules: &[Schedule]) -> Workflow {
    let schedules = schedules.iter().map(|schedule| Schedule { overlap: Overlap::Allow, ..schedule.clone() });
    Workflow { schedules: schedules.collect(), ..workflow(vec![task("a", "add", &json!({"a": 1, "b": 2}))]) }
}

/// Ends when it is told to.
fn long(schedules: &[Schedule]) -> Workflow {
    let wait_for = template("go", &[], TemplateMode::Text);
    let wait = Wait { wait_for, condition: None, processor: None, on_timeout: None };
    Workflow { schedules: schedules.to_vec(), ..workflow(vec![holding("hold", TaskKind::Wait(wait))]) }
}

/// A machine with a database, and the node that is alive on it.
struct Stage {
    storage: Arc<dyn Storage>,
    clock: Clock,
    node: Arc<Node>,
}

impl Stage {
    async fn at(time: &str, workflow: Workflow) -> Self {
        let (storage, clock) = (memory().await, Clock::simulated(at(time)));
        let node = launch(storage.clone(), clock.clone(), project([workflow])).await;
        node.watch_schedules(true).await;
        Self { storage, clock, node }
    }

    async fn stop(&self) {
        // Nobody waits for simulated time here.
        self.node.worker.stopping.store(true, std::sync::atomic::Ordering::Relaxed);
        self.node.worker.schedules.look();
        self.node.worker.wake.notify_one();
    }

    /// The next process on the same machine and database.
    async fn start(&mut self, workflow: Workflow) {
        self.clock = self.clock.of_another_process();
        self.node = launch(self.storage.clone(), self.clock.clone(), project([workflow])).await;
        self.node.watch_schedules(true).await;
    }

    /// Lets time pass until the wall clock shows `time`.
    fn pass(&self, time: &str) {
        self.clock.advance(at(time).since(self.clock.now()));
    }

    async fn row(&self) -> Row {
        self.storage.schedules().await.unwrap().into_iter().find(|row| row.schedule_id == "flow").unwrap()
    }

    /// Runs, oldest first.
    async fn runs(&self) -> Vec<Run> {
        let filter = RunFilter { limit: 500, ascending: true, ..RunFilter::default() };
        self.storage.runs(&filter).await.unwrap().items
    }

    async fn until(&self, what: &str, mut met: impl AsyncFnMut(&Self) -> bool) {
        for _ in 0..1_000 {
            if met(self).await {
                return;
            }
            self.node.worker.schedules.look();
            Clock::system().sleep(Duration::from_millis(5)).await;
        }
        panic!("{what}: {:?} {:#?}", self.row().await, self.runs().await);
    }

    /// Until the schedule is planned for `time`: whatever was due before has been dealt with.
    async fn planned(&self, time: &str) {
        let expected = if time == "-" { None } else { Some(at(time)) };
        self.until(&format!("planned {time}"), async |stage| stage.row().await.next_fire_at == expected).await;
    }

    async fn ended(&self, number: usize, status: &str) {
        let what = format!("run {number} is {status}");
        self.until(&what, async |stage| stage.runs().await.get(number).is_some_and(|run| run.status == status)).await;
    }

    async fn sound(&self) {
        assert_eq!(self.storage.check().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_time_starts_one_run() {
    let schedule = Schedule { input: json!({"mode": "quick"}), ..hourly() };
    let stage = Stage::at("11:30:00", quick(&[schedule])).await;
    assert!(stage.node.status().schedules_reconciled);
    stage.planned("12:00:00").await;
    stage.pass("11:59:59");
    stage.planned("12:00:00").await;
    assert!(stage.runs().await.is_empty(), "not before its time");
    for (time, next) in [("12:00:00", "13:00:00"), ("13:00:00", "14:00:00"), ("14:00:20", "15:00:00")] {
        stage.pass(time);
        stage.planned(next).await;
    }
    let runs = stage.runs().await;
    assert_eq!(runs.len(), 3);
    for (number, run) in runs.iter().enumerate() {
        stage.ended(number, "SUCCESS").await;
        assert_eq!(run.input, r#"{"mode":"quick"}"#);
        let trigger: Value = serde_json::from_str(&run.trigger).unwrap();
        assert_eq!(trigger, json!({"type": "schedule", "name": "flow"}));
    }
    let row = stage.row().await;
    assert_eq!((row.last_exec_id, row.last), (Some(runs[2].exec_id.clone()), Some((at("14:00:00"), "started".into()))));
    stage.sound().await;
}

/// What each policy makes of 12:00 to 14:00 while the run of 12:00 goes on.
#[tokio::test(flavor = "multi_thread")]
async fn overlaps_are_dealt_with_by_policy() {
    for (overlap, states, statuses) in [
        (Overlap::Skip, ["skipped", "skipped"], vec!["WAITING"]),
        (Overlap::Allow, ["started", "started"], vec!["WAITING", "WAITING", "WAITING"]),
        (Overlap::BufferOne, ["buffered", "skipped"], vec!["WAITING"]),
        (Overlap::CancelOther, ["started", "started"], vec!["CANCELED", "CANCELED", "WAITING"]),
    ] {
        let stage = Stage::at("11:30:00", long(&[Schedule { overlap, ..hourly() }])).await;
        stage.pass("12:00:00");
        stage.planned("13:00:00").await;
        stage.ended(0, "WAITING").await;
        for (time, next, state) in [("13:00:00", "14:00:00", states[0]), ("14:00:00", "15:00:00", states[1])] {
            stage.pass(time);
            stage.planned(next).await;
            assert_eq!(stage.row().await.last, Some((at(time), state.into())), "{overlap:?}");
        }
        for (number, status) in statuses.iter().enumerate() {
            stage.ended(number, status).await;
        }
        assert_eq!(stage.runs().await.len(), statuses.len(), "{overlap:?}");
        // Once the run has ended, the time that was kept has its turn, and any other policy waits for the next.
        let last = stage.runs().await.pop().unwrap().exec_id;
        stage.node.cancel(&last, "a test", None).await.unwrap();
        let kept = overlap == Overlap::BufferOne;
        if !kept {
            stage.ended(statuses.len() - 1, "CANCELED").await;
            stage.pass("15:00:00");
            stage.planned("16:00:00").await;
        }
        stage.ended(statuses.len(), "WAITING").await;
        let row = stage.row().await;
        assert_eq!((row.buffered_at, row.last_fire_at), (None, Some(at(if kept { "13:00:00" } else { "15:00:00" }))));
        stage.sound().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_of_a_run_wakes_what_waits_for_it() {
    let stage = Stage::at("11:30:00", long(&[Schedule { overlap: Overlap::BufferOne, ..hourly() }])).await;
    stage.pass("12:00:00");
    stage.planned("13:00:00").await;
    stage.pass("13:00:00");
    stage.planned("14:00:00").await;
    let first = stage.runs().await.remove(0).exec_id;
    stage.node.cancel(&first, "a test", None).await.unwrap();
    // Nobody looks here, and no time passes: the end itself has to be heard.
    for _ in 0..1_000 {
        if stage.runs().await.len() == 2 {
            return stage.sound().await;
        }
        Clock::system().sleep(Duration::from_millis(5)).await;
    }
    panic!("the kept time has not started: {:?}", stage.row().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kept_time_outlives_its_process() {
    let workflow = || long(&[Schedule { overlap: Overlap::BufferOne, ..hourly() }]);
    let mut stage = Stage::at("11:30:00", workflow()).await;
    stage.pass("12:00:00");
    stage.planned("13:00:00").await;
    stage.pass("13:00:00");
    stage.planned("14:00:00").await;
    stage.node.shutdown(Duration::ZERO).await;
    stage.pass("13:20:00");
    stage.start(workflow()).await;
    stage.planned("14:00:00").await;
    assert_eq!((stage.runs().await.len(), stage.row().await.buffered_at), (1, Some(at("13:00:00"))));
    let first = stage.runs().await.remove(0).exec_id;
    stage.node.cancel(&first, "a test", None).await.unwrap();
    stage.ended(1, "WAITING").await;
    assert_eq!(stage.row().await.last_fire_at, Some(at("13:00:00")));
    stage.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_downtime_the_latest_time_may_be_caught_up() {
    for (catch_up, started) in [(0, false), (1_799, false), (1_800, true), (86_400, true)] {
        let workflow = || quick(&[Schedule { catch_up: Duration::from_secs(catch_up), ..hourly() }]);
        let mut stage = Stage::at("11:30:00", workflow()).await;
        stage.planned("12:00:00").await;
        stage.stop().await;
        stage.pass("18:30:00");
        stage.start(workflow()).await;
        stage.planned("19:00:00").await;
        let state = if started { "started" } else { "skipped" };
        assert_eq!(stage.row().await.last, Some((at("18:00:00"), state.into())), "{catch_up}");
        assert_eq!(stage.runs().await.len(), usize::from(started), "{catch_up}");
        // Starting once more catches nothing up again.
        stage.stop().await;
        stage.start(workflow()).await;
        stage.planned("19:00:00").await;
        assert_eq!(stage.runs().await.len(), usize::from(started), "{catch_up}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_forward_is_downtime() {
    for (catch_up, started) in [(0, false), (7_200, true)] {
        let workflow = quick(&[Schedule { catch_up: Duration::from_secs(catch_up), ..hourly() }]);
        let stage = Stage::at("11:30:00", workflow).await;
        stage.planned("12:00:00").await;
        // The node has to be asleep when the clock is set.
        Clock::system().sleep(Duration::from_millis(300)).await;
        stage.clock.set(at("15:10:00"));
        stage.clock.advance(Duration::from_secs(30));
        stage.planned("16:00:00").await;
        let state = if started { "started" } else { "skipped" };
        assert_eq!(stage.row().await.last, Some((at("15:00:00"), state.into())));
        assert_eq!(stage.runs().await.len(), usize::from(started));
        stage.pass("16:00:00");
        stage.planned("17:00:00").await;
        assert_eq!(stage.runs().await.len(), 1 + usize::from(started));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_set_back_repeats_nothing() {
    let workflow = || quick(&[Schedule { catch_up: Duration::from_secs(86_400), ..hourly() }]);
    let mut stage = Stage::at("11:30:00", workflow()).await;
    for (time, next) in [("12:00:00", "13:00:00"), ("13:00:00", "14:00:00")] {
        stage.pass(time);
        stage.planned(next).await;
    }
    // Within the process, where its own time stands still, and then for the next.
    stage.clock.set(at("11:10:00"));
    stage.clock.advance(Duration::from_secs(3_600));
    stage.planned("14:00:00").await;
    stage.stop().await;
    stage.clock.set(at("11:10:00"));
    stage.start(workflow()).await;
    for time in ["12:00:00", "13:00:00", "13:59:00"] {
        stage.pass(time);
        stage.planned("14:00:00").await;
    }
    assert_eq!(stage.runs().await.len(), 2);
    stage.pass("14:00:00");
    stage.planned("15:00:00").await;
    assert_eq!(stage.runs().await.len(), 3);
    // A clock that was a year ahead: the times of this year are fired, and those of 12:00 to 14:00 are not again.
    stage.storage.plan_schedule("flow", Some(Timestamp(at("12:00:00").0 + 31_536_000_000_000))).await.unwrap();
    stage.stop().await;
    stage.clock.set(at("12:30:00"));
    stage.start(workflow()).await;
    stage.planned("13:00:00").await;
    stage.pass("13:00:00");
    stage.planned("14:00:00").await;
    stage.pass("14:00:00");
    stage.planned("15:00:00").await;
    stage.pass("15:00:00");
    stage.planned("16:00:00").await;
    assert_eq!(stage.runs().await.len(), 4);
    stage.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nights_in_which_clocks_change_have_one_fire_or_none() {
    let berlin = || quick(&[Schedule { cron: "30 2 * * *".into(), timezone: "Europe/Berlin".into(), ..hourly() }]);
    // 02:30 of 29 March does not exist, 02:30 of 25 October comes twice.
    for (begin, steps) in [
        ("03-28T00:00:00", [("03-28T01:30:00", "03-30T00:30:00"), ("03-30T00:30:00", "03-31T00:30:00")]),
        ("10-24T12:00:00", [("10-25T00:30:00", "10-26T01:30:00"), ("10-25T01:30:00", "10-26T01:30:00")]),
    ] {
        let stage = Stage::at(begin, berlin()).await;
        for (time, next) in steps {
            stage.pass(time);
            stage.planned(next).await;
        }
        let expected = if begin.starts_with("03") { 2 } else { 1 };
        assert_eq!(stage.runs().await.len(), expected, "{begin}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_input_that_does_not_fit_fails_the_time_and_nothing_else() {
    let mut strict = quick(&[hourly()]);
    strict.input_schema = Some(json!({"type": "object", "required": ["n"]}));
    let stage = Stage::at("11:30:00", strict).await;
    stage.pass("12:00:00");
    stage.planned("13:00:00").await;
    assert_eq!(stage.row().await.last, Some((at("12:00:00"), "failed".into())));
    assert!(stage.runs().await.is_empty());
    stage.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jitter_delays_a_fire_by_the_same_time_everywhere() {
    let schedule = Schedule { jitter: Duration::from_secs(1_800), ..hourly() };
    let effective = crate::node::schedules::Effective::new(&schedule, &Default::default()).unwrap();
    let due = effective.due(at("12:00:00"));
    assert!(due > at("12:00:00") && due < at("12:30:00"));
    let stage = Stage::at("11:30:00", quick(&[schedule])).await;
    stage.clock.advance(Timestamp(due.0 - 1).since(stage.clock.now()));
    stage.planned("12:00:00").await;
    Clock::system().sleep(Duration::from_millis(30)).await;
    assert!(stage.runs().await.is_empty());
    stage.clock.advance(Duration::from_micros(1));
    stage.planned("13:00:00").await;
    assert_eq!(stage.runs().await.len(), 1);
}

fn set(cron: &str) -> Change {
    Change { cron: Some(Some(cron.into())), ..Change::default() }
}

fn switched(enabled: bool) -> Change {
    Change { enabled: Some(Some(enabled)), ..Change::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_in_force_at_once_and_outlives_its_process() {
    let mut stage = Stage::at("11:30:00", quick(&[hourly()])).await;
    stage.node.change_schedule("flow", &set("15 * * * *")).await.unwrap();
    assert_eq!(shown(stage.row().await.next_fire_at), "06-01T12:15");
    stage.pass("12:15:00");
    stage.planned("13:15:00").await;
    assert_eq!(stage.runs().await.len(), 1);
    stage.node.change_schedule("flow", &switched(false)).await.unwrap();
    assert_eq!(stage.row().await.next_fire_at, None);
    // The project changes meanwhile; what was set stays.
    stage.stop().await;
    stage.start(quick(&[Schedule { cron: "30 * * * *".into(), ..hourly() }])).await;
    stage.pass("14:00:00");
    stage.planned("-").await;
    stage.node.change_schedule("flow", &switched(true)).await.unwrap();
    assert_eq!(shown(stage.row().await.next_fire_at), "06-01T14:15");
    assert_eq!(stage.row().await.overriding.as_deref(), Some(r#"{"cron":"15 * * * *"}"#));
    stage.node.change_schedule("flow", &Change::reset()).await.unwrap();
    let row = stage.row().await;
    assert_eq!((shown(row.next_fire_at).as_str(), row.overriding), ("06-01T14:30", None));
    // Removing twice: there is nothing to take back, so it is switched off; then that is taken back.
    stage.node.remove_schedule("flow").await.unwrap();
    assert_eq!(stage.row().await.overriding.as_deref(), Some(r#"{"enabled":false}"#));
    stage.node.remove_schedule("flow").await.unwrap();
    assert_eq!(stage.row().await.overriding, None);
    let bad = stage.node.change_schedule("flow", &set("61 * * * *")).await;
    assert!(matches!(bad, Err(Error::ScheduleInvalid { invalid }) if invalid[0].code == "CZ0901"));
    let nobody = stage.node.change_schedule("flow/1", &switched(true)).await;
    assert!(matches!(nobody, Err(Error::ScheduleNotFound { .. })));
    assert_eq!(stage.runs().await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_declares_anew() {
    let stage = Stage::at("11:30:00", quick(&[hourly()])).await;
    stage.planned("12:00:00").await;
    let half_past = Schedule { cron: "45 * * * *".into(), ..hourly() };
    let two: Project = project([quick(&[
        Schedule { id: "flow/1".into(), ..half_past.clone() },
        Schedule { id: "flow/2".into(), ..hourly() },
    ])]);
    stage.node.replace_project(Arc::new(project([quick(&[half_past])])));
    stage.planned("11:45:00").await;
    stage.until("reconciled", async |stage| stage.node.status().schedules_reconciled).await;
    stage.node.replace_project(Arc::new(two));
    stage
        .until("two rows", async |stage| {
            let rows = stage.storage.schedules().await.unwrap();
            let all = rows.iter().map(|row| row.schedule_id.as_str()).eq(["flow/1", "flow/2"]);
            all && rows.iter().all(|row| row.next_fire_at.is_some())
        })
        .await;
    stage.pass("12:00:00");
    stage.until("both", async |stage| stage.runs().await.len() == 2).await;
    let hint = stage.node.change_schedule("flow", &switched(true)).await;
    assert!(matches!(hint, Err(Error::ScheduleNotFound { suggestions, .. }) if suggestions == ["flow/1", "flow/2"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trigger_starts_a_run_now_and_leaves_the_times_alone() {
    let stage = Stage::at("11:30:00", long(&[Schedule { enabled: false, ..hourly() }])).await;
    let key = |hash: &str| Idempotency {
        scope: "local|schedule|flow".into(),
        key: "k".into(),
        request_hash: hash.into(),
        expires_at: at("23:00:00"),
    };
    let first = stage.node.trigger_schedule("flow", Some(key("a"))).await.unwrap();
    let again = stage.node.trigger_schedule("flow", Some(key("a"))).await.unwrap();
    assert_eq!((&first.exec_id, first.replayed, again.replayed), (&again.exec_id, false, true));
    let other = stage.node.trigger_schedule("flow", Some(key("b"))).await;
    assert!(matches!(other, Err(Error::IdempotencyMismatch)), "{other:?}");
    // Of the same microsecond, and while the first still runs.
    stage.node.trigger_schedule("flow", None).await.unwrap();
    stage.ended(1, "WAITING").await;
    assert_eq!(stage.runs().await.len(), 2);
    assert_eq!(stage.row().await.next_fire_at, None);
    // It counts as the run before the next.
    stage.node.change_schedule("flow", &switched(true)).await.unwrap();
    stage.pass("12:00:00");
    stage.planned("13:00:00").await;
    assert_eq!(stage.row().await.last, Some((at("12:00:00"), "skipped".into())));
    stage.sound().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_nodes_fire_each_time_once() {
    let (storage, clock) = (memory().await, Clock::simulated(at("11:30:00")));
    let schedule = || Schedule { overlap: Overlap::Allow, ..hourly() };
    let one = launch(storage.clone(), clock.clone(), project([quick(&[schedule()])])).await;
    let other = launch(storage.clone(), clock.clone(), project([quick(&[schedule()])])).await;
    one.watch_schedules(true).await;
    other.watch_schedules(true).await;
    let stage = Stage { storage, clock, node: one };
    for (number, (time, next)) in
        [("12:00:00", "13:00:00"), ("13:00:00", "14:00:00"), ("14:00:00", "15:00:00")].into_iter().enumerate()
    {
        stage.pass(time);
        other.worker.schedules.look();
        stage.planned(next).await;
        Clock::system().sleep(Duration::from_millis(30)).await;
        assert_eq!(stage.runs().await.len(), number + 1);
    }
    stage.sound().await;
}
