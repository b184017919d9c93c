//! Projects that load: the shapes of the design plan word for word, and what becomes of each part.

use std::time::Duration;

use compozy_lang::plan::{ModelGrant, Next, PluginKind, Segment, TaskKind, ValueTemplate, Workflow};
use compozy_lang::settings::{Driver, Durability, Mode};
use serde_json::json;

use crate::support::{Options, load_files, plan, variables};

const QUICKSTART: &str = r#"# compozy.yaml (minimal SQLite)
version: "1.0"

database:
  driver: sqlite
  path: ./data/compozy.db

llm:
  providers:
    - id: openai
      type: openai
      api_key: ${OPENAI_API_KEY}

server:
  port: 8080
"#;

const QDRANT: &str = r#"# compozy.yaml (SQLite with external vector DB)
version: "1.0"

database:
  driver: sqlite
  path: ./data/compozy.db

knowledge:
  vector_dbs:
    - id: main
      provider: qdrant
      url: ${QDRANT_URL:-http://localhost:6333}
      dimension: 1536

llm:
  providers:
    - id: openai
      type: openai
      api_key: ${OPENAI_API_KEY}
"#;

const POSTGRES: &str = r#"# compozy.yaml (PostgreSQL)
version: "1.0"

database:
  driver: postgres
  host: ${DB_HOST:-localhost}
  port: 5432
  user: ${DB_USER:-compozy}
  password: ${DB_PASSWORD}
  dbname: ${DB_NAME:-compozy}
  sslmode: ${DB_SSLMODE:-disable}

knowledge:
  vector_dbs:
    - id: main
      provider: pgvector  # Uses PostgreSQL
      dimension: 1536

llm:
  providers:
    - id: openai
      type: openai
      api_key: ${OPENAI_API_KEY}
"#;

const HELLO: &str = r#"id: hello-world
name: Hello World Workflow

tasks:
  - id: greet
    prompt: "Say hello to {{ .input.name | default \"World\" }}"
    agent:
      llm: openai

output:
  greeting: "{{ .tasks.greet.output.text }}"
"#;

const RAG: &str = r#"id: rag-workflow
name: RAG Workflow with Knowledge Base

tasks:
  - id: retrieve
    prompt: "Find relevant context for: {{ .input.query }}"
    agent:
      llm: openai
      knowledge:
        - knowledge_base_id: main
          top_k: 5

  - id: answer
    prompt: |
      Based on the following context:
      {{ .tasks.retrieve.output.text }}
      
      Answer: {{ .input.query }}
    agent:
      llm: openai

output:
  answer: "{{ .tasks.answer.output.text }}"
  sources: "{{ .tasks.retrieve.output.sources }}"
"#;

fn one(yaml: &str, workflow: &str) -> Workflow {
    let project = plan(&[("compozy.yaml", yaml), ("workflows/w.yaml", workflow)], &Options::default());
    Workflow::clone(project.workflows.values().next().unwrap())
}

const MOCK: &str = "llm: {providers: [{id: mock, type: mock}]}\n";

#[test]
fn the_quickstart_loads_word_for_word() {
    let files = [("compozy.yaml", QUICKSTART), ("workflows/hello-world.yaml", HELLO)];
    let checked = load_files(&files, &Options { strict: true, ..Options::default() });
    assert_eq!(checked.diagnostics, vec![]);
    assert_eq!(checked.missing_variables.len(), 1);
    assert_eq!(
        checked.missing_variables[0].to_string().lines().next(),
        Some(
            "warning[CZ0113]: environment variable OPENAI_API_KEY is not set (compozy.yaml:12:16, llm.providers.openai.api_key) and has no default"
        )
    );
    let project = checked.project.unwrap();
    assert_eq!(project.name, "project");
    assert_eq!(project.version, "1.0");
    assert_eq!(project.settings.database.path, "./data/compozy.db");
    let workflow = &project.workflows["hello-world"];
    assert_eq!(workflow.file, "workflows/hello-world.yaml");
    let TaskKind::Prompt(prompt) = &workflow.tasks[0].kind else { panic!() };
    assert_eq!(prompt.provider.as_deref(), Some("openai"));
    assert!(prompt.prompt.is_template);
    assert_eq!(prompt.prompt.references[0].path, ["input", "name"]);
    let Some(ValueTemplate::Map(outputs)) = &workflow.outputs else { panic!() };
    assert_eq!(outputs[0].0, "greeting");
}

#[test]
fn the_other_shapes_of_the_plan_load_with_no_more_than_warnings() {
    for (config, workflow) in [
        (QDRANT, RAG),
        (POSTGRES, HELLO),
        ("database: {driver: sqlite, path: \":memory:\"}\nllm: {providers: [{id: openai, type: mock}]}", HELLO),
    ] {
        let checked = load_files(
            &[("compozy.yaml", config), ("workflows/w.yaml", workflow)],
            &Options { strict: true, ..Options::default() },
        );
        assert!(checked.project.is_some(), "{:?}", checked.diagnostics);
    }
    let environment = variables(&[("DB_PASSWORD", "pw"), ("DB_HOST", "db")]);
    let project = plan(&[("compozy.yaml", POSTGRES)], &Options { environment, ..Options::default() });
    let database = &project.settings.database;
    assert_eq!((database.driver, database.host.as_str(), database.port), (Driver::Postgres, "db", 5432));
    assert_eq!(
        (database.user.as_str(), database.password.as_deref(), database.name.as_str()),
        ("compozy", Some("pw"), "compozy")
    );
    assert_eq!(project.settings.mode, Mode::Distributed);
    assert_eq!(project.knowledge[0].id, "main");
}

#[test]
fn a_missing_variable_stops_only_what_uses_it() {
    let project = plan(&[("compozy.yaml", POSTGRES), ("workflows/w.yaml", HELLO)], &Options::default());
    assert!(project.settings.require("server").is_ok());
    let missing = project.settings.require("database").unwrap_err();
    assert_eq!(missing.len(), 1);
    assert_eq!(missing[0].path, "database.password");
    let key = project.providers[0].api_key.clone().unwrap();
    assert_eq!(key.resolve(&variables(&[])).unwrap_err().name, "OPENAI_API_KEY");
    assert_eq!(key.resolve(&variables(&[("OPENAI_API_KEY", "sk")])).unwrap().text, "sk");
}

#[test]
fn a_workflow_is_the_same_after_the_database() {
    let text = r#"
id: all
config: {input: {type: object, properties: {n: {default: 1}}}, timeout: 1h, env: {REGION: "${REGION:-eu}"}, durability: normal}
tasks:
  - {id: a, prompt: "{{ .input.n }} ${X}", on_error: {next: c, with: {why: "{{ .error.code }}"}}, retries: 0}
  - {id: b, prompt: b, sleep: 5s, timeout: "{{ .input.n }}s", final: "{{ .output.text }}", condition: "{{ .input.n }}"}
  - {id: c, prompt: c, env: {K: v}, outputs: {x: [1, "{{ .output.text }}", null]}}
outputs: {all: "{{ .tasks.a.output.text }}", fixed: [1, two]}
"#;
    let workflow = one(MOCK, text);
    let json = serde_json::to_value(&workflow).unwrap();
    let back: Workflow = serde_json::from_value(json.clone()).unwrap();
    assert_eq!(serde_json::to_value(&back).unwrap(), json);
    assert_eq!(workflow.digest.len(), 64);
    assert_eq!(workflow.digest, one(MOCK, text).digest);
    assert_ne!(workflow.digest, one(MOCK, &text.replace("sleep: 5s", "sleep: 6s")).digest);
    assert_eq!(workflow.durability, Some(Durability::Normal));
    assert_eq!(workflow.timeout, Some(Duration::from_secs(3600)));
}

#[test]
fn no_value_of_a_variable_is_in_the_plan() {
    let environment = variables(&[("SECRET_THING", "do-not-store-me")]);
    let files = [
        ("compozy.yaml", MOCK),
        ("workflows/w.yaml", "tasks: [{id: a, prompt: \"x ${SECRET_THING}\", with: {k: \"${SECRET_THING}\"}}]"),
    ];
    let project = plan(&files, &Options { environment, ..Options::default() });
    let json = serde_json::to_string(&*project.workflows["w"]).unwrap();
    assert!(!json.contains("do-not-store-me") && json.contains("SECRET_THING"), "{json}");
}

#[test]
fn flow_is_derived_from_what_is_written() {
    let sequential = one(
        MOCK,
        "tasks: [{id: a, prompt: x, on_error: c}, {id: b, prompt: x}, {id: c, prompt: x}, {id: d, prompt: x}]",
    );
    assert!(!sequential.explicit);
    assert_eq!(sequential.tasks.iter().map(|task| task.targeted).collect::<Vec<_>>(), [false, false, true, false]);
    assert!(matches!(sequential.tasks[0].on_error.next, Some(Next::Task(2))));
    let explicit = one(MOCK, "tasks: [{id: a, prompt: x, next: b}, {id: b, prompt: x}]");
    assert!(explicit.explicit && explicit.tasks[1].targeted);
    let forced = one(MOCK, "flow: sequential\ntasks: [{id: a, prompt: x, on_success: {next: b}}, {id: b, prompt: x}]");
    assert!(!forced.explicit);
}

#[test]
fn defaults_of_workflow_and_project_are_folded_in() {
    let config = format!(
        "{MOCK}config: {{on_error: oops, retry_policy: {{maximum_attempts: 7, initial_interval: 2s}}, env: {{A: project, B: project}}, timeout: 2h}}\n"
    );
    let workflow = one(
        &config,
        "config: {retry_policy: {maximum_interval: 9s}, env: {B: workflow}}\ntasks: [{id: a, prompt: x, retries: 1}, {id: b, prompt: x}, {id: oops, prompt: x}]",
    );
    let retry = |index: usize| &workflow.tasks[index].retry;
    assert_eq!((retry(0).maximum_attempts, retry(1).maximum_attempts), (2, 7));
    assert_eq!(
        (retry(0).initial_interval, retry(0).maximum_interval),
        (Duration::from_secs(2), Duration::from_secs(9))
    );
    assert!(matches!(workflow.tasks[0].on_error.next, Some(Next::Task(2))));
    assert!(workflow.tasks[2].on_error.next.is_none() && workflow.tasks[2].targeted);
    let env: Vec<_> = workflow.env.iter().map(|(name, value)| (name.as_str(), value.fixed_text().unwrap())).collect();
    assert_eq!(env, [("A", "project".to_owned()), ("B", "workflow".to_owned())]);
    assert_eq!(workflow.timeout, Some(Duration::from_secs(7200)));
}

#[test]
fn agents_give_prompts_providers_and_values() {
    let config = r#"
llm: {providers: [{id: main, type: mock, default: true}, {id: other, type: openai, model: gpt, params: {temperature: 0.1}}]}
agents:
  - id: writer
    instructions: You write for {{ .input.who }}
    model: "openai:gpt-4o"
    params: {temperature: 0.5}
    with: {tone: dry, length: 1}
    env: {A: agent, B: agent}
    actions: [{id: draft, prompt: "Draft {{ .with.tone }}", with: {length: 2}, output: {type: object}}]
"#;
    let workflow = one(
        config,
        r#"tasks:
  - {id: a, agent: writer, action: draft, prompt: Now, with: {topic: x}, env: {B: task}}
  - {id: b, agent: {id: writer, instructions: Other}, prompt: Hi}
  - {id: c, prompt: Hi}
  - {id: d, prompt: Hi, agent: {llm: other}, model_config: {model: small, params: {seed: 1}}}
  - {id: e, prompt: Hi, agent: {llm: ollama, model: "llama3.2:3b"}}
  - {id: f, prompt: Hi, model_config: {type: openai_compatible, base_url: "http://x", model: m}}
"#,
    );
    let prompt = |index: usize| match &workflow.tasks[index].kind {
        TaskKind::Prompt(prompt) => prompt,
        _ => panic!(),
    };
    let a = prompt(0);
    assert_eq!((a.provider.as_deref(), a.model.as_deref()), (Some("other"), Some("gpt-4o")));
    let texts: String = a
        .prompt
        .segments
        .iter()
        .map(|segment| if let Segment::Literal(text) = segment { text.as_str() } else { "" })
        .collect();
    assert_eq!(texts, "Draft {{ .with.tone }}\n\nNow");
    assert!(a.prompt.is_template && a.instructions.as_ref().unwrap().is_template);
    let Some(ValueTemplate::Map(with)) = &workflow.tasks[0].with else { panic!() };
    assert_eq!(with.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["tone", "length", "topic"]);
    assert!(matches!(&with[1].1, ValueTemplate::Fixed(value) if *value == json!(2)));
    assert_eq!(workflow.tasks[0].env["B"].fixed_text().as_deref(), Some("task"));
    assert_eq!(workflow.tasks[0].output_schema, Some(json!({"type": "object"})));
    assert_eq!(prompt(1).instructions.as_ref().unwrap().fixed_text().as_deref(), Some("Other"));
    assert_eq!(prompt(2).provider, None);
    assert_eq!((prompt(3).provider.as_deref(), prompt(3).model.as_deref()), (Some("other"), Some("small")));
    assert_eq!(prompt(3).params, json!({"seed": 1}).as_object().unwrap().clone());
    assert_eq!((prompt(4).provider.as_deref(), prompt(4).model.as_deref()), (Some("ollama"), Some("llama3.2:3b")));
    assert_eq!(prompt(5).provider.as_deref(), Some("w.f"));
}

#[test]
fn tools_and_plugins_keep_what_is_granted() {
    let config = r#"
databases: [{id: shop, driver: sqlite, path: shop.db}]
llm: {providers: [{id: fast, type: mock}]}
plugins:
  - id: shop
    source: ./plugins/shop.wasm
    permissions: {http: [api.example.com], sql: [{id: shop, mode: rw}, own], kv: true, env: [SHOP_REGION], secrets: [SHOP_TOKEN], fs: [{path: ./data/export, mode: rw}], llm: true}
    limits: {memory: 32MiB, timeout: 10s, fuel: 500000000}
    config: {currency: EUR, rate: 1.5, region: "${REGION:-eu}"}
  - {id: fn, source: ./fn.wasm, kind: template}
  - {id: ask, source: ./ask.wasm, permissions: {llm: {providers: [fast, openai], calls: 3}}}
  - {id: not, source: ./not.wasm, permissions: {llm: false}}
tools:
  - {id: stock, plugin: shop, description: Units left, input: {type: object, required: [sku]}, with: {site: main}, timeout: 5s}
  - {id: echo, plugin: "builtin:echo", function: say, config: {loud: true}}
"#;
    let files = [
        ("compozy.yaml", config),
        (
            "workflows/w.yaml",
            "tasks: [{id: a, tool: stock, with: {sku: \"{{ .input.sku }}\"}}, {id: b, tool: {plugin: shop, function: f}}]",
        ),
    ];
    let project = plan(&files, &Options::default());
    let plugin = &project.plugins[0];
    assert_eq!(plugin.permissions.http, ["api.example.com"]);
    assert_eq!(
        plugin.permissions.sql.iter().map(|grant| (grant.id.as_str(), grant.write)).collect::<Vec<_>>(),
        [("shop", true), ("own", false)]
    );
    assert_eq!(
        (plugin.limits.memory_bytes, plugin.limits.timeout, plugin.limits.fuel),
        (32 << 20, Duration::from_secs(10), Some(500_000_000))
    );
    assert_eq!(plugin.limits.output_bytes, 10 << 20);
    assert_eq!(plugin.config, json!({"currency": "EUR", "rate": 1.5, "region": "eu"}));
    assert_eq!(project.plugins[1].kind, PluginKind::Template);
    let asks = |index: usize| project.plugins[index].permissions.llm.clone();
    assert_eq!(asks(0), Some(ModelGrant::default()));
    let some = ModelGrant { providers: vec!["fast".into(), "openai".into()], calls: 3, tokens: 100_000 };
    assert_eq!(asks(2), Some(some));
    assert_eq!((asks(1), asks(3)), (None, None));
    let workflow = &project.workflows["w"];
    assert_eq!(workflow.tools.keys().collect::<Vec<_>>(), ["b#b", "stock"]);
    assert_eq!(workflow.tools["stock"].timeout, Some(Duration::from_secs(5)));
    assert_eq!(workflow.tools["b#b"].function.as_deref(), Some("f"));
    assert_eq!(project.databases[0].database.path, "shop.db");
}

#[test]
fn plain_scalars_with_variables_keep_their_style() {
    let workflow =
        one(MOCK, "tasks: [{id: a, prompt: x, with: {\n  n: 1, q: '${N:-2}', t: !!str 3, d: 0o17, y: yes, z: ~}}]");
    let Some(ValueTemplate::Map(with)) = &workflow.tasks[0].with else { panic!() };
    let fixed = |name: &str| match &with.iter().find(|(key, _)| key == name).unwrap().1 {
        ValueTemplate::Fixed(value) => value.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (fixed("n"), fixed("t"), fixed("d"), fixed("y"), fixed("z")),
        (json!(1), json!("3"), json!(15), json!("yes"), json!(null))
    );
    let ValueTemplate::Template(quoted) = &with[1].1 else { panic!() };
    assert!(!quoted.plain);
    let block = one(MOCK, "tasks:\n  - id: a\n    prompt: x\n    with:\n      n: ${N:-8080}\n");
    let Some(ValueTemplate::Map(with)) = &block.tasks[0].with else { panic!() };
    let ValueTemplate::Template(plain) = &with[0].1 else { panic!() };
    assert_eq!(plain.value_of_plain(&plain.resolve(&variables(&[])).unwrap().text), json!(8080));
}

#[test]
fn workflows_come_from_files_globs_and_the_project_file() {
    let config = format!(
        "{MOCK}workflows: [flows/**/*.yaml, ./flows/a.yaml, {{source: other.yml}}, {{id: inline, tasks: [{{id: t, prompt: x}}]}}]"
    );
    let task = "tasks: [{id: t, prompt: x}]";
    let files = [
        ("compozy.yaml", config.as_str()),
        ("flows/a.yaml", task),
        ("flows/deep/b.yaml", task),
        ("flows/.hidden.yaml", "nonsense: ["),
        ("other.yml", "id: named\ntasks: [{id: t, prompt: x}]"),
        ("workflows/not-listed.yaml", task),
    ];
    let project = plan(&files, &Options::default());
    assert_eq!(project.workflows.keys().collect::<Vec<_>>(), ["a", "b", "inline", "named"]);
    let none = plan(&[("compozy.yaml", "workflows: []"), ("workflows/w.yaml", "a: [")], &Options::default());
    assert!(none.workflows.is_empty());
}

#[test]
fn resource_files_are_registered_by_kind() {
    let files = [
        ("compozy.yaml", "autoload: {enabled: true, include: [\"res/*.yaml\"]}"),
        ("workflows/model.yaml", "resource: model\nid: m\nprovider: mock"),
        ("workflows/w.yaml", "tasks: [{id: t, agent: helper, prompt: x}]"),
        ("res/agent.yaml", "resource: agent\nid: helper\nllm: m"),
        ("res/agent.yaml~", "["),
    ];
    let project = plan(&files, &Options::default());
    assert_eq!(project.providers[0].id, "m");
    assert_eq!(project.workflows.len(), 1);
}

#[test]
fn the_digest_follows_the_definitions_not_the_comments() {
    let digest = |text: &str| plan(&[("compozy.yaml", text)], &Options::default()).digest;
    assert_eq!(digest("name: a # one"), digest("# two\nname:   a"));
    assert_ne!(digest("name: a"), digest("name: b"));
}
