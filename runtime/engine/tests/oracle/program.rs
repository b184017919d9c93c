//! Random nested programs.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use compozy_lang::plan::{
    Collection, Composite, Parallel, Route, Router, Strategy as End, Task, TaskKind, ValueTemplate,
};
use proptest::prelude::*;

use super::build;

/// A task of a program.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) body: Body,
    /// Attempts of this task.
    pub(crate) attempts: u32,
    /// Failures of a leaf are worth another attempt.
    pub(crate) retryable: bool,
    /// Its condition is false.
    pub(crate) skipped: bool,
    pub(crate) sleeps: bool,
    pub(crate) ends_list: bool,
    /// How many places ahead in its list `on_success.next` leads.
    pub(crate) next: Option<usize>,
    pub(crate) on_error: Option<usize>,
    /// Time limit of a container, in microseconds after it opened.
    pub(crate) timeout: Option<u64>,
}

#[derive(Debug, Clone)]
pub(crate) enum Body {
    /// Fails so many attempts out of four, by chance.
    Leaf {
        failing: u64,
    },
    /// Leads so many places ahead, or ends the list.
    Router {
        ahead: Option<usize>,
    },
    Parallel {
        children: Vec<Node>,
        end: End,
        workers: u32,
    },
    Collection {
        items: usize,
        child: Box<Node>,
        end: End,
        workers: u32,
        batch: u32,
        sequential: bool,
    },
    Composite {
        children: Vec<Node>,
        explicit: bool,
    },
}

pub(crate) fn programs() -> impl Strategy<Value = Vec<Node>> {
    prop::collection::vec(nodes(), 1..5)
}

fn nodes() -> impl Strategy<Value = Node> {
    let leaf = prop_oneof![
        6 => (0_u64..4).prop_map(|failing| Body::Leaf { failing }),
        1 => prop::option::of(1_usize..3).prop_map(|ahead| Body::Router { ahead }),
    ];
    with_flow(leaf.boxed()).prop_recursive(3, 24, 4, |inner| {
        let children = || prop::collection::vec(inner.clone(), 0..4);
        let end = || prop_oneof![Just(End::WaitAll), Just(End::FailFast), Just(End::BestEffort), Just(End::Race)];
        let parallel = (children(), end(), 1_u32..4).prop_map(|(children, end, workers)| Body::Parallel {
            children,
            end,
            workers,
        });
        let collection = (0_usize..5, inner.clone(), end(), 1_u32..4, 0_u32..3, any::<bool>()).prop_map(
            |(items, child, end, workers, batch, sequential)| Body::Collection {
                items,
                child: Box::new(child),
                end,
                workers,
                batch,
                sequential,
            },
        );
        let composite = (children(), prop::bool::weighted(0.2))
            .prop_map(|(children, explicit)| Body::Composite { children, explicit });
        with_flow(prop_oneof![parallel, collection, composite].boxed())
    })
}

fn with_flow(body: BoxedStrategy<Body>) -> BoxedStrategy<Node> {
    let flags = (
        prop::bool::weighted(0.6),
        prop::bool::weighted(0.1),
        prop::bool::weighted(0.2),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 1_usize..3),
        prop::option::weighted(0.5, 1_usize..3),
        prop::option::weighted(0.35, 1_u64..9_000_000),
    );
    (body, 1_u32..4, flags)
        .prop_map(|(body, attempts, (retryable, skipped, sleeps, ends_list, next, on_error, timeout))| Node {
            body,
            attempts,
            retryable,
            skipped,
            sleeps,
            ends_list,
            next,
            on_error,
            timeout,
        })
        .boxed()
}

impl Node {
    /// Where `ahead` leads from `at` in a list of `length`; transitions that lead out of it are none.
    pub(crate) fn target(ahead: Option<usize>, at: usize, length: usize) -> Option<usize> {
        ahead.map(|ahead| at + ahead).filter(|target| *target < length)
    }

    /// The place a router's route leads to; `Some(None)` ends the list, `None`: it is no router.
    pub(crate) fn route(&self, at: usize, length: usize) -> Option<Option<usize>> {
        match self.body {
            Body::Router { ahead } => Some(Self::target(ahead, at, length)),
            _ => None,
        }
    }

    /// The same without time limits and without strategies that stop children.
    pub(crate) fn without_haste(mut self) -> Self {
        let calm = |end: End| match end {
            End::FailFast => End::WaitAll,
            End::Race => End::BestEffort,
            calm => calm,
        };
        let all = |children: Vec<Self>| children.into_iter().map(Self::without_haste).collect();
        self.timeout = None;
        self.body = match self.body {
            Body::Parallel { children, end, workers } => {
                Body::Parallel { children: all(children), end: calm(end), workers }
            }
            Body::Composite { children, explicit } => Body::Composite { children: all(children), explicit },
            Body::Collection { items, child, end, workers, batch, sequential } => Body::Collection {
                items,
                child: Box::new(child.without_haste()),
                end: calm(end),
                workers,
                batch,
                sequential,
            },
            leaf @ (Body::Leaf { .. } | Body::Router { .. }) => leaf,
        };
        self
    }

    /// `skipped`, which routers cannot be.
    pub(crate) fn is_skipped(&self) -> bool {
        self.skipped && !matches!(self.body, Body::Router { .. })
    }
}

/// Whether `children` lead to the one at `index`, so that fall-through skips it.
pub(crate) fn is_targeted(children: &[Node], index: usize) -> bool {
    let leads = |target: Option<usize>| target == Some(index);
    children.iter().enumerate().any(|(at, node)| {
        let length = children.len();
        leads(Node::target(node.next, at, length))
            || leads(Node::target(node.on_error, at, length))
            || leads(node.route(at, length).flatten())
    })
}

/// Something that looks like chance and is the same for the engine's run and the oracle's.
pub(crate) fn chance(what: &str, place: &str, attempt: u32, below: u64) -> u64 {
    let mut hasher = DefaultHasher::new();
    (what, place, attempt).hash(&mut hasher);
    hasher.finish() % below
}

/// How long something takes, in microseconds: no two things take equally long.
pub(crate) fn duration(what: &str, place: &str, attempt: u32) -> u64 {
    1 + chance(what, place, attempt, 3_000_000)
}

pub(crate) fn plan(nodes: &[Node]) -> Vec<Task> {
    let list = |children: &[Node]| -> Vec<Task> { plan(children) };
    nodes
        .iter()
        .enumerate()
        .map(|(index, node)| {
            let mut task = build::task(&format!("t{index}"), node.attempts);
            task.targeted = is_targeted(nodes, index);
            match &node.body {
                Body::Leaf { .. } => {}
                Body::Router { ahead } => {
                    let target = Node::target(*ahead, index, nodes.len());
                    let condition = serde_json::from_value(
                        serde_json::json!({"cel": {"source": "", "references": [], "place": task.place}}),
                    );
                    let route = target.map_or(Route::End, Route::Task);
                    task.kind =
                        TaskKind::Router(Router { condition: condition.unwrap(), routes: vec![("a".into(), route)] });
                }
                Body::Parallel { children, end, .. } => {
                    task.kind =
                        TaskKind::Parallel(Parallel { tasks: list(children), strategy: *end, max_workers: None });
                }
                Body::Collection { child, end, sequential, .. } => {
                    let mut child = plan(std::slice::from_ref(child)).remove(0);
                    child.id = format!("c{index}");
                    task.kind = TaskKind::Collection(Collection {
                        items: ValueTemplate::List(Vec::new()),
                        filter: None,
                        item_var: None,
                        index_var: None,
                        sequential: *sequential,
                        batch: None,
                        max_workers: None,
                        strategy: *end,
                        child: Box::new(child),
                        child_id: None,
                    });
                }
                Body::Composite { children, explicit } => {
                    task.kind = TaskKind::Composite(Composite { tasks: list(children), explicit: *explicit });
                }
            }
            task
        })
        .collect()
}
