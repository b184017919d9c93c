//! Which variables a template refers to, so that a render is sent only those.
//!
//! Reported are paths from the root context. `.` inside a body that rebinds it stands for a value that was reported where
//! the body begins, always as a whole.

use std::rc::Rc;

use crate::{
    ast::{Base, Call, Expression, Node, Path, Pipeline, Template},
    source::Reference,
    value::Value,
};

/// The references of `template`, in order of appearance; `guarded` says that all of it is a guard expression.
pub(crate) fn collect(template: &Template, guarded: bool) -> Vec<Reference> {
    let mut collector = Collector { references: Vec::new(), guarded };
    collector.nodes(&template.body.nodes);
    for body in template.defined.values() {
        collector.nodes(&body.nodes);
    }
    let mut references = collector.references;
    references.sort_by_key(|reference| reference.span.start);
    references
}

/// The root path `expression` is equal to: a path, members of one, or `index` and its kin with literal keys.
pub(crate) fn path_of(expression: &Expression) -> Option<Vec<Rc<str>>> {
    match expression {
        Expression::Path(path) if path.from_root => Some(names(path)),
        Expression::Member(member) => member.path.clone(),
        Expression::Call(call) => path_of_call(call),
        _ => None,
    }
}

fn names(path: &Path) -> Vec<Rc<str>> {
    path.segments.iter().map(|segment| segment.name.clone()).collect()
}

fn path_of_call(call: &Call) -> Option<Vec<Rc<str>>> {
    if !matches!(call.function.name, "index" | "get" | "hasKey") {
        return None;
    }
    let (map, keys) = call.arguments.split_first()?;
    let mut path = path_of(map)?;
    for key in keys {
        match key {
            Expression::Literal(Value::String(key)) => path.push(key.clone()),
            _ => return None,
        }
    }
    Some(path)
}

struct Collector {
    references: Vec<Reference>,
    guarded: bool,
}

impl Collector {
    fn within(&mut self, guarded: bool, visit: impl FnOnce(&mut Collector)) {
        let outer = self.guarded;
        self.guarded |= guarded;
        visit(self);
        self.guarded = outer;
    }

    fn nodes(&mut self, nodes: &[Node]) {
        for node in nodes {
            self.node(node);
        }
    }

    fn node(&mut self, node: &Node) {
        match node {
            Node::Text { .. } | Node::Break | Node::Continue => {}
            Node::Action(pipeline) => self.pipeline(pipeline),
            Node::If(branches) | Node::With(branches) => {
                for (condition, body) in &branches.branches {
                    self.within(true, |this| this.pipeline(condition));
                    self.nodes(body);
                }
                self.nodes(&branches.otherwise);
            }
            Node::Range(range) => {
                self.pipeline(&range.over);
                self.nodes(&range.body);
                self.nodes(&range.otherwise);
            }
            Node::Template { argument, .. } => {
                if let Some(argument) = argument {
                    self.pipeline(argument);
                }
            }
        }
    }

    fn pipeline(&mut self, pipeline: &Pipeline) {
        for command in &pipeline.commands {
            self.within(command.guarded, |this| this.expression(&command.expression));
        }
    }

    fn expression(&mut self, expression: &Expression) {
        match expression {
            Expression::Literal(_) => {}
            Expression::Path(path) => self.path(path),
            Expression::Group(pipeline) => self.pipeline(pipeline),
            Expression::Member(member) => match &member.path {
                Some(path) => self.report(path.clone(), member.span),
                None => self.expression(&member.of),
            },
            Expression::Call(call) => self.within(call.function.guard, |this| this.call(call)),
        }
    }

    fn path(&mut self, path: &Path) {
        let root_dot = path.from_root && matches!(path.base, Base::Dot | Base::Variable(0));
        if root_dot {
            self.report(names(path), path.span);
        }
    }

    fn call(&mut self, call: &Call) {
        match (path_of_call(call), call.arguments.first()) {
            (Some(path), Some(Expression::Path(map))) => self.report(path, map.span),
            (Some(path), Some(Expression::Member(map))) => self.report(path, map.span),
            _ => call.arguments.iter().for_each(|argument| self.expression(argument)),
        }
    }

    fn report(&mut self, path: Vec<Rc<str>>, span: crate::problem::Span) {
        self.references.push(Reference { path, whole: true, guarded: self.guarded, span });
    }
}
