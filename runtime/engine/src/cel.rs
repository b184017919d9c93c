//! CEL expressions over a context (dialect §7), with a bounded cost.
//!
//! The interpreter has no limit of its own, so the parsed expression is prepared before it is evaluated: text and depth
//! are bounded, its nodes are charged once, and every loop a macro makes (`all`, `exists`, `map`, `filter`, …) gets a
//! counter in front of each turn that charges the nodes of its body. Work that grows with the data (equality, `in`, `+`,
//! string functions) is charged by the size of the context on top. Past the budget the evaluation ends with CZ0410.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators};
use cel::objects::Map;
use cel::{Context, ExecutionError, Program, Value as Cel};
use compozy_lang::cel::{MAX_DEPTH, MAX_SOURCE, ROOTS};
use serde_json::Value;

use crate::error::{ErrorKind, StepError};

/// Most operators, dots and brackets: a chain of them nests as deep as it is long, and the parser has no limit for that.
const MAX_OPERATORS: usize = 1_000;

/// Bytes of context that cost as much as one step where an operation may have to look at all of it.
const BYTES_PER_STEP: usize = 64 << 10;

/// Name of the counter; no identifier of an expression can be spelt so.
const TICK: &str = "@tick";

/// An expression that is ready to be evaluated: parsing costs many times as much as most evaluations.
#[derive(Debug)]
pub struct Compiled {
    source: String,
    program: Program,
}

impl Compiled {
    /// Parses `source`.
    ///
    /// # Errors
    /// CZ0409 when it cannot be parsed, CZ0410 when it is too large.
    pub fn new(source: &str) -> Result<Self, StepError> {
        if source.len() > MAX_SOURCE {
            return Err(over("CEL source", MAX_SOURCE as u64, source));
        }
        if operators_of(source) > MAX_OPERATORS {
            return Err(over("CEL operators", MAX_OPERATORS as u64, source));
        }
        let program = guarded(source, || {
            Program::compile(source).map_err(|errors| {
                let reason = errors.to_string();
                StepError::new("CZ0409", ErrorKind::Template, format!("CEL: {}", first_line(&reason)))
            })
        })?;
        Ok(Self { source: source.to_owned(), program })
    }

    /// Evaluates it; the members of the object `context` are its variables.
    ///
    /// # Errors
    /// CZ0410 over `max_cost`, CZ0411 when it fails.
    pub fn evaluate(&self, context: &Value, max_cost: u64) -> Result<Value, StepError> {
        guarded(&self.source, || run(&self.source, &self.program, context, max_cost))
    }

    /// As [`Compiled::evaluate`], where true or false is expected.
    ///
    /// # Errors
    /// As [`Compiled::evaluate`], and CZ0411 for any other value.
    pub fn truth(&self, context: &Value, max_cost: u64) -> Result<bool, StepError> {
        match self.evaluate(context, max_cost)? {
            Value::Bool(truth) => Ok(truth),
            other => Err(failed(&self.source, &format!("expected true or false, got {}", kind(&other)))),
        }
    }
}

/// The interpreter is foreign and its input hostile: a defect of it fails the task and nothing else.
fn guarded<T>(source: &str, work: impl FnOnce() -> Result<T, StepError>) -> Result<T, StepError> {
    std::panic::catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(failed(source, "the expression cannot be evaluated")))
}

fn run(source: &str, program: &Program, context: &Value, max_cost: u64) -> Result<Value, StepError> {
    let heavy = i64::try_from(size(context) / BYTES_PER_STEP).unwrap_or(i64::MAX);
    let mut expression = program.expression().clone();
    let cost =
        Meter { heavy }.prepare(&mut expression, 0).ok_or_else(|| over("CEL depth", MAX_DEPTH as u64, source))?;
    let limit = i64::try_from(max_cost).unwrap_or(i64::MAX);
    let budget = Arc::new(AtomicI64::new(limit.saturating_sub(cost)));
    let mut scope = Context::default();
    for root in ROOTS.iter().copied() {
        let value = context.get(root).map_or(Cel::Null, import);
        scope.add_variable_from_value(root, value);
    }
    for (name, value) in context.as_object().into_iter().flatten().filter(|(name, _)| !ROOTS.contains(&name.as_str())) {
        scope.add_variable_from_value(name.as_str(), import(value));
    }
    let left = budget.clone();
    let tick = move |cost: i64| -> Result<bool, ExecutionError> {
        let before = left.fetch_sub(cost, Ordering::Relaxed);
        if before >= cost { Ok(true) } else { Err(ExecutionError::InternalError("cost".to_owned())) }
    };
    scope.add_function(TICK, tick).map_err(|error| failed(source, &error.to_string()))?;
    let result = if budget.load(Ordering::Relaxed) < 0 { Ok(Cel::Null) } else { scope.resolve(&expression) };
    // Logical operators may have swallowed the counter's error; the budget tells.
    if budget.load(Ordering::Relaxed) < 0 {
        let mut error = over("CEL cost", max_cost, source);
        error.help = Some("make it smaller, or raise limits.max_cel_cost".to_owned());
        return Err(error);
    }
    let value = result.map_err(|error| failed(source, &describe(&error)))?;
    value.json().map_err(|_| failed(source, "the result is no JSON value"))
}

/// Charges and instruments an expression.
struct Meter {
    /// Steps that one operation over data costs on top.
    heavy: i64,
}

impl Meter {
    /// Puts counters into the loops of `expression`. Returns what one evaluation costs without its loops; `None` when it
    /// is nested too deep.
    fn prepare(&self, expression: &mut IdedExpr, depth: usize) -> Option<i64> {
        if depth > MAX_DEPTH {
            return None;
        }
        let depth = depth + 1;
        let mut cost = 1_i64;
        match &mut expression.expr {
            Expr::Call(call) => {
                if !is_light(&call.func_name) {
                    cost += self.heavy;
                }
                for part in call.target.as_deref_mut().into_iter().chain(&mut call.args) {
                    cost += self.prepare(part, depth)?;
                }
            }
            Expr::Comprehension(comprehension) => {
                for once in [&mut comprehension.iter_range, &mut comprehension.accu_init, &mut comprehension.result] {
                    cost += self.prepare(once, depth)?;
                }
                let builds = matches!(comprehension.accu_init.expr, Expr::List(_) | Expr::Map(_));
                let turn = self.prepare(&mut comprehension.loop_cond, depth)?
                    + self.prepare(&mut comprehension.loop_step, depth)?
                    + if builds { self.heavy } else { 0 };
                if builds && append_step(comprehension) {
                    guard_append(&mut comprehension.loop_step, turn, &comprehension.accu_var);
                } else {
                    let condition = std::mem::take(&mut comprehension.loop_cond);
                    comprehension.loop_cond = counted(turn, condition);
                }
            }
            Expr::List(list) => {
                for element in &mut list.elements {
                    cost += self.prepare(element, depth)?;
                }
            }
            Expr::Map(map) => cost += self.entries(&mut map.entries, depth)?,
            Expr::Struct(object) => cost += self.entries(&mut object.entries, depth)?,
            Expr::Select(select) => cost += self.prepare(&mut select.operand, depth)?,
            Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => {}
        }
        Some(cost)
    }

    fn entries(&self, entries: &mut [cel::common::ast::IdedEntryExpr], depth: usize) -> Option<i64> {
        let mut cost = 0;
        for entry in entries {
            match &mut entry.expr {
                EntryExpr::StructField(field) => cost += self.prepare(&mut field.value, depth)?,
                EntryExpr::MapEntry(entry) => {
                    cost += self.prepare(&mut entry.key, depth)? + self.prepare(&mut entry.value, depth)?;
                }
            }
        }
        Some(cost)
    }
}

/// Operators whose work does not grow with their operands.
fn is_light(function: &str) -> bool {
    matches!(
        function,
        operators::CONDITIONAL
            | operators::LOGICAL_AND
            | operators::LOGICAL_OR
            | operators::LOGICAL_NOT
            | operators::INDEX
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO
            | operators::NEGATE
            | operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS
            | operators::NOT_STRICTLY_FALSE
    )
}

/// Whether a loop only appends, which the interpreter does in place as long as its condition is a literal.
fn append_step(comprehension: &cel::common::ast::ComprehensionExpr) -> bool {
    matches!(comprehension.loop_cond.expr, Expr::Literal(_))
}

/// `step` becomes `tick ? step : accu`, or a guarded step `cond ? step : accu` becomes
/// `(tick ? cond : false) ? step : accu`: shapes that are still appended in place.
fn guard_append(step: &mut IdedExpr, cost: i64, accu: &str) {
    if let Expr::Call(call) = &mut step.expr
        && call.func_name == operators::CONDITIONAL
        && let Some(guard) = call.args.first_mut()
    {
        *guard = counted(cost, std::mem::take(guard));
        return;
    }
    let body = std::mem::take(step);
    let accu = IdedExpr { id: body.id, expr: Expr::Ident(accu.to_owned()) };
    *step = conditional(body.id, vec![tick(cost), body, accu]);
}

/// `tick ? condition : false`; an error of the counter ends the loop.
fn counted(cost: i64, condition: IdedExpr) -> IdedExpr {
    let never = IdedExpr { id: condition.id, expr: Expr::Literal(LiteralValue::Boolean(false.into())) };
    conditional(condition.id, vec![tick(cost), condition, never])
}

fn conditional(id: u64, args: Vec<IdedExpr>) -> IdedExpr {
    IdedExpr { id, expr: Expr::Call(CallExpr { func_name: operators::CONDITIONAL.to_owned(), target: None, args }) }
}

fn tick(cost: i64) -> IdedExpr {
    let cost = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Int(cost.into())) };
    IdedExpr { id: 0, expr: Expr::Call(CallExpr { func_name: TICK.to_owned(), target: None, args: vec![cost] }) }
}

/// Operators, dots and brackets outside of string literals; about as many as the tree can be deep.
fn operators_of(source: &str) -> usize {
    let (mut count, mut quote, mut escaped) = (0, None, false);
    for byte in source.bytes() {
        match (quote, byte) {
            _ if escaped => escaped = false,
            (Some(_), b'\\') => escaped = true,
            (Some(open), _) if open == byte => quote = None,
            (Some(_), _) => {}
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b',' | b'_') => {}
            (None, _) => count += usize::from(byte.is_ascii_punctuation()),
        }
    }
    count
}

fn import(value: &Value) -> Cel {
    match value {
        Value::Null => Cel::Null,
        Value::Bool(value) => Cel::Bool(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Cel::Int(integer),
            None => Cel::Float(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Cel::String(Arc::new(text.clone())),
        Value::Array(items) => Cel::List(Arc::new(items.iter().map(import).collect())),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| (key.as_str().into(), import(value)));
            Cel::Map(Map { map: Arc::new(members.collect()) })
        }
    }
}

/// About how many bytes a value holds.
fn size(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Number(_) => 8,
        Value::String(text) => text.len() + 8,
        Value::Array(items) => items.iter().map(size).sum::<usize>() + 8,
        Value::Object(members) => members.iter().map(|(key, value)| key.len() + 8 + size(value)).sum::<usize>() + 8,
    }
}

/// The reason in a few words; the interpreter's own texts may hold whole values.
fn describe(error: &ExecutionError) -> String {
    match error {
        ExecutionError::NoSuchKey(key) => format!("there is no key '{key}'; test it with has(…)"),
        ExecutionError::UndeclaredReference(name) => format!("unknown name '{name}'"),
        ExecutionError::ValuesNotComparable(..) => "the two values cannot be compared".to_owned(),
        ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => "division by zero".to_owned(),
        ExecutionError::Overflow(..) => "the number is out of range".to_owned(),
        ExecutionError::IndexOutOfBounds(_) => "the index is out of range".to_owned(),
        ExecutionError::UnsupportedIndex(..) => "this value has no members".to_owned(),
        other => first_line(&other.to_string()),
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn failed(source: &str, reason: &str) -> StepError {
    let message = format!("CEL: {reason} while evaluating '{}'", first_line(source));
    StepError::new("CZ0411", ErrorKind::Template, message)
}

fn over(what: &str, limit: u64, source: &str) -> StepError {
    let message = format!("{what} limit of {limit} exceeded in '{}'", first_line(source));
    StepError::new("CZ0410", ErrorKind::Template, message)
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "list",
        Value::Object(_) => "map",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context() -> Value {
        json!({
            "input": {"amount": 120, "f": 120.0, "name": "Ada", "tags": ["a", "b"], "nul": null, "many": (0..2000).collect::<Vec<i32>>()},
            "tasks": {"my-task": {"output": {"x": 7}}},
        })
    }

    fn evaluate(source: &str, context: &Value, max_cost: u64) -> Result<Value, StepError> {
        Compiled::new(source)?.evaluate(context, max_cost)
    }

    #[test]
    fn values() {
        for (source, expected) in [
            ("input.amount > 100.0 ? \"manual\" : \"auto\"", json!("manual")),
            ("input.amount == 120.0 && input.f == 120 && input.amount >= 119.5", json!(true)),
            ("tasks[\"my-task\"].output.x", json!(7)),
            ("has(input.zz)", json!(false)),
            ("has(input.name) && input.name.startsWith('A')", json!(true)),
            ("input.name.matches('^A.a$')", json!(true)),
            ("signal == null && error == null", json!(true)),
            ("'b' in input.tags", json!(true)),
            ("input.tags.map(t, t + t)", json!(["aa", "bb"])),
            ("input.many.filter(n, n < 3).map(n, n * 2)", json!([0, 2, 4])),
            ("input.tags.all(t, size(t) == 1) && input.tags.exists(t, t == 'b')", json!(true)),
            ("size(input.tags) + 1", json!(3)),
        ] {
            assert_eq!(evaluate(source, &context(), 100_000), Ok(expected), "{source}");
        }
    }

    #[test]
    fn failures_have_codes() {
        let nested = format!("{}1{}", "(".repeat(5_000), ")".repeat(5_000));
        let chain = vec!["1"; 2_000].join("+");
        let short_chain = vec!["1"; 900].join("+");
        let brackets = format!("{}1{}", "[".repeat(400), "]".repeat(400));
        for (source, code) in [
            ("input.", "CZ0409"),
            ("input.zz", "CZ0411"),
            ("input.name > 3", "CZ0411"),
            ("nope(1)", "CZ0411"),
            ("1 / 0", "CZ0411"),
            ("input.many.all(n, n >= 0)", "CZ0410"),
            ("input.many.map(n, n + 1) == [] || true", "CZ0410"),
            ("input.many.filter(n, n > 1).size() > 0", "CZ0410"),
            ("input.many.exists(a, input.many.exists(b, a + b < 0))", "CZ0410"),
            (nested.as_str(), "CZ0410"),
            (chain.as_str(), "CZ0410"),
            (short_chain.as_str(), "CZ0410"),
            (brackets.as_str(), "CZ0409"),
        ] {
            let error = evaluate(source, &context(), 1_000).expect_err(source);
            assert_eq!(error.code, code, "{} {}", first_line(source), error.message);
        }
        let error = Compiled::new("input.name").unwrap().truth(&context(), 1_000).unwrap_err();
        assert!(error.message.contains("expected true or false, got string"), "{}", error.message);
    }

    #[test]
    fn a_large_context_makes_operations_over_it_dear() {
        let context = json!({"input": {"list": (0..200).collect::<Vec<i32>>(), "text": "x".repeat(4 << 20)}});
        let error = evaluate("input.list.map(n, input.text + input.text).size() > 0", &context, 10_000).unwrap_err();
        assert_eq!(error.code, "CZ0410");
        assert_eq!(evaluate("input.list.exists(n, n == 50)", &context, 10_000), Ok(json!(true)));
    }
}
