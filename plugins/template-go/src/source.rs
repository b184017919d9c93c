//! What goes in and what comes out: the native twins of the records of `wit/template.wit`.

use std::rc::Rc;

use crate::problem::{Problem, Span};

/// How the result is read (dialect §6.4).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// A typed value: a lone expression keeps its type.
    #[default]
    Value,
    /// Always text.
    Text,
}

/// How lookups that find nothing behave (dialect §6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leniency {
    /// The whole template is a guard expression: missing is null.
    pub guard: bool,
    /// `.tasks.X.output…` of a task that has not run is null.
    pub not_run_is_null: bool,
    /// Missing under `.payload`, `.headers`, `.query` is null.
    pub request_is_null: bool,
}

/// One template.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// Its text, environment variables already filled in.
    pub text: String,
    /// Ranges that came from outside and are plain text whatever they hold.
    pub inert: Vec<Span>,
    /// How the result is read.
    pub mode: Mode,
    /// How missing values behave.
    pub leniency: Leniency,
}

/// Limits of one render; passing one is CZ0410.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Bytes of source text.
    pub max_source: usize,
    /// Nesting of blocks, parentheses and template calls.
    pub max_depth: usize,
    /// Nodes evaluated, loop turns and list elements made.
    pub max_steps: u64,
    /// Bytes of output and of every intermediate value.
    pub max_output: u64,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { max_source: 256 * 1024, max_depth: 64, max_steps: 1_000_000, max_output: 4 * 1024 * 1024 }
    }
}

/// The only source of time and randomness of a render.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ambient {
    /// Microseconds since 1970 UTC, for `now`.
    pub now_unix_us: i64,
    /// Seed of `uuidv4`, `rand…`, `shuffle`.
    pub seed: u64,
}

/// A variable a template refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Segments after the leading dot; empty: the whole context.
    pub path: Vec<Rc<str>>,
    /// Everything below `path` may be read.
    pub whole: bool,
    /// It stands inside a guard expression.
    pub guarded: bool,
    /// Where it stands.
    pub span: Span,
}

/// What `check` found in one source.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// It holds at least one action; otherwise it is plain text.
    pub is_template: bool,
    /// Variables it refers to, in order of appearance.
    pub references: Vec<Reference>,
    /// Problems, in order of appearance.
    pub problems: Vec<Problem>,
}
