//! Members, and the rule for what is missing (dialect §6.3).

use std::rc::Rc;

use super::{Evaluator, Outcome};
use crate::{
    ast::Segment,
    functions::suggest,
    problem::{Problem, Span},
    value::{Map, Value},
};

/// Keys named in a message at most.
const SHOWN_KEYS: usize = 8;

/// Why a member could not be had.
enum Miss {
    Missing,
    NoMembers,
}

fn member<'v>(value: &'v Value, segment: &Segment) -> Result<&'v Value, Miss> {
    match value {
        Value::Map(map) => map.get(&segment.name).ok_or(Miss::Missing),
        Value::List(list) => match segment.number {
            Some(number) => list.items().get(number).ok_or(Miss::Missing),
            None => Err(Miss::NoMembers),
        },
        Value::Null => Err(Miss::Missing),
        _ => Err(Miss::NoMembers),
    }
}

impl<'a> Evaluator<'a> {
    /// Goes down from `base`. `origin` is the path from the root, or its first names, where that is known; `start` is
    /// where the whole expression begins.
    pub(super) fn members(
        &self,
        base: &Value,
        segments: &[Segment],
        origin: Option<&[&str]>,
        start: usize,
    ) -> Outcome<Value> {
        if let Some(["tasks", id, "output", ..]) = origin
            && let Some(task) = self.task(id)
            && not_run(task)
        {
            return self.task_not_run(id, whole(segments, start));
        }
        let mut value = base;
        for (at, segment) in segments.iter().enumerate() {
            match member(value, segment) {
                Ok(next) => value = next,
                Err(miss) => match self.virtual_member(value, segments, at, origin) {
                    Some(next) => value = next,
                    None => return self.missing(value, segments, at, miss, origin, start),
                },
            }
        }
        Ok(value.clone())
    }

    fn task(&self, id: &str) -> Option<&'a Rc<Map>> {
        let Value::Map(root) = self.root else {
            return None;
        };
        let Some(Value::Map(tasks)) = root.get("tasks") else {
            return None;
        };
        match tasks.get(id) {
            Some(Value::Map(task)) => Some(task),
            _ => None,
        }
    }

    /// Members of a container's output that are no part of it (dialect §5.2): `outputs`, `progress_info`, `<child>` after
    /// its own `outputs` replaced them, `<child>.output`.
    fn virtual_member<'v>(
        &self,
        value: &'v Value,
        segments: &[Segment],
        at: usize,
        origin: Option<&[&str]>,
    ) -> Option<&'v Value>
    where
        'a: 'v,
    {
        let Some(["tasks", id, "output", ..]) = origin else {
            return None;
        };
        let task = self.task(id)?;
        match task.get("type") {
            Some(Value::String(kind)) if matches!(&**kind, "parallel" | "composite" | "collection") => {}
            _ => return None,
        }
        let segment = segments.get(at)?;
        match (&*segment.name, at) {
            ("outputs", 3) => Some(value),
            ("output", 4 | 5) => Some(value),
            ("progress_info", 3) => task.get("progress_info"),
            (child, 3) => {
                let Some(Value::Map(children)) = task.get("children") else {
                    return None;
                };
                let Some(Value::Map(child)) = children.get(child) else {
                    return None;
                };
                child.get("output")
            }
            _ => None,
        }
    }

    fn missing(
        &self,
        value: &Value,
        segments: &[Segment],
        at: usize,
        miss: Miss,
        origin: Option<&[&str]>,
        start: usize,
    ) -> Outcome<Value> {
        let Some(segment) = segments.get(at) else {
            return Ok(Value::Null);
        };
        if &*segment.name == "output"
            && let Value::Map(map) = value
            && let Some(id) = self.waiting_task(map)
        {
            return self.task_not_run(&id, whole(segments, start));
        }
        if self.guard {
            return Ok(Value::Null);
        }
        let parent_end = at.checked_sub(1).and_then(|before| segments.get(before)).map(|before| before.end);
        let span = whole(segments, start);
        match miss {
            Miss::NoMembers => {
                let parent = self.written(start, parent_end.unwrap_or(span.end));
                let message = format!("{parent}: a {} has no members", value.kind());
                Err(Box::new(Problem::new("CZ0403", message, span).help("guard with `if`, or convert first")))
            }
            Miss::Missing if self.leniency.request_is_null && is_request(origin) => Ok(Value::Null),
            Miss::Missing => {
                let path = self.written(start, segment.end);
                let parent = parent_end.map_or("the context", |end| self.written(start, end));
                let message =
                    format!("{path} is missing: '{}' is not in {parent} ({})", segment.name, has(value, &segment.name));
                let whole = self.written(start, span.end);
                let help = format!("fix the name, or add a default: {whole} | default …");
                Err(Box::new(Problem::new("CZ0402", message, span).help(help)))
            }
        }
    }

    /// The id of the task that `map` is the entry of, if that task has not run: tasks are recognised however they were reached.
    fn waiting_task(&self, map: &Rc<Map>) -> Option<Rc<str>> {
        let Value::Map(root) = self.root else {
            return None;
        };
        let Some(Value::Map(tasks)) = root.get("tasks") else {
            return None;
        };
        let same = |task: &Value| matches!(task, Value::Map(task) if Rc::ptr_eq(task, map));
        let (id, _) = tasks.iter().find(|(_, task)| same(task))?;
        not_run(map).then(|| id.clone())
    }

    fn task_not_run(&self, id: &str, span: Span) -> Outcome<Value> {
        if self.guard || self.leniency.not_run_is_null {
            return Ok(Value::Null);
        }
        let path = self.written(span.start, span.end);
        let message = format!("{path}: task '{id}' has not run");
        Err(Box::new(Problem::new("CZ0405", message, span).help("move the task, or guard it with `if` or `default`")))
    }

    fn written(&self, start: usize, end: usize) -> &str {
        self.template.text.get(start..end).unwrap_or_default()
    }
}

fn whole(segments: &[Segment], start: usize) -> Span {
    Span::new(start, segments.last().map_or(start, |segment| segment.end))
}

fn is_request(origin: Option<&[&str]>) -> bool {
    matches!(origin, Some(["payload" | "headers" | "query", ..]))
}

fn not_run(task: &Map) -> bool {
    let pending = matches!(task.get("status"), Some(Value::String(status)) if &**status == "PENDING");
    pending || matches!(task.get("skipped"), Some(Value::Bool(true)))
}

/// What there is instead of `wanted`: near keys first.
fn has(value: &Value, wanted: &str) -> String {
    match value {
        Value::Map(map) if map.is_empty() => "it is empty".into(),
        Value::Map(map) => {
            let keys = map.sorted().into_iter().map(|(key, _)| &**key);
            let keys = suggest::nearest(wanted, keys, SHOWN_KEYS);
            let more = if map.len() > keys.len() { ", …" } else { "" };
            format!("has: {}{more}", keys.join(", "))
        }
        Value::List(list) => match list.items().len() {
            0 => "it is empty".into(),
            count => format!("has: 0 to {}", count - 1),
        },
        _ => "it is null".into(),
    }
}
