//! Provider types that have a protocol of their own, each against a server that speaks it and refuses what the provider
//! would refuse.

use serde_json::{Value, json};

use crate::support::model_server::{Answer, Asked, ModelServer};
use crate::support::readme::blocks;
use crate::support::sse::Stream;
use crate::support::{Project, root};

/// Long enough to be struck out of messages, and of no pattern that providers' keys have.
const KEY: &str = "canary/of the+lab";

/// A type, the path of its base URL, and the header of its key.
struct Type {
    name: &'static str,
    base: &'static str,
    header: &'static str,
    key: &'static str,
}

const TYPES: [Type; 4] = [
    Type { name: "anthropic", base: "/v1", header: "x-api-key", key: "canary/of the+lab" },
    Type { name: "google", base: "/v1beta", header: "x-goog-api-key", key: "canary/of the+lab" },
    Type { name: "gemini", base: "/v1beta", header: "x-goog-api-key", key: "canary/of the+lab" },
    Type { name: "ollama", base: "", header: "authorization", key: "Bearer canary/of the+lab" },
];

/// A project with one entry of the type, and the tool `add`.
fn project(of: &Type, model: &ModelServer, entry: &str, task: &str) -> Project {
    let mut project = Project::sqlite(&format!(
        "llm:\n  retry_attempts: 1\n  retry_backoff_base: 10ms\n  providers:\n    - {{id: m, type: {}, model: small-1, \
         api_key: \"${{LAB_KEY}}\", base_url: \"${{BASE}}\"{entry}}}\n\
         plugins: [{{id: zoo, source: ./plugins/zoo.wasm}}]\ntools: [{{id: add, plugin: zoo, description: Adds}}]\n",
        of.name
    ));
    project.env("BASE", &format!("{}{}", model.origin(), of.base)).env("LAB_KEY", KEY);
    project
        .component("guests/zoo")
        .file("workflows/ask.yaml", format!("id: ask\ntasks: [{{id: ask, prompt: Say hello to Ada{task}}}]\n"));
    project
}

/// The key is in its header and nowhere else.
#[track_caller]
fn check_key(of: &Type, asked: &Asked) {
    assert_eq!(asked.header(of.header), Some(of.key), "{}", of.name);
    let others = asked.headers.iter().filter(|(name, _)| name != of.header);
    let rest = format!("{} {:?} {}", asked.path, others.collect::<Vec<_>>(), asked.body);
    assert!(!rest.contains("canary"), "{}: {rest}", of.name);
}

fn run(project: &Project) -> Value {
    let run = project.compozy(&["workflow", "run", "ask", "-o", "json"]);
    assert_eq!(run.code, 0, "{run}");
    run.json()["output"].clone()
}

#[test]
fn questions_and_settings() {
    let entry = ", params: {temperature: 0.5, top_p: 0.25, top_k: 4, max_tokens: 77, seed: 5, stop_words: [END], \
                 repetition_penalty: 1.5, metadata: {user_id: u}}";
    for of in &TYPES {
        let model = ModelServer::listen();
        assert_eq!(run(&project(of, &model, entry, ""))["text"], "Hello, Ada!", "{}", of.name);
        let asked = &model.asked()[0];
        check_key(of, asked);
        let (path, settings, expected) = match of.name {
            "anthropic" => (
                "/v1/messages",
                json!([
                    asked.body["temperature"],
                    asked.body["top_p"],
                    asked.body["top_k"],
                    asked.body["max_tokens"],
                    asked.body["stop_sequences"],
                    asked.body["metadata"]
                ]),
                json!([0.5, 0.25, 4, 77, ["END"], {"user_id": "u"}]),
            ),
            "ollama" => (
                "/api/chat",
                asked.body["options"].clone(),
                json!({"temperature": 0.5, "top_p": 0.25, "num_predict": 77, "seed": 5, "stop": ["END"], "top_k": 4,
                       "repeat_penalty": 1.5}),
            ),
            _ => (
                "/v1beta/models/small-1:generateContent",
                asked.body["generationConfig"].clone(),
                json!({"temperature": 0.5, "topP": 0.25, "maxOutputTokens": 77, "seed": 5, "stopSequences": ["END"],
                       "topK": 4}),
            ),
        };
        assert_eq!((asked.path.as_str(), settings), (path, expected), "{}", of.name);
    }
}

#[test]
fn answers_of_a_shape() {
    let task = ", output: {type: object, required: [name], properties: {name: {type: string}}}";
    for of in &TYPES {
        let model = ModelServer::listen();
        model.script([Answer::Text(r#"{"name": 7}"#.to_owned()), Answer::Text(r#"{"name": "Ada"}"#.to_owned())]);
        assert_eq!(run(&project(of, &model, "", task)), json!({"name": "Ada"}), "{}", of.name);
        let asked = model.asked();
        assert_eq!(asked.len(), 2, "{}: an answer of another shape is asked for again", of.name);
        let shape = match of.name {
            "anthropic" => &asked[0].body["tools"][0]["input_schema"],
            "ollama" => &asked[0].body["format"],
            _ => &asked[0].body["generationConfig"]["responseJsonSchema"],
        };
        assert_eq!(shape["required"], json!(["name"]), "{}", of.name);
    }
}

/// Two rounds of calls; the servers refuse results that do not fit the calls, in place, number or signature.
#[test]
fn calls_of_tools() {
    let call = |a: u32| ("add".to_owned(), format!("{{\"a\":{a},\"b\":1}}"));
    for of in &TYPES {
        let model = ModelServer::listen();
        model.script([
            Answer::Calls(vec![call(1), call(2)]),
            Answer::Calls(vec![call(3)]),
            Answer::Text("2, 3, 4".to_owned()),
        ]);
        assert_eq!(run(&project(of, &model, "", ", tools: [add]"))["text"], "2, 3, 4", "{}", of.name);
        let asked = model.asked();
        assert_eq!(asked.len(), 3);
        let told = asked[2].body.to_string().replace('\\', "");
        for sum in [2, 3, 4] {
            assert!(told.contains(&format!("{{\"sum\":{sum}}}")), "{}: {told}", of.name);
        }
        let (offered, name) = match of.name {
            "anthropic" => (&asked[0].body["tools"][0], "input_schema"),
            "ollama" => (&asked[0].body["tools"][0]["function"], "parameters"),
            _ => (&asked[0].body["tools"][0]["functionDeclarations"][0], "parametersJsonSchema"),
        };
        assert_eq!((&offered["name"], &offered[name]["type"]), (&json!("add"), &json!("object")), "{}", of.name);
    }
}

#[test]
fn streams() {
    let text = "Grüße aus der Ferne, 世界!";
    for of in &TYPES {
        let model = ModelServer::listen();
        model.script([
            Answer::Slow(std::time::Duration::from_millis(500), "first".to_owned()),
            Answer::Half(text.to_owned()),
            Answer::Text(text.to_owned()),
        ]);
        let project = project(of, &model, "", "");
        project.file("workflows/two.yaml", "id: two\ntasks: [{id: wait, prompt: Wait}, {id: tell, prompt: Tell}]\n");
        let server = project.start();
        let run = server.start_run("two", json!({}));
        let live = Stream::open(&server.address, &format!("/api/v0/executions/workflows/{run}/stream"), None);
        let events = live.and_then(Stream::rest).expect("the stream");
        let document = server.wait_run(&run);
        assert_eq!(document["status"], "SUCCESS", "{}: {document:#}", of.name);
        let shown: String =
            events.iter().filter(|event| event.name == "llm_chunk").filter_map(|event| chunk(&event.data)).collect();
        // The half that came before the connection ended, then the whole: it was asked for again.
        assert!(shown.ends_with(text) && shown.len() > text.len(), "{}: {shown:?} {events:#?}", of.name);
        let streamed: Vec<bool> = model.asked().iter().map(Asked::is_streamed).collect();
        assert_eq!(streamed[1..], [true, true], "{}", of.name);
        server.stop();
    }
}

fn chunk(data: &Value) -> Option<String> {
    let text = data.get("content").or_else(|| data.get("text")).or_else(|| data.get("chunk"))?;
    text.as_str().map(str::to_owned)
}

#[test]
fn limits_are_waited_for() {
    for of in &TYPES {
        let model = ModelServer::listen();
        // Google says in the body how long to wait.
        let wait = if of.base == "/v1beta" { vec![] } else { vec![("retry-after".to_owned(), "0.05".to_owned())] };
        model.script([Answer::Refuse(429, wait, "slow down".to_owned())]);
        assert_eq!(run(&project(of, &model, "", ""))["text"], "Hello, Ada!", "{}", of.name);
        assert_eq!(model.asked().len(), 2);
    }
}

#[test]
fn failures() {
    let refuse = |status| Answer::Refuse(status, vec![], format!("told {KEY}"));
    let huge = format!("{{\"filler\": \"{}\"}}", "x".repeat(17 << 20));
    for of in TYPES.iter().filter(|of| of.name != "gemini") {
        for (answer, code, part, questions) in [
            (refuse(401), "CZ0504", "refused the API key", 1),
            (refuse(403), "CZ0504", "refused the API key", 1),
            (refuse(404), "CZ0507", "the provider refused the request (HTTP 404)", 1),
            (refuse(500), "CZ0507", "the provider failed (HTTP 500)", 2),
            (refuse(529), "CZ0507", "the provider failed (HTTP 529)", 2),
            (Answer::Typed(502, "text/html", "<h1>Bad gateway</h1>".to_owned()), "CZ0507", "(HTTP 502)", 2),
            (
                Answer::Typed(200, "text/html", "<h1>Hi</h1>".to_owned()),
                "CZ0507",
                "the provider's answer cannot be read",
                2,
            ),
            (Answer::Typed(307, "text/plain", String::new()), "CZ0507", "a redirect; check base_url", 1),
            (Answer::Raw("{\"".to_owned()), "CZ0507", "the provider's answer cannot be read", 2),
            (Answer::Raw("[[[[".repeat(50_000)), "CZ0507", "the provider's answer cannot be read", 2),
            (Answer::Raw("{}".to_owned()), "CZ0507", "the provider's answer cannot be read", 2),
            (Answer::Half("Hello to all of you".to_owned()), "CZ0507", "the provider's answer cannot be read", 2),
            (Answer::Cut, "CZ0507", "unreachable", 2),
            (Answer::Raw(huge.clone()), "CZ0507", "longer than 16777216 bytes", 1),
        ] {
            let model = ModelServer::listen();
            model.script([answer.clone(), answer.clone()]);
            let once = ", retry_policy: {maximum_attempts: 1}";
            let run = project(of, &model, "", once).compozy(&["workflow", "run", "ask"]);
            let what = format!("{}: {code} {part}: {run}", of.name);
            assert_eq!(run.code, 1, "{what}");
            assert!(run.stderr.contains(code) && run.stderr.contains(part), "{what}");
            assert!(!format!("{run}").contains("canary"), "{what}");
            assert_eq!(model.asked().len(), questions, "{what}");
        }
    }
}

/// A key that is not set is told before anything is asked, and Ollama needs none.
#[test]
fn keys_that_are_not_there() {
    for (of, variable) in
        TYPES.iter().zip([Some("ANTHROPIC_API_KEY"), Some("GOOGLE_API_KEY"), Some("GOOGLE_API_KEY"), None])
    {
        let model = ModelServer::listen();
        let project = project(of, &model, "", "");
        let written = std::fs::read_to_string(project.path("compozy.yaml")).expect("the project");
        project.file("compozy.yaml", written.replace("api_key: \"${LAB_KEY}\", ", ""));
        let run = project.compozy(&["workflow", "run", "ask"]);
        match variable {
            Some(variable) => {
                assert_eq!((run.code, model.asked().len()), (1, 0), "{run}");
                assert!(run.stderr.contains("CZ0113") && run.stderr.contains(variable), "{run}");
            }
            None => {
                assert_eq!(run.code, 0, "{run}");
                assert_eq!(model.asked()[0].authorization, None);
            }
        }
    }
}

/// The entries of docs/providers.md are valid without a warning, its table is the one of the code, and its workflow
/// runs as it says.
#[test]
fn the_page_of_providers_holds() {
    let text = std::fs::read_to_string(root().join("docs/providers.md")).expect("docs/providers.md");
    let blocks = blocks(&text);
    let block = |start: &str| &blocks.iter().find(|block| block.text.starts_with(start)).expect(start).text;
    let mut project = Project::sqlite(block("llm:"));
    project.env("ANTHROPIC_API_KEY", "k").env("GOOGLE_API_KEY", "k");
    project.file("workflows/ask.yaml", block("id: ask"));
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run = project.compozy(&["workflow", "run", "ask", "--mock-llm", "--param", "name=Ada", "-o", "json"]).ok();
    let said = "[mock] Say it again, politely: [mock] Say hello to Ada";
    assert_eq!(run.json()["output"]["text"], said, "{run}");
    for kind in compozy::provider::kinds::KINDS {
        let row = text.lines().find(|line| line.starts_with("| `") && line.contains(&format!("`{}`", kind.name)));
        let row = row.unwrap_or_else(|| panic!("no row for {}", kind.name));
        for part in [kind.base_url, kind.model, kind.key_variable].into_iter().flatten() {
            assert!(row.contains(part), "{part} is missing in {row}");
        }
    }
}
