//! Random programs over all task types, with retries, sleeps and error branches, written as workflows.
//!
//! Every step hands on one number as `output.n`. What the number must be at the end is the business of `oracle`.

use std::fmt::Write;

use super::Project;
use super::random::Random;

/// What a step does with the number it gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Adds to it.
    Add(i64),
    /// Adds to it and then sleeps so many milliseconds.
    AddAndSleep(i64, u64),
    /// Hands it on and leaves a trace outside.
    Effect,
    /// Fails so many attempts, then adds to it.
    Retry(u32, i64),
    /// Fails for good; the handler adds to it.
    Handled(i64),
    /// Leaves a trace and adds, so many times.
    Loop(u32, i64),
    /// Adds without a tool.
    Aggregate(i64),
    /// Adds the numbers of so many branches that leave traces; with `true` beside one that fails.
    Parallel(u32, i64, bool),
    /// Adds the number of the one branch that ends; the other never does.
    Race(i64),
    /// A branch fails and ends the other, which never would; the handler adds.
    FailFast(i64),
    /// Adds for each of so many items, all but the second.
    Collection(Waves, u32, i64),
    /// Adds twice, deep inside; the inner list sleeps so many milliseconds.
    Composite(i64, u64),
    /// A list whose first execution fails at its end, after a trace.
    Again(i64),
    /// Leaves by one of two routes and adds there.
    Router(i64),
    /// A container that runs out of time; the handler adds.
    Timeout(i64),
    /// A collection of lists beside a branch that is tried again, adding once for each of the three.
    Nested(i64),
    /// Adds in a run of its own, which leaves a trace.
    SubRun(i64),
    /// A branch waits for the signal that the other sends, with what is added.
    Signal(i64),
    /// Adds once for each message of a memory that gets one.
    Memory(i64),
    /// Fails for good and nobody handles it; always the last.
    Fail,
}

/// In which order the items of a collection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Waves {
    /// All at once.
    One,
    /// Two at a time.
    Two,
    /// One after the other.
    Sequential,
}

/// A workflow whose result is known.
#[derive(Debug, Clone)]
pub(crate) struct Program {
    pub(crate) id: String,
    pub(crate) input: i64,
    pub(crate) steps: Vec<Step>,
}

/// What the project file must declare for programs, with the zoo at `plugins/zoo.wasm`.
pub(crate) fn project_file(grant: &str) -> String {
    format!(
        "plugins:\n  - id: zoo\n    source: ./plugins/zoo.wasm\n    permissions: {{http: [\"{grant}\"]}}\n\
         tools:\n  - {{id: add, plugin: zoo, function: add}}\n  - {{id: fail, plugin: zoo, function: fail}}\n  \
         - {{id: effect, plugin: zoo, function: effect}}\n  - {{id: nap, plugin: zoo, function: sleep}}\n"
    )
}

/// The memory that [`Step::Memory`] writes to, for the project file.
pub(crate) const MEMORIES: &str = "memories: [{id: log}]\n";

/// Puts the zoo and the workflow files of `programs` into a project. Effects are posted to `url`.
pub(crate) fn furnish(project: &Project, programs: &[Program], url: &str) {
    project.component("guests/zoo");
    project.file(&format!("workflows/{SUB}.yaml"), sub_workflow(url));
    for program in programs {
        project.file(&format!("workflows/{}.yaml", program.id), program.workflow(url));
    }
}

/// Id of the workflow that [`Step::SubRun`] runs.
pub(crate) const SUB: &str = "sub";

/// The workflow file of [`SUB`]: adds `add` to `n`. Effects are posted to `url`.
pub(crate) fn sub_workflow(url: &str) -> String {
    format!(
        "id: {SUB}\ntasks:\n  - {{id: trace, tool: effect, with: {{url: \"{url}\", value: \"{{{{ .input.n }}}}\"}}}}\n  \
         - {{id: sum, tool: add, with: {{a: \"{{{{ .tasks.trace.output.value }}}}\", b: \"{{{{ .input.add }}}}\"}}}}\n\
         output: {{n: \"{{{{ .tasks.sum.output.sum }}}}\"}}\n"
    )
}

impl Program {
    /// The program of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let length = random.between(3, 7);
        let mut steps: Vec<Step> = (0..length).map(|_| step(&mut random)).collect();
        // Every program leaves at least one trace outside.
        steps.push(Step::Effect);
        if random.one_in(8) {
            steps.push(Step::Fail);
        }
        let input = i64::try_from(random.between(0, 1000)).expect("small");
        Self { id: format!("program-{seed}"), input, steps }
    }

    /// The workflow file. Effects are posted to `url`.
    pub(crate) fn workflow(&self, url: &str) -> String {
        let mut text = format!("id: {}\nflow: explicit\ntasks:\n", self.id);
        let mut previous = ".input.n".to_owned();
        let mut number = self.input;
        for (index, step) in self.steps.iter().enumerate() {
            let next = (index + 1 < self.steps.len()).then(|| format!("s{}", index + 1));
            let place = Place { id: format!("s{index}"), previous, number, next, url };
            previous = place.write(&mut text, *step);
            number = super::oracle::after(*step, number).unwrap_or(number);
        }
        let _ = writeln!(text, "output:\n  n: \"{{{{ {previous} }}}}\"");
        text
    }
}

fn step(random: &mut Random) -> Step {
    let add = i64::try_from(random.between(1, 9)).expect("small");
    let few = u32::try_from(random.between(2, 4)).expect("small");
    let waves = [Waves::One, Waves::Two, Waves::Sequential][random.between(0, 2) as usize];
    match random.between(0, 23) {
        0 => Step::Add(add),
        1 => Step::AddAndSleep(add, random.between(1, 40)),
        2 => Step::Effect,
        3 => Step::Retry(few - 1, add),
        4 => Step::Handled(add),
        5 => Step::Loop(few, add),
        6 => Step::Aggregate(add),
        7 => Step::Parallel(few, add, false),
        8 => Step::Parallel(few, add, true),
        9 => Step::Race(add),
        10 => Step::FailFast(add),
        11..=13 => Step::Collection(waves, few, add),
        14 => Step::Composite(add, random.between(1, 20)),
        15 => Step::Again(add),
        16 => Step::Router(add),
        17 => Step::Timeout(add),
        18 | 19 => Step::SubRun(add),
        20 | 21 => Step::Signal(add),
        22 => Step::Memory(add),
        _ => Step::Nested(add),
    }
}

/// Where a step stands in its program.
struct Place<'a> {
    id: String,
    /// Path of the number it gets.
    previous: String,
    /// That number.
    number: i64,
    /// What follows it.
    next: Option<String>,
    url: &'a str,
}

impl Place<'_> {
    /// Writes the step (and its handler) and returns the path of the number it hands on.
    fn write(&self, text: &mut String, step: Step) -> String {
        let Self { id, previous, url, .. } = self;
        let given = format!("\"{{{{ {previous} }}}}\"");
        match step {
            Step::Add(add) => self.sum(text, id, add, ""),
            Step::AddAndSleep(add, milliseconds) => self.sum(text, id, add, &format!("sleep: {milliseconds}ms")),
            Step::Effect => {
                self.task(text, id, "effect", &format!("url: \"{url}\", value: {given}"), ".output.value", "")
            }
            Step::SubRun(add) => {
                let follow = self.follow();
                let _ = write!(
                    text,
                    "  - id: {id}\n    type: workflow\n    workflow: {SUB}\n    with: {{n: {given}, add: {add}}}\n{follow}"
                );
            }
            Step::Retry(times, add) => {
                let policy = format!("retry_policy: {{maximum_attempts: {}, initial_interval: 5ms}}", times + 1);
                let with = format!("times: {times}, carry: {given}");
                self.task(text, id, "fail", &with, &format!("add .with.carry {add}"), &policy)
            }
            Step::Loop(turns, add) => return self.repeat(text, turns, add),
            Step::Fail => self.task(text, id, "fail", "retryable: false, code: planned", ".output.attempt", ""),
            Step::Handled(add) => {
                let body = "    tool: fail\n    with: {retryable: false}\n";
                return self.handled(text, body, add);
            }
            Step::FailFast(add) => {
                let body = "    type: parallel\n    strategy: fail_fast\n    tasks:\n      \
                    - {id: ID-long, tool: nap, with: {milliseconds: 60000}}\n      \
                    - {id: ID-bad, tool: fail, with: {retryable: false}}\n";
                return self.handled(text, body, add);
            }
            Step::Timeout(add) => {
                let body = "    type: composite\n    timeout: 40ms\n    tasks:\n      \
                    - {id: ID-long, tool: nap, with: {milliseconds: 60000}}\n";
                return self.handled(text, body, add);
            }
            _ => self.container(text, step),
        }
        format!(".tasks.{id}.output.n")
    }

    /// What comes after the step, as a line of it.
    fn follow(&self) -> String {
        self.next.as_ref().map(|next| format!("    on_success: {{next: {next}}}\n")).unwrap_or_default()
    }

    fn task(&self, text: &mut String, id: &str, tool: &str, with: &str, n: &str, rest: &str) {
        let follow = self.follow();
        let _ = write!(
            text,
            "  - id: {id}\n    tool: {tool}\n    with: {{{with}}}\n    outputs: {{n: \"{{{{ {n} }}}}\"}}\n    {rest}\n{follow}"
        );
    }

    fn sum(&self, text: &mut String, id: &str, add: i64, rest: &str) {
        let with = format!("a: \"{{{{ {} }}}}\", b: {add}", self.previous);
        self.task(text, id, "add", &with, ".output.sum", rest);
    }

    /// A task that ends badly, and the handler that adds in its place.
    fn handled(&self, text: &mut String, body: &str, add: i64) -> String {
        let id = &self.id;
        let _ = write!(text, "  - id: {id}\n{}    on_error: {{next: {id}-handler}}\n", body.replace("ID", id));
        self.sum(text, &format!("{id}-handler"), add, "");
        format!(".tasks.{id}-handler.output.n")
    }

    fn repeat(&self, text: &mut String, turns: u32, add: i64) -> String {
        let Self { id, previous, number, next, url } = self;
        // The number that ends the loop is known, since the whole program is.
        let end = number + i64::from(turns) * add;
        let after = next.as_deref().unwrap_or_default();
        let _ = write!(
            text,
            "  - id: {id}\n    tool: effect\n    with: {{url: \"{url}\", value: \"{{{{ {previous} }}}}\"}}\n    \
             outputs: {{n: \"{{{{ add .output.value {add} }}}}\"}}\n    on_success:\n      \
             next: \"{{{{ if lt .output.n {end} }}}}{id}{{{{ else }}}}{after}{{{{ end }}}}\"\n      \
             with: {{value: \"{{{{ .output.n }}}}\"}}\n"
        );
        format!(".tasks.{id}.output.n")
    }

    /// A step whose body stands in [`body`]: `GIVEN` is the number it gets, as `.with.carry` too.
    fn container(&self, text: &mut String, step: Step) {
        let Self { id, previous, url, .. } = self;
        let (body, n) = body(step);
        let body = body.replace("ID", id).replace("URL", url).replace("GIVEN", previous);
        let follow = self.follow();
        let n = n.replace("ID", id);
        let _ = write!(
            text,
            "  - id: {id}\n    with: {{carry: \"{{{{ {previous} }}}}\"}}\n{body}    outputs: {{n: \"{{{{ {n} }}}}\"}}\n{follow}"
        );
    }
}

/// The lines of a container and the expression of its number.
fn body(step: Step) -> (String, String) {
    match step {
        Step::Aggregate(add) => ("    type: aggregate\n".to_owned(), format!("add .with.carry {add}")),
        Step::Signal(add) => {
            let body = format!(
                "    type: parallel\n    tasks:\n      \
                 - {{id: ID-hold, type: wait, wait_for: go-ID, timeout: 1h}}\n      \
                 - {{id: ID-tell, type: signal, signal: {{id: go-ID, payload: {add}, target: \"{{{{ .workflow.exec_id }}}}\"}}}}\n"
            );
            (body, "add .with.carry .output.ID-hold.signal.payload".to_owned())
        }
        Step::Memory(add) => {
            let memory = "memory_ref: log, key: \"r:{{ .workflow.exec_id }}:ID\"";
            let body = format!(
                "    type: composite\n    tasks:\n      \
                 - {{id: ID-put, type: memory, operation: append, {memory}, payload: one}}\n      \
                 - {{id: ID-get, type: memory, operation: stats, {memory}}}\n"
            );
            (body, format!("add .with.carry (mul .output.ID-get.message_count {add})"))
        }
        Step::Parallel(branches, add, lost) => {
            let strategy = if lost { "best_effort" } else { "wait_all" };
            let mut body = format!("    type: parallel\n    strategy: {strategy}\n    max_workers: 3\n    tasks:\n");
            if lost {
                body.push_str("      - {id: ID-bad, tool: fail, with: {retryable: false}}\n");
            }
            let mut n = "add .with.carry".to_owned();
            for branch in 0..branches {
                let _ =
                    writeln!(body, "      - {{id: ID-b{branch}, tool: effect, with: {{url: \"URL\", value: {add}}}}}");
                let _ = write!(n, " .output.ID-b{branch}.value");
            }
            (body, n)
        }
        Step::Race(add) => {
            let body = format!(
                "    type: parallel\n    strategy: race\n    tasks:\n      \
                 - {{id: ID-long, tool: nap, with: {{milliseconds: 60000}}}}\n      \
                 - {{id: ID-quick, tool: effect, with: {{url: \"URL\", value: {add}}}}}\n"
            );
            (body, "add .with.carry .output.ID-quick.value".to_owned())
        }
        Step::Collection(waves, items, add) => {
            let waves = match waves {
                Waves::One => "mode: parallel",
                Waves::Two => "batch: 2",
                Waves::Sequential => "mode: sequential",
            };
            let body = format!(
                "    type: collection\n    {waves}\n    items: \"{{{{ untilStep 0 {items} 1 }}}}\"\n    \
                 filter: \"{{{{ ne .item 1 }}}}\"\n    \
                 task: {{id: \"ID-i{{{{ .item }}}}\", tool: effect, with: {{url: \"URL\", value: {add}}}}}\n"
            );
            (body, format!("add .with.carry (mul (len .output) {add})"))
        }
        Step::Composite(add, sleep) => {
            let body = format!(
                "    type: composite\n    tasks:\n      \
                 - {{id: ID-first, tool: add, with: {{a: \"{{{{ GIVEN }}}}\", b: {add}}}}}\n      \
                 - id: ID-inner\n        type: composite\n        sleep: {sleep}ms\n        tasks:\n          \
                 - {{id: ID-trace, tool: effect, sleep: {sleep}ms, with: {{url: \"URL\", \
                 value: \"{{{{ .tasks.ID-first.output.sum }}}}\"}}}}\n          \
                 - {{id: ID-second, tool: add, with: {{a: \"{{{{ .tasks.ID-trace.output.value }}}}\", b: {add}}}}}\n"
            );
            (body, ".output.ID-inner.ID-second.sum".to_owned())
        }
        Step::Again(add) => {
            let body = "    type: composite\n    retry_policy: {maximum_attempts: 2, initial_interval: 5ms}\n    tasks:\n      \
                 - {id: ID-trace, tool: effect, with: {url: \"URL\", value: \"{{ .task.execution }}\"}}\n      \
                 - {id: ID-bad, tool: fail, retries: 0, with: {times: \"{{ ternary 9 0 (eq .task.execution 1) }}\"}}\n";
            (body.to_owned(), format!("add .with.carry {add}"))
        }
        Step::Router(add) => {
            let body = format!(
                "    type: composite\n    tasks:\n      - id: ID-pick\n        type: router\n        \
                 condition: \"{{{{ mod GIVEN 2 }}}}\"\n        routes:\n          \
                 \"0\": {{id: ID-even, tool: effect, with: {{url: \"URL\", value: {add}}}}}\n          \
                 \"1\": {{id: ID-odd, type: aggregate, outputs: {{value: {add}}}}}\n      \
                 - {{id: ID-join, type: aggregate, outputs: \
                 {{n: \"{{{{ .tasks.ID-even.output.value | default .tasks.ID-odd.output.value }}}}\"}}}}\n"
            );
            (body, "add .with.carry .output.ID-join.n".to_owned())
        }
        Step::Nested(add) => {
            let body = format!(
                "    type: parallel\n    tasks:\n      - id: ID-each\n        type: collection\n        items: [1, 2]\n        \
                 tasks:\n          - {{id: ID-trace, tool: effect, with: {{url: \"URL\", value: \"{{{{ .item }}}}\"}}}}\n          \
                 - {{id: ID-sum, type: aggregate, outputs: {{n: {add}}}}}\n      \
                 - {{id: ID-flaky, tool: fail, with: {{times: 1}}, retry_policy: {{initial_interval: 5ms}}}}\n"
            );
            (body, format!("add .with.carry (mul {add} (len .output.ID-each)) {add}"))
        }
        _ => unreachable!("written elsewhere"),
    }
}
