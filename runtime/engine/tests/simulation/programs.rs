//! The workflows of a simulation: the oracle's random programs, whose leaves become tasks of every type.
//!
//! To the oracle a wait, a signal or a sub-run is a leaf that takes long, so what it says about a program holds here too.

use std::collections::BTreeMap;
use std::sync::Arc;

use compozy_engine::state::Address;
use compozy_lang::plan::{Task, TaskKind, Workflow};
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::json;

use super::build;
use super::interpreter;
use super::program::{self, Body, Node};
use super::rng::Rng;

/// What a leaf is, by its address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leaf {
    Plain,
    /// Leads to itself until it has run [`LAPS`] times. To the oracle that is once.
    Loop,
    Aggregate,
    Memory,
    Signal,
    Wait {
        processor: bool,
    },
    Run {
        awaited: bool,
    },
}

/// A workflow with what its tasks do.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) nodes: Vec<Node>,
    pub(crate) plan: Workflow,
    pub(crate) leaves: BTreeMap<Address, Leaf>,
    /// How many runs it is below the outermost.
    pub(crate) depth: usize,
    /// What it should come to.
    pub(crate) expected: interpreter::Result,
}

/// The workflows of a simulation, by id.
pub(crate) type Programs = BTreeMap<String, Arc<Program>>;

/// Executions of a task that leads to itself.
pub(crate) const LAPS: u32 = 3;

/// Runs below a run, at most.
const DEPTH: usize = 2;

/// Workflow ids of runs that clients start.
pub(crate) const ROOTS: [&str; 2] = ["root-0", "root-1"];

/// Workflow of the sub-runs at `depth`.
pub(crate) fn child_workflow(depth: usize, fails: bool) -> String {
    format!("child-{depth}-{}", if fails { "fails" } else { "works" })
}

pub(crate) fn generate(rng: &mut Rng, calm: bool) -> Programs {
    let mut programs = Programs::new();
    for root in ROOTS {
        let nodes = nodes(rng, calm, 16);
        let leaves = leaves(rng, &nodes, 2, 0);
        programs.insert(root.to_owned(), build(root, nodes, leaves, 0));
    }
    for depth in 1..=DEPTH {
        let inner = nodes(rng, calm, 6);
        let mut leaves = leaves(rng, &with_end(inner.clone(), false), 1, depth);
        leaves.insert(vec![1], Leaf::Plain);
        for fails in [false, true] {
            let id = child_workflow(depth, fails);
            let program = build(&id, with_end(inner.clone(), fails), leaves.clone(), depth);
            programs.insert(id, program);
        }
    }
    programs
}

/// A random program that does not go on for too long.
fn nodes(rng: &mut Rng, calm: bool, limit: usize) -> Vec<Node> {
    let mut seed = [0; 32];
    for bytes in seed.chunks_mut(8) {
        bytes.copy_from_slice(&rng.next().to_le_bytes());
    }
    let config = Config { failure_persistence: None, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &seed));
    let programs = program::programs();
    loop {
        let mut nodes = programs.new_tree(&mut runner).unwrap().current();
        if calm {
            nodes = nodes.into_iter().map(Node::without_haste).collect();
        }
        let executions = interpreter::run(&nodes, None).executions;
        let attempts: u32 = executions.values().map(|(_, attempts, _)| attempts).sum();
        if executions.len() <= limit && attempts as usize <= 2 * limit {
            return nodes;
        }
    }
}

/// `inner`, however it ends, and then a task that decides how the run ends.
fn with_end(inner: Vec<Node>, fails: bool) -> Vec<Node> {
    let node = |body: Body| Node {
        body,
        attempts: 1,
        retryable: false,
        skipped: false,
        sleeps: false,
        ends_list: false,
        next: None,
        on_error: None,
        timeout: None,
    };
    let inner = Node { next: Some(1), on_error: Some(1), ..node(Body::Composite { children: inner, explicit: false }) };
    vec![inner, node(Body::Leaf { failing: if fails { 4 } else { 0 } })]
}

fn leaves(rng: &mut Rng, nodes: &[Node], runs: usize, depth: usize) -> BTreeMap<Address, Leaf> {
    let mut addresses = Vec::new();
    leaf_addresses(nodes, true, &mut Vec::new(), &mut addresses);
    let mut runs_left = if depth < DEPTH { runs } else { 0 };
    let draw = |(address, may_loop): (Address, bool)| {
        let leaf = match rng.below(20) {
            0..=3 if may_loop => Leaf::Loop,
            0..=7 => Leaf::Plain,
            8 => Leaf::Aggregate,
            9 => Leaf::Memory,
            10 | 11 => Leaf::Signal,
            12..=14 => Leaf::Wait { processor: false },
            15 | 16 => Leaf::Wait { processor: true },
            _ if runs_left == 0 => Leaf::Plain,
            other => {
                runs_left -= 1;
                Leaf::Run { awaited: other < 19 }
            }
        };
        (address, leaf)
    };
    addresses.into_iter().map(draw).collect()
}

/// Addresses of leaves, and whether they may lead to themselves: in a list, when they always end well.
fn leaf_addresses(nodes: &[Node], list: bool, above: &mut Address, found: &mut Vec<(Address, bool)>) {
    for (index, node) in nodes.iter().enumerate() {
        above.push(index);
        match &node.body {
            Body::Leaf { failing } => {
                let flows = !node.skipped && !node.ends_list && !node.sleeps;
                found.push((above.clone(), list && flows && *failing == 0));
            }
            Body::Router { .. } => {}
            Body::Composite { children, .. } => leaf_addresses(children, true, above, found),
            Body::Parallel { children, .. } => leaf_addresses(children, false, above, found),
            Body::Collection { child, .. } => leaf_addresses(std::slice::from_ref(child), false, above, found),
        }
        above.pop();
    }
}

fn build(id: &str, nodes: Vec<Node>, leaves: BTreeMap<Address, Leaf>, depth: usize) -> Arc<Program> {
    let mut tasks = program::plan(&nodes);
    for (address, leaf) in &leaves {
        if let Some(task) = task_at(&mut tasks, address) {
            task.kind = kind(*leaf);
        }
    }
    let plan = Workflow { id: id.to_owned(), ..build::workflow(tasks, false, 1_000_000) };
    let expected = interpreter::run(&nodes, None);
    Arc::new(Program { nodes, plan, leaves, depth, expected })
}

fn task_at<'a>(tasks: &'a mut [Task], address: &[usize]) -> Option<&'a mut Task> {
    let (first, rest) = address.split_first()?;
    let task = tasks.get_mut(*first)?;
    if rest.is_empty() {
        return Some(task);
    }
    match &mut task.kind {
        TaskKind::Parallel(parallel) => task_at(&mut parallel.tasks, rest),
        TaskKind::Composite(composite) => task_at(&mut composite.tasks, rest),
        TaskKind::Collection(collection) => task_at(std::slice::from_mut(&mut collection.child), rest),
        _ => None,
    }
}

fn kind(leaf: Leaf) -> TaskKind {
    let place = build::task("x", 1).place;
    let template = json!({"segments": [], "is_template": false, "references": [], "mode": "text", "place": place});
    let kind = match leaf {
        Leaf::Plain | Leaf::Loop => return build::task("x", 1).kind,
        Leaf::Aggregate => return TaskKind::Aggregate,
        Leaf::Memory => {
            json!({"type": "memory", "operation": "read", "memory": "m", "key": null, "payload": null, "options": {}})
        }
        Leaf::Signal => json!({"type": "signal", "name": template, "payload": null, "target": null}),
        Leaf::Wait { processor } => {
            let processor = processor.then(|| build::task("processor", 1));
            json!({
                "type": "wait", "wait_for": template, "condition": null, "processor": processor, "on_timeout": null,
            })
        }
        Leaf::Run { awaited } => json!({"type": "workflow", "workflow": "child", "wait": awaited}),
    };
    serde_json::from_value(kind).expect("the kind is complete")
}
