//! Tools of agents and prompts, and what bounds their calls.

use compozy_lang::plan::{Prompt, TaskKind, Workflow};

use super::support::{Options, load_files, plan};

const PROJECT: &str = r#"
llm:
  providers:
    - {id: mock, type: mock}
    - {id: slow, type: mock, max_tool_iterations: 7}
  max_tool_iterations: 30
  max_concurrent_tools: 2
  max_sequential_tool_errors: 4
  max_consecutive_successes: 5
  tool_call_caps: {default: 6, overrides: {pay: 1, look: 0}}
plugins: [{id: shop, source: ./shop.wasm}]
tools: [{id: look, plugin: shop}, {id: pay, plugin: shop}]
agents:
  - {id: clerk, tools: [look], max_iterations: 3}
  - {id: plain, llm: slow, tools: look}
"#;

fn prompt<'w>(workflow: &'w Workflow, task: &str) -> &'w Prompt {
    let task = workflow.tasks.iter().find(|one| one.id == task).unwrap();
    let TaskKind::Prompt(prompt) = &task.kind else { panic!("a prompt") };
    prompt
}

#[test]
fn a_model_sees_the_tools_of_its_agent_and_its_task() {
    let tasks = r#"
tasks:
  - {id: none, prompt: x}
  - {id: agent, agent: clerk, prompt: x}
  - {id: both, agent: clerk, prompt: x, tools: [pay, look]}
  - {id: other, agent: {id: clerk, tools: [pay]}, prompt: x}
  - {id: alone, prompt: x, tools: [{id: count, plugin: shop, function: count}]}
  - {id: again, prompt: x, tools: [{id: look, plugin: shop, function: other}, pay]}
  - {id: slow, agent: plain, prompt: x}
"#;
    let project = plan(&[("compozy.yaml", PROJECT), ("workflows/w.yaml", tasks)], &Options::default());
    let workflow = &project.workflows["w"];
    for (task, tools, rounds) in [
        ("none", &[][..], 30),
        ("agent", &["look"], 3),
        ("both", &["pay", "look"], 3),
        ("other", &["pay"], 3),
        ("alone", &["alone#count"], 30),
        ("again", &["again#look", "pay"], 30),
        ("slow", &["look"], 7),
    ] {
        let toolbox = &prompt(workflow, task).toolbox;
        assert_eq!(toolbox.tools, tools, "{task}");
        assert_eq!(toolbox.guards.max_iterations, rounds, "{task}");
    }
    assert_eq!(workflow.tools.keys().collect::<Vec<_>>(), ["again#look", "alone#count", "look", "pay"]);
    let guards = &prompt(workflow, "agent").toolbox.guards;
    assert_eq!((guards.max_concurrent, guards.max_sequential_errors, guards.max_consecutive_successes), (2, 4, 5));
    assert_eq!((guards.cap("pay"), guards.cap("look"), guards.cap("count")), (Some(1), None, Some(6)));
    // Definitions of prompts without tools are what they were.
    let json = serde_json::to_value(prompt(workflow, "none")).unwrap();
    assert!(json.get("toolbox").is_none());
    let json = serde_json::to_string(prompt(workflow, "both")).unwrap();
    assert_eq!(serde_json::from_str::<Prompt>(&json).unwrap().toolbox, prompt(workflow, "both").toolbox);
}

#[test]
fn tools_written_in_two_places_stay_apart() {
    let tasks = r#"
tasks:
  - {id: one, type: composite, tasks: [{id: ask, prompt: x, tools: [{id: t, plugin: shop, function: a}]}]}
  - {id: two, type: composite, tasks: [{id: ask, prompt: x, tools: [{id: t, plugin: shop, function: b}]}]}
"#;
    let project = plan(&[("compozy.yaml", PROJECT), ("workflows/w.yaml", tasks)], &Options::default());
    let tools = &project.workflows["w"].tools;
    let functions: Vec<_> = tools.iter().map(|(key, tool)| (key.as_str(), tool.function.as_deref())).collect();
    assert_eq!(functions, [("ask#t", Some("a")), ("ask#t+", Some("b"))]);
}

#[test]
fn what_cannot_be_called_is_said() {
    for (tools, code) in [
        ("[lok]", "CZ0205"),
        ("[{plugin: shop}]", "CZ0203"),
        ("[cp__read_file]", "CZ0707"),
        ("[{id: t, plugin: shpo}]", "CZ0205"),
        ("[{id: t}]", "CZ0205"),
        ("[{id: t, script: ./t.js}]", "CZ0701"),
    ] {
        let tasks = format!("tasks: [{{id: a, agent: {{tools: {tools}}}, prompt: x}}]");
        refused(&tasks, code);
    }
    refused("tasks: [{id: a, tool: look, tools: [pay]}]", "CZ0306");
}

fn refused(tasks: &str, code: &str) {
    let found = load_files(&[("compozy.yaml", PROJECT), ("workflows/w.yaml", tasks)], &Options::default());
    let found = found.diagnostics;
    let codes: Vec<_> = found.iter().map(|problem| problem.code).collect();
    assert!(codes.contains(&code), "{tasks}: {found:?}");
}
