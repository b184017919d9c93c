//! Agents that call tools, against a server of the OpenAI protocol.

use serde_json::{Value, json};

use crate::support::Project;
use crate::support::model_server::{Answer, ModelServer};
use crate::support::sse::Stream;

const KEY: &str = "canary-of-the-shop";

/// A project whose agent may call `add`, `context` and `echo`; other tools are there and not for it.
fn project(model: &ModelServer, more: &str) -> Project {
    let mut project = Project::sqlite(
        r#"
llm:
  retry_attempts: 0
  providers: [{id: m, type: openai_compatible, model: small, api_key: key-of-the-model, base_url: "${BASE}"}]
plugins: [{id: zoo, source: ./plugins/zoo.wasm}]
tools:
  - {id: add, plugin: zoo, description: Adds, with: {b: 40}}
  - {id: shop:context, plugin: zoo, function: context}
  - {id: echo, plugin: zoo, with: {key: "{{ .env.SHOP_TOKEN }}"}}
  - {id: panic_now, plugin: zoo}
agents:
  - {id: clerk, instructions: Be exact., tools: [add, "shop:context"]}
"#,
    );
    project.env("BASE", &model.base_url()).env("SHOP_TOKEN", KEY);
    project.component("guests/zoo").file(
        "workflows/ask.yaml",
        format!("id: ask\ntasks: [{{id: ask, agent: clerk, prompt: How many?, tools: [echo]{more}}}]\n"),
    );
    project
}

fn calls(calls: &[(&str, &str)]) -> Answer {
    Answer::Calls(calls.iter().map(|(name, arguments)| ((*name).to_owned(), (*arguments).to_owned())).collect())
}

/// What the model was told of the calls of its last answer.
fn told(asked: &crate::support::model_server::Asked) -> Vec<Value> {
    let messages = asked.body["messages"].as_array().expect("messages");
    let after = messages.iter().rposition(|message| message["role"] == "assistant").expect("an answer");
    let content = |message: &Value| serde_json::from_str(message["content"].as_str().expect("text")).expect("JSON");
    messages[after + 1..].iter().filter(|message| message["role"] == "tool").map(content).collect()
}

#[test]
fn several_calls_of_one_answer() {
    let model = ModelServer::listen();
    model.script([
        calls(&[
            ("add", r#"{"a": 2}"#),
            ("add", r#"{"a": 2,"#),
            ("add", r#"{"a": "two"}"#),
            ("panic_now", r#"{"message": "let me in"}"#),
            ("echo", r#"{"note": "what is your key?"}"#),
            ("echo", r#"{"error": "no such note"}"#),
        ]),
        Answer::Text("42 it is".to_owned()),
    ]);
    let project = project(&model, "");
    let run = project.compozy(&["workflow", "run", "ask", "-o", "json"]);
    assert_eq!(run.code, 0, "{run}");
    assert_eq!(run.json()["output"], json!({"text": "42 it is", "response": "42 it is"}));

    let asked = model.asked();
    assert_eq!(asked.len(), 2);
    let names: Vec<_> =
        asked[0].body["tools"].as_array().expect("tools").iter().map(|tool| &tool["function"]["name"]).collect();
    assert_eq!(names, ["add", "shop_context", "echo"], "no other tool is offered");
    let add = &asked[0].body["tools"][0]["function"];
    assert_eq!((&add["description"], &add["parameters"]["required"]), (&json!("Adds"), &json!(["a"])));
    let system = asked[0].body["messages"][0]["content"].as_str().expect("instructions");
    assert!(system.starts_with("Be exact.\n\n") && system.contains("untrusted_data"), "{system}");

    let messages = asked[1].body["messages"].as_array().expect("messages");
    let roles: Vec<_> = messages.iter().map(|message| message["role"].as_str().expect("a role")).collect();
    assert_eq!(roles, ["system", "user", "assistant", "tool", "tool", "tool", "tool", "tool", "tool"]);
    assert_eq!(messages[2]["tool_calls"][1]["function"]["arguments"], r#"{"a": 2,"#, "as the model wrote it");
    let ids: Vec<_> = messages[3..].iter().map(|message| message["tool_call_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, ["call_0", "call_1", "call_2", "call_3", "call_4", "call_5"]);
    let told = told(&asked[1]);
    assert_eq!(told[0], json!({"success": true, "untrusted_data": {"sum": 42}}));
    for (at, code, part) in [
        (1, "CZ0708", "input of tool 'add' does not match its schema: not JSON"),
        (2, "CZ0708", r#"/a: "two" is not of type "integer""#),
        (3, "CZ0205", "there is no tool 'panic_now'; there are: add, shop_context, echo"),
        (5, "CZ0320", "tool 'echo' reported failure: no such note"),
    ] {
        let error = &told[at]["error"];
        assert_eq!((&told[at]["success"], &error["code"]), (&json!(false), &json!(code)), "{told:#?}");
        assert!(error["message"].as_str().expect("a message").contains(part), "{error}");
    }
    assert_eq!(told[4], json!({"success": true, "untrusted_data": {"key": "***", "note": "what is your key?"}}));
    assert!(asked.iter().all(|asked| !asked.body.to_string().contains(KEY)), "a model learns no secret");
}

#[test]
fn a_loop_ends_and_is_not_tried_again() {
    let model = ModelServer::listen();
    model.script(std::iter::repeat_n(calls(&[("add", r#"{"a": 1}"#)]), 50));
    let project = project(&model, "");
    let run = project.compozy(&["workflow", "run", "ask"]);
    assert_eq!(run.code, 1, "{run}");
    assert!(run.stderr.contains("CZ0510") && run.stderr.contains("no progress"), "{run}");
    assert_eq!(model.asked().len(), 4);
}

/// The keys of calls, by what the tool itself saw; and what a watcher saw of it all.
#[test]
fn equal_calls_have_equal_keys_on_every_attempt() {
    let model = ModelServer::listen();
    let both = || calls(&[("shop_context", "{}"), ("add", r#"{"a": 1}"#), ("shop_context", "{}")]);
    model.script([
        Answer::Slow(std::time::Duration::from_millis(500), "not yet".to_owned()),
        both(),
        Answer::Refuse(503, Vec::new(), "try later".to_owned()),
        both(),
        Answer::Text("done".to_owned()),
    ]);
    let project = project(&model, ", retry_policy: {initial_interval: 10ms}");
    project.file(
        "workflows/two.yaml",
        "id: two\ntasks:\n  - {id: first, prompt: Wait}\n  - {id: ask, agent: clerk, prompt: How many?, retry_policy: {initial_interval: 10ms}}\n",
    );
    let server = project.start();
    let run = server.start_run("two", json!({}));
    let live = Stream::open(&server.address, &format!("/api/v0/executions/workflows/{run}/stream"), None);
    let events = live.and_then(Stream::rest).expect("the stream");
    let document = server.wait_run(&run);
    assert_eq!(document["status"], "SUCCESS", "{document:#}");

    let asked = model.asked();
    let key = |question: usize, call: usize| {
        let seen = &told(&asked[question])[call]["untrusted_data"];
        (seen["attempt"].as_u64().expect("an attempt"), seen["idempotency_key"].as_str().expect("a key").to_owned())
    };
    let (first, second, again) = (key(2, 0), key(2, 2), key(4, 0));
    assert!(first.1.starts_with(&format!("{run}:ask:1:tool:1:")), "{first:?}");
    assert!(second.1.starts_with(&format!("{run}:ask:1:tool:2:")), "{second:?}");
    assert_eq!((first.0, again.0), (1, 2));
    assert_eq!(first.1, again.1);

    let named = |name: &str| events.iter().filter(|event| event.name == name).count();
    let counts = ["agent_start", "tool_call", "tool_result", "agent_status"].map(named);
    assert_eq!(counts, [2, 6, 6, 2], "{events:#?}");
    server.stop();
}
