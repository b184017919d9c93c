//! What the documentation says is typed or looked up.

use std::path::Path;

use crate::support::readme::{Terminal, blocks};
use crate::support::{Project, root};

/// Blocks of the README that are not typed, by a line of theirs, and why.
const SKIPPED: &[(&str, &str)] = &[
    ("cargo quickstart", "builds everything: CI runs it as a command of its own"),
    ("cargo verify", "runs this very test"),
    ("cargo measure", "takes minutes and measures rather than checks"),
    ("./.ci/run", "runs this very test"),
    ("compozy workflow run publish", "is typed by `languages`, beside its files"),
    ("compozy plugin new", "is typed by `languages`, which has the tools"),
];

/// The READMEs of examples; each is typed by a test of `walkthroughs` or `languages`.
const TYPED: &[&str] = &[
    "examples/database/migration-export-import/README.md",
    "examples/database/postgres-comparison/README.md",
    "examples/database/sqlite-memory/README.md",
    "examples/database/sqlite-quickstart/README.md",
    "examples/plugins/ask-model/README.md",
    "examples/plugins/c/README.md",
    "examples/plugins/go/README.md",
    "examples/plugins/http-secret/README.md",
    "examples/plugins/js/README.md",
    "examples/plugins/llm-python/README.md",
    "examples/plugins/python/README.md",
    "examples/plugins/rust/README.md",
    "examples/plugins/script/README.md",
    "examples/plugins/sql-ledger/README.md",
    "examples/plugins/text-stats/README.md",
    "examples/schedules/README.md",
    "examples/tasks/agent/README.md",
    "examples/tasks/aggregate/README.md",
    "examples/tasks/basic/README.md",
    "examples/tasks/collection/README.md",
    "examples/tasks/composite/README.md",
    "examples/tasks/memory/README.md",
    "examples/tasks/parallel/README.md",
    "examples/tasks/router/README.md",
    "examples/tasks/signal/README.md",
    "examples/tasks/wait/README.md",
    "examples/tasks/workflow/README.md",
];

fn markdown(folder: &str) -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(folder) else { return };
        for entry in entries.flatten() {
            let path = entry.path();
            if path.is_dir() && !["target", "node_modules"].iter().any(|left| entry.file_name() == *left) {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned());
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort();
    found
}

#[test]
fn every_example_is_typed() {
    assert_eq!(markdown("examples"), TYPED);
}

/// Bash blocks of the README are typed in a copy of the examples, unless `SKIPPED` says why not.
#[test]
fn the_readme_is_typed() {
    let Ok(text) = std::fs::read_to_string(root().join("README.md")) else { panic!("README.md is missing") };
    let mut terminal = Terminal::with_example("examples").env("COMPOZY_MOCK_LLM", "1");
    let mut used = Vec::new();
    for block in blocks(&text).iter().filter(|block| block.language == "bash") {
        if let Some((line, _)) = SKIPPED.iter().find(|(line, _)| block.text.contains(line)) {
            used.push(*line);
            continue;
        }
        let output = terminal.type_block(&block.text);
        assert_eq!(output.code, 0, "README.md:{}: {}{output}", block.line, block.text);
    }
    for setup in ["cargo quickstart", "cargo verify"] {
        assert!(used.contains(&setup), "README.md does not name the set-up command `{setup}`");
    }
}

/// The workflow of docs/workflows.md is valid without a warning and runs.
#[test]
fn the_workflow_reference_runs() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).expect("docs/workflows.md");
    let blocks = blocks(&text);
    let mut yaml = blocks.iter().filter(|block| block.language == "yaml");
    let (workflow, compozy) = (yaml.next().expect("a workflow"), yaml.next().expect("its project"));
    let project = Project::sqlite("");
    project.file("compozy.yaml", &compozy.text);
    project.component("text-stats").file("workflows/order.yaml", &workflow.text);
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run = project.compozy(&["workflow", "run", "order", "--mock-llm", "--param", "text=three plain words"]);
    assert_eq!(run.code, 0, "{run}");
    assert!(run.stdout.contains(r#""words": 3"#), "{run}");
}

/// The schedules of docs/workflows.md are valid without a warning, and the commands beside them do what they say.
#[test]
fn the_schedules_of_the_reference_fire() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).expect("docs/workflows.md");
    let blocks = blocks(&text);
    let yaml = blocks.iter().find(|block| block.language == "yaml" && block.text.contains("schedule:"));
    let project = Project::sqlite("");
    project.file("workflows/report.yaml", &yaml.expect("a schedule").text);
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let server = project.start();
    let typed: Vec<&str> = blocks.iter().flat_map(|block| block.text.lines()).collect();
    let typed: Vec<&&str> = typed.iter().filter(|line| line.starts_with("compozy schedule ")).collect();
    assert!(typed.len() >= 4, "{typed:?}");
    for line in typed {
        let words: Vec<&str> = line.split('#').next().unwrap_or_default().split_whitespace().skip(1).collect();
        project.compozy(&words).ok();
    }
    for line in text.lines().filter(|line| line.contains(" /api/v0/schedules")) {
        let mut words = line.split_whitespace();
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        let body = line.find('{').map(|at| line[at..].split(';').next().unwrap_or_default());
        let body = body.map(|body| serde_json::from_str(body).expect("the body is JSON"));
        let answer = server.send(method, path, &[], body.as_ref());
        assert!((200..300).contains(&answer.status), "{line}: {}", answer.text());
    }
    assert_eq!(server.stop().code, 0);
}

/// The webhook of docs/workflows.md, its secret, and a delivery signed with it, as written.
#[test]
fn the_webhook_of_the_reference_verifies_as_written() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).expect("docs/workflows.md");
    let section = text.split_once("\n## Webhooks\n").expect("the section").1;
    let section = section.split("\n## ").next().expect("its text");
    let blocks = blocks(section);
    let block = |language: &str| &blocks.iter().find(|block| block.language == language).expect(language).text;
    let mut terminal = Terminal::with_example("examples/tasks/wait");
    terminal.type_block("cd examples/tasks/wait\n");
    std::fs::write(terminal.directory().join("workflows/orders.yaml"), block("yaml")).expect("the workflow");
    std::fs::write(terminal.directory().join(".env"), block("env")).expect("the secret");
    assert_eq!(terminal.type_block("compozy validate --strict\n").ok().stderr, "");
    terminal.type_block("compozy start\n").ok();
    assert_eq!(&terminal.type_block(block("bash")).ok().stdout, block("text"));
    assert_eq!(terminal.stop_server().code, 0);
}

/// The memory of docs/workflows.md is valid without a warning, and so is the workflow that uses it, which runs.
#[test]
fn the_memory_reference_runs() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).expect("docs/workflows.md");
    let blocks = blocks(&text);
    let block = |start: &str| &blocks.iter().find(|block| block.text.starts_with(start)).expect(start).text;
    let project = Project::sqlite(&format!("llm: {{providers: [{{id: mock, type: mock}}]}}\n{}", block("memories:")));
    project.file("workflows/remember.yaml", block("id: remember"));
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run =
        project.compozy(&["workflow", "run", "remember", "--param", "user=ada", "--param", "text=hi", "-o", "json"]);
    let output = &run.json()["output"];
    assert_eq!((&output["count"], &output["would_flush"]), (&serde_json::json!(3), &serde_json::json!(true)), "{run}");
    assert_eq!(output["said"][2]["content"], "asked hi", "{run}");
}

/// The workflow with a concurrency key of docs/workflows.md runs, and what the page says of retries is there.
#[test]
fn the_workflow_with_a_concurrency_key_runs() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).expect("docs/workflows.md");
    let blocks = blocks(&text);
    let yaml = blocks.iter().find(|block| block.text.starts_with("id: charge")).expect("the workflow");
    let project = Project::sqlite("");
    project.file("workflows/charge.yaml", &yaml.text);
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run = project.compozy(&["workflow", "run", "charge", "--param", "customer=ada", "-o", "json"]).ok().json();
    assert_eq!(run["concurrency"], serde_json::json!({"key": "customer ada", "limit": 1}));
    let forked = project.compozy(&["execution", "fork", "@last", "--at", "done", "-o", "json"]).ok().json();
    assert_eq!((&forked["output"], &forked["forked_from"]), (&run["output"], &run["exec_id"]));
    let missing = project.compozy(&["workflow", "run", "charge"]);
    assert_eq!(missing.code, 3, "{missing}");
}

/// The agent of docs/workflows.md is valid without a warning, and so is the workflow that uses it, which runs.
#[test]
fn the_agent_of_the_reference_runs() {
    let text = std::fs::read_to_string(root().join("docs/workflows.md")).expect("docs/workflows.md");
    let blocks = blocks(&text);
    let block = |start: &str| &blocks.iter().find(|block| block.text.starts_with(start)).expect(start).text;
    let answers = r#"[{match: Describe, tool_calls: [{name: stats, arguments: {text: one two}}]}, {match: '"words":2', json: {title: Numbers}}]"#;
    let mock = format!("  providers: [{{id: mock, type: mock, config: {{answers: {answers}}}}}]\n");
    let project = Project::sqlite(&format!(
        "plugins: [{{id: text, source: ./plugins/text-stats.wasm}}]\n\
         tools: [{{id: stats, plugin: text, description: Counts}}]\n{}{mock}",
        block("agents:")
    ));
    project.component("text-stats").file("workflows/describe.yaml", block("id: describe"));
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run = project.compozy(&["workflow", "run", "describe", "--param", "text=one two", "-o", "json"]);
    assert_eq!(run.json()["output"], serde_json::json!({"title": "Numbers"}), "{run}");
}

/// The tool of docs/plugins/javascript.md, with its files, is valid without a warning and runs.
#[test]
fn the_script_of_the_reference_runs() {
    let text = std::fs::read_to_string(root().join("docs/plugins/javascript.md")).expect("docs/plugins/javascript.md");
    let blocks = blocks(&text);
    let yaml = blocks.iter().find(|block| block.language == "yaml").expect("a tool");
    let project = Project::sqlite(&yaml.text);
    for block in blocks.iter().filter(|block| block.language == "js") {
        let (path, _) = block.text.strip_prefix("// ").and_then(|text| text.split_once('\n')).expect("a path");
        project.file(path, &block.text);
    }
    let tasks = "tasks: [{id: a, tool: price, with: {sku: tea-1}}, {id: b, tool: price, with: {sku: tea-1}}]\n";
    project.file("workflows/w.yaml", format!("id: w\n{tasks}output: '{{{{ .tasks.b.output }}}}'\n"));
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run = project.compozy(&["workflow", "run", "w", "-o", "json"]).ok().json();
    let expected = serde_json::json!({"sku": "tea-1", "amount": 5.02, "currency": "EUR", "cached": true});
    assert_eq!(run["output"], expected);
}

/// The commands of docs/database/migration.md move a run.
#[test]
fn the_page_on_moving_data_is_typed() {
    let page = std::fs::read_to_string(root().join("docs/database/migration.md")).expect("docs/database/migration.md");
    let mut terminal = Terminal::with_example("examples/database/migration-export-import");
    terminal.type_block("cd examples/database/migration-export-import\ncp compozy-source.yaml compozy.yaml\n");
    terminal.type_block("compozy workflow run sample-data\n").ok();
    let mut listed = String::new();
    for block in blocks(&page).iter().filter(|block| block.language == "bash") {
        listed = terminal.type_block(&block.text).ok().stdout;
    }
    assert!(listed.contains("Imported 1 executions, 5 tasks (0 skipped)\n") && listed.contains("SUCCESS"), "{listed}");
}

/// Links between files of the repository lead somewhere, anchors included.
#[test]
fn links_lead_somewhere() {
    let mut broken = Vec::new();
    let top = ["README.md", "ARCHITECTURE.md"].map(str::to_owned).into_iter().filter(|file| root().join(file).exists());
    for file in top.chain(markdown("docs")).chain(markdown("examples")) {
        let text = std::fs::read_to_string(root().join(&file)).expect("a document");
        for target in links(&text).filter(|target| !target.contains("://") && !target.starts_with("mailto:")) {
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let folder = Path::new(&file).parent().unwrap_or(Path::new(""));
            let path = if path.is_empty() { Path::new(&file).to_owned() } else { folder.join(path) };
            let found = root().join(&path);
            if !found.exists() {
                broken.push(format!("{file}: {target}"));
            } else if !anchor.is_empty() {
                let text = std::fs::read_to_string(&found).unwrap_or_default();
                if !headings(&text).any(|heading| heading == anchor) {
                    broken.push(format!("{file}: {target}: no such heading"));
                }
            }
        }
    }
    assert_eq!(broken, Vec::<String>::new());
}

/// The page that the sqlite+pgvector rejection names.
#[test]
fn the_page_of_the_vector_database_requirement_exists() {
    let page = std::fs::read_to_string(root().join("docs/database/sqlite.md")).expect("docs/database/sqlite.md");
    assert!(headings(&page).any(|heading| heading == "vector-database-requirement"));
}

fn links(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices("](").filter_map(|(at, _)| text[at + 2..].split_once(')')).map(|(target, _)| target)
}

/// Headings as anchors, the way GitHub makes them.
fn headings(text: &str) -> impl Iterator<Item = String> + '_ {
    text.lines().filter(|line| line.starts_with('#')).map(|line| {
        let heading = line.trim_start_matches('#').trim().to_lowercase();
        let kept = heading.chars().filter(|letter| letter.is_alphanumeric() || matches!(letter, ' ' | '-' | '_'));
        kept.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
    })
}
