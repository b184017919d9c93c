//! What a step inside containers sees.

use std::collections::BTreeMap;

use compozy_lang::plan::{Reference, Task, Workflow};
use serde_json::{Value, json};

use super::{Item, Site, build};
use crate::json::Json;
use crate::opening::{Body, Branches, Closing, Items, Opening, Tally};
use crate::state::{Facts, RunState, Step};
use crate::status::Status;
use crate::time::Timestamp;

fn task(id: &str, kind: Value) -> Value {
    json!({
        "id": id, "kind": kind, "with": null, "input_schema": null, "output_schema": null, "outputs": null, "env": {},
        "condition": null, "on_success": {"next": null, "with": null}, "on_error": {"next": null, "with": null},
        "sleep": null, "is_final": null, "timeout": null, "targeted": false, "place": compozy_lang::source::Place::default(),
        "retry": compozy_lang::plan::RetryPolicy::default(),
    })
}

fn tool(id: &str) -> Value {
    task(id, json!({"type": "tool", "tool": "t"}))
}

/// `first`, a parallel `all` of `left` and `right`, a collection `each` of composites of `one` and `two`.
fn plan() -> Workflow {
    let pair = task("pair", json!({"type": "composite", "tasks": [tool("one"), tool("two")], "explicit": false}));
    let all =
        json!({"type": "parallel", "tasks": [tool("left"), tool("right")], "strategy": "race", "max_workers": null});
    let each = json!({
        "type": "collection", "items": {"fixed": []}, "filter": null, "item_var": "thing", "index_var": "at",
        "sequential": false, "batch": null, "max_workers": null, "strategy": "wait_all", "child": pair, "child_id": null,
    });
    let tasks: Vec<Task> =
        serde_json::from_value(json!([tool("first"), task("all", all), task("each", each)])).unwrap();
    serde_json::from_value(json!({
        "id": "flow", "name": "", "version": "", "description": "", "file": "", "input_schema": null,
        "output_schema": null, "timeout": null, "tasks": tasks, "explicit": false, "outputs": null, "env": {},
        "project": {"name": "p", "version": "", "description": ""}, "limits": compozy_lang::plan::Limits::default(),
        "tools": {}, "digest": "",
    }))
    .unwrap()
}

/// Puts a step that is `status` and gave `output`; what holds it is the step at the path above.
fn put(state: &mut RunState, path: &str, address: &[usize], output: Option<Value>, opening: Option<Opening>) {
    state.executions += 1;
    let parent = path.rsplit_once('/').and_then(|(above, _)| state.steps.get(above)).map(|step| step.key.clone());
    let index = path.strip_prefix("each/pair-").and_then(|index| index.parse().ok());
    state.steps.put(Step {
        key: format!("{path}#1").parse().unwrap(),
        id: String::new(),
        parent,
        address: address.to_vec(),
        index,
        position: state.executions,
        status: if output.is_some() { Status::Success } else { Status::Running },
        attempt: 1,
        retry_at: None,
        overlay: None,
        cause: None,
        skipped: false,
        pause: None,
        opening: opening.map(Box::new),
        input: Some(Json::from(&json!({"of": path}))),
        output: output.as_ref().map(Json::from),
        error: None,
        result_seq: None,
        started_at: Timestamp(0),
        attempt_started_at: Timestamp(0),
        finished_at: None,
    });
}

fn opening(state: &RunState, body: Body, closing: Option<Closing>) -> Option<Opening> {
    Some(Opening { since: state.executions + 1, timeout: None, closing, body })
}

fn branches(items: Option<Items>) -> Body {
    Body::Branches(Branches { total: 2, workers: 2, batch: 0, items, tally: Tally::default() })
}

fn state() -> RunState {
    let facts = Facts {
        exec_id: "run".into(),
        input: Json::from(&json!({"n": 1})),
        trigger: Json::null(),
        deadline: None,
        depth: 0,
    };
    let mut state = RunState::new(facts, 0);
    put(&mut state, "first", &[0], Some(json!("f")), None);
    let winner = Closing { winner: Some("left".into()), ..Closing::success() };
    let open = opening(&state, branches(None), Some(winner));
    put(&mut state, "all", &[1], Some(json!({"left": 1})), open);
    put(&mut state, "all/left", &[1, 0], Some(json!(1)), None);
    let items = Items { values: [json!({"k": "a"}), json!({"k": "b"})].iter().map(Json::from).collect(), ids: None };
    let open = opening(&state, branches(Some(items)), None);
    put(&mut state, "each", &[2], None, open);
    for index in 0..2 {
        let path = format!("each/pair-{index}");
        let open = opening(&state, Body::List, None);
        put(&mut state, &path, &[2, 0], None, open);
        put(&mut state, &format!("{path}/one"), &[2, 0, 0], Some(json!(index * 10)), None);
        put(&mut state, &format!("{path}/two"), &[2, 0, 1], None, None);
    }
    state
}

/// The context of the step at `path` for templates that refer to `references`; empty: for everything.
fn seen(path: &str, references: &[&str], item: Option<Item<'_>>) -> Value {
    let (plan, state, env) = (plan(), state(), BTreeMap::new());
    let step = state.steps.get(path);
    let references: Vec<Reference> = references
        .iter()
        .map(|text| Reference {
            path: text.split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect(),
            whole: true,
        })
        .collect();
    let site = Site { item, ..Site::new(&plan, &state, step, &env) };
    serde_json::from_str(&build(&site, &references)).unwrap()
}

#[test]
fn a_name_means_the_nearest_task() {
    let context = seen("each/pair-1/two", &["tasks.one.output", "tasks.first.output", "tasks.left.output"], None);
    let tasks = &context["tasks"];
    assert_eq!(tasks["one"], json!({"status": "SUCCESS", "skipped": false, "output": 10}));
    assert_eq!(tasks["first"]["output"], json!("f"));
    assert_eq!(tasks["left"]["output"], json!(1), "named children of other containers are found");
    let outside = seen("first", &["tasks.one.status", "tasks.right.output"], None);
    assert_eq!(outside["tasks"], json!({"right": {"status": "PENDING"}}), "children of items have no place outside");
}

#[test]
fn items_have_their_names_and_the_container_is_the_parent() {
    let context = seen("each/pair-1/two", &["item", "index", "thing.k", "at", "parent"], None);
    assert_eq!((&context["item"], &context["index"]), (&json!({"k": "b"}), &json!(1)));
    assert_eq!((&context["thing"], &context["at"]), (&json!({"k": "b"}), &json!(1)));
    let parent = &context["parent"];
    assert_eq!(parent["input"], json!({"n": 1, "of": "each/pair-1"}));
    assert_eq!((&parent["task"]["id"], &parent["item"]), (&json!("pair-1"), &json!({"k": "b"})));
    assert_eq!(parent["parent"]["task"]["id"], json!("each"));
    assert_eq!(parent["parent"].get("item"), None);
    assert_eq!(parent["parent"].get("parent"), None);
}

#[test]
fn an_item_is_seen_before_its_step_exists() {
    let value = Json::from(&json!("x"));
    let context = seen("each", &["item", "index", "thing"], Some(Item { value: &value, index: 4 }));
    assert_eq!(context, json!({"item": "x", "index": 4, "thing": "x"}));
}

#[test]
fn containers_show_children_and_winner() {
    let context = seen("each", &["tasks.all.children", "tasks.all.winner", "children"], None);
    let all = &context["tasks"]["all"];
    assert_eq!(all["winner"], json!("left"));
    let left = json!({"status": "SUCCESS", "input": {"of": "all/left"}, "output": 1, "error": null});
    let right = json!({"status": "PENDING", "input": null, "output": null, "error": null});
    assert_eq!(all["children"], json!({"left": left, "right": right}));
    let children = context["children"].as_object().unwrap();
    assert_eq!(children.keys().collect::<Vec<_>>(), ["pair-0", "pair-1"]);
    assert_eq!(children["pair-1"]["children"]["one"]["output"], json!(10));
}

#[test]
fn progress_is_sent_to_who_names_it() {
    let context = seen("first", &["tasks.all.output.progress_info", "tasks.each.output"], None);
    let expected = json!({
        "total_children": 2, "success_count": 1, "failed_count": 0, "canceled_count": 0, "timed_out_count": 0,
        "completion_rate": 0.5, "failure_rate": 0.0, "overall_status": "SUCCESS",
    });
    assert_eq!(context["tasks"]["all"]["progress_info"], expected);
    assert_eq!(context["tasks"]["each"].get("progress_info"), None);
}

#[test]
fn the_trigger_has_its_name_and_the_input() {
    let (plan, mut state, env) = (plan(), state(), BTreeMap::new());
    for (recorded, expected) in [
        (json!({"type": "manual"}), json!({"type": "manual", "name": null, "input": {"n": 1}})),
        (
            json!({"type": "signal", "name": "paid", "signal_id": "s"}),
            json!({"type": "signal", "name": "paid", "signal_id": "s", "input": {"n": 1}}),
        ),
    ] {
        state.facts.trigger = Json::from(&recorded);
        let all = [Reference { path: vec!["trigger".into()], whole: true }];
        let context: Value = serde_json::from_str(&build(&Site::new(&plan, &state, None, &env), &all)).unwrap();
        assert_eq!(context["trigger"], expected);
    }
}

/// What every child of a wide container is sent must not grow with the input of the run.
#[test]
fn of_a_large_input_only_what_is_named_is_sent() {
    let (plan, mut state, env) = (plan(), state(), BTreeMap::new());
    state.facts.trigger = Json::from(&json!({"type": "manual"}));
    state.facts.input = Json::from(&json!({"large": "x".repeat(super::WHOLE_INPUT_BYTES), "n": 1, "of": "run"}));
    let step = state.steps.get("each/pair-1/two");
    for (reference, expected) in [
        ("input.n", json!({"input": {"n": 1}})),
        ("parent.index", json!({"parent": {"index": 1}})),
        ("parent.input.n", json!({"parent": {"input": {"n": 1, "of": "each/pair-1"}, "index": 1}})),
        ("parent.parent.input.of", json!({"parent": {"parent": {"input": {"of": "each"}}}})),
        ("workflow.exec_id", json!({"workflow": {"exec_id": "run"}})),
        ("trigger.type", json!({"trigger": {"type": "manual"}})),
    ] {
        let path = reference.split('.').map(str::to_owned).collect();
        let text = build(&Site::new(&plan, &state, step, &env), &[Reference { path, whole: true }]);
        assert!(text.len() < super::WHOLE_INPUT_BYTES, "{reference}: {} bytes", text.len());
        let context: Value = serde_json::from_str(&text).unwrap();
        assert!(includes(&context, &expected), "{reference}: {context}");
    }
    for reference in ["input", "parent.input", "workflow.input.n", "parent", "trigger.input.n", "trigger"] {
        let path = reference.split('.').map(str::to_owned).collect();
        let text = build(&Site::new(&plan, &state, step, &env), &[Reference { path, whole: true }]);
        assert!(text.len() > super::WHOLE_INPUT_BYTES, "{reference} needs all of it");
    }
}

fn includes(value: &Value, part: &Value) -> bool {
    match part {
        Value::Object(part) => part.iter().all(|(key, part)| value.get(key).is_some_and(|value| includes(value, part))),
        part => value == part,
    }
}

#[test]
fn everything_is_sent_to_who_asks_for_everything() {
    let context = seen("each/pair-0/two", &[""], None);
    let tasks: Vec<&String> = context["tasks"].as_object().unwrap().keys().collect();
    assert_eq!(tasks, ["all", "each", "first", "left", "one", "pair", "right", "two"]);
    assert_eq!(context["tasks"]["one"]["output"], json!(0));
}
