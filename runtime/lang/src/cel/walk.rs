//! What an expression refers to, and the values it can have.

use std::collections::BTreeSet;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SourceInfo, operators};

use super::{FUNCTIONS, MACROS, MAX_DEPTH, Names, Problem, ROOTS, TYPES};
use crate::suggest;

/// A walk over an expression.
pub(super) struct Walk<'e> {
    pub(super) source: &'e str,
    pub(super) info: &'e SourceInfo,
    pub(super) names: Names<'e>,
    /// Variables of the macros around.
    pub(super) locals: Vec<String>,
    pub(super) paths: BTreeSet<Vec<String>>,
    pub(super) problems: Vec<Problem>,
}

impl Walk<'_> {
    /// Collects the references of an expression. False: it is nested too deep.
    pub(super) fn visit(&mut self, node: &IdedExpr, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        if let Some((root, path)) = path_of(node, depth) {
            self.reference(root, path);
            // What indexes the way, as in `a[b.c]`, refers to variables of its own.
            return self.indexes(node, depth);
        }
        let depth = depth + 1;
        match &node.expr {
            Expr::Call(call) => {
                self.function(node, &call.func_name);
                call.target.as_deref().into_iter().chain(&call.args).all(|part| self.visit(part, depth))
            }
            Expr::Comprehension(loops) => {
                let outside = self.visit(&loops.iter_range, depth) && self.visit(&loops.accu_init, depth);
                let before = self.locals.len();
                self.locals.extend([loops.iter_var.clone(), loops.accu_var.clone()]);
                self.locals.extend(loops.iter_var2.clone());
                let parts = [&loops.loop_cond, &loops.loop_step, &loops.result];
                let inside = outside && parts.into_iter().all(|part| self.visit(part, depth));
                self.locals.truncate(before);
                inside
            }
            Expr::List(list) => list.elements.iter().all(|part| self.visit(part, depth)),
            Expr::Map(map) => map.entries.iter().all(|entry| self.entry(&entry.expr, depth)),
            Expr::Struct(object) => {
                let message = format!("CEL: messages such as '{}' cannot be made here", object.type_name);
                self.problem("CZ0409", node, object.type_name.len(), message, None);
                object.entries.iter().all(|entry| self.entry(&entry.expr, depth))
            }
            Expr::Select(select) => self.visit(&select.operand, depth),
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => true,
        }
    }

    fn entry(&mut self, entry: &EntryExpr, depth: usize) -> bool {
        match entry {
            EntryExpr::MapEntry(entry) => self.visit(&entry.key, depth) && self.visit(&entry.value, depth),
            EntryExpr::StructField(field) => self.visit(&field.value, depth),
        }
    }

    /// Visits the computed indexes along a path.
    fn indexes(&mut self, node: &IdedExpr, depth: usize) -> bool {
        if depth > MAX_DEPTH {
            return false;
        }
        match &node.expr {
            Expr::Select(select) => self.indexes(&select.operand, depth + 1),
            Expr::Call(call) => match call.args.as_slice() {
                [operand, index] => self.visit(index, depth + 1) && self.indexes(operand, depth + 1),
                _ => true,
            },
            _ => true,
        }
    }

    /// Notes a path, and names a root or a task that does not exist.
    fn reference(&mut self, root: &IdedExpr, path: Vec<String>) {
        let Some(name) = path.first() else { return };
        if self.locals.contains(name) || (path.len() == 1 && TYPES.contains(&name.as_str())) {
            return;
        }
        let more: Vec<&str> = self.names.more.iter().map(String::as_str).filter(|more| !ROOTS.contains(more)).collect();
        if !ROOTS.contains(&name.as_str()) && !more.contains(&name.as_str()) {
            let known: Vec<&str> = ROOTS.iter().copied().chain(more).collect();
            let near = suggest::nearest(name, known.iter().copied());
            let near = near.map(|near| format!(". Did you mean '{near}'?")).unwrap_or_default();
            let message = format!("unknown variable '{name}' in an expression{near}");
            self.problem("CZ0407", root, name.len(), message, Some(format!("variables: {}", known.join(", "))));
            return;
        }
        if let (Some(ids), Some(task)) = (self.names.tasks, path.get(1).filter(|_| name == "tasks"))
            && !ids.contains(task)
        {
            let near = suggest::nearest(task, ids.iter().map(String::as_str));
            let near = near.map(|near| format!(". Did you mean 'tasks.{near}'?")).unwrap_or_default();
            let message = format!("unknown variable 'tasks.{task}' in an expression{near}");
            self.problem("CZ0407", root, name.len(), message, Some(format!("tasks here: {}", ids.join(", "))));
            return;
        }
        self.paths.insert(path);
    }

    fn function(&mut self, node: &IdedExpr, name: &str) {
        let is_operator = !name.starts_with(|first: char| first.is_ascii_alphabetic());
        if is_operator || FUNCTIONS.contains(&name) {
            return;
        }
        let known = FUNCTIONS.iter().chain(MACROS).copied();
        let near = suggest::nearest(name, known).map(|near| format!(". Did you mean '{near}'?")).unwrap_or_default();
        let help = match MACROS.contains(&name) {
            true => format!("'{name}' is a macro: look at its arguments"),
            false => "among others there are size, contains, startsWith, endsWith, matches, int, double, string, has, all, exists, map, filter".to_owned(),
        };
        let message = format!("CEL: unknown function '{name}'{near}");
        // The place of a call is its bracket, right behind the name.
        let end = self.place(node).0;
        let start = self.source.get(..end).and_then(|before| before.rfind(name)).unwrap_or(end);
        self.problems.push(Problem { code: "CZ0409", message, help: Some(help), start, end: start + name.len() });
    }

    fn problem(&mut self, code: &'static str, node: &IdedExpr, length: usize, message: String, help: Option<String>) {
        let (start, _) = self.place(node);
        let end = (start + length).min(self.source.len());
        self.problems.push(Problem { code, message, help, start, end: end.max(start) });
    }

    /// Where a node is written, in bytes.
    fn place(&self, node: &IdedExpr) -> (usize, usize) {
        let (first, last) = self.info.offset_for(node.id).unwrap_or_default();
        let within = |at: u32| usize::try_from(at).unwrap_or(usize::MAX).min(self.source.len());
        (within(first), within(last))
    }
}

/// The root and the fixed members of `a.b["c"]`; a computed index ends what is fixed.
fn path_of(node: &IdedExpr, depth: usize) -> Option<(&IdedExpr, Vec<String>)> {
    if depth > MAX_DEPTH {
        return None;
    }
    match &node.expr {
        Expr::Ident(name) => Some((node, vec![name.clone()])),
        Expr::Select(select) => extend(path_of(&select.operand, depth + 1)?, &select.operand, Some(&select.field)),
        Expr::Call(call)
            if matches!(call.func_name.as_str(), operators::INDEX | operators::OPT_INDEX | operators::OPT_SELECT) =>
        {
            let [operand, index] = call.args.as_slice() else { return None };
            let member = match &index.expr {
                Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
                _ => None,
            };
            extend(path_of(operand, depth + 1)?, operand, member)
        }
        _ => None,
    }
}

/// `path` of `operand` with one more member, when all of it was fixed so far.
fn extend<'e>(
    (root, mut path): (&'e IdedExpr, Vec<String>),
    operand: &IdedExpr,
    member: Option<&str>,
) -> Option<(&'e IdedExpr, Vec<String>)> {
    if levels(operand) == path.len()
        && let Some(member) = member
    {
        path.push(member.to_owned());
    }
    Some((root, path))
}

/// Accesses of an expression, the root counted as one.
fn levels(node: &IdedExpr) -> usize {
    let mut count = 1;
    let mut node = node;
    loop {
        node = match &node.expr {
            Expr::Select(select) => &select.operand,
            Expr::Call(call) => match call.args.first() {
                Some(operand) => operand,
                None => return count,
            },
            _ => return count,
        };
        count += 1;
    }
}

/// Paths that lie in no other of them.
pub(super) fn outermost(paths: BTreeSet<Vec<String>>) -> Vec<Vec<String>> {
    let mut kept: Vec<Vec<String>> = Vec::new();
    for path in paths {
        if !kept.last().is_some_and(|before| path.starts_with(before)) {
            kept.push(path);
        }
    }
    kept
}

/// Every value an expression can have, as a route key; `None`: unknown.
pub(super) fn outcomes(node: &IdedExpr) -> Option<Vec<String>> {
    match &node.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(vec![text.inner().to_owned()]),
        Expr::Literal(LiteralValue::Boolean(truth)) => Some(vec![truth.inner().to_string()]),
        Expr::Select(select) if select.test => Some(vec!["true".into(), "false".into()]),
        Expr::Call(call) => match (call.func_name.as_str(), call.args.as_slice()) {
            (operators::CONDITIONAL, [_, yes, no]) => {
                let mut all = outcomes(yes)?;
                all.extend(outcomes(no)?);
                Some(all)
            }
            (
                operators::EQUALS
                | operators::NOT_EQUALS
                | operators::GREATER
                | operators::GREATER_EQUALS
                | operators::LESS
                | operators::LESS_EQUALS
                | operators::LOGICAL_AND
                | operators::LOGICAL_OR
                | operators::LOGICAL_NOT
                | operators::IN,
                _,
            ) => Some(vec!["true".into(), "false".into()]),
            _ => None,
        },
        _ => None,
    }
}
