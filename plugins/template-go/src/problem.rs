//! What can go wrong: `Problem`, which users see, and `Fail`, which functions return before a place is known.

use std::rc::Rc;

/// A range of the source text in bytes, end exclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

impl Span {
    /// The range from `start` to `end`.
    pub fn new(start: usize, end: usize) -> Span {
        Span { start, end }
    }

    /// The smallest range that holds both.
    pub fn to(self, other: Span) -> Span {
        Span::new(self.start.min(other.start), self.end.max(other.end))
    }
}

/// What is wrong at a place of one source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// `CZ0401` to `CZ0412`.
    pub code: &'static str,
    /// What is wrong, lower case, without full stop.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// Where.
    pub span: Span,
    /// It is only a warning.
    pub warning: bool,
}

impl Problem {
    /// A problem without help.
    pub fn new(code: &'static str, message: impl Into<String>, span: Span) -> Problem {
        Problem { code, message: message.into(), help: None, span, warning: false }
    }

    /// A syntax problem.
    pub fn syntax(reason: impl AsRef<str>, span: Span) -> Problem {
        Problem::new("CZ0401", format!("template: {}", reason.as_ref()), span)
    }

    /// The same problem with a way to mend it.
    pub fn help(mut self, help: impl Into<String>) -> Problem {
        self.help = Some(help.into());
        self
    }
}

/// Why a function gave no value; the evaluator adds its name and place.
#[derive(Clone, Debug, PartialEq)]
pub enum Fail {
    /// An argument that must have a value is null: null again in a guard, CZ0404 elsewhere.
    Null,
    /// The arguments do not fit: CZ0404.
    Reason(String),
    /// A limit would be passed: CZ0410.
    Limit {
        /// What is limited, `output`.
        what: &'static str,
        /// Its value, with the unit where it has one.
        limit: u64,
    },
    /// `fail` was called with this text: CZ0408.
    User(Rc<str>),
}

impl Fail {
    /// A CZ0404 with this reason.
    pub fn reason(text: impl Into<String>) -> Fail {
        Fail::Reason(text.into())
    }

    /// The problem to report for `what`, the function or statement that failed at `span`.
    pub fn at(self, what: &str, span: Span) -> Problem {
        match self {
            Fail::Null => Problem::new("CZ0404", format!("{what}: needs a value, got null"), span)
                .help("give it one with `| default …`, or guard it with `if`"),
            Fail::Reason(reason) => Problem::new("CZ0404", format!("{what}: {reason}"), span),
            Fail::Limit { what: limited, limit } => {
                Problem::new("CZ0410", format!("{limited} limit of {limit} exceeded in {what}"), span)
                    .help("make it smaller, or raise limits.template")
            }
            Fail::User(text) => Problem::new("CZ0408", text.to_string(), span),
        }
    }
}
