//! The worker with real SQLite and a real component; definitions are made by hand.

mod agents;
mod broadcasts;
mod containers;
mod control;
mod forks;
mod leases;
mod memories;
mod overload;
mod schedules;
mod sub_runs;
mod waits;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use compozy_engine::status::Status;
use compozy_lang::environment::ProjectEnvironment;
use compozy_lang::plan::{
    Next, Plugin, PluginKind, Project, RetryPolicy, Task, TaskKind, Tool, ToolCall, Transition, ValueTemplate, Workflow,
};
use serde_json::{Map, Value, json};
use tokio::sync::OnceCell;

use super::step::Tools;
use super::{Kind, Node, Options, StartRequest};
use crate::clock::Clock;
use crate::plugin::template::Renderer;
use crate::plugin::{Host, HostOptions, Services, bundled};
use crate::provider::{Bundle, Parts, Providers, Settings};
use crate::storage::Storage;
use crate::storage::row::{Durability, Run};
use crate::storage::sqlite::{self, Role};

/// A task that calls a function of the zoo with a fixed input.
fn task(id: &str, function: &str, with: &Value) -> Task {
    Task {
        id: id.to_owned(),
        kind: TaskKind::Tool(ToolCall { tool: function.to_owned() }),
        with: Some(ValueTemplate::Fixed(with.clone())),
        input_schema: None,
        output_schema: None,
        outputs: None,
        env: BTreeMap::new(),
        condition: None,
        on_success: Transition::default(),
        on_error: Transition::default(),
        sleep: None,
        is_final: None,
        timeout: None,
        retry: RetryPolicy { initial_interval: Duration::from_millis(10), ..RetryPolicy::default() },
        targeted: false,
        place: Default::default(),
    }
}

fn tool(function: &str) -> (String, Tool) {
    let tool = Tool {
        id: function.to_owned(),
        plugin: "zoo".into(),
        function: Some(function.to_owned()),
        description: String::new(),
        with: None,
        config: Value::Null,
        input_schema: None,
        output_schema: None,
        timeout: None,
        script: None,
    };
    (function.to_owned(), tool)
}

fn workflow(tasks: Vec<Task>) -> Workflow {
    let tools: BTreeMap<String, Tool> = ["add", "fail", "sleep", "endless_loop"].into_iter().map(tool).collect();
    serde_json::from_value(json!({
        "id": "flow", "name": "", "version": "", "description": "", "file": "", "input_schema": null,
        "output_schema": null, "timeout": null, "tasks": tasks, "explicit": false, "outputs": null, "env": {},
        "project": {"name": "p", "version": "", "description": ""},
        "limits": compozy_lang::plan::Limits::default(), "tools": tools, "digest": "d1",
    }))
    .expect("a workflow")
}

/// A project with the zoo and these workflows.
pub(crate) fn project(workflows: impl IntoIterator<Item = Workflow>) -> Project {
    let zoo = Plugin {
        id: "zoo".into(),
        source: "plugins/target/components/guests/zoo.wasm".into(),
        kind: PluginKind::Tool,
        digest: None,
        permissions: Default::default(),
        limits: Default::default(),
        config: Value::Null,
        place: Default::default(),
    };
    Project {
        name: "p".into(),
        version: String::new(),
        description: String::new(),
        root: env!("CARGO_MANIFEST_DIR").into(),
        config_file: "compozy.yaml".into(),
        settings: Default::default(),
        workflows: workflows.into_iter().map(|workflow| (workflow.id.clone(), Arc::new(workflow))).collect(),
        providers: Vec::new(),
        plugins: vec![zoo],
        databases: Vec::new(),
        knowledge: Vec::new(),
        memories: Vec::new(),
        digest: String::new(),
    }
}

/// The wasm engine and the template plugin, once for all tests.
async fn engine() -> (Arc<Host>, Arc<Renderer>) {
    static ENGINE: OnceCell<(Arc<Host>, Arc<Renderer>)> = OnceCell::const_new();
    let ready = ENGINE.get_or_init(|| async {
        let cache_dir = Some(std::env::temp_dir().join("compozy-test-code"));
        let host = Host::new(HostOptions { cache_dir, ..HostOptions::default() }).unwrap();
        let template = host.load(bundled::source("template-go").unwrap(), PluginKind::Template).await.unwrap();
        (host, Arc::new(Renderer::new(template).unwrap()))
    });
    ready.await.clone()
}

/// A server's node with the usual limits, without models.
pub(crate) async fn launch(storage: Arc<dyn Storage>, clock: Clock, project: Project) -> Arc<Node> {
    launch_keeping(storage, clock, project, Vec::new()).await
}

/// As [`launch`], with values that must not be recorded.
async fn launch_keeping(storage: Arc<dyn Storage>, clock: Clock, project: Project, secrets: Vec<String>) -> Arc<Node> {
    launch_as(storage, clock, project, secrets, (256, 100_000)).await
}

/// As [`launch`], with room for so many runs at once and so many that wait.
async fn launch_limited(storage: Arc<dyn Storage>, project: Project, limits: (usize, usize)) -> Arc<Node> {
    launch_as(storage, Clock::system(), project, Vec::new(), limits).await
}

/// As [`launch`], with all of it.
pub(crate) async fn launch_as(
    storage: Arc<dyn Storage>,
    clock: Clock,
    project: Project,
    secrets: Vec<String>,
    (max_concurrent_runs, max_pending): (usize, usize),
) -> Arc<Node> {
    let project = Arc::new(project);
    let (host, renderer) = engine().await;
    let services = Arc::new(Services::default());
    let environment = ProjectEnvironment::new(Arc::new(BTreeMap::<String, String>::new()), Default::default());
    let parts = Parts {
        host: host.clone(),
        bundle: Bundle::new(bundled::source),
        plugins: BTreeMap::new(),
        environment: Arc::new(environment.clone()),
        services: services.clone(),
    };
    let tools = Tools::new(host, services, environment.clone(), &project, Duration::from_secs(60));
    let provider_settings = Settings { providers: project.providers.clone(), ..Settings::default() };
    let options = Options {
        kind: Kind::Server,
        storage,
        clock,
        project,
        tools: Arc::new(tools),
        renderer,
        providers: Arc::new(Providers::new(parts, provider_settings)),
        prompt_timeout: Duration::from_secs(60),
        environment,
        secrets,
        max_concurrent_runs,
        max_pending,
        lease: Duration::from_secs(10),
        claim_batch: 64,
        retention: None,
    };
    Node::launch(options).await.unwrap()
}

async fn node(storage: Arc<dyn Storage>, workflow: Workflow) -> Arc<Node> {
    launch(storage, Clock::system(), project([workflow])).await
}

async fn memory() -> Arc<dyn Storage> {
    Arc::new(sqlite::open(sqlite::Options::new(":memory:", Role::Server, Clock::system())).await.unwrap())
}

fn start() -> StartRequest {
    StartRequest {
        workflow_id: "flow".into(),
        input: json!({}),
        task: None,
        tags: Map::new(),
        durability: None,
        priority: 0,
        trigger: json!({"type": "manual"}),
        idempotency: None,
    }
}

async fn ended(node: &Arc<Node>) -> Run {
    let accepted = node.submit(start()).await.unwrap();
    let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(30))).await.unwrap().expect("the run ends");
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
    run
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_tool_steps_ends_with_the_last_output() {
    let chain = vec![task("a", "add", &json!({"a": 1, "b": 2})), task("b", "add", &json!({"a": 40, "b": 2}))];
    let run = ended(&node(memory().await, workflow(chain)).await).await;
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":42}"#)));
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_are_tried_again_and_then_handled() {
    let fails = |times| json!({"times": times, "code": "flaky", "retryable": true});
    let mut lost = task("lost", "fail", &fails(9));
    lost.on_error.next = Some(Next::Task(2));
    let mut handler = task("handler", "add", &json!({"a": 1, "b": 1}));
    handler.targeted = true;
    let node = node(memory().await, workflow(vec![task("flaky", "fail", &fails(2)), lost, handler])).await;
    let run = ended(&node).await;
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":2}"#)));
    let steps = node.storage().steps(&run.exec_id).await.unwrap();
    let seen: Vec<_> = steps.iter().map(|step| (step.step_key.as_str(), step.status.as_str(), step.attempt)).collect();
    assert_eq!(seen, [("flaky#1", "SUCCESS", 3), ("lost#1", "FAILED", 3), ("handler#1", "SUCCESS", 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn cancel_reaches_a_call_that_never_returns() {
    let node = node(memory().await, workflow(vec![task("loop", "endless_loop", &json!({}))])).await;
    let accepted = node.submit(start()).await.unwrap();
    tokio::task::yield_now().await;
    node.cancel(&accepted.exec_id, "a test", Some("enough")).await.unwrap();
    let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(run.status.parse(), Ok(Status::Canceled));
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handed_back_run_goes_on_in_the_next_node() {
    let mut slow = task("slow", "fail", &json!({"times": 1, "code": "flaky", "retryable": true}));
    slow.retry.initial_interval = Duration::from_millis(300);
    let tasks = vec![slow, task("last", "add", &json!({"a": 2, "b": 2}))];
    let storage = memory().await;
    let first = node(storage.clone(), workflow(tasks.clone())).await;
    let accepted = first.submit(start()).await.unwrap();
    first.shutdown(Duration::from_millis(50)).await;
    let handed_back = storage.run(&accepted.exec_id).await.unwrap().unwrap();
    assert_eq!(handed_back.owner_node, None);
    let second = node(storage, workflow(tasks)).await;
    let run = second.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(run.output.as_deref(), Some(r#"{"sum":4}"#));
    assert_eq!(second.storage().check().await.unwrap(), Vec::<String>::new());
}

/// A first task that fails once and then waits, so that a node can stop while the run is under way.
fn slow_chain() -> Vec<Task> {
    let mut slow = task("slow", "fail", &json!({"times": 1, "code": "flaky", "retryable": true}));
    slow.retry.initial_interval = Duration::from_millis(300);
    vec![task("first", "add", &json!({"a": 1, "b": 1})), slow, task("last", "add", &json!({"a": 2, "b": 2}))]
}

fn start_in_memory() -> StartRequest {
    StartRequest { durability: Some(Durability::Memory), ..start() }
}

/// The request, else the workflow, else the database (one in memory: normal).
#[tokio::test(flavor = "multi_thread")]
async fn the_narrowest_level_of_durability_counts() {
    use compozy_lang::settings;
    for (asked, written, expected) in [
        (None, None, Durability::Normal),
        (None, Some(settings::Durability::Memory), Durability::Memory),
        (None, Some(settings::Durability::Full), Durability::Full),
        (Some(Durability::Full), Some(settings::Durability::Memory), Durability::Full),
        (Some(Durability::Memory), None, Durability::Memory),
    ] {
        let mut plan = workflow(vec![task("a", "add", &json!({"a": 1, "b": 2}))]);
        plan.durability = written;
        let node = node(memory().await, plan).await;
        let accepted = node.submit(StartRequest { durability: asked, ..start() }).await.unwrap();
        let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(30))).await.unwrap().expect("the run ends");
        assert_eq!(run.durability, expected, "{asked:?} {written:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_level_memory_is_written_whole_at_its_end() {
    let node = node(memory().await, workflow(slow_chain())).await;
    let accepted = node.submit(start_in_memory()).await.unwrap();
    let events = node.storage().journal(&accepted.exec_id, 0, 100).await.unwrap();
    assert_eq!(events.iter().map(|event| event.event.as_str()).collect::<Vec<_>>(), ["workflow_start", "task_start"]);
    let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(run.output.as_deref(), Some(r#"{"sum":4}"#));
    assert_eq!(node.storage().steps(&run.exec_id).await.unwrap().len(), 3);
    assert_eq!(node.storage().check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_level_memory_survives_an_orderly_stop() {
    let storage = memory().await;
    let first = node(storage.clone(), workflow(slow_chain())).await;
    let accepted = first.submit(start_in_memory()).await.unwrap();
    first.shutdown(Duration::from_millis(50)).await;
    let second = node(storage, workflow(slow_chain())).await;
    let run = second.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":4}"#)));
    assert_eq!(second.storage().check().await.unwrap(), Vec::<String>::new());
}

/// Nothing is held back then, and still nothing is missing.
#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_level_memory_survives_an_orderly_stop_in_its_first_step() {
    let storage = memory().await;
    let tasks =
        vec![task("slow", "sleep", &json!({"milliseconds": 400})), task("last", "add", &json!({"a": 2, "b": 2}))];
    let first = node(storage.clone(), workflow(tasks.clone())).await;
    let accepted = first.submit(start_in_memory()).await.unwrap();
    first.shutdown(Duration::from_millis(50)).await;
    let second = node(storage, workflow(tasks)).await;
    let run = second.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!((run.status.as_str(), run.output.as_deref()), ("SUCCESS", Some(r#"{"sum":4}"#)));
    assert_eq!(second.storage().check().await.unwrap(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_of_level_memory_is_lost_with_its_process() {
    let storage = memory().await;
    let mut endless = workflow(vec![task("loop", "endless_loop", &json!({}))]);
    endless.id = "flow".into();
    let first = node(storage.clone(), endless.clone()).await;
    let accepted = first.submit(start_in_memory()).await.unwrap();
    // The first node is never told to stop: to the second it is dead.
    let second = node(storage, endless).await;
    let run = second.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(run.status, "FAILED");
    assert!(run.error.as_deref().is_some_and(|error| error.contains("run_lost")), "{:?}", run.error);
    assert_eq!(second.storage().check().await.unwrap(), Vec::<String>::new());
}
