//! Memory tasks, and prompts with memories.

use std::sync::Arc;
use std::time::Duration;

use compozy_lang::plan::{
    Flushing, FlushingKind, Memory, MemoryBinding, MemoryDefinition, MemoryOperation, Parallel, Project, Prompt,
    Provider, Strategy, Task, TaskKind, Template, TemplateMode, ValueTemplate, Workflow,
};
use serde_json::{Value, json};

use super::containers::{holding, map, template, value};
use super::{ended, launch, launch_keeping, memory, node, project, start, task, workflow};
use crate::clock::Clock;
use crate::memory::{Asked, Message, Operation, Place};
use crate::node::{Node, StartRequest};
use crate::plugin::CallContext;
use crate::storage::row::{Durability, Run};

pub(super) fn definition(id: &str, change: impl FnOnce(&mut MemoryDefinition)) -> MemoryDefinition {
    let mut definition: MemoryDefinition = serde_json::from_value(json!({
        "id": id, "kind": "buffer", "description": "", "max_tokens": null, "max_messages": null,
        "max_context_ratio": null, "token_allocation": null, "flushing": Flushing::default(), "in_memory": false,
        "ttl": null, "privacy": {"redact_patterns": [], "non_persistable_message_types": [], "default_redaction_string": "#"},
        "default_key": null, "place": {"file": "", "line": 1, "column": 1},
    }))
    .unwrap();
    change(&mut definition);
    definition
}

/// A text that may refer to the workflow.
pub(super) fn text(text: &str) -> Template {
    template(text, &["workflow.id", "workflow.exec_id"], TemplateMode::Text)
}

/// A memory task; null is no payload.
fn with_memory(id: &str, operation: MemoryOperation, key: &str, payload: &Value, options: &Value) -> Task {
    let payload = (!payload.is_null()).then(|| ValueTemplate::Fixed(payload.clone()));
    memory_task(id, operation, key, payload, options)
}

fn memory_task(
    id: &str,
    operation: MemoryOperation,
    key: &str,
    payload: Option<ValueTemplate>,
    options: &Value,
) -> Task {
    let kind = TaskKind::Memory(Memory {
        operation,
        memory: "chat".into(),
        key: Some(text(key)),
        payload,
        options: options.as_object().cloned().unwrap_or_default(),
    });
    Task { kind, with: None, ..task(id, "add", &json!({})) }
}

fn prompt(id: &str, words: &str, read_only: bool, key: &str) -> Task {
    let memories = vec![MemoryBinding { memory: "chat".into(), read_only, key: Some(text(key)) }];
    let kind = TaskKind::Prompt(Prompt {
        prompt: text(words),
        instructions: None,
        provider: None,
        model: None,
        params: Default::default(),
        memories,
        toolbox: Default::default(),
    });
    Task { kind, with: None, ..task(id, "add", &json!({})) }
}

fn flow(tasks: Vec<Task>, change: impl FnOnce(&mut MemoryDefinition)) -> Workflow {
    let mut plan = workflow(tasks);
    plan.memories.insert("chat".into(), definition("chat", change));
    plan
}

/// The outputs of a run's steps, by task.
async fn outputs(node: &Node, run: &Run) -> Vec<(String, Option<String>)> {
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    steps.into_iter().map(|step| (step.task_id, step.output)).collect()
}

pub(super) async fn contents(node: &Node, plan: &Workflow, key: &str) -> Vec<String> {
    let place = Place::new(&plan.memories["chat"], key).unwrap();
    let seen = node.memory().look(place, true).await.unwrap();
    seen.state.messages.into_iter().map(|message| message.content).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_has_its_output() {
    use MemoryOperation::{Append, Clear, Delete, Flush, Health, Read, Stats, Write};
    for in_memory in [false, true] {
        let none = Value::Null;
        let key = "user:{{ .workflow.id }}";
        let sum = map(vec![("role", ValueTemplate::Fixed("user".into())), ("content", value("{{ add 40 2 }}", &[]))]);
        let tasks = vec![
            with_memory("write", Write, key, &json!({"role": "system", "content": "be kind"}), &none),
            memory_task("append", Append, key, Some(ValueTemplate::List(vec![sum])), &none),
            with_memory("text", Append, key, &json!("hello"), &json!({"max_keys": 5, "batch_size": 2})),
            with_memory("read", Read, key, &none, &none),
            with_memory("stats", Stats, key, &none, &json!({"stats_config": {"group_by": "role"}})),
            with_memory("health", Health, key, &none, &json!({"health_config": {"include_stats": true}})),
            with_memory("dry", Flush, key, &none, &json!({"flush_config": {"dry_run": true}})),
            with_memory("flush", Flush, key, &none, &none),
            with_memory("clear", Clear, key, &none, &json!({"clear_config": {"confirm": true, "backup": true}})),
            with_memory("backup", Read, "user:flow:backup", &none, &none),
            with_memory("delete", Delete, key, &none, &none),
        ];
        let plan = flow(tasks, |memory| (memory.max_messages, memory.in_memory) = (Some(4), in_memory));
        let node = node(memory().await, plan.clone()).await;
        let run = ended(&node).await;
        assert_eq!(run.status, "SUCCESS", "{:?}", run.error);
        let seen = outputs(&node, &run).await;
        let seen: Vec<(&str, &str)> =
            seen.iter().map(|(task, output)| (task.as_str(), output.as_deref().unwrap_or_default())).collect();
        assert_eq!(
            seen,
            [
                ("write", r#"{"success":true,"count":1,"key":"user:flow"}"#),
                ("append", r#"{"success":true,"appended":1,"total_count":2,"key":"user:flow"}"#),
                ("text", r#"{"success":true,"appended":1,"total_count":3,"key":"user:flow"}"#),
                (
                    "read",
                    r#"{"messages":[{"role":"system","content":"be kind"},{"role":"user","content":"42"},{"role":"user","content":"hello"}],"count":3,"key":"user:flow"}"#
                ),
                ("stats", r#"{"key":"user:flow","message_count":3,"token_count":5,"actual_strategy":"simple_fifo"}"#),
                (
                    "health",
                    r#"{"key":"user:flow","message_count":3,"token_count":5,"actual_strategy":"simple_fifo","healthy":true}"#
                ),
                (
                    "dry",
                    r#"{"success":true,"key":"user:flow","summary_generated":false,"message_count":3,"token_count":5,"would_flush":true}"#
                ),
                (
                    "flush",
                    r#"{"success":true,"key":"user:flow","summary_generated":false,"message_count":2,"token_count":3}"#
                ),
                ("clear", r#"{"success":true,"key":"user:flow","messages_cleared":2,"backup_created":true}"#),
                (
                    "backup",
                    r#"{"messages":[{"role":"user","content":"42"},{"role":"user","content":"hello"}],"count":2,"key":"user:flow:backup"}"#
                ),
                ("delete", r#"{"success":true,"key":"user:flow"}"#),
            ],
            "in memory: {in_memory}"
        );
        let rows = node.storage().memory("chat", "user:flow:backup", true).await.unwrap();
        assert_eq!(rows.is_none(), in_memory, "in the database or not");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_fails_the_task_and_writes_nothing() {
    use MemoryOperation::{Append, Clear, Flush, Write};
    let large = "x".repeat(10 * 1024 + 1);
    let many: Value = (0..11).map(|_| json!({"role": "user", "content": "y".repeat(10 * 1024)})).collect();
    let none = Value::Null;
    for (operation, key, payload, options, reason) in [
        (
            Append,
            "a b",
            json!("x"),
            none.clone(),
            "memory append failed: 'a b' is not a key: a key is 1 to 256 letters, digits and _ : @ . * -, without __ at \
             the start or end",
        ),
        (Append, "__x", json!("x"), none.clone(), "memory append failed: '__x' is not a key: "),
        (Append, "{{ \"\" }}", json!("x"), none.clone(), "memory append failed: '' is not a key: "),
        (
            Append,
            "k",
            json!(large),
            none.clone(),
            "memory append failed: message 1 is 10241 bytes; limits.max_message_content is 10240",
        ),
        (
            Write,
            "k",
            many,
            none.clone(),
            "memory write failed: the messages are 112640 bytes; limits.max_total_content_size is 102400",
        ),
        (Append, "k", json!({"role": "user"}), none.clone(), "memory append failed: the payload has no content"),
        (
            Append,
            "k",
            json!([["x"]]),
            none.clone(),
            "memory append failed: message 1: expected {role, content}, got a list",
        ),
        (Clear, "k", none.clone(), none.clone(), "memory clear failed: a clear needs confirm: true"),
        (
            Flush,
            "k",
            none.clone(),
            json!({"flush_config": {"strategy": "newest"}}),
            "memory flush failed: flush_config.strategy: expected one of simple_fifo, lru, hybrid_summary, token_aware_lru",
        ),
    ] {
        let plan = flow(vec![with_memory("only", operation, key, &payload, &options)], |_| {});
        let node = node(memory().await, plan).await;
        let run = ended(&node).await;
        let error: Value = serde_json::from_str(run.error.as_deref().expect("it fails")).unwrap();
        assert_eq!(
            (run.status.as_str(), error["code"].as_str(), error["attempts"].as_u64()),
            ("FAILED", Some("CZ0323"), Some(1))
        );
        assert!(error["message"].as_str().unwrap().starts_with(reason), "{error}");
        assert_eq!(node.storage().memory_totals(Clock::system().now()).await.unwrap(), Vec::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_prompt_reads_and_adds() {
    let tasks = vec![
        prompt("first", "one 1234", false, "k"),
        prompt("second", "two", true, "k"),
        prompt("third", "three", false, "k"),
        with_memory("read", MemoryOperation::Read, "k", &Value::Null, &Value::Null),
    ];
    let plan = flow(tasks, |memory| memory.privacy.redact_patterns = vec!["[0-9]{4}".into()]);
    let mut project = project([plan.clone()]);
    project.providers = vec![mock()];
    let node = launch(memory().await, Clock::system(), project).await;
    let run = ended(&node).await;
    assert_eq!(run.status, "SUCCESS", "{:?}", run.error);
    assert_eq!(contents(&node, &plan, "k").await, ["one #", "[mock] one #", "three", "[mock] three"]);
    let usage = node.storage().usage(&run.exec_id).await.unwrap();
    // The mock counts words: what was said before is among them.
    let words: Vec<_> = usage.iter().map(|usage| (usage.step_key.as_str(), usage.prompt_tokens)).collect();
    assert_eq!(words, [("first#1", 2), ("second#1", 6), ("third#1", 6)]);
}

/// A model that needs no network.
fn mock() -> Provider {
    Provider::implicit("mock", "mock", Default::default())
}

#[tokio::test(flavor = "multi_thread")]
async fn secrets_are_not_remembered() {
    let secret = "canary-4711";
    let note = with_memory("note", MemoryOperation::Append, "k", &json!(format!("it is {secret}")), &Value::Null);
    let plan = flow(vec![note, prompt("ask", &format!("is it {secret}?"), false, "k")], |_| {});
    let project = Project { providers: vec![mock()], ..project([plan.clone()]) };
    let node = launch_keeping(memory().await, Clock::system(), project, vec![secret.to_owned()]).await;
    assert_eq!(ended(&node).await.status, "SUCCESS");
    assert_eq!(contents(&node, &plan, "k").await, ["it is ***", "is it ***?", "[mock] is it ***?"]);
}

/// Twenty runs add to one key at once, each twice side by side.
#[tokio::test(flavor = "multi_thread")]
async fn everybodys_messages_survive() {
    for (in_memory, durability) in [(false, Durability::Full), (false, Durability::Memory), (true, Durability::Full)] {
        let who = || value("{{ .workflow.exec_id }}", &["workflow.exec_id"]);
        let both = |id: &str| memory_task(id, MemoryOperation::Append, "k", Some(who()), &Value::Null);
        let tasks = vec![both("left"), both("right")];
        let all =
            holding("all", TaskKind::Parallel(Parallel { tasks, strategy: Strategy::WaitAll, max_workers: None }));
        let plan = flow(vec![all], |memory| memory.in_memory = in_memory);
        let node = node(memory().await, plan.clone()).await;
        let mut runs = Vec::new();
        for _ in 0..20 {
            let request = StartRequest { durability: Some(durability), ..start() };
            runs.push(node.submit(request).await.unwrap().exec_id);
        }
        let mut totals = Vec::new();
        for exec_id in &runs {
            let run = node.wait(exec_id, Some(Duration::from_secs(60))).await.unwrap().expect("it ends");
            assert_eq!(run.status, "SUCCESS", "{:?}", run.error);
            let outputs: Value = serde_json::from_str(run.output.as_deref().unwrap()).unwrap();
            totals.extend(["left", "right"].map(|task| outputs[task]["total_count"].as_u64().unwrap()));
        }
        totals.sort_unstable();
        assert!(totals.iter().copied().eq(1..=40), "each saw its own place: {totals:?}");
        let mut said = contents(&node, &plan, "k").await;
        said.sort();
        let mut expected: Vec<String> = runs.iter().flat_map(|id| [id.to_string(), id.to_string()]).collect();
        expected.sort();
        assert_eq!(said, expected);
        assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
    }
}

/// Another process changes the memory between the look of a step and its commit: the step looks again.
#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_came_too_late_is_run_again() {
    for durability in [Durability::Full, Durability::Memory] {
        let storage = memory().await;
        let append = with_memory("append", MemoryOperation::Append, "k", &json!("mine"), &Value::Null);
        let plan = flow(vec![append], |_| {});
        // It shares no lock with the node that runs the steps.
        let other = launch(storage.clone(), Clock::system(), project([])).await;
        let first = node(storage.clone(), plan.clone()).await;
        let other = tokio::spawn({
            let plan = plan.clone();
            async move {
                for number in 0..200 {
                    let place = Place::new(&plan.memories["chat"], "k").unwrap();
                    let operation = Operation::Append(vec![Message::new("user", number.to_string())]);
                    other.memory().perform_now(place, &operation).await.unwrap();
                }
            }
        });
        let mut runs = Vec::new();
        for _ in 0..20 {
            let request = StartRequest { durability: Some(durability), ..start() };
            runs.push(first.submit(request).await.unwrap().exec_id);
        }
        for exec_id in runs {
            let run = first.wait(&exec_id, Some(Duration::from_secs(60))).await.unwrap().expect("it ends");
            assert_eq!(run.status, "SUCCESS", "{:?}", run.error);
        }
        other.await.unwrap();
        let said = contents(&first, &plan, "k").await;
        let (mine, others): (Vec<String>, Vec<String>) = said.into_iter().partition(|text| text == "mine");
        assert_eq!(mine.len(), 20, "each run once");
        assert!(others.into_iter().eq((0..200).map(|number| number.to_string())), "{durability:?}");
        assert_eq!(storage.check().await.unwrap(), Vec::<String>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_summary_is_asked_of_the_default_model() {
    let hybrid = |memory: &mut MemoryDefinition| {
        memory.max_messages = Some(4);
        memory.flushing =
            Flushing { kind: FlushingKind::HybridSummary, summary_tokens: Some(30), ..Flushing::default() };
    };
    let add = |id: &str| with_memory(id, MemoryOperation::Append, "k", &json!(format!("from {id}")), &Value::Null);
    let tasks = vec![
        add("a"),
        add("b"),
        add("c"),
        add("d"),
        add("e"),
        with_memory("flush", MemoryOperation::Flush, "k", &Value::Null, &Value::Null),
        with_memory("stats", MemoryOperation::Stats, "k", &Value::Null, &Value::Null),
    ];
    let plan = flow(tasks, hybrid);
    let mut with_model = project([plan.clone()]);
    with_model.providers = vec![mock()];
    let node = launch(memory().await, Clock::system(), with_model).await;
    let run = ended(&node).await;
    assert_eq!(run.status, "SUCCESS", "{:?}", run.error);
    let said = contents(&node, &plan, "k").await;
    assert!(said[0].starts_with("Summary of the conversation so far: [mock] Summarise this"), "{said:?}");
    assert_eq!(said.len(), 2, "the summary was summarised again by the flush: {said:?}");
    assert!(said[0].chars().count() <= 120);
    let told = outputs(&node, &run).await;
    assert!(told[5].1.as_deref().unwrap().contains(r#""summary_generated":true,"message_count":2"#), "{told:?}");
    assert!(told[6].1.as_deref().unwrap().contains(r#""actual_strategy":"hybrid_summary""#), "{told:?}");
    let usage = node.storage().usage(&run.exec_id).await.unwrap();
    assert_eq!(usage.iter().map(|usage| usage.step_key.as_str()).collect::<Vec<_>>(), ["e#1", "flush#1"]);
    // Without a model the oldest just go, and the strategy says so.
    let node = super::node(memory().await, plan.clone()).await;
    let run = ended(&node).await;
    assert_eq!(contents(&node, &plan, "k").await, ["from d", "from e"]);
    let told = outputs(&node, &run).await;
    assert!(told[6].1.as_deref().unwrap().contains(r#""actual_strategy":"simple_fifo""#), "{told:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unused_key_expires() {
    let plan = flow(Vec::new(), |memory| memory.ttl = Some(Duration::from_millis(300)));
    let clock = Clock::system();
    let node = launch(memory().await, clock.clone(), project([])).await;
    let place = |key| Place::new(&plan.memories["chat"], key).unwrap();
    let add = Operation::Append(vec![Message::new("user", "x")]);
    for key in ["left", "used"] {
        node.memory().perform_now(place(key), &add).await.unwrap();
    }
    let asked = Asked { writer: "r".into(), call: CallContext::outside_runs(Duration::from_secs(1)) };
    for _ in 0..5 {
        clock.sleep(Duration::from_millis(100)).await;
        let ready = node.memory().perform(place("used"), &Operation::Read, &asked).await.unwrap();
        node.memory().write(&ready.prepared).await.unwrap();
        assert_eq!(ready.output["count"], 1);
    }
    assert_eq!(node.memory().perform_now(place("left"), &Operation::Read).await.unwrap()["count"], 0);
    let again = node.memory().perform_now(place("left"), &add).await.unwrap();
    assert_eq!(again["total_count"], 1, "it begins anew");
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
}

/// A held key is let go when its run is stopped.
#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_step_lets_go() {
    let plan = flow(vec![with_memory("only", MemoryOperation::Append, "k", &json!("x"), &Value::Null)], |_| {});
    let node: Arc<Node> = node(memory().await, plan.clone()).await;
    let place = Place::new(&plan.memories["chat"], "k").unwrap();
    let asked = node.memory().asked_by_nobody();
    let held =
        node.memory().perform(place, &Operation::Append(vec![Message::new("user", "held")]), &asked).await.unwrap();
    let accepted = node.submit(start()).await.unwrap();
    node.cancel(&accepted.exec_id, "a test", None).await.unwrap();
    let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("it ends");
    assert_eq!(run.status, "CANCELED");
    node.memory().write(&held.prepared).await.unwrap();
    drop(held);
    assert_eq!(contents(&node, &plan, "k").await, ["held"]);
    assert_eq!(ended(&node).await.status, "SUCCESS");
    assert_eq!(contents(&node, &plan, "k").await, ["held", "x"]);
}
