//! `define`, `template` and `block`.

use std::rc::Rc;

use super::{Parser, Scope};
use crate::{
    ast::{Body, Node},
    lexer::Kind,
    problem::{Problem, Span},
};

impl Parser<'_> {
    fn name(&mut self, what: &str) -> Result<Rc<str>, Problem> {
        match self.peek().clone() {
            Kind::String(name) => {
                self.at += 1;
                Ok(name)
            }
            _ => Err(self.unexpected(&format!("in {what}; it needs a name in quotes"))),
        }
    }

    pub(super) fn template(&mut self, start: Span) -> Result<Node, Problem> {
        let name = self.name("template")?;
        let span = start.to(self.before());
        self.called.push((name.clone(), span));
        let argument = match self.peek() {
            Kind::Close => None,
            _ => Some(self.pipeline("in template")?),
        };
        self.close("in template")?;
        Ok(Node::Template { name, argument, span })
    }

    pub(super) fn block(&mut self, open: Span, start: Span) -> Result<Node, Problem> {
        let name = self.name("block")?;
        let span = start.to(self.before());
        let argument = Some(self.pipeline("in block")?);
        self.close("in block")?;
        self.definition(name.clone(), "block", open)?;
        Ok(Node::Template { name, argument, span })
    }

    pub(super) fn define(&mut self, open: Span) -> Result<(), Problem> {
        self.at += 1;
        self.enter()?;
        let name = self.name("define")?;
        self.close("in define")?;
        self.definition(name, "define", open)?;
        self.depth -= 1;
        Ok(())
    }

    fn definition(&mut self, name: Rc<str>, what: &str, open: Span) -> Result<(), Problem> {
        let outer = std::mem::replace(&mut self.scope, Scope::defined());
        let nodes = self.last_body(what, open)?;
        let scope = std::mem::replace(&mut self.scope, outer);
        let body = Body { nodes, slots: scope.slots };
        if self.defined.insert(name.clone(), body).is_some() {
            return Err(Problem::syntax(format!("template '{name}' is defined twice"), open));
        }
        Ok(())
    }

    pub(super) fn check_called(&mut self) {
        for (name, span) in std::mem::take(&mut self.called) {
            if !self.defined.contains_key(&name) {
                let reason = format!("template '{name}' is not defined");
                self.problems
                    .push(Problem::syntax(reason, span).help("define it in the same scalar with {{ define }}"));
            }
        }
    }
}
