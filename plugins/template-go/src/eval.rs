//! Runs a parsed template: nodes here, expressions in `eval/expressions.rs`, members and what is missing in `eval/lookup.rs`.

use std::rc::Rc;

use crate::{
    ast::{Body, Branches, Node, Opening, Pipeline, Range, Template},
    functions::Host,
    json, print,
    problem::{Fail, Problem, Span},
    source::{Ambient, Leniency, Limits, Mode},
    value::{Value, float_to_int},
};

mod expressions;
mod lookup;

/// Boxed, so that results stay small on the way up.
pub(crate) type Outcome<T> = Result<T, Box<Problem>>;

/// Everything a render needs beside the template.
#[derive(Debug)]
pub(crate) struct Setting<'a> {
    /// The context, a map.
    pub context: &'a Value,
    /// How the result is read.
    pub mode: Mode,
    /// How missing values behave.
    pub leniency: Leniency,
    /// Time and randomness.
    pub ambient: Ambient,
    /// Limits.
    pub limits: Limits,
}

/// Renders `template` once.
///
/// # Errors
/// The first problem met: CZ0402 to CZ0410.
pub(crate) fn render(template: &Template, setting: &Setting) -> Result<Value, Problem> {
    let mut evaluator = Evaluator {
        template,
        root: setting.context,
        leniency: setting.leniency,
        guard: setting.leniency.guard,
        host: Host::new(setting.ambient, setting.limits),
        output: Output::default(),
    };
    evaluator.result(setting.mode).map_err(|problem| *problem)
}

struct Evaluator<'a> {
    template: &'a Template,
    root: &'a Value,
    leniency: Leniency,
    /// What is evaluated now is a guard expression.
    guard: bool,
    host: Host,
    output: Output,
}

/// Text written so far.
#[derive(Default)]
struct Output {
    text: String,
    /// A character that is not white space has been written.
    opened: bool,
    /// That first character came from the template itself or a JSON function (dialect §6.4 rule 4).
    own: bool,
}

impl Output {
    fn wrote(&mut self, from: usize, own: bool) {
        if self.opened {
            return;
        }
        let new = self.text.get(from..).unwrap_or_default();
        self.opened = new.contains(|c: char| !c.is_whitespace());
        self.own = self.opened && own;
    }
}

/// The variables of a body.
struct Frame {
    variables: Vec<Value>,
}

/// How a list of nodes ended.
#[derive(Clone, Copy, PartialEq)]
enum Flow {
    Next,
    Break,
    Continue,
}

impl<'a> Evaluator<'a> {
    fn result(&mut self, mode: Mode) -> Outcome<Value> {
        let template = self.template;
        if !template.is_template {
            return Ok(Value::String(template.text.clone()));
        }
        let root = self.root.clone();
        if mode == Mode::Value
            && let Some(pipeline) = template.lone()
            && !pipeline.json
        {
            let mut frame = Frame::new(&template.body, root.clone());
            return self.pipeline(pipeline, &mut frame, &root);
        }
        self.output.text.reserve(template.text.len() + template.text.len() / 2);
        self.body(&template.body, root)?;
        let text = std::mem::take(&mut self.output.text);
        if mode == Mode::Value
            && self.output.own
            && let Some(structure) = structure(&text)
        {
            return Ok(structure);
        }
        Ok(Value::string(text))
    }

    fn limit(&self, fail: Fail, what: &str, span: Span) -> Box<Problem> {
        Box::new(fail.at(what, span))
    }

    fn body(&mut self, body: &'a Body, argument: Value) -> Outcome<()> {
        let mut frame = Frame::new(body, argument.clone());
        self.nodes(&body.nodes, &mut frame, &argument)?;
        Ok(())
    }

    fn nodes(&mut self, nodes: &'a [Node], frame: &mut Frame, dot: &Value) -> Outcome<Flow> {
        for node in nodes {
            let flow = self.node(node, frame, dot)?;
            if flow != Flow::Next {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }

    fn node(&mut self, node: &'a Node, frame: &mut Frame, dot: &Value) -> Outcome<Flow> {
        match node {
            Node::Text { span, opening } => self.text(*span, *opening)?,
            Node::Action(pipeline) => self.action(pipeline, frame, dot)?,
            Node::If(branches) => return self.branches(branches, false, frame, dot),
            Node::With(branches) => return self.branches(branches, true, frame, dot),
            Node::Range(range) => return self.range(range, frame, dot),
            Node::Template { name, argument, span } => {
                let argument = match argument {
                    Some(pipeline) => self.pipeline(pipeline, frame, dot)?,
                    None => Value::Null,
                };
                self.call_template(name, argument, *span)?;
            }
            Node::Break => return Ok(Flow::Break),
            Node::Continue => return Ok(Flow::Continue),
        }
        Ok(Flow::Next)
    }

    fn text(&mut self, span: Span, opening: Opening) -> Outcome<()> {
        let fail = |fail: Fail| Box::new(fail.at("the template", span));
        self.host.budget.spend(1).map_err(fail)?;
        let text = self.template.text.get(span.start..span.end).unwrap_or_default();
        let from = self.output.text.len();
        let limit = self.host.budget.max_output();
        if (from + text.len()) as u64 > limit {
            return Err(fail(Fail::Limit { what: "output", limit }));
        }
        self.output.text.push_str(text);
        self.output.wrote(from, opening == Opening::Own);
        Ok(())
    }

    fn action(&mut self, pipeline: &'a Pipeline, frame: &mut Frame, dot: &Value) -> Outcome<()> {
        let value = self.pipeline(pipeline, frame, dot)?;
        if pipeline.target.is_some() {
            return Ok(());
        }
        let from = self.output.text.len();
        let limit = self.host.budget.max_output();
        print::text(&mut self.output.text, &value, limit)
            .map_err(|fail| self.limit(fail, "the template", pipeline.span))?;
        self.output.wrote(from, pipeline.json);
        Ok(())
    }

    fn enter(&mut self, span: Span) -> Outcome<()> {
        let entered = self.host.budget.spend(1).and_then(|()| self.host.budget.enter());
        entered.map_err(|fail| self.limit(fail, "the template", span))
    }

    fn branches(&mut self, branches: &'a Branches, rebinds: bool, frame: &mut Frame, dot: &Value) -> Outcome<Flow> {
        for (condition, body) in &branches.branches {
            let guard = std::mem::replace(&mut self.guard, true);
            let value = self.pipeline(condition, frame, dot);
            self.guard = guard;
            let value = value?;
            if value.truth() {
                let dot = if rebinds { &value } else { dot };
                return self.block(body, frame, dot, condition.span);
            }
        }
        match branches.branches.last() {
            Some((last, _)) => self.block(&branches.otherwise, frame, dot, last.span),
            None => Ok(Flow::Next),
        }
    }

    fn block(&mut self, nodes: &'a [Node], frame: &mut Frame, dot: &Value, span: Span) -> Outcome<Flow> {
        self.enter(span)?;
        let flow = self.nodes(nodes, frame, dot)?;
        self.host.budget.leave();
        Ok(flow)
    }

    fn range(&mut self, range: &'a Range, frame: &mut Frame, dot: &Value) -> Outcome<Flow> {
        let over = self.pipeline(&range.over, frame, dot)?;
        let mut turns = 0;
        let mut turn = |this: &mut Self, key: Value, element: Value| -> Outcome<bool> {
            turns += 1;
            frame.set(range.key, &key);
            frame.set(range.element, &element);
            let flow = this.block(&range.body, frame, &element, range.over.span)?;
            Ok(flow != Flow::Break)
        };
        match &over {
            Value::Null => {}
            Value::List(list) => {
                for (index, element) in list.items().iter().enumerate() {
                    if !turn(self, Value::Int(index as i64), element.clone())? {
                        break;
                    }
                }
            }
            Value::Map(map) => {
                for (key, element) in map.sorted() {
                    if !turn(self, Value::String(key.clone()), element.clone())? {
                        break;
                    }
                }
            }
            Value::Int(_) | Value::Float(_) => {
                for index in 0..self.count(&over, range.over.span)? {
                    if !turn(self, Value::Int(index), Value::Int(index))? {
                        break;
                    }
                }
            }
            Value::Bool(_) | Value::String(_) | Value::Time(_) => {
                return Err(self.not_iterable(&over, range.over.span));
            }
        }
        if turns == 0 {
            return self.block(&range.otherwise, frame, dot, range.over.span);
        }
        Ok(Flow::Next)
    }

    /// The number of turns a number asks for.
    fn count(&self, over: &Value, span: Span) -> Outcome<i64> {
        match over {
            Value::Int(count) => Ok(*count),
            Value::Float(float) if float.fract() == 0.0 => {
                float_to_int(*float).ok_or_else(|| self.not_iterable(over, span))
            }
            _ => Err(self.not_iterable(over, span)),
        }
    }

    fn not_iterable(&self, over: &Value, span: Span) -> Box<Problem> {
        let reason = format!("cannot go through a {}", over.kind());
        Box::new(Fail::reason(reason).at("range", span))
    }

    fn call_template(&mut self, name: &Rc<str>, argument: Value, span: Span) -> Outcome<()> {
        let Some(body) = self.template.defined.get(name) else {
            let reason = format!("template '{name}' is not defined");
            return Err(Box::new(Problem::syntax(reason, span)));
        };
        self.enter(span)?;
        self.body(body, argument)?;
        self.host.budget.leave();
        Ok(())
    }
}

impl Frame {
    fn new(body: &Body, argument: Value) -> Frame {
        let mut variables = Vec::with_capacity(body.slots.max(1));
        variables.push(argument);
        variables.resize(body.slots.max(1), Value::Null);
        Frame { variables }
    }

    fn get(&self, slot: usize) -> Value {
        self.variables.get(slot).cloned().unwrap_or_default()
    }

    fn set(&mut self, slot: Option<usize>, value: &Value) {
        if let Some(variable) = slot.and_then(|slot| self.variables.get_mut(slot)) {
            *variable = value.clone();
        }
    }
}

/// The list or map `text` spells, if it spells one.
fn structure(text: &str) -> Option<Value> {
    let text = text.trim();
    text.starts_with(['{', '[']).then(|| json::parse(text).ok())?
}
