//! Models that call tools.

use std::time::Duration;

use compozy_lang::plan::{
    MemoryBinding, Project, Prompt, Provider, Task, TaskKind, ToolGuards, Toolbox, ValueTemplate, Workflow,
};
use serde_json::{Value, json};

use super::memories::{contents, definition, text as words};
use super::{ended, launch, launch_keeping, memory, project, start, task, tool, workflow};
use crate::clock::Clock;
use crate::storage::row::Run;

/// A workflow of one prompt, `go`, that may call tools of the zoo.
fn agent(guards: ToolGuards, output_schema: Option<Value>) -> Workflow {
    let tools = ["add", "fail", "echo", "endless_loop", "sleep"];
    let kind = TaskKind::Prompt(Prompt {
        prompt: words("go"),
        instructions: None,
        provider: None,
        model: None,
        params: Default::default(),
        memories: Vec::new(),
        toolbox: Toolbox { tools: tools.map(str::to_owned).to_vec(), guards },
    });
    let ask = Task { kind, with: None, output_schema, ..task("ask", "add", &json!({})) };
    let mut plan = workflow(vec![ask]);
    plan.tools.extend(tools.map(tool));
    plan
}

/// A project with a model that answers by this script.
fn scripted(plan: Workflow, answers: &Value) -> Project {
    let model =
        Provider { config: json!({"answers": answers}), ..Provider::implicit("mock", "mock", Default::default()) };
    Project { providers: vec![model], ..project([plan]) }
}

/// The output, or code and message of the error.
fn came_to(run: &Run) -> Result<Value, String> {
    match &run.error {
        None => Ok(serde_json::from_str(run.output.as_deref().unwrap_or("null")).unwrap()),
        Some(error) => {
            let error: Value = serde_json::from_str(error).unwrap();
            Err(format!("{} {}", error["code"].as_str().unwrap(), error["message"].as_str().unwrap()))
        }
    }
}

fn text(text: &str) -> Result<Value, String> {
    Ok(json!({"text": text, "response": text}))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_tools_give_goes_back_to_the_model() {
    let calls =
        |tool: &str, arguments: Value| json!({"match": "go", "tool_calls": [{"name": tool, "arguments": arguments}]});
    let numbers = json!({"type": "object", "required": ["n"], "properties": {"n": {"type": "integer"}}});
    for (called, heard, schema, expected) in [
        (calls("add", json!({"a": 1, "b": 2})), r#"{"success":true,"untrusted_data":{"sum":3}}"#, None, text("heard")),
        (calls("add", json!("{")), "not JSON", None, text("heard")),
        (calls("add", json!({"a": "x", "b": 2})), "CZ0708", None, text("heard")),
        (calls("nosuch", json!({})), "there are: add, fail, echo, endless_loop, sleep", None, text("heard")),
        (
            calls("fail", json!({"message": "too bad"})),
            r#"{"success":false,"error":{"code":"asked_to_fail","message":"too bad"}}"#,
            None,
            text("heard"),
        ),
        (calls("echo", json!({"success": false})), "CZ0320", None, text("heard")),
        (calls("echo", json!({"more": 1})), r#"{"token":"***","more":1}"#, None, text("heard")),
        // The form is asked for once the tools are done.
        (calls("add", json!({"a": 1, "b": 2})), "\"sum\":3", Some(numbers.clone()), Ok(json!({"n": 0}))),
        (json!({"match": "go", "text": "{\"n\": 7}"}), "-", Some(numbers), Ok(json!({"n": 7}))),
    ] {
        let mut plan = agent(ToolGuards::default(), schema);
        // What a tool is given behind the model's back is not told to it either.
        plan.tools.get_mut("echo").unwrap().with = Some(ValueTemplate::Fixed(json!({"token": "canary-4711"})));
        let answers = json!([called, {"match": heard, "text": "heard"}]);
        let secrets = vec!["canary-4711".to_owned()];
        let node = launch_keeping(memory().await, Clock::system(), scripted(plan, &answers), secrets).await;
        let run = ended(&node).await;
        assert_eq!(came_to(&run), expected, "{called}");
        let usage = node.storage().usage(&run.exec_id).await.unwrap();
        assert_eq!(usage.len(), 1, "the rounds of a step are counted together");
        assert!(usage[0].prompt_tokens > 1, "{usage:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loop_comes_to_an_end() {
    let again = |tool: &str, arguments: Value| json!([{"tool_calls": [{"name": tool, "arguments": arguments}]}]);
    let add = again("add", json!({"a": 1, "b": 2}));
    let guards = ToolGuards::default;
    for (answers, guards, expected) in [
        (add.clone(), ToolGuards { max_iterations: 2, ..guards() }, "CZ0509 tool loop of 'ask': more than 2 rounds"),
        (
            add.clone(),
            guards(),
            "CZ0510 tool loop of 'ask': no progress: tool 'add' was called more than 3 times in a row with equal results",
        ),
        (
            again("fail", json!({})),
            ToolGuards { max_sequential_errors: 1, ..guards() },
            "CZ0510 tool loop of 'ask': no progress: more than 1 failed calls in a row, the last of tool 'fail'",
        ),
        (
            add,
            ToolGuards { caps: [("add".to_owned(), 1)].into(), ..guards() },
            "CZ0510 tool loop of 'ask': no progress: more than 1 calls of tool 'add'",
        ),
    ] {
        let plan = agent(guards, None);
        let node = launch(memory().await, Clock::system(), scripted(plan, &answers)).await;
        let run = ended(&node).await;
        assert_eq!(came_to(&run), Err(expected.to_owned()));
        let steps = node.storage().steps(&run.exec_id).await.unwrap();
        assert_eq!(steps[0].attempt, 1, "the model would do the same again");
        assert_eq!(node.storage().usage(&run.exec_id).await.unwrap().len(), 1, "what was asked was paid for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn time_and_cancel_reach_a_tool() {
    let answers = json!([{"match": "go", "tool_calls": [
        {"name": "endless_loop", "arguments": {}}, {"name": "sleep", "arguments": {"milliseconds": 60_000}},
    ]}]);
    let mut plan = agent(ToolGuards::default(), None);
    plan.tasks[0].timeout = Some(compozy_lang::plan::Typed::Fixed(Duration::from_millis(300)));
    plan.tasks[0].retry.maximum_attempts = 1;
    let node = launch(memory().await, Clock::system(), scripted(plan, &answers)).await;
    let run = ended(&node).await;
    assert_eq!(came_to(&run).unwrap_err().split(' ').next(), Some("CZ0316"), "{run:?}");

    let plan = agent(ToolGuards::default(), None);
    let node = launch(memory().await, Clock::system(), scripted(plan, &answers)).await;
    let accepted = node.submit(start()).await.unwrap();
    tokio::task::yield_now().await;
    node.cancel(&accepted.exec_id, "a test", None).await.unwrap();
    let run = node.wait(&accepted.exec_id, Some(Duration::from_secs(10))).await.unwrap().expect("the run ends");
    assert_eq!(run.status, "CANCELED");
}

/// What lies between prompt and answer is not remembered.
#[tokio::test(flavor = "multi_thread")]
async fn a_memory_keeps_the_prompt_and_the_last_answer() {
    let answers = json!([
        {"match": "go", "tool_calls": [{"name": "add", "arguments": {"a": 1, "b": 2}}]},
        {"match": "\"sum\":3", "text": "three"},
    ]);
    let mut plan = agent(ToolGuards::default(), None);
    plan.memories.insert("chat".into(), definition("chat", |_| {}));
    if let TaskKind::Prompt(prompt) = &mut plan.tasks[0].kind {
        prompt.memories = vec![MemoryBinding { memory: "chat".into(), read_only: false, key: Some(words("k")) }];
    }
    let node = launch(memory().await, Clock::system(), scripted(plan.clone(), &answers)).await;
    assert_eq!(came_to(&ended(&node).await), text("three"));
    assert_eq!(contents(&node, &plan, "k").await, ["go", "three"]);
}
