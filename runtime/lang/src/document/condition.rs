//! Conditions: CEL, or a template when the text holds an action.

use crate::diagnostic::Diagnostic;
use crate::interpolate::decoded_range;
use crate::plan::{Cel, Expression, TemplateMode};
use crate::yaml::Node;
use crate::yaml::raw::Places;

use super::reader::Reader;

/// Every value that an expression can have, where that can be told.
pub(crate) type Outcomes = Option<Vec<String>>;

impl Reader<'_> {
    /// A condition; `mode` says how a template is read. `None`: it is wrong (reported).
    pub(crate) fn expression(&mut self, node: &Node, path: &str, mode: TemplateMode) -> Option<(Expression, Outcomes)> {
        if node.scalar().is_some_and(|scalar| scalar.text.contains("{{")) {
            return self.template(node, path, mode).map(|template| (Expression::Template(template), None));
        }
        self.cel(node, path).map(|(cel, outcomes)| (Expression::Cel(cel), outcomes))
    }

    /// A CEL expression. Its variables of the environment are filled in now: it is compiled now.
    pub(crate) fn cel(&mut self, node: &Node, path: &str) -> Option<(Cel, Outcomes)> {
        if node.scalar().is_none() {
            self.expected(node, path, "an expression");
            return None;
        }
        let filled = self.fill(node, path)?;
        let more = self.site.names.clone();
        let ids = std::mem::take(&mut self.task_ids);
        let tasks = self.site.workflow.is_some().then_some(ids.as_slice());
        let compiled = crate::cel::compile(&filled.text, crate::cel::Names { more: &more, tasks });
        self.task_ids = ids;
        match compiled {
            Ok(compiled) => {
                let cel = Cel { source: filled.text, references: compiled.references, place: node.place() };
                Some((cel, compiled.outcomes))
            }
            Err(problems) => {
                let (_, _, runs) = self.parts(node).fill(self.environment);
                let places = Places::of(node);
                for problem in problems {
                    let (start, end) = decoded_range(&runs, problem.start, problem.end);
                    let (place, length) = places.at(start, end);
                    let mut found = Diagnostic::error(problem.code, problem.message, place).length(length).path(path);
                    found.help = problem.help;
                    self.report(found);
                }
                None
            }
        }
    }
}
