//! Which task comes next in a list (dialect §4.2).

use compozy_lang::plan::{Task, TaskIndex};

use crate::event::{Rendered, Target};

/// Where the flow goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// To this task.
    Task(TaskIndex),
    /// Nowhere: the list ends.
    End,
    /// A rendered `next` names no task of the list.
    Unknown(String),
}

/// After `current` ended with SUCCESS.
#[must_use]
pub fn after_success(
    tasks: &[Task],
    explicit: bool,
    current: TaskIndex,
    ends_list: bool,
    transition: &Rendered,
) -> Next {
    if ends_list {
        return Next::End;
    }
    match &transition.next {
        Some(Target::Task(index)) => Next::Task(*index),
        Some(Target::Unknown(id)) => Next::Unknown(id.clone()),
        None if explicit => Next::End,
        None => fall_through(tasks, current),
    }
}

/// The next task later in the list that no transition targets.
fn fall_through(tasks: &[Task], current: TaskIndex) -> Next {
    let later = tasks.iter().enumerate().skip(current + 1);
    later.into_iter().find(|(_, task)| !task.targeted).map_or(Next::End, |(index, _)| Next::Task(index))
}
