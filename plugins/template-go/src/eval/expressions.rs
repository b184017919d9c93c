//! Pipelines, operands and calls.

use std::rc::Rc;

use super::{Evaluator, Frame, Outcome};
use crate::{
    ast::{Base, Call, Expression, Path, Pipeline, Segment},
    functions::{Form, MANY},
    problem::{Fail, Problem, Span},
    value::Value,
};

impl<'a> Evaluator<'a> {
    /// The value of a pipeline, which is also put into its variable.
    pub(super) fn pipeline(&mut self, pipeline: &'a Pipeline, frame: &mut Frame, dot: &Value) -> Outcome<Value> {
        let mut value = None;
        for command in &pipeline.commands {
            let guard = self.guard;
            self.guard |= command.guarded;
            let result = match &command.expression {
                Expression::Call(call) => self.call(call, value.take(), frame, dot),
                expression => self.expression(expression, frame, dot),
            };
            self.guard = guard;
            value = Some(result?);
        }
        let value = value.unwrap_or_default();
        frame.set(pipeline.target, &value);
        Ok(value)
    }

    fn step(&mut self, span: Span) -> Outcome<()> {
        let spent = self.host.budget.spend(1);
        spent.map_err(|fail| self.limit(fail, "the template", span))
    }

    fn expression(&mut self, expression: &'a Expression, frame: &mut Frame, dot: &Value) -> Outcome<Value> {
        match expression {
            Expression::Literal(value) => Ok(value.clone()),
            Expression::Path(path) => self.path(path, frame, dot),
            Expression::Group(pipeline) => self.pipeline(pipeline, frame, dot),
            Expression::Member(member) => {
                let of = self.expression(&member.of, frame, dot)?;
                let origin = member.path.as_deref().map(|path| path.iter().map(|name| &**name).collect::<Vec<_>>());
                let start = member.span.start;
                self.members(&of, &member.segments, origin.as_deref(), start)
            }
            Expression::Call(call) => self.call(call, None, frame, dot),
        }
    }

    fn path(&mut self, path: &Path, frame: &Frame, dot: &Value) -> Outcome<Value> {
        self.step(path.span)?;
        let start = path.span.start;
        let variable;
        let base = match path.base {
            Base::Dot => dot,
            Base::Variable(slot) => {
                variable = frame.get(slot);
                &variable
            }
        };
        if path.segments.is_empty() {
            return Ok(base.clone());
        }
        if !path.from_root {
            return self.members(base, &path.segments, None, start);
        }
        let names: [&str; 3] = std::array::from_fn(|at| path.segments.get(at).map_or("", |segment| &*segment.name));
        let known = names.get(..path.segments.len().min(3));
        self.members(base, &path.segments, known, start)
    }

    fn call(&mut self, call: &'a Call, piped: Option<Value>, frame: &mut Frame, dot: &Value) -> Outcome<Value> {
        self.step(call.span)?;
        let function = call.function;
        let guard = self.guard;
        self.guard |= function.guard;
        let result = match function.form {
            Form::And => self.first_deciding(call, piped, false, frame, dot),
            Form::Or => self.first_deciding(call, piped, true, frame, dot),
            Form::Plain | Form::Changing => {
                let arguments = self.arguments(call, piped, frame, dot);
                self.guard = guard;
                arguments.and_then(|arguments| self.apply(call, arguments, frame))
            }
        };
        self.guard = guard;
        result
    }

    fn arguments(
        &mut self,
        call: &'a Call,
        piped: Option<Value>,
        frame: &mut Frame,
        dot: &Value,
    ) -> Outcome<Vec<Value>> {
        let mut arguments = Vec::with_capacity(call.arguments.len() + 1);
        for argument in &call.arguments {
            arguments.push(self.expression(argument, frame, dot)?);
        }
        arguments.extend(piped);
        Ok(arguments)
    }

    /// `and` and `or`: the first operand whose truth is `wanted`, else the last one.
    fn first_deciding(
        &mut self,
        call: &'a Call,
        piped: Option<Value>,
        wanted: bool,
        frame: &mut Frame,
        dot: &Value,
    ) -> Outcome<Value> {
        let mut last = None;
        for argument in &call.arguments {
            let value = self.expression(argument, frame, dot)?;
            if value.truth() == wanted {
                return Ok(value);
            }
            last = Some(value);
        }
        piped.or(last).ok_or_else(|| wrong_count(call, 0))
    }

    fn apply(&mut self, call: &Call, mut arguments: Vec<Value>, frame: &mut Frame) -> Outcome<Value> {
        let function = call.function;
        let count = arguments.len();
        if count < function.least.into() || (function.most != MANY && count > function.most.into()) {
            return Err(wrong_count(call, count));
        }
        let has_null = arguments.iter().any(|argument| matches!(argument, Value::Null));
        if has_null && !function.nulls {
            return self.failed(Fail::Null, call);
        }
        let place = changed_place(call);
        if let Some((slot, [])) = place {
            // The variable lets go of its map, so that the change need not copy it.
            frame.set(Some(slot), &Value::Null);
        }
        let value = match (function.run)(&mut self.host, &mut arguments) {
            Ok(Value::Float(float)) if !float.is_finite() => {
                return self.failed(Fail::reason("the result is no finite number"), call);
            }
            Ok(value) => value,
            Err(fail) => {
                if let (Some((slot, [])), Some(unchanged)) = (place, arguments.first()) {
                    frame.set(Some(slot), unchanged);
                }
                return self.failed(fail, call);
            }
        };
        if let Some((slot, segments)) = place {
            let stored = frame.variables.get_mut(slot).map_or(Ok(()), |variable| store(variable, segments, &value));
            stored.map_err(|fail| self.limit(fail, function.name, call.span))?;
        }
        Ok(value)
    }

    fn failed(&self, fail: Fail, call: &Call) -> Outcome<Value> {
        if fail == Fail::Null && self.guard {
            return Ok(Value::Null);
        }
        Err(self.limit(fail, call.function.name, call.span))
    }
}

fn wrong_count(call: &Call, count: usize) -> Box<Problem> {
    let function = call.function;
    let wanted = match (function.least, function.most) {
        (least, MANY) => format!("at least {least}"),
        (least, most) if least == most => format!("{least}"),
        (least, most) => format!("{least} to {most}"),
    };
    let reason = format!("takes {wanted} arguments, got {count}");
    Box::new(Fail::reason(reason).at(function.name, call.span))
}

/// The variable, and members of it, that a call of `set` and its kin changes in place; never `$` itself.
fn changed_place(call: &Call) -> Option<(usize, &[Segment])> {
    if call.function.form != Form::Changing {
        return None;
    }
    match call.arguments.first()? {
        Expression::Path(Path { base: Base::Variable(slot @ 1..), segments, .. }) => Some((*slot, segments)),
        _ => None,
    }
}

/// Puts `value` at the end of `segments` below `variable`; what is no map on the way is left alone.
fn store(variable: &mut Value, segments: &[Segment], value: &Value) -> Result<(), Fail> {
    let Some((first, rest)) = segments.split_first() else {
        *variable = value.clone();
        return Ok(());
    };
    let Value::Map(map) = variable else {
        return Ok(());
    };
    let mut child = map.get(&first.name).cloned().unwrap_or_default();
    store(&mut child, rest, value)?;
    Rc::make_mut(map).insert(first.name.clone(), child)
}
