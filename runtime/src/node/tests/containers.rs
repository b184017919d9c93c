//! Containers, routers, aggregates and conditions through templates, tools and the database.

use std::time::Duration;

use compozy_lang::plan::{
    Cel, Collection, Composite, Expression, Next, Parallel, Reference, Route, Router, Segment, Strategy, Task,
    TaskKind, Template, TemplateMode, Typed, ValueTemplate,
};
use serde_json::{Value, json};

use super::{ended, launch_keeping, memory, node, project, start, task, workflow};
use crate::clock::Clock;
use crate::storage::row::{Journal, Step};

/// What the loader would make of `text`, whose variables are `references`.
pub(super) fn template(text: &str, references: &[&str], mode: TemplateMode) -> Template {
    Template {
        segments: vec![Segment::Literal(text.to_owned())],
        is_template: text.contains("{{"),
        references: paths(references),
        mode,
        ..Template::default()
    }
}

fn paths(references: &[&str]) -> Vec<Reference> {
    let path = |text: &&str| text.split('.').map(str::to_owned).collect();
    references.iter().map(|text| Reference { path: path(text), whole: true }).collect()
}

pub(super) fn value(text: &str, references: &[&str]) -> ValueTemplate {
    ValueTemplate::Template(template(text, references, TemplateMode::Value))
}

pub(super) fn map(members: Vec<(&str, ValueTemplate)>) -> ValueTemplate {
    ValueTemplate::Map(members.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

pub(super) fn cel(source: &str, references: &[&str]) -> Expression {
    Expression::Cel(Cel { source: source.to_owned(), references: paths(references), place: Default::default() })
}

fn add(id: &str, a: i64, b: i64) -> Task {
    task(id, "add", &json!({"a": a, "b": b}))
}

pub(super) fn holding(id: &str, kind: TaskKind) -> Task {
    let mut task = Task { kind, with: None, ..task(id, "add", &Value::Null) };
    task.retry.maximum_attempts = 1;
    task
}

fn parallel(id: &str, strategy: Strategy, tasks: Vec<Task>) -> Task {
    holding(id, TaskKind::Parallel(Parallel { tasks, strategy, max_workers: None }))
}

fn composite(id: &str, tasks: Vec<Task>) -> Task {
    holding(id, TaskKind::Composite(Composite { tasks, explicit: false }))
}

fn collection(items: ValueTemplate, child: Task) -> Collection {
    Collection {
        items,
        filter: None,
        item_var: None,
        index_var: None,
        sequential: false,
        batch: None,
        max_workers: None,
        strategy: Strategy::WaitAll,
        child: Box::new(child),
        child_id: None,
    }
}

fn brief(steps: &[Step]) -> Vec<(&str, &str, Option<&str>)> {
    steps.iter().map(|step| (step.step_key.as_str(), step.status.as_str(), step.parent.as_deref())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn containers_nest_and_their_outputs_can_be_named() {
    let mut second = add("second", 0, 0);
    second.with = Some(map(vec![
        ("a", value("{{ .tasks.first.output.sum }}", &["tasks.first.output.sum"])),
        ("b", value("{{ .parent.input.base }}", &["parent.input.base"])),
    ]));
    let mut inner = composite("inner", vec![add("first", 1, 2), second]);
    inner.with = Some(map(vec![("base", ValueTemplate::Fixed(json!(10)))]));
    let all = parallel("all", Strategy::WaitAll, vec![add("left", 3, 4), inner]);
    let mut sum = holding("sum", TaskKind::Aggregate);
    sum.outputs = Some(map(vec![
        ("left", value("{{ .tasks.all.output.left.sum }}", &["tasks.all.output.left.sum"])),
        ("second", value("{{ .tasks.second.output.sum }}", &["tasks.second.output.sum"])),
        (
            "virtual",
            value("{{ .tasks.all.output.inner.output.second.sum }}", &["tasks.all.output.inner.output.second.sum"]),
        ),
        ("status", value("{{ .tasks.all.children.inner.status }}", &["tasks.all.children.inner.status"])),
    ]));
    let node = node(memory().await, workflow(vec![all, sum])).await;
    let run = ended(&node).await;
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let expected = json!({"left": 7, "second": 13, "virtual": 13, "status": "SUCCESS"});
    assert_eq!((run.status.as_str(), output), ("SUCCESS", Some(expected)), "{:?}", run.error);
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    assert_eq!(
        brief(&steps),
        [
            ("all#1", "SUCCESS", None),
            ("all/left#1", "SUCCESS", Some("all#1")),
            ("all/inner#1", "SUCCESS", Some("all#1")),
            ("all/inner/first#1", "SUCCESS", Some("all/inner#1")),
            ("all/inner/second#1", "SUCCESS", Some("all/inner#1")),
            ("sum#1", "SUCCESS", None),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_filters_names_and_orders_its_items() {
    let mut child = add("sum", 0, 0);
    child.with = Some(map(vec![("a", value("{{ .n }}", &["n"])), ("b", value("{{ .index }}", &["index"]))]));
    let mut each = collection(value("{{ .input.numbers | default \"1..5\" }}", &["input.numbers"]), child);
    each.filter = Some(template("{{ ne .item 2 }}", &["item"], TemplateMode::Guard));
    each.item_var = Some("n".to_owned());
    each.batch = Some(Typed::Fixed(2));
    each.child_id = Some(template("sum-{{ .item }}", &["item"], TemplateMode::Text));
    let mut each = holding("each", TaskKind::Collection(each));
    each.outputs = Some(map(vec![
        ("sums", value("{{ .output }}", &["output"])),
        ("named", value("{{ (index .children \"sum-3\").output.sum }}", &["children"])),
    ]));
    let node = node(memory().await, workflow(vec![each])).await;
    let run = ended(&node).await;
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let expected = json!({"sums": [{"sum": 1}, {"sum": 4}, {"sum": 6}, {"sum": 8}], "named": 4});
    assert_eq!((run.status.as_str(), output), ("SUCCESS", Some(expected)), "{:?}", run.error);
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    let keys: Vec<&str> = steps.iter().map(|step| step.step_key.as_str()).collect();
    assert_eq!(keys, ["each#1", "each/sum-1#1", "each/sum-3#1", "each/sum-4#1", "each/sum-5#1"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_and_conditions_are_cel() {
    let router = Router {
        condition: cel("tasks.first.output.sum > 2.5 ? 'big' : 'small'", &["tasks.first.output.sum"]),
        routes: vec![("small".into(), Route::Task(2)), ("big".into(), Route::Task(3))],
    };
    let mut small = add("small", 0, 0);
    small.targeted = true;
    let mut big = add("big", 20, 1);
    big.targeted = true;
    let mut skipped = add("skipped", 5, 5);
    skipped.condition = Some(cel("has(tasks.small.output)", &["tasks.small.output"]));
    let mut last = holding("last", TaskKind::Aggregate);
    last.outputs = Some(map(vec![
        ("big", value("{{ .tasks.big.output.sum }}", &["tasks.big.output.sum"])),
        ("skipped", value("{{ .tasks.skipped.skipped }}", &["tasks.skipped.skipped"])),
        ("route", value("{{ .tasks.pick.output.route_taken }}", &["tasks.pick.output.route_taken"])),
    ]));
    let tasks = vec![add("first", 1, 2), holding("pick", TaskKind::Router(router)), small, big, skipped, last];
    let node = node(memory().await, workflow(tasks)).await;
    let run = ended(&node).await;
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(output, Some(json!({"big": 21, "skipped": true, "route": "big"})), "{:?}", run.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_failure_stops_calls_that_never_return() {
    // Its second attempt fails when the good one has long ended.
    let mut lost = task("lost", "fail", &json!({"times": 9, "code": "broken", "retryable": true}));
    lost.retry.maximum_attempts = 2;
    lost.retry.initial_interval = Duration::from_millis(300);
    let mut all =
        parallel("all", Strategy::FailFast, vec![add("good", 1, 1), task("loop", "endless_loop", &json!({})), lost]);
    all.on_error.next = Some(Next::Task(1));
    let mut handler = holding("handler", TaskKind::Aggregate);
    handler.targeted = true;
    handler.outputs = Some(map(vec![
        ("code", value("{{ .error.code }}", &["error"])),
        ("kept", value("{{ .tasks.all.output.good.sum }}", &["tasks.all.output.good.sum"])),
        ("loop", value("{{ .tasks.all.output.loop }}", &["tasks.all.output.loop"])),
    ]));
    let node = node(memory().await, workflow(vec![all, handler])).await;
    let run = ended(&node).await;
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    assert_eq!(output, Some(json!({"code": "CZ0318", "kept": 2, "loop": null})), "{:?}", run.error);
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    let statuses: Vec<_> = steps.iter().map(|step| (step.step_key.as_str(), step.status.as_str())).collect();
    let expected = [
        ("all#1", "FAILED"),
        ("all/good#1", "SUCCESS"),
        ("all/loop#1", "CANCELED"),
        ("all/lost#1", "FAILED"),
        ("handler#1", "SUCCESS"),
    ];
    assert_eq!(statuses, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_race_is_over_with_its_winner_and_a_timeout_with_its_time() {
    let race = parallel("race", Strategy::Race, vec![task("loop", "endless_loop", &json!({})), add("fast", 2, 3)]);
    let mut slow = composite("slow", vec![task("loop", "endless_loop", &json!({}))]);
    slow.timeout = Some(Typed::Fixed(Duration::from_millis(100)));
    slow.on_error.next = Some(Next::Task(2));
    let mut last = holding("last", TaskKind::Aggregate);
    last.targeted = true;
    last.outputs = Some(map(vec![
        ("winner", value("{{ .tasks.race.winner }}", &["tasks.race.winner"])),
        ("race", value("{{ .tasks.race.output }}", &["tasks.race.output"])),
        ("slow", value("{{ .tasks.slow.status }}", &["tasks.slow.status"])),
        ("code", value("{{ .error.code }}", &["error"])),
    ]));
    let node = node(memory().await, workflow(vec![race, slow, last])).await;
    let run = ended(&node).await;
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let expected = json!({"winner": "fast", "race": {"fast": {"sum": 5}}, "slow": "TIMED_OUT", "code": "CZ0316"});
    assert_eq!(output, Some(expected), "{:?}", run.error);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_open_collection_goes_on_in_the_next_node() {
    let mut child = task("try", "fail", &json!({"times": 1, "code": "flaky", "retryable": true}));
    child.retry.initial_interval = Duration::from_millis(400);
    let then = {
        let mut then = add("then", 0, 1);
        then.with = Some(map(vec![
            ("a", value("{{ .parent.item }}", &["parent.item"])),
            ("b", value("{{ .item }}", &["item"])),
        ]));
        then
    };
    let each = collection(ValueTemplate::Fixed(json!([1, 2, 3])), composite("pair", vec![child, then]));
    let tasks = vec![holding("each", TaskKind::Collection(each))];
    let storage = memory().await;
    let first = node(storage.clone(), workflow(tasks.clone())).await;
    let accepted = first.submit(start()).await.unwrap();
    Clock::system().sleep(Duration::from_millis(150)).await;
    first.shutdown(Duration::from_millis(50)).await;
    let second = node(storage, workflow(tasks)).await;
    let run = second.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap()).unwrap_or_default();
    let sums: Vec<&Value> = output.as_array().into_iter().flatten().map(|pair| &pair["then"]["sum"]).collect();
    assert_eq!(sums, [&json!(2), &json!(4), &json!(6)], "{:?}", run.error);
    assert_eq!(second.storage().check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_ends_every_open_child() {
    let loops = (0..5).map(|index| task(&format!("loop{index}"), "endless_loop", &json!({}))).collect();
    let all =
        parallel("all", Strategy::WaitAll, vec![composite("inner", vec![parallel("deep", Strategy::WaitAll, loops)])]);
    let node = node(memory().await, workflow(vec![all])).await;
    let accepted = node.submit(start()).await.unwrap();
    Clock::system().sleep(Duration::from_millis(200)).await;
    node.cancel(&accepted.exec_id, "a test", None).await.unwrap();
    let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(run.status, "CANCELED");
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    assert_eq!(steps.len(), 8);
    assert!(steps.iter().all(|step| step.status == "CANCELED"), "{:?}", brief(&steps));
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
}

/// What is recorded is masked; what children are lent is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_secret_in_the_with_of_a_collection_reaches_its_children_and_no_row() {
    const SECRET: &str = "secret-0123456789";
    let mut child = add("use", 1, 1);
    child.outputs = Some(map(vec![("length", value("{{ len .with.token }}", &["with.token"]))]));
    let each = collection(ValueTemplate::Fixed(json!([1, 2])), child);
    let mut each = holding("each", TaskKind::Collection(each));
    each.with = Some(map(vec![("token", value("{{ .env.TOKEN }}", &["env.TOKEN"]))]));
    let mut plan = workflow(vec![each]);
    plan.env.insert("TOKEN".to_owned(), template(SECRET, &[], TemplateMode::Text));
    let secrets = vec![SECRET.to_owned()];
    let node = launch_keeping(memory().await, Clock::system(), project([plan]), secrets).await;
    let run = ended(&node).await;
    let output = run.output.as_deref().map(|text| serde_json::from_str::<Value>(text).unwrap());
    let length = json!({"length": SECRET.len()});
    assert_eq!(output, Some(json!([length, length])), "{:?}", run.error);
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    assert!(!format!("{steps:?}").contains(SECRET));
}

/// One thread runs all children while their driver waits for a commit; what has ended by then is recorded together.
#[tokio::test]
async fn children_that_end_together_share_a_commit() {
    let child = |number: i64| Task {
        sleep: Some(Typed::Fixed(Duration::from_secs(1))),
        ..add(&format!("c{number}"), number, 1)
    };
    let children = (0..100).map(child).collect();
    let node = node(memory().await, workflow(vec![parallel("all", Strategy::WaitAll, children)])).await;
    let run = ended(&node).await;
    assert_eq!(run.status, "SUCCESS");
    let events = node.storage().journal(&run.exec_id, 0, 1000).await.unwrap();
    let ends: Vec<_> = events.iter().filter(|event| event.event == "task_status").map(|event| event.at).collect();
    let commits: std::collections::BTreeSet<_> = ends.iter().collect();
    assert_eq!(ends.len(), 101);
    assert!(commits.len() < 50, "{} commits", commits.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rendered_duration_must_be_one() {
    let mut nap = add("nap", 1, 2);
    nap.sleep = Some(Typed::Template(template("{{ \"soon\" }}", &[], TemplateMode::Text)));
    let run = ended(&node(memory().await, workflow(vec![nap])).await).await;
    let error: Value = serde_json::from_str(run.error.as_deref().unwrap()).unwrap();
    assert_eq!((error["code"].as_str(), run.status.as_str()), (Some("CZ0111"), "FAILED"), "{error}");
}

/// Sleeps that began together end together.
#[tokio::test]
async fn timers_that_come_due_together_share_a_commit() {
    let branch = |number: i64| {
        let nap = Task { sleep: Some(Typed::Fixed(Duration::from_millis(200))), ..add("nap", number, 1) };
        composite(&format!("c{number}"), vec![nap, add("then", number, 2)])
    };
    let all = parallel("all", Strategy::WaitAll, (0..50).map(branch).collect());
    let node = node(memory().await, workflow(vec![all])).await;
    let run = ended(&node).await;
    assert_eq!(run.status, "SUCCESS");
    let events = node.storage().journal(&run.exec_id, 0, 1000).await.unwrap();
    let is_then = |event: &&Journal| {
        event.event == "task_start" && event.task_id.as_deref().is_some_and(|task| task.ends_with("/then"))
    };
    let starts: Vec<_> = events.iter().filter(is_then).map(|event| event.at).collect();
    let commits: std::collections::BTreeSet<_> = starts.iter().collect();
    assert_eq!(starts.len(), 50);
    assert!(commits.len() < 25, "{} commits", commits.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_that_names_no_task_is_a_failure_like_any_other() {
    let next = |text: &str| Some(Next::Template(template(text, &["output.sum"], TemplateMode::Value)));
    let mut first = add("first", 1, 2);
    first.on_success.next = next("tree{{ .output.sum }}");
    first.on_error.next = Some(Next::Task(2));
    let mut mend = task("tree5", "add", &Value::Null);
    mend.with = Some(map(vec![
        ("a", value("{{ len .error.code }}", &["error.code"])),
        ("b", value("{{ len .error.kind }}", &["error.kind"])),
    ]));
    mend.targeted = true;
    for (handled, status) in [(true, "SUCCESS"), (false, "FAILED")] {
        let mut first = first.clone();
        if !handled {
            first.on_error.next = None;
        }
        let node = node(memory().await, workflow(vec![first, add("never", 1, 1), mend.clone()])).await;
        let run = ended(&node).await;
        assert_eq!(run.status, status, "{:?}", run.error);
        let steps = node.storage().steps(&run.exec_id).await.unwrap();
        let error = steps[0].error.as_deref().unwrap();
        assert!(error.contains("CZ0307") && error.contains("did you mean 'tree5'?"), "{error}");
        assert_eq!((steps[0].status.as_str(), steps[0].attempt, steps.len()), ("FAILED", 1, 1 + usize::from(handled)));
    }
}
