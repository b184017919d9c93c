//! Tasks that hold tasks: parallel, collection, composite; and aggregate, which only renders.

use crate::plan::{Strategy, Template, TemplateMode, Typed, ValueTemplate};
use crate::yaml::Node;

use crate::document::Name;
use crate::document::fields::Fields;
use crate::document::reader::Reader;

use super::{Body, Flow, Naming, Retry, Task, TaskList, Transition};

/// Largest number of workers or size of a wave that makes sense to write.
const MOST: u32 = 1_000_000;

/// `type: parallel`.
#[derive(Debug)]
pub(crate) struct Parallel {
    pub(crate) list: TaskList,
    pub(crate) strategy: Strategy,
    pub(crate) max_workers: Option<Typed<u32>>,
}

/// `type: collection`.
#[derive(Debug)]
pub(crate) struct Collection {
    pub(crate) items: ValueTemplate,
    pub(crate) filter: Option<Template>,
    pub(crate) item_var: Option<String>,
    pub(crate) index_var: Option<String>,
    pub(crate) sequential: bool,
    pub(crate) batch: Option<Typed<u32>>,
    pub(crate) max_workers: Option<Typed<u32>>,
    pub(crate) strategy: Strategy,
    /// The child; behind it tasks written in its routes, which have no place here.
    pub(crate) child: Vec<Task>,
}

impl Reader<'_> {
    pub(super) fn parallel(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Parallel> {
        let list = fields.get("tasks").map(|node| {
            self.with_names(&["parent"], |reader| reader.task_list(node, &fields.at("tasks"), Flow::Sequential))
        });
        let strategy = self.strategy(fields);
        let max_workers = self.typed_count(fields, "max_workers", MOST);
        match list {
            Some(list) if !list.tasks.is_empty() || !list.is_complete => Some(Parallel { list, strategy, max_workers }),
            _ => {
                self.needs("parallel", id, "tasks", "add at least one task");
                None
            }
        }
    }

    pub(super) fn composite(&mut self, fields: &Fields<'_>) -> TaskList {
        if fields.get("strategy").is_some() {
            let message =
                format!("'{}' has no effect: a composite runs its tasks one after the other", fields.at("strategy"));
            let problem = fields.diagnostic("strategy", "CZ0109", message);
            self.report(
                problem.severity(crate::diagnostic::Severity::Warning).help("remove it, or write type: parallel"),
            );
        }
        let flow = match self.choice(fields, "flow") {
            Some("explicit") => Flow::Explicit,
            _ => Flow::Sequential,
        };
        let Some(node) = fields.get("tasks") else { return TaskList { flow, ..TaskList::default() } };
        self.with_names(&["parent"], |reader| reader.task_list(node, &fields.at("tasks"), flow))
    }

    pub(super) fn aggregate(&mut self, fields: &Fields<'_>, id: &Name) -> bool {
        let has_outputs = fields.get("outputs").is_some() || fields.get("output").is_some_and(super::holds_template);
        if !has_outputs {
            self.needs("aggregate", id, "outputs", "add it: templates over .tasks");
        }
        has_outputs
    }

    pub(super) fn collection(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Collection> {
        let item_var = self.variable(fields, "item_var");
        let index_var = self.variable(fields, "index_var");
        let names: Vec<&str> =
            ["item", "index"].into_iter().chain(item_var.as_deref()).chain(index_var.as_deref()).collect();
        let items = self.field_templates(fields, "items");
        if items.is_none() {
            self.needs("collection", id, "items", "add it: a list, a range such as 1..5, or a template");
        }
        let filter = self.with_names(&names, |reader| {
            let node = fields.get("filter")?;
            reader.template(node, &fields.at("filter"), TemplateMode::Guard)
        });
        let sequential = self.choice(fields, "mode") == Some("sequential");
        let batch = self.typed_count(fields, "batch", MOST);
        let max_workers = self.typed_count(fields, "max_workers", MOST);
        let strategy = self.strategy(fields);
        let names: Vec<&str> = names.into_iter().chain(["parent"]).collect();
        let child = self.with_names(&names, |reader| reader.collection_child(fields, id))?;
        Some(Collection { items: items?, filter, item_var, index_var, sequential, batch, max_workers, strategy, child })
    }

    /// `task`, or `tasks` as a composite; `None`: both or none (reported).
    fn collection_child(&mut self, fields: &Fields<'_>, id: &Name) -> Option<Vec<Task>> {
        match (fields.get("task"), fields.get("tasks")) {
            (Some(node), None) => Some(self.task(node, &fields.at("task"), Naming::Child(&id.text))),
            (None, Some(node)) => {
                let list = self
                    .with_names(&["parent"], |reader| reader.task_list(node, &fields.at("tasks"), Flow::Sequential));
                Some(vec![composite_of(list, id, node)])
            }
            (None, None) => {
                self.needs("collection", id, "task", "add task: or tasks:, what is done with every item");
                None
            }
            (Some(_), Some(_)) => {
                let message = format!("collection task '{}' needs one of 'task' and 'tasks', not both", id.text);
                let problem = fields.diagnostic("tasks", "CZ0309", message);
                self.report(problem.related(fields.place("task"), "'task' is here").help("remove one"));
                None
            }
        }
    }

    /// A further name of `.item` or `.index`.
    fn variable(&mut self, fields: &Fields<'_>, name: &str) -> Option<String> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        let text = self.text_of(node, &path)?;
        let mut letters = text.chars();
        let is_name = letters.next().is_some_and(|first| first.is_ascii_alphabetic() || first == '_')
            && letters.all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
            && text.len() <= 64;
        if !is_name {
            self.expected_text(node, &path, "a name of letters, digits and _", &text);
            return None;
        }
        if crate::cel::ROOTS.contains(&text.as_str()) && !matches!(text.as_str(), "item" | "index") {
            self.expected_text(node, &path, "a name that is no variable yet", &text);
            return None;
        }
        Some(text)
    }

    fn strategy(&mut self, fields: &Fields<'_>) -> Strategy {
        match self.choice(fields, "strategy") {
            Some("fail_fast") => Strategy::FailFast,
            Some("best_effort") => Strategy::BestEffort,
            Some("race") => Strategy::Race,
            _ => Strategy::WaitAll,
        }
    }
}

/// The composite that `tasks` of a collection stands for.
fn composite_of(list: TaskList, id: &Name, node: &Node) -> Task {
    Task {
        id: id.clone(),
        id_template: None,
        body: Some(Body::Composite(list)),
        with: None,
        input: None,
        output: None,
        outputs: None,
        env: Default::default(),
        condition: None,
        on_success: Transition::default(),
        on_error: None,
        sleep: None,
        is_final: None,
        timeout: None,
        retry: Retry::default(),
        bindings: Vec::new(),
        memories: Vec::new(),
        tools: Vec::new(),
        unsupported: Vec::new(),
        router: None,
        node: node.clone(),
    }
}
