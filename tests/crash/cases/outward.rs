//! What reaches beyond one run: sub-runs, signals, memories, keys that runs share.

use super::{Case, SUCCESS, Started};

pub(super) const CASES: &[Case] = &[
    Case {
        id: "keyed",
        workflow: r#"
config: {concurrency: {key: only, limit: 1}}
tasks:
  - {id: first, tool: add, with: {a: 1, b: 2}}
  - {id: trace, tool: effect, with: {url: "URL", value: "{{ .tasks.first.output.sum }}"}}
output: {n: "{{ .tasks.trace.output.value }}"}
"#,
        output: r#"{"n": 3}"#,
        effects: &["trace:1"],
        ..SUCCESS
    },
    Case {
        id: "sub-runs",
        workflow: r#"
tasks:
  - id: all
    type: collection
    items: [1, 2]
    task: {id: "sub-{{ .item }}", type: workflow, workflow: sub-run, with: {n: "{{ .item }}"}}
  - {id: tell, type: workflow, workflow: sub-run, wait: false, with: {n: 9}}
  - {id: last, tool: effect, with: {url: "URL", value: "{{ (index .tasks.all.output 1).twice }}"}}
output: {first: "{{ (index .tasks.all.output 0).twice }}", last: "{{ .tasks.last.output.value }}", told: "{{ .tasks.tell.output.workflow_id }}"}
"#,
        output: r#"{"first": 2, "last": 4, "told": "sub-run"}"#,
        effects: &["last:1"],
        starts: &[Started {
            id: "sub-run",
            workflow: r#"
input: {type: object, required: [n]}
tasks:
  - {id: trace, tool: effect, with: {url: "URL", value: "{{ .input.n }}"}}
  - {id: sum, tool: add, with: {a: "{{ .tasks.trace.output.value }}", b: "{{ .input.n }}"}}
output: {twice: "{{ .tasks.sum.output.sum }}"}
"#,
            status: "SUCCESS",
            effects: &["trace:1"],
            count: 3,
        }],
        ..SUCCESS
    },
    Case {
        id: "sub-run-fails",
        workflow: r#"
tasks:
  - {id: sub, type: workflow, workflow: fails, on_error: mend}
  - {id: mend, tool: effect, with: {url: "URL", value: 2}}
output: {code: "{{ .tasks.sub.error.code }}", n: "{{ .tasks.mend.output.value }}"}
"#,
        output: r#"{"code": "planned", "n": 2}"#,
        effects: &["mend:1"],
        starts: &[Started {
            id: "fails",
            workflow: r#"
tasks:
  - {id: trace, tool: effect, with: {url: "URL", value: 1}}
  - {id: bad, tool: fail, with: {code: planned, retryable: false}}
"#,
            status: "FAILED",
            effects: &["trace:1"],
            count: 1,
        }],
        ..SUCCESS
    },
    Case {
        id: "sub-run-canceled",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    tasks:
      - {id: trace, tool: effect, with: {url: "URL", value: 1}}
      - {id: sub, type: workflow, workflow: sleeps}
"#,
        status: "CANCELED",
        effects: &["all/trace:1"],
        cancel: Some("all/trace:1"),
        starts: &[Started {
            id: "sleeps",
            workflow: r#"
tasks: [{id: long, tool: nap, with: {milliseconds: 60000}}]
"#,
            status: "CANCELED",
            effects: &[],
            count: 1,
        }],
        ..SUCCESS
    },
    Case {
        id: "signals",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    tasks:
      - {id: hold, type: wait, wait_for: go, timeout: 1h, condition: 'signal.payload.run == workflow.exec_id'}
      - id: inner
        type: composite
        tasks:
          - {id: first, tool: effect, with: {url: "URL", value: 1}, sleep: 150ms}
          - {id: tell, type: signal, signal: {id: go, payload: {run: "{{ .workflow.exec_id }}", n: 5}}}
  - {id: own, type: signal, signal: {id: kept, payload: 2, target: "{{ .workflow.exec_id }}"}}
  - {id: last, tool: effect, with: {url: "URL", value: 3}}
  - {id: take, type: wait, wait_for: kept, timeout: 1h}
output: {n: "{{ .tasks.hold.output.signal.payload.n }}", kept: "{{ .tasks.take.output.signal.payload }}"}
"#,
        output: r#"{"n": 5, "kept": 2}"#,
        effects: &["all/inner/first:1", "last:1"],
        starts: &[Started {
            id: "listener",
            workflow: r#"
triggers: [{type: signal, name: go, schema: {type: object, required: [run]}}]
tasks:
  - {id: note, tool: effect, with: {url: "URL", value: 4}}
output: "{{ .input.run }}"
"#,
            status: "SUCCESS",
            effects: &["note:1"],
            count: 1,
        }],
        ..SUCCESS
    },
    Case {
        id: "remembers",
        workflow: r#"
tasks:
  - {id: first, type: memory, operation: append, memory_ref: chat, key: "run:{{ .workflow.exec_id }}", payload: "one"}
  - {id: trace, tool: effect, with: {url: "URL", value: 1}}
  - {id: asked, prompt: two, memory: [{id: chat, key: "run:{{ .workflow.exec_id }}"}]}
  - id: all
    type: parallel
    tasks:
      - {id: left, type: memory, operation: append, memory_ref: log, key: "run:{{ .workflow.exec_id }}", payload: "l"}
      - {id: right, type: memory, operation: append, memory_ref: log, key: "run:{{ .workflow.exec_id }}", payload: "r"}
  - {id: last, type: memory, operation: append, memory_ref: chat, key: "run:{{ .workflow.exec_id }}", payload: [{role: user, content: three}, {role: user, content: four}]}
  - {id: chat, type: memory, operation: read, memory_ref: chat, key: "run:{{ .workflow.exec_id }}"}
  - {id: log, type: memory, operation: stats, memory_ref: log, key: "run:{{ .workflow.exec_id }}"}
output:
  said: "{{ range .tasks.chat.output.messages }}{{ .content }},{{ end }}"
  log: "{{ .tasks.log.output.message_count }}"
  total: "{{ .tasks.last.output.total_count }}"
"#,
        output: r#"{"said": "two,[mock] two,three,four,", "log": 2, "total": 4}"#,
        effects: &["trace:1"],
        ..SUCCESS
    },
    Case {
        id: "forgets",
        workflow: r#"
tasks:
  - {id: write, type: memory, operation: write, memory_ref: chat, key: "run:{{ .workflow.exec_id }}", payload: "one"}
  - {id: more, type: memory, operation: append, memory_ref: chat, key: "run:{{ .workflow.exec_id }}", payload: "two"}
  - {id: trace, tool: effect, with: {url: "URL", value: 1}}
  - id: clear
    type: memory
    operation: clear
    memory_ref: chat
    key: "run:{{ .workflow.exec_id }}"
    clear_config: {confirm: true, backup: true}
  - {id: backup, type: memory, operation: read, memory_ref: chat, key: "run:{{ .workflow.exec_id }}:backup"}
  - {id: delete, type: memory, operation: delete, memory_ref: chat, key: "run:{{ .workflow.exec_id }}:backup"}
  - {id: left, type: memory, operation: stats, memory_ref: chat, key: "run:{{ .workflow.exec_id }}"}
output:
  cleared: "{{ .tasks.clear.output.messages_cleared }}"
  copied: "{{ .tasks.backup.output.count }}"
  left: "{{ .tasks.left.output.message_count }}"
"#,
        output: r#"{"cleared": 2, "copied": 2, "left": 0}"#,
        effects: &["trace:1"],
        ..SUCCESS
    },
];
