//! Values of secret variables reach whoever a template hands them to, and nothing that is stored or shown.

use serde_json::json;

use crate::support::Project;
use crate::support::model_server::ModelServer;
use crate::support::sse::Stream;

/// In the environment of the process, in `.env`, and behind a key that is secret by its name.
const CANARIES: [&str; 3] = ["canary-one/+\"1", "canary-two-2", "canary-three-3"];

fn project(model: &ModelServer) -> Project {
    let mut project = Project::sqlite(
        "llm: {providers: [{id: m, type: openai_compatible, model: small, api_key: \"${PLAIN}\", base_url: \"${BASE}\"}]}\n",
    );
    project.env("BASE", &model.base_url()).env("SHOP_TOKEN", CANARIES[0]).env("PLAIN", CANARIES[2]);
    project.file(".env", format!("SHOP_PASSWORD={}\n", CANARIES[1]));
    project.file(
        "workflows/ask.yaml",
        "id: ask\ntasks:\n  - id: ask\n    with: {token: \"{{ .env.SHOP_TOKEN }}\", coded: \"{{ .env.SHOP_PASSWORD | b64enc }}\"}\n    \
         prompt: \"{{ .env.SHOP_TOKEN }} and ${SHOP_PASSWORD}\"\n    on_success: {next: again, with: {more: \"{{ .env.SHOP_TOKEN }}\"}}\n  \
         - id: again\n    prompt: \"{{ .tasks.ask.output.text }} {{ .input.more }}\"\noutputs: {all: \"{{ .tasks.ask.output.text }} {{ .env.SHOP_PASSWORD }}\"}\n",
    );
    project
}

/// Everything below a folder, as one text.
fn all_files(folder: &std::path::Path) -> String {
    let mut text = String::new();
    for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
        if entry.path().is_dir() {
            text.push_str(&all_files(&entry.path()));
        } else {
            text.push_str(&String::from_utf8_lossy(&std::fs::read(entry.path()).expect("a file")));
        }
    }
    text
}

#[test]
fn a_secret_in_a_prompt_is_neither_stored_nor_shown() {
    let model = ModelServer::listen();
    // The model says everything back, once in plain words and once as JSON would write it.
    model.script(std::iter::repeat_n(
        crate::support::model_server::Answer::Text(format!("{} {} {}", CANARIES[0], CANARIES[1], CANARIES[2])),
        2,
    ));
    let project = project(&model);
    let server = project.start();
    let run = server.start_run("ask", json!({}));
    let live = Stream::open(&server.address, &format!("/api/v0/executions/workflows/{run}/stream"), None);
    let live = live.and_then(Stream::rest).expect("the stream");
    let document = server.wait_run(&run);
    assert_eq!(document["status"], "SUCCESS", "{document:#}");
    assert_eq!(document["output"], json!({"all": "*** *** *** ***"}));
    // The model did get them.
    let asked = model.asked();
    let question = &asked[0].body["messages"][0]["content"];
    assert_eq!(question, &json!(format!("{} and {}", CANARIES[0], CANARIES[1])));
    let shown = [
        document.to_string(),
        format!("{live:?}"),
        server.get(&format!("/api/v0/executions/workflows/{run}/tasks")).text(),
        server.get(&format!("/api/v0/executions/workflows/{run}/events")).text(),
        server.stderr(),
    ]
    .concat();
    let output = server.stop();
    let stored = all_files(&project.path("data"));
    let coded = ["Y2FuYXJ5LXR3by0y", "canary-one%2F", "canary-one/+\\\"1"];
    for canary in CANARIES.iter().chain(&coded) {
        for (what, text) in [("shown", &shown), ("printed", &output.to_string()), ("stored", &stored)] {
            assert!(!text.contains(canary), "{canary} is {what}");
        }
    }
    assert!(stored.contains("***"));
}

/// A key that a provider takes from its usual variable, without being told.
#[test]
fn a_key_that_nothing_names_is_secret_too() {
    let model = ModelServer::listen();
    model.script([crate::support::model_server::Answer::Text("your key is canary-four-4".to_owned())]);
    let mut project = Project::sqlite("llm: {providers: [{id: g, type: groq, base_url: \"${BASE}\"}]}\n");
    project.env("BASE", &model.base_url()).env("GROQ_API_KEY", "canary-four-4");
    project.file("workflows/ask.yaml", "id: ask\ntasks:\n  - {id: ask, prompt: hi}\n");
    let output = project.compozy(&["workflow", "run", "ask", "-o", "json"]).ok();
    assert_eq!(output.json()["output"]["text"], "your key is ***");
    assert_eq!(model.asked()[0].authorization.as_deref(), Some("Bearer canary-four-4"));
    assert!(!format!("{output}{}", all_files(&project.path("data"))).contains("canary-four-4"));
}
