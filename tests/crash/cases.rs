//! Small workflows that together use every task type, with what must come out of them.

mod outward;

/// A workflow and its one possible end.
#[derive(Debug, Clone, Copy)]
pub(super) struct Case {
    /// Id of the workflow.
    pub(super) id: &'static str,
    /// What follows the id in its file. `URL` stands for where effects are counted.
    pub(super) workflow: &'static str,
    /// Status of the run.
    pub(super) status: &'static str,
    /// Its output, JSON; nothing for a run that does not succeed.
    pub(super) output: &'static str,
    /// Steps whose effect must have happened: path and execution.
    pub(super) effects: &'static [&'static str],
    /// Cancel is asked for as soon as this effect has happened.
    pub(super) cancel: Option<&'static str>,
    /// Workflows whose runs it starts.
    pub(super) starts: &'static [Started],
}

/// A workflow whose runs another one starts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Started {
    /// Id of the workflow.
    pub(super) id: &'static str,
    /// What follows the id in its file.
    pub(super) workflow: &'static str,
    /// Status of its runs.
    pub(super) status: &'static str,
    /// Steps whose effect must have happened in each of them.
    pub(super) effects: &'static [&'static str],
    /// How many each run of the case starts; at most so many if it is canceled.
    pub(super) count: usize,
}

const SUCCESS: Case =
    Case { id: "", workflow: "", status: "SUCCESS", output: "", effects: &[], cancel: None, starts: &[] };

/// All of them.
pub(super) fn all() -> impl Iterator<Item = &'static Case> {
    WITHIN.iter().chain(outward::CASES)
}

/// What stays within one run.
const WITHIN: &[Case] = &[
    Case {
        id: "wait-all",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    max_workers: 2
    tasks:
      - {id: one, tool: effect, with: {url: "URL", value: 1}}
      - {id: two, tool: add, with: {a: 1, b: 1}}
      - {id: three, tool: effect, with: {url: "URL", value: 3}}
  - {id: last, tool: effect, with: {url: "URL", value: "{{ .tasks.all.output.two.sum }}"}}
output: {n: "{{ .tasks.all.output.three.value }}", last: "{{ .tasks.last.output.value }}"}
"#,
        output: r#"{"n": 3, "last": 2}"#,
        effects: &["all/one:1", "all/three:1", "last:1"],
        ..SUCCESS
    },
    Case {
        id: "on-error",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    tasks:
      - {id: good, tool: effect, with: {url: "URL", value: 7}}
      - {id: bad, tool: fail, with: {code: planned, retryable: false}}
    on_error: {next: mend, with: {value: 5}}
  - id: mend
    tool: effect
    with: {url: "URL", value: 1}
output: {code: "{{ .tasks.all.error.code }}", good: "{{ .tasks.all.output.good.value }}", n: "{{ .tasks.mend.output.value }}"}
"#,
        output: r#"{"code": "CZ0318", "good": 7, "n": 5}"#,
        effects: &["all/good:1", "mend:1"],
        ..SUCCESS
    },
    Case {
        id: "fail-fast",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    strategy: fail_fast
    tasks:
      - {id: long, tool: nap, with: {milliseconds: 60000}}
      - id: inner
        type: composite
        tasks:
          - {id: before, tool: effect, with: {url: "URL", value: 1}}
          - {id: bad, tool: fail, with: {retryable: false}}
    on_error: mend
  - {id: mend, tool: effect, with: {url: "URL", value: 2}}
output: {long: "{{ .tasks.all.children.long.status }}", n: "{{ .tasks.mend.output.value }}"}
"#,
        output: r#"{"long": "CANCELED", "n": 2}"#,
        effects: &["all/inner/before:1", "mend:1"],
        ..SUCCESS
    },
    Case {
        id: "best-effort",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    strategy: best_effort
    tasks:
      - {id: bad, tool: fail, with: {retryable: false}}
      - {id: good, tool: effect, with: {url: "URL", value: 4}}
output: {n: "{{ .tasks.all.output.good.value }}", bad: "{{ .tasks.all.output.bad }}"}
"#,
        output: r#"{"n": 4, "bad": null}"#,
        effects: &["all/good:1"],
        ..SUCCESS
    },
    Case {
        id: "race",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    strategy: race
    tasks:
      - id: slow
        type: composite
        tasks: [{id: long, tool: nap, with: {milliseconds: 60000}}]
      - id: quick
        type: composite
        tasks:
          - {id: trace, tool: effect, with: {url: "URL", value: 6}}
          - {id: sum, tool: add, with: {a: "{{ .tasks.trace.output.value }}", b: 1}}
  - {id: last, tool: effect, with: {url: "URL", value: 0}}
output: {winner: "{{ .tasks.all.winner }}", n: "{{ .tasks.all.output.quick.sum.sum }}"}
"#,
        output: r#"{"winner": "quick", "n": 7}"#,
        effects: &["all/quick/trace:1", "last:1"],
        ..SUCCESS
    },
    Case {
        id: "collection",
        workflow: r#"
tasks:
  - id: each
    type: collection
    items: [1, 2, 3, 4]
    filter: "{{ ne .item 2 }}"
    item_var: number
    task: {id: "trace-{{ .number }}", tool: effect, with: {url: "URL", value: "{{ mul .number 10 }}"}}
    outputs: {count: "{{ len .output }}", last: "{{ (index .output 2).value }}"}
output: {count: "{{ .tasks.each.output.count }}", last: "{{ .tasks.each.output.last }}"}
"#,
        output: r#"{"count": 3, "last": 40}"#,
        effects: &["each/trace-1:1", "each/trace-3:1", "each/trace-4:1"],
        ..SUCCESS
    },
    Case {
        id: "sequential",
        workflow: r#"
tasks:
  - id: each
    type: collection
    mode: sequential
    items: "{{ list 1 2 3 }}"
    task: {tool: effect, id: "trace-{{ .index }}", with: {url: "URL", value: "{{ .item }}"}, sleep: 5ms}
output: {n: "{{ (index .tasks.each.output 2).value }}"}
"#,
        output: r#"{"n": 3}"#,
        effects: &["each/trace-0:1", "each/trace-1:1", "each/trace-2:1"],
        ..SUCCESS
    },
    Case {
        id: "batch",
        workflow: r#"
tasks:
  - id: each
    type: collection
    batch: 2
    items: [1, 2, 3]
    tasks:
      - {id: trace, tool: effect, with: {url: "URL", value: "{{ .item }}"}}
      - {id: sum, type: aggregate, outputs: {n: "{{ add .tasks.trace.output.value .index }}"}}
output: {n: "{{ (index .tasks.each.output 2).sum.n }}"}
"#,
        output: r#"{"n": 5}"#,
        effects: &["each/each-0/trace:1", "each/each-1/trace:1", "each/each-2/trace:1"],
        ..SUCCESS
    },
    Case {
        id: "composite",
        workflow: r#"
tasks:
  - id: outer
    type: composite
    tasks:
      - {id: first, tool: add, with: {a: 1, b: 2}}
      - id: inner
        type: composite
        tasks:
          - {id: trace, tool: effect, with: {url: "URL", value: "{{ .tasks.first.output.sum }}"}}
          - {id: bad, tool: fail, with: {retryable: false}, on_error: mend}
          - {id: skipped, tool: effect, with: {url: "URL", value: 0}}
          - {id: mend, tool: add, with: {a: "{{ .tasks.trace.output.value }}", b: 1}}
        outputs: {n: "{{ .output.mend.sum }}"}
  - {id: last, tool: effect, with: {url: "URL", value: "{{ .tasks.outer.output.inner.n }}"}}
output: {n: "{{ .tasks.last.output.value }}"}
"#,
        output: r#"{"n": 4}"#,
        effects: &["outer/inner/trace:1", "last:1"],
        ..SUCCESS
    },
    Case {
        id: "router",
        workflow: r#"
tasks:
  - {id: first, tool: add, with: {a: 40, b: 2}}
  - id: pick
    type: router
    condition: 'tasks.first.output.sum > 41 ? "big" : "small"'
    routes: {small: small, big: {id: big, tool: effect, with: {url: "URL", value: 1}}}
  - {id: small, tool: effect, with: {url: "URL", value: 2}}
  - id: again
    type: router
    condition: "{{ .tasks.big.output.value }}"
    routes: {"1": join, default: small}
  - {id: never, tool: effect, with: {url: "URL", value: 3}, condition: "false"}
  - {id: join, tool: effect, with: {url: "URL", value: 9}}
output: {route: "{{ .tasks.pick.output.route_taken }}", n: "{{ .tasks.join.output.value }}"}
"#,
        output: r#"{"route": "big", "n": 9}"#,
        effects: &["big:1", "join:1"],
        ..SUCCESS
    },
    Case {
        id: "nested",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    tasks:
      - id: each
        type: collection
        items: [1, 2]
        task:
          id: "pair-{{ .index }}"
          type: composite
          tasks:
            - {id: trace, tool: effect, with: {url: "URL", value: "{{ .item }}"}}
            - id: two
              type: parallel
              tasks:
                - {id: left, type: aggregate, outputs: {n: "{{ .item }}"}}
                - {id: right, tool: add, with: {a: "{{ .tasks.trace.output.value }}", b: 1}}
      - {id: beside, tool: effect, with: {url: "URL", value: 5}}
output: {n: "{{ (index .tasks.all.output.each 1).two.right.sum }}", beside: "{{ .tasks.all.output.beside.value }}"}
"#,
        output: r#"{"n": 3, "beside": 5}"#,
        effects: &["all/each/pair-0/trace:1", "all/each/pair-1/trace:1", "all/beside:1"],
        ..SUCCESS
    },
    Case {
        id: "retries-inside",
        workflow: r#"
config: {retry_policy: {initial_interval: 5ms, maximum_attempts: 3}}
tasks:
  - id: all
    type: parallel
    tasks:
      - {id: flaky, tool: fail, with: {times: 2}}
      - id: inner
        type: composite
        tasks:
          - {id: once, tool: fail, with: {times: 1}}
          - {id: trace, tool: effect, with: {url: "URL", value: "{{ .tasks.once.output.attempt }}"}}
output: {flaky: "{{ .tasks.all.output.flaky.attempt }}", n: "{{ .tasks.all.output.inner.trace.value }}"}
"#,
        output: r#"{"flaky": 3, "n": 2}"#,
        effects: &["all/inner/trace:1"],
        ..SUCCESS
    },
    Case {
        id: "container-again",
        workflow: r#"
tasks:
  - id: all
    type: composite
    retry_policy: {initial_interval: 5ms, maximum_attempts: 2}
    tasks:
      - {id: trace, tool: effect, with: {url: "URL", value: "{{ .task.execution }}"}}
      - {id: bad, tool: fail, with: {times: "{{ ternary 9 0 (eq .task.execution 1) }}"}, retries: 0}
output: {n: "{{ .tasks.all.output.trace.value }}"}
"#,
        output: r#"{"n": 2}"#,
        effects: &["all/trace:1", "all/trace:2"],
        ..SUCCESS
    },
    Case {
        id: "container-timeout",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    timeout: 120ms
    tasks:
      - {id: long, tool: nap, with: {milliseconds: 60000}}
      - id: inner
        type: composite
        tasks: [{id: longer, tool: nap, with: {milliseconds: 60000}}]
    on_error: mend
  - {id: mend, tool: effect, with: {url: "URL", value: 1}}
output: {status: "{{ .tasks.all.status }}", long: "{{ .tasks.all.children.long.status }}", n: "{{ .tasks.mend.output.value }}"}
"#,
        output: r#"{"status": "TIMED_OUT", "long": "CANCELED", "n": 1}"#,
        effects: &["mend:1"],
        ..SUCCESS
    },
    Case {
        id: "sleeps",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    sleep: 10ms
    tasks:
      - {id: trace, tool: effect, with: {url: "URL", value: 1}, sleep: 30ms}
      - id: inner
        type: composite
        sleep: 5ms
        tasks:
          - {id: first, tool: add, with: {a: 1, b: 2}, sleep: 15ms}
          - {id: second, tool: effect, with: {url: "URL", value: "{{ .tasks.first.output.sum }}"}, sleep: 5ms}
output: {n: "{{ .tasks.all.output.inner.second.value }}"}
"#,
        output: r#"{"n": 3}"#,
        effects: &["all/trace:1", "all/inner/second:1"],
        ..SUCCESS
    },
    Case {
        id: "canceled",
        workflow: r#"
tasks:
  - id: all
    type: parallel
    tasks:
      - {id: trace, tool: effect, with: {url: "URL", value: 1}}
      - {id: long, tool: nap, with: {milliseconds: 60000}}
      - id: each
        type: collection
        items: [1, 2]
        task: {id: "long-{{ .item }}", tool: nap, with: {milliseconds: 60000}}
  - {id: never, tool: effect, with: {url: "URL", value: 2}}
"#,
        status: "CANCELED",
        effects: &["all/trace:1"],
        cancel: Some("all/trace:1"),
        ..SUCCESS
    },
    Case {
        id: "failed",
        workflow: r#"
tasks:
  - {id: first, tool: effect, with: {url: "URL", value: 1}}
  - id: each
    type: collection
    strategy: fail_fast
    items: [1, 2]
    tasks:
      - {id: bad, tool: fail, with: {retryable: false}, condition: "item == 2"}
      - {id: long, tool: nap, with: {milliseconds: 60000}}
  - {id: never, tool: effect, with: {url: "URL", value: 2}}
"#,
        status: "FAILED",
        effects: &["first:1"],
        ..SUCCESS
    },
    Case {
        id: "run-timeout",
        workflow: r#"
config: {timeout: 200ms}
tasks:
  - id: all
    type: parallel
    tasks:
      - {id: long, tool: nap, with: {milliseconds: 60000}}
      - {id: short, tool: add, with: {a: 1, b: 2}, sleep: 1m}
  - {id: never, tool: effect, with: {url: "URL", value: 2}}
"#,
        status: "TIMED_OUT",
        ..SUCCESS
    },
];
