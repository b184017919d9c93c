//! Pipelines, calls and operands.

use std::rc::Rc;

use super::Parser;
use crate::{
    ast::{Base, Call, Command, Expression, Member, Path, Pipeline, Segment},
    functions::{self, Function},
    lexer::Kind,
    problem::{Problem, Span},
    references,
    value::Value,
};

impl Parser<'_> {
    /// A pipeline that may declare or assign a variable.
    pub(super) fn statement(&mut self, place: &str) -> Result<Pipeline, Problem> {
        let Kind::Variable(name) = self.peek().clone() else {
            return self.pipeline(place);
        };
        let span = self.span();
        let declares = match self.tokens.get(self.at + 1).map(|token| &token.kind) {
            Some(Kind::Declare) => true,
            Some(Kind::Assign) => false,
            _ => return self.pipeline(place),
        };
        if name.is_empty() {
            return Err(Problem::syntax("cannot assign to $", span));
        }
        self.at += 2;
        let mut pipeline = self.pipeline(place)?;
        pipeline.span = span.to(pipeline.span);
        pipeline.target = Some(if declares { self.scope.declare(name) } else { self.slot(&name, span)? });
        Ok(pipeline)
    }

    /// The slot of variable `name`.
    pub(super) fn slot(&self, name: &str, span: Span) -> Result<usize, Problem> {
        let found = self.scope.variables.iter().rposition(|known| &**known == name);
        found.ok_or_else(|| {
            Problem::syntax(format!("undefined variable '${name}'"), span)
                .help(format!("declare it first: {{{{ ${name} := … }}}}"))
        })
    }

    /// Commands separated by `|`; what ends them is left to the caller.
    pub(super) fn pipeline(&mut self, place: &str) -> Result<Pipeline, Problem> {
        let start = self.span();
        let mut commands = Vec::new();
        loop {
            let first = self.span();
            let expression = self.command(place)?;
            if !commands.is_empty() && !matches!(expression, Expression::Call(_)) {
                return Err(Problem::syntax("a value can be piped into a function only", first));
            }
            commands.push(Command { expression, guarded: false });
            if !self.accept(&Kind::Pipe) {
                break;
            }
        }
        let mut guarded = false;
        let mut json = false;
        for (position, command) in commands.iter_mut().rev().enumerate() {
            command.guarded = guarded;
            if let Expression::Call(call) = &command.expression {
                guarded |= call.function.guard;
                json |= position == 0 && call.function.json;
            }
        }
        Ok(Pipeline { target: None, commands, json, span: start.to(self.before()) })
    }

    fn command(&mut self, place: &str) -> Result<Expression, Problem> {
        let first = self.span();
        let mut expression = self.operand(place)?;
        let mut called = match &mut expression {
            Expression::Call(call) => Some(call),
            _ => None,
        };
        loop {
            match self.peek() {
                Kind::Close | Kind::RightParen | Kind::Comma | Kind::Pipe => break,
                Kind::Declare | Kind::Assign | Kind::End | Kind::Open | Kind::Text(_) => {
                    return Err(self.unexpected(place));
                }
                _ => {}
            }
            if !self.spaced() {
                return Err(self.glued(first));
            }
            let argument = self.operand(place)?;
            match &mut called {
                Some(call) => call.arguments.push(argument),
                None => {
                    let written = self.text.get(first.start..first.end).unwrap_or_default();
                    return Err(Problem::syntax(format!("'{written}' is no function and takes no arguments"), first)
                        .help("join values with a function, or put a | between them"));
                }
            }
        }
        Ok(expression)
    }

    /// Two operands without white space between them.
    fn glued(&self, first: Span) -> Problem {
        match self.peek() {
            Kind::LeftParen => Problem::syntax("a path may not be called", self.span())
                .help("only functions can be called: {{ f .path }}"),
            Kind::Segment(name) => {
                let written = self.text.get(first.start..first.end).unwrap_or_default();
                Problem::syntax(format!("unexpected '.{name}' behind '{written}'"), self.span())
                    .help(format!("variables start with a dot: .{written}.{name}"))
            }
            _ => self.unexpected("in action"),
        }
    }

    fn operand(&mut self, place: &str) -> Result<Expression, Problem> {
        let span = self.span();
        let Some(token) = self.next() else {
            return Err(self.unexpected(place));
        };
        Ok(match token.kind {
            Kind::Int(int) => Expression::Literal(Value::Int(int)),
            Kind::Float(float) => Expression::Literal(Value::Float(float)),
            Kind::String(text) => Expression::Literal(Value::String(text)),
            Kind::Dot => {
                let from_root = self.scope.dot_is_root;
                self.path(Base::Dot, from_root, span, None)
            }
            Kind::Segment(name) => {
                let from_root = self.scope.dot_is_root;
                let first = segment(name, span);
                self.path(Base::Dot, from_root, span, Some(first))
            }
            Kind::Variable(name) => {
                let slot = self.slot(&name, span)?;
                let from_root = slot == 0 && self.scope.dollar_is_root;
                self.path(Base::Variable(slot), from_root, span, None)
            }
            Kind::LeftParen => self.group(span)?,
            Kind::Word(word) => match &*word {
                "true" => Expression::Literal(Value::Bool(true)),
                "false" => Expression::Literal(Value::Bool(false)),
                "nil" => Expression::Literal(Value::Null),
                "if" | "else" | "end" | "range" | "with" | "define" | "template" | "block" | "break" | "continue" => {
                    return Err(Problem::syntax(format!("unexpected '{word}' {place}"), span));
                }
                _ => self.call(&word, span)?,
            },
            Kind::Close | Kind::Pipe | Kind::RightParen | Kind::Comma => {
                return Err(Problem::syntax(format!("missing value {place}"), span));
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected(place));
            }
        })
    }

    fn path(&mut self, base: Base, from_root: bool, start: Span, first: Option<Segment>) -> Expression {
        let mut segments: Vec<Segment> = first.into_iter().collect();
        self.segments(&mut segments);
        let end = segments.last().map_or(start.end, |segment| segment.end);
        Expression::Path(Path { base, segments, from_root, span: Span::new(start.start, end) })
    }

    /// `.a.b` directly behind something.
    fn segments(&mut self, segments: &mut Vec<Segment>) {
        while let Kind::Segment(name) = self.peek() {
            if self.spaced() {
                break;
            }
            segments.push(segment(name.clone(), self.span()));
            self.at += 1;
        }
    }

    fn group(&mut self, open: Span) -> Result<Expression, Problem> {
        self.enter()?;
        let pipeline = self.pipeline("in parentheses")?;
        if !self.accept(&Kind::RightParen) {
            return Err(self.unexpected("in parentheses"));
        }
        self.depth -= 1;
        let inner = ungroup(pipeline);
        Ok(self.members(inner, open))
    }

    fn members(&mut self, of: Expression, start: Span) -> Expression {
        let mut segments = Vec::new();
        self.segments(&mut segments);
        let Some(last) = segments.last() else {
            return of;
        };
        let span = Span::new(start.start, last.end);
        let mut path = references::path_of(&of);
        if let Some(path) = &mut path {
            path.extend(segments.iter().map(|segment| segment.name.clone()));
        }
        Expression::Member(Box::new(Member { of, segments, path, span }))
    }

    /// A function; with a `(` right behind it in call style, `f(a, b)`. One argument in parentheses is Go's own `f (a)`.
    fn call(&mut self, word: &str, span: Span) -> Result<Expression, Problem> {
        let function = self.function(word, span);
        let mut call = Call { function, arguments: Vec::new(), span };
        if self.peek() != &Kind::LeftParen || self.spaced() {
            return Ok(Expression::Call(Box::new(call)));
        }
        let open = self.span();
        self.at += 1;
        self.enter()?;
        while !self.accept(&Kind::RightParen) {
            let argument = self.pipeline("in call")?;
            call.arguments.push(ungroup(argument));
            if !self.accept(&Kind::Comma) && self.peek() != &Kind::RightParen {
                return Err(self.unexpected("in call"));
            }
        }
        self.depth -= 1;
        if call.arguments.len() == 1 {
            let argument = call.arguments.pop().unwrap_or(Expression::Literal(Value::Null));
            call.arguments.push(self.members(argument, open));
            return Ok(Expression::Call(Box::new(call)));
        }
        let call = Expression::Call(Box::new(call));
        Ok(self.members(call, span))
    }

    /// The function named `word`; an unknown one is reported, and parsing goes on.
    fn function(&mut self, word: &str, span: Span) -> &'static Function {
        if let Some(function) = functions::find(word) {
            return function;
        }
        self.problems.push(functions::unknown(word, span));
        &functions::UNKNOWN
    }
}

fn segment(name: Rc<str>, span: Span) -> Segment {
    let digits = name.bytes().all(|b| b.is_ascii_digit());
    Segment { number: name.parse().ok().filter(|_| digits), name, end: span.end }
}

/// A pipeline of one command is that command.
fn ungroup(mut pipeline: Pipeline) -> Expression {
    match pipeline.commands.pop() {
        Some(only) if pipeline.commands.is_empty() => only.expression,
        Some(last) => {
            pipeline.commands.push(last);
            Expression::Group(Box::new(pipeline))
        }
        None => Expression::Literal(Value::Null),
    }
}
