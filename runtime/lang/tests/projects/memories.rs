//! Memories of prompts: those of the agent, then those of the task.

use compozy_lang::plan::{TaskKind, Workflow};

use super::support::{Options, plan};

const PROJECT: &str = r#"
llm: {providers: [{id: mock, type: mock}]}
memories:
  - {id: chat, default_key_template: "user:{{ .input.user }}"}
  - {id: notes}
agents:
  - {id: both, memory: [chat, {id: notes, key: n, mode: read-only}]}
"#;

/// `id mode key` of each memory of a task.
fn bound(workflow: &Workflow, task: &str) -> Vec<String> {
    let task = workflow.tasks.iter().find(|one| one.id == task).unwrap();
    let TaskKind::Prompt(prompt) = &task.kind else { panic!("a prompt") };
    let one = |binding: &compozy_lang::plan::MemoryBinding| {
        let mode = if binding.read_only { "reads" } else { "writes" };
        let key = binding.key.as_ref().map_or_else(|| "-".to_owned(), |key| key.fixed_text().unwrap());
        format!("{} {mode} {key}", binding.memory)
    };
    prompt.memories.iter().map(one).collect()
}

#[test]
fn memories_of_the_task_replace_those_of_the_agent() {
    let tasks = r#"
tasks:
  - {id: plain, prompt: x}
  - {id: agent, agent: both, prompt: x}
  - {id: more, agent: both, prompt: x, memory: [{id: chat, key: mine}]}
  - {id: other, agent: {id: both, memory: {id: notes, key: a}}, prompt: x, memory: {id: notes, key: k}}
  - {id: alone, prompt: x, memories: {id: chat, mode: read-only, key_template: "{{ .input.k }}"}}
"#;
    let project = plan(&[("compozy.yaml", PROJECT), ("workflows/w.yaml", tasks)], &Options::default());
    let workflow = &project.workflows["w"];
    for (task, expected) in [
        ("plain", &[][..]),
        ("agent", &["chat writes -", "notes reads n"]),
        ("more", &["notes reads n", "chat writes mine"]),
        ("other", &["notes writes k"]),
        ("alone", &["chat reads {{ .input.k }}"]),
    ] {
        assert_eq!(bound(workflow, task), expected, "{task}");
    }
    assert_eq!(workflow.memories.keys().collect::<Vec<_>>(), ["chat", "notes"]);
    let default = workflow.memories["chat"].default_key.as_ref().unwrap();
    assert!(default.is_template && !default.references.is_empty(), "what it reads is known");
}
