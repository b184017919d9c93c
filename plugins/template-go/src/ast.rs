//! The parsed template.
//!
//! Variables are resolved to slots of their frame when parsed; slot 0 is `$`. Guards are resolved too: every command knows
//! whether it stands in one.

use std::{collections::HashMap, rc::Rc};

use crate::{functions::Function, problem::Span, value::Value};

/// One parsed source.
#[derive(Debug)]
pub(crate) struct Template {
    /// The source text, which spans refer to.
    pub text: Rc<str>,
    /// The top level.
    pub body: Body,
    /// Bodies of `define` and `block`, by name.
    pub defined: HashMap<Rc<str>, Body>,
    /// It holds at least one action.
    pub is_template: bool,
}

/// A top level or a defined template: what runs in a frame of its own.
#[derive(Debug, Default)]
pub(crate) struct Body {
    /// What it does.
    pub nodes: Vec<Node>,
    /// Variables its frame needs, `$` included.
    pub slots: usize,
}

/// Who wrote the first character of a piece of text that is not white space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opening {
    /// It is all white space.
    Blank,
    /// The template itself.
    Own,
    /// The environment, through interpolation.
    Foreign,
}

/// One piece of a template.
#[derive(Debug)]
pub(crate) enum Node {
    /// Text to be copied, after trimming.
    Text {
        /// Where it stands.
        span: Span,
        /// Whose text it is.
        opening: Opening,
    },
    /// `{{ pipeline }}`
    Action(Pipeline),
    /// `{{ if }}` with all its `else if`.
    If(Branches),
    /// `{{ with }}` with all its `else with`.
    With(Branches),
    /// `{{ range }}`
    Range(Box<Range>),
    /// `{{ template "name" pipeline }}`, also from `block`.
    Template {
        /// Which one.
        name: Rc<str>,
        /// What it gets as `.` and `$`.
        argument: Option<Pipeline>,
        /// Where it is called.
        span: Span,
    },
    /// `{{ break }}`
    Break,
    /// `{{ continue }}`
    Continue,
}

/// Conditions with their bodies, tried in order.
#[derive(Debug)]
pub(crate) struct Branches {
    /// Condition and body.
    pub branches: Vec<(Pipeline, Vec<Node>)>,
    /// The body of `else`.
    pub otherwise: Vec<Node>,
}

/// A loop.
#[derive(Debug)]
pub(crate) struct Range {
    /// Slot of the key or index, if it is named.
    pub key: Option<usize>,
    /// Slot of the element, if it is named.
    pub element: Option<usize>,
    /// What to go through.
    pub over: Pipeline,
    /// Done per element, with `.` as the element.
    pub body: Vec<Node>,
    /// Done if there is none.
    pub otherwise: Vec<Node>,
}

/// Commands that feed one another, maybe into a variable.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// The slot it is put into; such a pipeline prints nothing.
    pub target: Option<usize>,
    /// At least one.
    pub commands: Vec<Command>,
    /// It ends in one of the JSON functions, whose text may become a structure again (dialect §6.4 rule 2).
    pub json: bool,
    /// Where it stands.
    pub span: Span,
}

/// A stage of a pipeline.
#[derive(Debug)]
pub(crate) struct Command {
    /// What gives its value; in all but the first stage a call.
    pub expression: Expression,
    /// It is an argument of a guard function further on.
    pub guarded: bool,
}

/// Something with a value.
#[derive(Debug)]
pub(crate) enum Expression {
    /// A literal.
    Literal(Value),
    /// `.a.b`, `$.a`, `$x.a.b`, or just the base.
    Path(Path),
    /// A parenthesised pipeline.
    Group(Box<Pipeline>),
    /// Members of a parenthesised pipeline, `(f x).y`.
    Member(Box<Member>),
    /// A function with its arguments.
    Call(Box<Call>),
}

/// A variable or `.`, and members of it.
#[derive(Debug)]
pub(crate) struct Path {
    /// Where it starts.
    pub base: Base,
    /// What follows.
    pub segments: Vec<Segment>,
    /// Its base is known to be the root context.
    pub from_root: bool,
    /// Where it stands.
    pub span: Span,
}

/// Where a path starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Base {
    /// `.`
    Dot,
    /// A variable, by slot.
    Variable(usize),
}

/// Members of a group.
#[derive(Debug)]
pub(crate) struct Member {
    /// The group.
    pub of: Expression,
    /// Its members.
    pub segments: Vec<Segment>,
    /// The root path the whole is equal to, where that can be seen (`(index .tasks "a.b").output`).
    pub path: Option<Vec<Rc<str>>>,
    /// Where it stands.
    pub span: Span,
}

/// One name of a path.
#[derive(Debug)]
pub(crate) struct Segment {
    /// Its text.
    pub name: Rc<str>,
    /// Its number, if it is all digits.
    pub number: Option<usize>,
    /// Byte after it.
    pub end: usize,
}

/// A call of a function.
#[derive(Debug)]
pub(crate) struct Call {
    /// Which one.
    pub function: &'static Function,
    /// What is written behind it; a piped value comes last.
    pub arguments: Vec<Expression>,
    /// Where the name stands.
    pub span: Span,
}
