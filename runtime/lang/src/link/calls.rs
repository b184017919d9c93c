//! Workflows that call workflows: no cycles, and not too many inside each other (CZ0313).

use std::collections::BTreeMap;

use crate::document::Name;

use super::Linker;

/// A call of one workflow by a task of another.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) from: String,
    /// The id as written in the task.
    pub(super) to: Name,
}

/// How far a workflow is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mark {
    /// It is on the way.
    Open,
    /// Everything below it is known: the longest chain of calls.
    Done(usize),
}

impl Linker<'_> {
    /// Checks the calls between all workflows.
    pub(super) fn calls(&mut self) {
        let mut by_caller: BTreeMap<String, Vec<Call>> = BTreeMap::new();
        for call in std::mem::take(&mut self.calls) {
            by_caller.entry(call.from.clone()).or_default().push(call);
        }
        let mut marks: BTreeMap<String, Mark> = BTreeMap::new();
        for start in by_caller.keys() {
            self.follow(start, &by_caller, &mut marks);
        }
    }

    /// Looks at everything that `start` calls. Chains may be long: the way is kept here and not on the stack.
    fn follow(&mut self, start: &str, calls: &BTreeMap<String, Vec<Call>>, marks: &mut BTreeMap<String, Mark>) {
        let most = self.settings.limits.max_sub_workflow_depth as usize;
        if marks.contains_key(start) {
            return;
        }
        let mut way: Vec<(&str, usize, usize)> = vec![(start, 0, 0)];
        marks.insert(start.to_owned(), Mark::Open);
        while let Some((id, position, depth)) = way.last().copied() {
            let Some(call) = calls.get(id).and_then(|calls| calls.get(position)) else {
                way.pop();
                marks.insert(id.to_owned(), Mark::Done(depth));
                // Longer chains hold one of exactly this length.
                if depth == most + 1 {
                    self.too_deep(id, depth, calls, marks);
                }
                if let Some((_, _, above)) = way.last_mut() {
                    *above = (*above).max(depth + 1);
                }
                continue;
            };
            if let Some((_, position, _)) = way.last_mut() {
                *position += 1;
            }
            match marks.get(&call.to.text).copied() {
                None => {
                    marks.insert(call.to.text.clone(), Mark::Open);
                    way.push((&call.to.text, 0, 0));
                }
                Some(Mark::Open) => {
                    let begin = way.iter().position(|(id, ..)| *id == call.to.text).unwrap_or_default();
                    let chain: Vec<&str> =
                        way.iter().skip(begin).map(|(id, ..)| *id).chain([call.to.text.as_str()]).collect();
                    let message = format!("'{}' calls itself: {}", call.to.text, super::chain(&chain));
                    self.report(call.to.diagnostic("CZ0313", message).help("break the cycle"));
                }
                Some(Mark::Done(below)) => {
                    if let Some((_, _, depth)) = way.last_mut() {
                        *depth = (*depth).max(below + 1);
                    }
                }
            }
        }
    }

    /// More workflows inside each other than `limits.max_sub_workflow_depth`.
    fn too_deep(
        &mut self,
        id: &str,
        depth: usize,
        calls: &BTreeMap<String, Vec<Call>>,
        marks: &BTreeMap<String, Mark>,
    ) {
        let mut chain = vec![id];
        let mut place = None;
        let (mut at, mut below) = (id, depth);
        while below > 0 {
            below -= 1;
            let deepest = |call: &&Call| marks.get(&call.to.text) == Some(&Mark::Done(below));
            let Some(call) = calls.get(at).and_then(|calls| calls.iter().find(deepest)) else { break };
            place.get_or_insert(&call.to);
            chain.push(&call.to.text);
            at = &call.to.text;
        }
        let Some(name) = place else { return };
        let most = depth - 1;
        let message = format!("'{id}' has more than {most} workflows inside each other: {}", super::chain(&chain));
        let problem = name.diagnostic("CZ0313", message);
        self.report(problem.help("make the chain shorter, or raise limits.max_sub_workflow_depth"));
    }
}
