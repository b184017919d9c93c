//! Tasks that follow each other: the workflow's own list and composites.

use compozy_lang::plan::{Task, TaskIndex, TaskKind};
use serde_json::Value;

use super::step::Begin;
use super::{Turn, internal};
use crate::command::Command;
use crate::error::StepError;
use crate::json::Json;
use crate::opening::Closing;
use crate::record::Record;
use crate::state::StepKey;
use crate::status::Status;

impl<'a> Turn<'a> {
    /// The tasks of a list, and whether it follows only written transitions.
    pub(super) fn list(&self, parent: Option<&StepKey>) -> (&'a [Task], bool) {
        let Some(parent) = parent else { return (&self.plan.tasks, self.plan.explicit) };
        let task = self.state.steps.at(parent).and_then(|step| self.plan.task(&step.address));
        match task {
            Some(task) => {
                let explicit = matches!(&task.kind, TaskKind::Composite(composite) if composite.explicit);
                (task.children(), explicit)
            }
            None => (&[], false),
        }
    }

    /// Begins the task at `index` of a list.
    pub(super) fn begin_in_list(
        &mut self,
        parent: Option<StepKey>,
        index: TaskIndex,
        overlay: Option<Value>,
        cause: Option<StepError>,
    ) {
        let (tasks, _) = self.list(parent.as_ref());
        let Some(task) = tasks.get(index) else {
            return self.end(Status::Failed, internal("the plan has no such task"));
        };
        let above = parent.as_ref().and_then(|parent| self.state.steps.at(parent));
        let mut address = above.map(|step| step.address.clone()).unwrap_or_default();
        address.push(index);
        self.begin(Begin { parent, address, id: task.id.clone(), index: None, overlay, cause });
    }

    /// A list ended well with the step `last`.
    pub(super) fn end_list(&mut self, last: &StepKey, parent: Option<StepKey>) {
        match parent {
            Some(parent) => self.close(&parent, Closing::success()),
            None => {
                let last = self.state.steps.at(last).and_then(|step| step.address.first().copied());
                self.state.ended_with = last.or(Some(0));
                self.command(Command::RenderOutputs);
            }
        }
    }

    pub(super) fn outputs_rendered(&mut self, outputs: Result<Json, StepError>) {
        if self.state.ended_with.is_none() {
            return;
        }
        match outputs {
            Ok(output) => {
                self.state.output = Some(output);
                self.state.status = Status::Success;
                self.record(Record::Complete);
                self.disarm_all();
            }
            Err(error) => self.end(Status::Failed, error),
        }
    }
}
