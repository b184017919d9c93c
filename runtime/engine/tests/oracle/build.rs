//! Plans and states that both kinds of programs are made of.

use std::collections::BTreeMap;

use compozy_engine::json::Json;
use compozy_engine::state::Facts;
use compozy_lang::plan::{Limits, RetryPolicy, Task, TaskKind, ToolCall, Workflow};

/// A tool task that has nothing but its id.
pub(crate) fn task(id: &str, attempts: u32) -> Task {
    Task {
        id: id.to_owned(),
        kind: TaskKind::Tool(ToolCall { tool: "tool".into() }),
        with: None,
        input_schema: None,
        output_schema: None,
        outputs: None,
        env: BTreeMap::new(),
        condition: None,
        on_success: Default::default(),
        on_error: Default::default(),
        sleep: None,
        is_final: None,
        timeout: None,
        retry: RetryPolicy { maximum_attempts: attempts, ..RetryPolicy::default() },
        targeted: false,
        place: Default::default(),
    }
}

pub(crate) fn workflow(tasks: Vec<Task>, explicit: bool, max_executions: u64) -> Workflow {
    serde_json::from_value(serde_json::json!({
        "id": "program", "name": "", "version": "", "description": "", "file": "", "input_schema": null,
        "output_schema": null, "timeout": null, "tasks": tasks, "explicit": explicit,
        "outputs": null, "env": {}, "project": {"name": "", "version": "", "description": ""},
        "limits": Limits { max_task_executions: max_executions, ..Limits::default() },
        "tools": {}, "digest": "",
    }))
    .expect("the plan is complete")
}

pub(crate) fn facts() -> Facts {
    Facts { exec_id: "run".into(), input: Json::parse("{}").unwrap(), trigger: Json::null(), deadline: None, depth: 0 }
}

pub(crate) fn reread<T: serde::Serialize + serde::de::DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}
