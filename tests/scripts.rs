//! Script tools from outside: a run keeps the script it began with, agents call scripts like any tool, and what is wrong
//! with a script is said before anything runs.

use serde_json::json;

use crate::support::Project;

const TOOLS: &str = "tools:\n  - {id: tidy, script: ./tools/tidy.js, description: Tidies, config: {sign: '!'}}\n";

/// A script, a wait, and the same script again.
const TWICE: &str = r#"id: twice
tasks:
  - {id: before, tool: tidy, with: {text: a}}
  - {id: paid, type: wait, wait_for: paid, timeout: 1h}
  - {id: after, tool: tidy, with: {text: b}}
output: {before: "{{ .tasks.before.output.text }}", after: "{{ .tasks.after.output.text }}"}
"#;

fn script(version: u32) -> String {
    format!(
        "import {{ version }} from './lib/version.js';\n\
         export default async ({{ text }}, {{ sign }}) => ({{ text: `${{text}} {version}/${{version}}${{sign}}` }});\n"
    )
}

fn write(project: &Project, version: u32) {
    project.file("tools/tidy.js", script(version));
    project.file("tools/lib/version.js", format!("export const version = {version};\n"));
}

/// The server is stopped and the files change while a run waits: it goes on with what it began with.
#[test]
fn a_run_keeps_the_script_it_began_with() {
    let project = Project::sqlite(TOOLS);
    project.file("workflows/twice.yaml", TWICE);
    write(&project, 1);
    let server = project.start();
    let run = server.start_run("twice", json!({}));
    let path = format!("/api/v0/executions/workflows/{run}");
    assert_eq!(server.stop().code, 0);
    write(&project, 2);
    let server = project.start();
    let signal = json!({"signal_name": "paid", "payload": {}});
    assert!(server.post(&format!("{path}/signals"), &signal).status < 300);
    assert_eq!(server.wait_run(&run)["output"], json!({"before": "a 1/1!", "after": "b 1/1!"}));
    // A run that begins now uses what is there now; one whose script is gone by then goes on too.
    let run = server.start_run("twice", json!({}));
    let path = format!("/api/v0/executions/workflows/{run}");
    std::fs::remove_dir_all(project.path("tools")).expect("the scripts go");
    assert!(server.post(&format!("{path}/signals"), &signal).status < 300);
    assert_eq!(server.wait_run(&run)["output"], json!({"before": "a 2/2!", "after": "b 2/2!"}));
    assert_eq!(server.stop().code, 0);
    project.compozy(&["doctor", "--deep", "--local", "--port", "0"]);
}

#[test]
fn agents_call_scripts() {
    let answers =
        r#"[{match: go, tool_calls: [{name: tidy, arguments: {text: x}}]}, {match: 'x 3/3', json: {done: true}}]"#;
    let project = Project::sqlite(&format!(
        "{TOOLS}llm: {{providers: [{{id: mock, type: mock, config: {{answers: {answers}}}}}]}}\n"
    ));
    write(&project, 3);
    let task = "id: ask\ntasks:\n  - {id: ask, prompt: go, agent: {id: a, instructions: Tidy, tools: [tidy]}, output: {type: object}}\n\
                output: \"{{ .tasks.ask.output }}\"\n";
    project.file("workflows/ask.yaml", task);
    let run = project.compozy(&["workflow", "run", "ask", "-o", "json"]);
    assert_eq!(run.json()["output"], json!({"done": true}), "{run}");
}

/// One module may hold all tools of a project.
#[test]
fn tools_without_an_implementation_are_functions_of_the_entrypoint() {
    let project = Project::sqlite(
        "runtime: {entrypoint: ./tools.js}\n\
         tools: [{id: double}, {id: halve, function: half}, {id: lost}]\n",
    );
    project.file(
        "tools.js",
        "export default { double: ({ n }) => ({ n: n * 2 }), half: async ({ n }) => ({ n: n / 2 }) };\n",
    );
    let task = |tool: &str| {
        format!(
            "id: {tool}\ntasks: [{{id: a, tool: {tool}, with: {{n: 4}}}}]\noutput: \"{{{{ .tasks.a.output.n }}}}\"\n"
        )
    };
    for tool in ["double", "halve", "lost"] {
        project.file(&format!("workflows/{tool}.yaml"), task(tool));
    }
    assert_eq!(project.compozy(&["workflow", "run", "double", "-o", "json"]).ok().json()["output"], json!(8));
    assert_eq!(project.compozy(&["workflow", "run", "halve", "-o", "json"]).ok().json()["output"], json!(2));
    let lost = project.compozy(&["workflow", "run", "lost"]);
    assert!(lost.stderr.contains("the default export of tools.js has no function 'lost'"), "{lost}");
}

#[test]
fn what_cannot_be_parsed_is_said_before_anything_runs() {
    let project = Project::sqlite(TOOLS);
    project.file("workflows/twice.yaml", TWICE);
    write(&project, 1);
    for (text, shown) in [
        ("export default () => {\n  return 1 +;\n};\n", "tools/tidy.js:2:13"),
        ("export const tidy = 1;\n", "exports no function as its default"),
        ("import './lib/other.js';\nexport default () => 1;\n", "tools/tidy.js:1:8"),
    ] {
        project.file("tools/tidy.js", text);
        let validated = project.compozy(&["validate"]);
        assert_eq!(validated.code, 3, "{validated}");
        assert!(validated.stderr.contains(shown), "{text}{validated}");
        assert_eq!(project.compozy(&["workflow", "run", "twice"]).code, 3);
    }
    assert!(!project.database().exists(), "nothing was started");
}

/// A script has what its own `permissions` give it, and a key-value space nobody else has.
#[test]
fn permissions_are_the_tools_own() {
    let project = Project::sqlite(
        "tools:\n\
         \x20 - {id: count, script: ./count.js, permissions: {kv: true}}\n\
         \x20 - {id: other, script: ./count.js, permissions: {kv: true}}\n\
         \x20 - {id: bare, script: ./count.js}\n",
    );
    project.file(
        "count.js",
        "import { kv } from 'compozy';\n\
         export default () => {\n  const n = (kv.get('n') ?? 0) + 1;\n  kv.set('n', n);\n  return { n };\n};\n",
    );
    let tasks = "tasks: [{id: a, tool: count}, {id: b, tool: count}, {id: c, tool: other}]\n";
    project.file(
        "workflows/w.yaml",
        format!("id: w\n{tasks}output: ['{{{{ .tasks.b.output.n }}}}', '{{{{ .tasks.c.output.n }}}}']\n"),
    );
    project.file("workflows/bare.yaml", "id: bare\ntasks: [{id: a, tool: bare}]\n");
    let run = project.compozy(&["workflow", "run", "w", "-o", "json"]).ok().json();
    assert_eq!(run["output"], json!([2, 1]));
    let bare = project.compozy(&["workflow", "run", "bare"]);
    assert_eq!(bare.code, 1, "{bare}");
    assert!(bare.stderr.contains("CZ0703") && bare.stderr.contains("permissions.kv: read"), "{bare}");
}

/// A script asks the project's model; without its permission it is refused, and the refusal names the line to add.
#[test]
fn a_script_asks_a_model_only_where_it_may() {
    let asks = "import { llm } from 'compozy';\n\
                export default async ({ text }) => ({ said: (await llm.chat(text)).text });\n";
    for permissions in ["{llm: true}", "{}"] {
        let project = Project::sqlite(&format!(
            "llm: {{providers: [{{id: m, type: mock}}]}}\n\
             tools: [{{id: ask, script: ./tools/ask.js, permissions: {permissions}}}]\n"
        ));
        project.file("tools/ask.js", asks);
        project.file("workflows/w.yaml", "id: w\ntasks: [{id: t, tool: ask, with: {text: Hi}, retries: 0}]\n");
        let run = project.compozy(&["workflow", "run", "w", "-o", "json"]);
        if permissions == "{}" {
            assert_eq!(run.code, 1, "{run}");
            let told = format!("{run}");
            assert!(told.contains("CZ0703") && told.contains("permissions.llm: true"), "{run}");
        } else {
            let run = run.ok().json();
            assert_eq!(run["output"], json!({"said": "[mock] Hi"}), "{run:#}");
            let usage = &run["usage"];
            assert!(usage.to_string().contains("mock"), "what it asked is counted: {usage}");
        }
    }
}
