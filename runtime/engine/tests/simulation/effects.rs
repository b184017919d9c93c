//! What steps come to when they are carried out.

use std::time::Duration;

use compozy_engine::container;
use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Failure, Opened, Opens, Outcome, Rendered, Sent, SubRun, Target};
use compozy_engine::json::Json;
use compozy_engine::opening::Items;
use compozy_engine::state::{RunState, Step, StepKey};
use serde_json::{Value, json};

use super::program::{Body, Node, chance};
use super::programs::{LAPS, Leaf, Program, child_workflow};
use super::rng::Rng;

/// What the engine wants to be carried out of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Call {
    Execute,
    Close,
    Match,
}

/// Whether an attempt that is carried out twice comes to the same.
pub(crate) enum Luck<'a> {
    /// The outcome depends on where the step stands and on the attempt alone.
    Fixed,
    /// It does not.
    Fickle(&'a mut Rng),
}

impl Luck<'_> {
    fn fails(&mut self, place: &str, attempt: u32, failing: u64) -> bool {
        match self {
            Self::Fixed => chance("fail", place, attempt, 4) < failing,
            Self::Fickle(rng) => rng.below(4) < failing,
        }
    }
}

/// A step that is carried out.
pub(crate) struct Effect<'a> {
    program: &'a Program,
    state: &'a RunState,
    step: &'a Step,
    /// Its place in its list, and the length of that.
    at: usize,
    length: usize,
    node: &'a Node,
}

/// The outcome of a call; `None` when the step is not there any more.
pub(crate) fn answer(
    program: &Program,
    state: &RunState,
    call: Call,
    key: &StepKey,
    luck: &mut Luck<'_>,
) -> Option<Outcome> {
    let step = state.steps.at(key)?;
    if is_processor(program, step) {
        return Some(processor(step, luck));
    }
    let effect = Effect::of(program, state, step)?;
    Some(match call {
        Call::Execute => effect.execute(luck),
        Call::Close => effect.close(),
        Call::Match => effect.look(luck),
    })
}

/// Whether a failure of the sub-run that `key` waits for is worth another attempt.
pub(crate) fn retries(program: &Program, state: &RunState, key: &StepKey) -> bool {
    let step = state.steps.at(key);
    step.and_then(|step| Effect::of(program, state, step)).is_some_and(|effect| effect.node.retryable)
}

/// The name of signals at a place.
fn name(place: &str) -> &'static str {
    if chance("name", place, 0, 2) == 0 { "a" } else { "b" }
}

fn is_processor(program: &Program, step: &Step) -> bool {
    let (Some(_), above) = (step.address.last(), step.address.len().saturating_sub(1)) else { return false };
    matches!(program.leaves.get(&step.address[..above]), Some(Leaf::Wait { .. }))
}

fn processor(step: &Step, luck: &mut Luck<'_>) -> Outcome {
    if luck.fails(&step.id, step.attempt, 1) {
        let error = StepError::new("broken", ErrorKind::Tool, "broken");
        return failure(error, None, Rendered::default());
    }
    Outcome::Done(Done::new(Json::from(&json!("processed"))))
}

impl<'a> Effect<'a> {
    fn of(program: &'a Program, state: &'a RunState, step: &'a Step) -> Option<Self> {
        let mut list = program.nodes.as_slice();
        let mut found = None;
        for index in &step.address {
            let node = list.get(*index)?;
            found = Some((node, *index, list.len()));
            list = match &node.body {
                Body::Parallel { children, .. } | Body::Composite { children, .. } => children,
                Body::Collection { child, .. } => std::slice::from_ref(child),
                Body::Leaf { .. } | Body::Router { .. } => &[],
            };
        }
        let (node, at, length) = found?;
        Some(Self { program, state, step, at, length, node })
    }

    /// Where the step stands in the program, with the attempts of what holds it: what the oracle draws outcomes from.
    fn place(&self) -> String {
        let mut place = self.step.key.id().to_owned();
        let mut step = self.step;
        while let Some(parent) = step.parent.as_ref().and_then(|parent| self.state.steps.at(parent)) {
            place = format!("{}#{}/{place}", parent.key.id(), parent.attempt);
            step = parent;
        }
        place
    }

    fn leaf(&self) -> Leaf {
        self.program.leaves.get(&self.step.address).copied().unwrap_or(Leaf::Plain)
    }

    fn execute(&self, luck: &mut Luck<'_>) -> Outcome {
        if self.node.is_skipped() {
            return Outcome::Done(Done { skipped: true, ..Done::new(Json::null()) });
        }
        let branches = |workers: u32, batch: u32, items: Option<Items>| Opens::Branches { workers, batch, items };
        let body = match &self.node.body {
            Body::Leaf { failing } => match self.leaf() {
                Leaf::Wait { .. } => Opens::Wait { name: name(&self.place()).to_owned() },
                Leaf::Run { awaited: true } => {
                    Opens::Run(self.sub_run(luck.fails(&self.place(), self.step.attempt, *failing)))
                }
                _ => return self.leaf_ended(*failing, luck),
            },
            Body::Router { .. } => return self.done(json!("routed")),
            Body::Composite { .. } => Opens::List,
            Body::Parallel { workers, .. } => branches(*workers, 0, None),
            Body::Collection { items, workers, batch, .. } => {
                let values = (0..*items).map(|item| Json::from(&json!(item))).collect();
                branches(*workers, *batch, Some(Items { values, ids: None }))
            }
        };
        let timeout = self.node.timeout.map(|timeout| match body {
            // As long as it takes to look at a few signals.
            Opens::Wait { .. } => Duration::from_micros(timeout / 4),
            _ => Duration::from_micros(timeout),
        });
        Outcome::Opened(Opened { input: Some(Json::from(&json!({}))), timeout, body })
    }

    fn leaf_ended(&self, failing: u64, luck: &mut Luck<'_>) -> Outcome {
        let place = self.place();
        if luck.fails(&place, self.step.attempt, failing) {
            return self.broken();
        }
        let Outcome::Done(mut done) = self.done(json!(place)) else { unreachable!("it is done") };
        match self.leaf() {
            Leaf::Signal => {
                let exec_id = &self.state.facts.exec_id;
                let root = exec_id.split('+').next().unwrap_or(exec_id);
                let target = if chance("target", &place, 0, 2) == 0 { exec_id } else { root };
                done.signals.push(Sent {
                    signal_id: format!("{}:signal", self.step.id),
                    name: name(&place).to_owned(),
                    payload: Json::from(&json!({"match": chance("match", &place, 0, 3) > 0})),
                    target: Some(target.to_owned()),
                });
            }
            Leaf::Loop if !self.step.key.execution.is_multiple_of(LAPS) => done.transition = leads(Some(self.at)),
            Leaf::Run { .. } => done.children.push(self.sub_run(chance("free", &place, 0, 3) == 0)),
            _ => {}
        }
        Outcome::Done(done)
    }

    /// Id and workflow of a sub-run depend on the step and its attempt, so that it is started once.
    fn sub_run(&self, fails: bool) -> SubRun {
        SubRun {
            exec_id: format!("{}+{}.{}", self.state.facts.exec_id, self.step.key, self.step.attempt),
            workflow_id: child_workflow(self.program.depth + 1, fails),
            input: Json::from(&json!({})),
        }
    }

    fn close(&self) -> Outcome {
        let output = match self.node.body {
            Body::Leaf { .. } => Json::from(&json!(self.place())),
            _ => container::output(&self.program.plan, self.state, self.step),
        };
        match container::failure(&self.program.plan, self.state, self.step) {
            Some(error) => failure(error, Some(output), self.on_error()),
            None => self.done(output.to_value()),
        }
    }

    /// Looks at the signal that a wait holds.
    fn look(&self, luck: &mut Luck<'_>) -> Outcome {
        let signal = self.step.opening.as_ref().and_then(|opening| opening.waiting()?.signal.as_ref());
        let matches = signal.is_none_or(|signal| signal.payload.to_value().get("match") == Some(&json!(true)));
        if !matches {
            return Outcome::Unmatched;
        }
        let Body::Leaf { failing } = self.node.body else { unreachable!("waits are leaves") };
        let place = self.place();
        if luck.fails(&place, self.step.attempt, failing) { self.broken() } else { self.done(json!(place)) }
    }

    fn broken(&self) -> Outcome {
        let error = StepError::new("broken", ErrorKind::Tool, "broken");
        let error = if self.node.retryable { error.retryable() } else { error };
        failure(error, None, self.on_error())
    }

    fn on_error(&self) -> Rendered {
        leads(Node::target(self.node.on_error, self.at, self.length))
    }

    fn done(&self, output: Value) -> Outcome {
        let node = self.node;
        let (ends_list, next) = match node.route(self.at, self.length) {
            Some(route) => (route.is_none(), route),
            None => (node.ends_list, Node::target(node.next, self.at, self.length)),
        };
        let sleep = node.sleeps.then_some(Duration::from_secs(1));
        Outcome::Done(Done { ends_list, sleep, transition: leads(next), ..Done::new(Json::from(&output)) })
    }
}

fn leads(next: Option<usize>) -> Rendered {
    Rendered { next: next.map(Target::Task), with: None }
}

fn failure(error: StepError, output: Option<Json>, transition: Rendered) -> Outcome {
    Outcome::Failed(Failure { input: None, output, error, transition, usage: vec![] })
}
