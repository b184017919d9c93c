//! Tasks of every type: what becomes of each in the plan.

use std::time::Duration;

use compozy_lang::plan::{
    Expression, MemoryOperation, Next, Route, Strategy, Task, TaskKind, TemplateMode, Typed, ValueTemplate, Workflow,
};
use serde_json::json;

use crate::support::{Options, plan};

const MOCK: &str = "llm: {providers: [{id: mock, type: mock}]}\n";

fn one(workflow: &str) -> Workflow {
    with(MOCK, workflow)
}

fn with(config: &str, workflow: &str) -> Workflow {
    let project = plan(
        &[("compozy.yaml", config), ("workflows/w.yaml", workflow)],
        &Options { strict: true, ..Options::default() },
    );
    Workflow::clone(&project.workflows["w"])
}

fn ids(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().map(|task| task.id.as_str()).collect()
}

fn targeted(tasks: &[Task]) -> Vec<&str> {
    tasks.iter().filter(|task| task.targeted).map(|task| task.id.as_str()).collect()
}

fn paths(references: &[compozy_lang::plan::Reference]) -> Vec<String> {
    references.iter().map(|reference| reference.path.join(".")).collect()
}

#[test]
fn a_router_leads_to_tasks_and_has_its_own_written_in_place_behind_it() {
    let workflow = one(r#"
tasks:
  - {id: classify, prompt: x}
  - id: pick
    type: router
    condition: 'input.amount > 100.0 ? "manual" : tasks["classify"].output.kind'
    routes:
      manual: ask
      auto: {id: approve, prompt: x, with: {id: "{{ .input.id }}"}}
      again:
        type: router
        condition: "{{ .input.n }}"
        routes: {1: {prompt: one}, 2: classify}
      stop: null
    default_route: ask
  - {id: ask, prompt: x}
  - {id: report, prompt: "{{ .tasks.pick-again-1.output.text }}"}
"#);
    let tasks = &workflow.tasks;
    assert_eq!(ids(tasks), ["classify", "pick", "approve", "pick-again", "pick-again-1", "ask", "report"]);
    assert_eq!(targeted(tasks), ["classify", "approve", "pick-again", "pick-again-1", "ask"]);
    assert!(!workflow.explicit);
    let TaskKind::Router(router) = &tasks[1].kind else { panic!() };
    let routes: Vec<_> = router.routes.iter().map(|(key, route)| (key.as_str(), *route)).collect();
    assert_eq!(
        routes,
        [
            ("manual", Route::Task(5)),
            ("auto", Route::Task(2)),
            ("again", Route::Task(3)),
            ("stop", Route::End),
            ("default", Route::Task(5))
        ]
    );
    let Expression::Cel(cel) = &router.condition else { panic!() };
    assert_eq!(paths(&cel.references), ["input.amount", "tasks.classify.output.kind"]);
    assert!(cel.references.iter().all(|reference| reference.whole));
    let TaskKind::Router(inner) = &tasks[3].kind else { panic!() };
    assert_eq!(inner.routes, [("1".to_owned(), Route::Task(4)), ("2".to_owned(), Route::Task(0))]);
    let Expression::Template(template) = &inner.condition else { panic!() };
    assert!(template.is_template && template.mode == TemplateMode::Text);
    assert!(tasks[1].condition.is_none());
}

#[test]
fn containers_hold_tasks_in_any_combination() {
    let workflow = one(r#"
config: {on_error: rescue, retries: 4}
tasks:
  - id: fan
    type: parallel
    strategy: fail_fast
    max_workers: "{{ .input.n }}"
    tasks:
      - {id: left, prompt: "{{ .parent.input.x }}", retries: 0}
      - id: right
        type: composite
        tasks:
          - {id: r1, prompt: x, on_error: rescue}
          - {id: rescue, prompt: x}
          - id: each
            type: collection
            items: "{{ .tasks.r1.output.list }}"
            filter: '{{ ne .item.kind "tmp" }}'
            item_var: file
            index_var: n
            mode: sequential
            batch: 4
            max_workers: 2
            strategy: best_effort
            task: {id: "check-{{ .n }}", prompt: "{{ .file.path }} {{ .item }} {{ .parent.parent.input }}", condition: "file.size > 0"}
            outputs: {reports: "{{ .output }} {{ .children }}"}
    outputs: {n: "{{ .children.left.output }}"}
  - id: rows
    type: collection
    items: [1, "{{ .input.two }}"]
    with: {a: 1}
    tasks: [{id: x, prompt: "{{ .item }} {{ .index }}"}, {id: y, prompt: "{{ .tasks.x.output }}"}]
  - {id: sum, type: aggregate, outputs: {all: "{{ .tasks.rows.output }}"}}
  - {id: rescue, prompt: "{{ .error.code }}"}
"#);
    let fan = &workflow.tasks[0];
    let TaskKind::Parallel(parallel) = &fan.kind else { panic!() };
    assert_eq!((parallel.strategy, ids(&parallel.tasks)), (Strategy::FailFast, vec!["left", "right"]));
    assert!(matches!(&parallel.max_workers, Some(Typed::Template(template)) if template.is_template));
    // Defaults reach children as retries, and not as transitions: nothing follows in a parallel task. A container is
    // tried again only if it says so itself.
    assert_eq!((fan.retry.maximum_attempts, parallel.tasks[0].retry.maximum_attempts), (1, 1));
    let TaskKind::Composite(inner) = &workflow.task(&[0, 1]).unwrap().kind else { panic!() };
    assert_eq!(inner.tasks[0].retry.maximum_attempts, 5);
    assert!(matches!(fan.on_error.next, Some(Next::Task(3))) && parallel.tasks[0].on_error.next.is_none());
    let right = workflow.task(&[0, 1]).unwrap();
    let TaskKind::Composite(composite) = &right.kind else { panic!() };
    assert!(!composite.explicit && composite.tasks[1].targeted);
    assert!(matches!(composite.tasks[0].on_error.next, Some(Next::Task(1))));
    // The composite has a task of the default's name, so the default applies there too.
    assert!(matches!(composite.tasks[2].on_error.next, Some(Next::Task(1))));
    let each = workflow.task(&[0, 1, 2]).unwrap();
    let TaskKind::Collection(collection) = &each.kind else { panic!() };
    assert!(collection.sequential && collection.strategy == Strategy::BestEffort);
    assert_eq!((collection.item_var.as_deref(), collection.index_var.as_deref()), (Some("file"), Some("n")));
    assert!(matches!((&collection.batch, &collection.max_workers), (Some(Typed::Fixed(4)), Some(Typed::Fixed(2)))));
    let filter = collection.filter.as_ref().unwrap();
    assert!(filter.mode == TemplateMode::Guard && paths(&filter.references) == ["item.kind"]);
    assert_eq!(paths(&collection.child_id.as_ref().unwrap().references), ["n"]);
    assert_eq!(collection.child.id, "each");
    let child = workflow.task(&[0, 1, 2, 0]).unwrap();
    let Some(Expression::Cel(cel)) = &child.condition else { panic!() };
    assert_eq!((cel.source.as_str(), paths(&cel.references)), ("file.size > 0", vec!["file.size".to_owned()]));
    let TaskKind::Collection(rows) = &workflow.tasks[1].kind else { panic!() };
    assert!(rows.child_id.is_none() && !rows.sequential && rows.strategy == Strategy::WaitAll);
    assert!(matches!(&rows.items, ValueTemplate::List(items) if items.len() == 2));
    assert_eq!((rows.child.id.as_str(), rows.child.kind_word()), ("rows", "composite"));
    assert_eq!(ids(rows.child.children()), ["x", "y"]);
    assert!(matches!(workflow.tasks[2].kind, TaskKind::Aggregate) && workflow.tasks[2].outputs.is_some());
    assert_eq!(targeted(&workflow.tasks), ["rescue"]);
}

#[test]
fn lists_of_composites_are_sequential_unless_they_say_explicit() {
    let workflow = one(r#"
tasks:
  - {id: auto, type: composite, tasks: [{id: a, prompt: x, next: c}, {id: b, prompt: x}, {id: c, prompt: x}, {id: d, prompt: x}], flow: sequential}
  - {id: exact, type: composite, flow: explicit, tasks: [{id: e, prompt: x, next: f}, {id: f, prompt: x}]}
  - {id: none, type: composite}
"#);
    let explicit: Vec<bool> = workflow
        .tasks
        .iter()
        .map(|task| if let TaskKind::Composite(composite) = &task.kind { composite.explicit } else { panic!() })
        .collect();
    assert_eq!(explicit, [false, true, false]);
    assert!(!workflow.explicit && workflow.tasks[2].children().is_empty());
}

#[test]
fn waits_and_signals_keep_their_names_and_conditions() {
    let workflow = one(r#"
tasks:
  - id: hold
    type: wait
    wait_for: "paid-{{ .input.id }}"
    timeout: 2h
    condition: 'signal.payload.id == input.id && processor.output.ok'
    processor: {prompt: "{{ .signal.payload.id }}"}
    on_timeout: remind
    outputs: {id: "{{ .signal.payload.id }} {{ .output.wait_status }}"}
  - {id: forever, type: wait, signal: go, timeout: none, condition: "{{ .signal.payload.ok }}"}
  - {id: tell, type: signal, signal: {name: stock-low, payload: {sku: "{{ .input.sku }}"}, target: "{{ .input.run }}"}}
  - {id: short, type: signal, signal: done}
  - {id: remind, prompt: "{{ .tasks.hold-processor.output }}"}
"#);
    let TaskKind::Wait(hold) = &workflow.tasks[0].kind else { panic!() };
    assert!(matches!(workflow.tasks[0].timeout, Some(Typed::Fixed(limit)) if limit == Duration::from_secs(7200)));
    assert!(matches!(hold.on_timeout, Some(Next::Task(4))) && workflow.tasks[4].targeted && !workflow.explicit);
    assert_eq!(paths(&hold.wait_for.references), ["input.id"]);
    let processor = hold.processor.as_deref().unwrap();
    assert_eq!((processor.id.as_str(), processor.kind_word()), ("hold-processor", "basic"));
    let Some(Expression::Cel(cel)) = &hold.condition else { panic!() };
    assert_eq!(paths(&cel.references), ["input.id", "processor.output.ok", "signal.payload.id"]);
    let TaskKind::Wait(forever) = &workflow.tasks[1].kind else { panic!() };
    assert!(workflow.tasks[1].timeout.is_none() && forever.wait_for.fixed_text().as_deref() == Some("go"));
    assert!(matches!(&forever.condition, Some(Expression::Template(template)) if template.mode == TemplateMode::Guard));
    let TaskKind::Signal(tell) = &workflow.tasks[2].kind else { panic!() };
    assert_eq!(tell.name.fixed_text().as_deref(), Some("stock-low"));
    assert!(matches!(tell.payload, Some(ValueTemplate::Map(_))) && tell.target.as_ref().unwrap().is_template);
    let TaskKind::Signal(short) = &workflow.tasks[3].kind else { panic!() };
    assert!(short.payload.is_none() && short.target.is_none());
}

#[test]
fn the_timeouts_of_the_project_leave_waits_alone() {
    let config = format!("{MOCK}runtime: {{task_execution_timeout_default: 5s, task_execution_timeout_max: 1m}}\n");
    let workflow = with(
        &config,
        "tasks: [{id: a, type: wait, wait_for: s, timeout: none}, {id: b, type: wait, wait_for: s, timeout: 7d}, {id: c, type: composite, tasks: [{id: d, prompt: x, timeout: 2m}]}]",
    );
    let timeout = |address: &[usize]| match workflow.task(address).unwrap().timeout {
        Some(Typed::Fixed(limit)) => Some(limit.as_secs()),
        _ => None,
    };
    assert_eq!(
        (timeout(&[0]), timeout(&[1]), timeout(&[2]), timeout(&[2, 0])),
        (None, Some(604_800), Some(5), Some(60))
    );
}

#[test]
fn memory_tasks_are_linked_to_their_resource() {
    let config = r#"
llm: {providers: [{id: mock, type: mock}]}
memories:
  - id: chat
    type: token_based
    max_tokens: 4000
    max_messages: 50
    flushing: {type: hybrid_summary, summarize_threshold: 0.8}
    persistence: {type: redis, ttl: 24h}
    privacy_policy: {redact_patterns: ["\\d{16}"], non_persistable_message_types: [tool]}
    default_key_template: "user:{{ .input.user }}"
  - {id: notes, persistence: in_memory}
"#;
    let workflow = with(
        config,
        r#"
tasks:
  - {id: read, type: memory, operation: read, memory_ref: chat}
  - {id: add, type: memory, operation: APPEND, ref: notes, key: "k:{{ .input.user }}", payload: {role: user, content: "{{ .tasks.read.output.count }}"}}
  - {id: clear, type: memory, operation: clear, memory_ref: chat, clear_config: {confirm: true, backup: true}, max_keys: 10}
"#,
    );
    let memory = |index: usize| match &workflow.tasks[index].kind {
        TaskKind::Memory(memory) => memory,
        _ => panic!(),
    };
    assert_eq!((memory(0).operation, memory(0).memory.as_str()), (MemoryOperation::Read, "chat"));
    assert_eq!((memory(1).operation, memory(1).key.as_ref().unwrap().is_template), (MemoryOperation::Append, true));
    assert_eq!(
        serde_json::Value::Object(memory(2).options.clone()),
        json!({"max_keys": 10, "clear_config": {"confirm": true, "backup": true}})
    );
    let chat = &workflow.memories["chat"];
    assert_eq!((chat.max_tokens, chat.max_messages, chat.in_memory), (Some(4000), Some(50), false));
    assert_eq!((chat.ttl, chat.flushing.summarize_threshold), (Some(Duration::from_secs(86_400)), Some(0.8)));
    assert_eq!(
        (chat.privacy.redact_patterns.as_slice(), chat.privacy.default_redaction_string.as_str()),
        (&["\\d{16}".to_owned()][..], "[REDACTED]")
    );
    let key = chat.default_key.as_ref().unwrap();
    assert!(key.is_template && paths(&key.references) == ["input.user"]);
    assert!(workflow.memories["notes"].in_memory);
}

#[test]
fn sub_workflows_are_linked_by_id() {
    let files = [
        ("compozy.yaml", MOCK),
        (
            "workflows/w.yaml",
            "tasks: [{id: a, type: workflow, workflow_id: bill, with: {id: 1}}, {id: b, type: workflow, workflow: bill, wait: false}]",
        ),
        ("workflows/bill.yaml", "tasks: [{id: t, prompt: x}]"),
    ];
    let project = plan(&files, &Options::default());
    let calls: Vec<_> = project.workflows["w"]
        .tasks
        .iter()
        .map(
            |task| {
                if let TaskKind::Workflow(call) = &task.kind { (call.workflow.as_str(), call.wait) } else { panic!() }
            },
        )
        .collect();
    assert_eq!(calls, [("bill", true), ("bill", false)]);
}

#[test]
fn limits_of_the_project_reach_every_workflow() {
    let workflow = with(
        &format!("{MOCK}limits: {{max_collection_items: 5, max_parallel: 3, max_cel_cost: 77}}"),
        "tasks: [{id: a, prompt: x}]",
    );
    let limits = &workflow.limits;
    assert_eq!((limits.max_collection_items, limits.max_parallel, limits.max_cel_cost), (5, 3, 77));
}

#[test]
fn every_task_type_is_the_same_after_the_database() {
    let text = r#"
id: w
tasks:
  - {id: r, type: router, condition: "input.a", routes: {x: p, y: null, default: {prompt: x}}}
  - {id: p, type: parallel, strategy: race, tasks: [{id: q, prompt: x}]}
  - {id: c, type: collection, items: "1..5", task: {id: "c-{{ .index }}", prompt: x}}
  - {id: o, type: composite, flow: explicit, tasks: [{id: s, prompt: x, condition: "input.b"}]}
  - {id: g, type: aggregate, outputs: {a: 1}}
  - {id: h, type: wait, wait_for: s, timeout: 1h, on_timeout: "{{ .input.next }}", processor: {prompt: x}}
  - {id: i, type: signal, signal: {id: s, payload: [1]}}
  - {id: m, type: memory, operation: stats, memory_ref: chat, key: k}
  - {id: v, type: workflow, workflow: other}
triggers:
  - {type: signal, name: go, schema: {type: object}}
  - {type: webhook, webhook: {slug: hook, dedupe: {}, verify: {strategy: hmac, secret: "${S}"}, events: [{name: e, filter: "payload.a == 1", input: {a: "{{ .payload.a }}"}}]}}
schedule: {cron: "@daily"}
"#;
    let files = [
        ("compozy.yaml", "llm: {providers: [{id: mock, type: mock}]}\nmemories: [{id: chat}]"),
        ("workflows/w.yaml", text),
        ("workflows/other.yaml", "tasks: [{id: t, prompt: x}]"),
    ];
    let workflow = Workflow::clone(&plan(&files, &Options::default()).workflows["w"]);
    let value = serde_json::to_value(&workflow).unwrap();
    let back: Workflow = serde_json::from_value(value.clone()).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), value);
    assert_eq!(workflow.digest.len(), 64);
    let validator = compozy_lang::schema::json::json_schema("workflow").unwrap();
    let schema = compozy_lang::schema_check::compile(&validator).unwrap();
    let written: serde_json::Value = serde_json::to_value(yaml(text)).unwrap();
    assert_eq!(schema.check(&written).map_err(|violations| format!("{violations:?}")), Ok(()));
}

/// YAML as a JSON value, for the published schema.
fn yaml(text: &str) -> serde_json::Value {
    use compozy_lang::source::{Origin, Source};
    use compozy_lang::yaml::{Limits, Node, Value, core, parse};
    fn value(node: &Node) -> serde_json::Value {
        match &node.value {
            Value::Scalar(scalar) => core::value(&scalar.text).unwrap(),
            Value::List(items) => items.iter().map(value).collect(),
            Value::Map(entries) => serde_json::Value::Object(
                entries.iter().map(|entry| (entry.key.to_string(), value(&entry.value))).collect(),
            ),
        }
    }
    let (node, _) = parse(std::sync::Arc::new(Source::new("w", Origin::File, text.into())), &Limits::default());
    value(&node.unwrap())
}
