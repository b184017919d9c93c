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
];

/// The READMEs of examples; each is typed by a test of `walkthroughs`.
const TYPED: &[&str] = &[
    "examples/database/sqlite-memory/README.md",
    "examples/database/sqlite-quickstart/README.md",
    "examples/plugins/text-stats/README.md",
    "examples/tasks/aggregate/README.md",
    "examples/tasks/basic/README.md",
    "examples/tasks/collection/README.md",
    "examples/tasks/composite/README.md",
    "examples/tasks/parallel/README.md",
    "examples/tasks/router/README.md",
    "examples/tasks/wait/README.md",
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
    let yaml = blocks(&text).into_iter().find(|block| block.language == "yaml").expect("a workflow");
    let project = Project::sqlite(
        "llm: {providers: [{id: openai, type: mock}]}\n\
         plugins: [{id: text, source: ./plugins/text-stats.wasm}]\n\
         tools: [{id: stats, plugin: text, description: Counts}]\n",
    );
    project.component("text-stats").file("workflows/order.yaml", &yaml.text);
    let validated = project.compozy(&["validate", "--strict"]);
    assert_eq!((validated.code, validated.stderr.as_str()), (0, ""), "{validated}");
    let run = project.compozy(&["workflow", "run", "order", "--param", "text=three plain words"]);
    assert_eq!(run.code, 0, "{run}");
    assert!(run.stdout.contains(r#""words": 3"#), "{run}");
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
