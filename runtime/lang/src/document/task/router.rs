//! Routers: a condition gives the key of the route.

use crate::plan::{Expression, TemplateMode};
use crate::yaml::{Entry, Node};

use crate::document::Name;
use crate::document::fields::Fields;
use crate::document::reader::Reader;

use super::{Naming, Task};

/// A router as written.
#[derive(Debug)]
pub(crate) struct Router {
    /// Gives the route key.
    pub(crate) condition: Expression,
    /// Every key the condition can give, where that can be told.
    pub(crate) outcomes: Option<Vec<String>>,
    /// The condition.
    pub(crate) node: Node,
    /// Route keys in the order written.
    pub(crate) routes: Vec<(String, RouteRef)>,
}

/// Where a route leads.
#[derive(Debug)]
pub(crate) enum RouteRef {
    /// To a task of the list, or one that is written in place.
    Task(Name),
    /// To a task in place that could not be read (reported).
    Unreadable,
    /// Nowhere.
    End,
}

impl Reader<'_> {
    /// What only a router has; the tasks written in its routes go into `inline`.
    pub(super) fn router(&mut self, fields: &Fields<'_>, id: &Name, inline: &mut Vec<Task>) -> Option<Router> {
        if fields.get("action").is_some() {
            let message = format!("'{}' is accepted and has no effect here", fields.at("action"));
            let problem = fields.diagnostic("action", "CZ0109", message);
            self.report(problem.severity(crate::diagnostic::Severity::Note));
        }
        let routes = self.routes(fields, id, inline);
        let Some(node) = fields.get("condition") else {
            self.needs("router", id, "condition", "add it: CEL or a template that gives a route key");
            return None;
        };
        let (condition, outcomes) = self.expression(node, &fields.at("condition"), TemplateMode::Text)?;
        Some(Router { condition, outcomes, node: node.clone(), routes: routes? })
    }

    fn routes(&mut self, fields: &Fields<'_>, id: &Name, inline: &mut Vec<Task>) -> Option<Vec<(String, RouteRef)>> {
        let mut routes = Vec::new();
        let mut default: Option<&Entry> = None;
        if let Some(node) = fields.get("routes") {
            let path = fields.at("routes");
            let Some(entries) = node.entries() else {
                self.expected(node, &path, "a map of routes");
                return None;
            };
            for entry in entries {
                if self.is_directive(entry, &path) {
                    continue;
                }
                if &*entry.key == "default" {
                    default = Some(entry);
                }
                routes.push((entry.key.to_string(), self.route(&entry.key, &entry.value, &path, id, inline)));
            }
        }
        if let Some(entry) = fields.entry("default") {
            match default {
                Some(first) => {
                    let first = Entry { key: "routes.default".into(), ..first.clone() };
                    self.second_spelling(&first, entry);
                }
                None => routes
                    .push(("default".into(), self.route("default", &entry.value, &fields.at("default"), id, inline))),
            }
        }
        if routes.is_empty() {
            self.needs("router", id, "routes", "add it: route keys and the tasks they lead to");
            return None;
        }
        Some(routes)
    }

    fn route(&mut self, key: &str, node: &Node, path: &str, id: &Name, inline: &mut Vec<Task>) -> RouteRef {
        if node.is_null() {
            return RouteRef::End;
        }
        let path = format!("{path}.{key}");
        if node.entries().is_none() {
            return match self.name_of(node, &path) {
                Some(name) => RouteRef::Task(name),
                None => RouteRef::Unreadable,
            };
        }
        let default_id = format!("{}-{key}", id.text);
        let mut read = self.task(node, &path, Naming::Or(&default_id)).into_iter();
        let Some(mut first) = read.next() else { return RouteRef::Unreadable };
        first.router = Some(id.text.clone());
        let name = first.id.clone();
        inline.push(first);
        inline.extend(read);
        RouteRef::Task(name)
    }
}
