//! Random programs of tool steps: chains and loops with retries, sleeps and error branches, written as workflows.
//!
//! Every step hands on one number as `output.n`. What the number must be at the end is the business of `oracle`.

use std::fmt::Write;

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
    /// Fails for good and nobody handles it; always the last.
    Fail,
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

impl Program {
    /// The program of a seed.
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let length = random.between(3, 8);
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
            previous = write_step(&mut text, index, *step, &previous, number, next.as_deref(), url);
            number = super::oracle::after(*step, number).unwrap_or(number);
        }
        let _ = writeln!(text, "output:\n  n: \"{{{{ {previous} }}}}\"");
        text
    }
}

fn step(random: &mut Random) -> Step {
    let add = i64::try_from(random.between(1, 9)).expect("small");
    match random.between(0, 9) {
        0..=2 => Step::Add(add),
        3 => Step::AddAndSleep(add, random.between(1, 40)),
        4 | 5 => Step::Effect,
        6 | 7 => Step::Retry(u32::try_from(random.between(1, 3)).expect("small"), add),
        8 => Step::Handled(add),
        _ => Step::Loop(u32::try_from(random.between(2, 5)).expect("small"), add),
    }
}

/// Writes one step (and its handler) and returns the path of the number it hands on.
fn write_step(
    text: &mut String,
    index: usize,
    step: Step,
    previous: &str,
    number: i64,
    next: Option<&str>,
    url: &str,
) -> String {
    let id = format!("s{index}");
    let given = format!("\"{{{{ {previous} }}}}\"");
    let follow = next.map(|next| format!("    on_success: {{next: {next}}}\n")).unwrap_or_default();
    let mut task = |id: &str, tool: &str, with: &str, n: &str, rest: &str| {
        let _ = write!(
            text,
            "  - id: {id}\n    tool: {tool}\n    with: {{{with}}}\n    outputs: {{n: \"{{{{ {n} }}}}\"}}\n{rest}"
        );
    };
    match step {
        Step::Add(add) => task(&id, "add", &format!("a: {given}, b: {add}"), ".output.sum", &follow),
        Step::AddAndSleep(add, milliseconds) => {
            let rest = format!("    sleep: {milliseconds}ms\n{follow}");
            task(&id, "add", &format!("a: {given}, b: {add}"), ".output.sum", &rest);
        }
        Step::Effect => task(&id, "effect", &format!("url: \"{url}\", value: {given}"), ".output.value", &follow),
        Step::Retry(times, add) => {
            let policy = format!("maximum_attempts: {}, initial_interval: 5ms", times + 1);
            let rest = format!("    retry_policy: {{{policy}}}\n{follow}");
            task(&id, "fail", &format!("times: {times}, carry: {given}"), &format!("add .with.carry {add}"), &rest);
        }
        Step::Handled(add) => {
            let rest = format!("    on_error: {{next: {id}-handler}}\n{follow}");
            task(&id, "fail", &format!("retryable: false, carry: {given}"), ".with.carry", &rest);
            task(&format!("{id}-handler"), "add", &format!("a: {given}, b: {add}"), ".output.sum", &follow);
            return format!(".tasks.{id}-handler.output.n");
        }
        Step::Loop(turns, add) => {
            // The number that ends the loop is known, since the whole program is.
            let end = number + i64::from(turns) * add;
            let after = next.unwrap_or_default();
            let rest = format!(
                "    on_success:\n      next: \"{{{{ if lt .output.n {end} }}}}{id}{{{{ else }}}}{after}{{{{ end }}}}\"\n      \
                 with: {{value: \"{{{{ .output.n }}}}\"}}\n"
            );
            task(&id, "effect", &format!("url: \"{url}\", value: {given}"), &format!("add .output.value {add}"), &rest);
        }
        Step::Fail => task(&id, "fail", "retryable: false, code: planned", ".output.attempt", &follow),
    }
    format!(".tasks.{id}.output.n")
}
