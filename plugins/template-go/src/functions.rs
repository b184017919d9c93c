//! The functions of the language: one file per topic, each with a table of what it offers and the code below it.
//!
//! To add one, write it in its topic's file and add its line to that file's table. A function sees no clock, no network
//! and no file; time and randomness come with [`Host`].

use std::rc::Rc;

use crate::{
    budget::Budget,
    print,
    problem::{Fail, Problem, Span},
    source::{Ambient, Limits},
    value::Value,
};

pub(crate) mod arguments;
pub(crate) mod casing;
pub(crate) mod compare;
pub(crate) mod dates;
pub(crate) mod defaults;
pub(crate) mod encoding;
pub(crate) mod escape;
pub(crate) mod format;
pub(crate) mod json;
pub(crate) mod layout;
pub(crate) mod lists;
pub(crate) mod maps;
pub(crate) mod numbers;
pub(crate) mod paths;
pub(crate) mod random;
pub(crate) mod regex;
pub(crate) mod semver;
pub(crate) mod strings;
pub(crate) mod suggest;
pub(crate) mod url;
pub(crate) mod wrap;

/// Every table.
const TABLES: &[&[Function]] = &[
    compare::FUNCTIONS,
    dates::FUNCTIONS,
    defaults::FUNCTIONS,
    encoding::FUNCTIONS,
    escape::FUNCTIONS,
    format::FUNCTIONS,
    json::FUNCTIONS,
    lists::FUNCTIONS,
    maps::FUNCTIONS,
    numbers::FUNCTIONS,
    paths::FUNCTIONS,
    random::FUNCTIONS,
    regex::FUNCTIONS,
    semver::FUNCTIONS,
    strings::FUNCTIONS,
    url::FUNCTIONS,
];

/// Functions that do not exist on purpose, and what to use instead.
const ABSENT: &[(&[&str], &str)] = &[
    (&["env", "expandenv"], "use .env.NAME, with the name declared under env"),
    (&["getHostByName"], "templates have no network; use a tool task"),
    (
        &["bcrypt", "htpasswd", "derivePassword", "encryptAES", "decryptAES"],
        "use a tool task for cryptography; for digests there is sha256sum",
    ),
    (&["randBytes"], "use randAlphaNum or uuidv4"),
    (
        &[
            "genPrivateKey",
            "buildCustomCert",
            "genCA",
            "genCAWithKey",
            "genSelfSignedCert",
            "genSelfSignedCertWithKey",
            "genSignedCert",
            "genSignedCertWithKey",
        ],
        "use a tool task to make keys and certificates",
    ),
    (&["call"], "call functions by their name: {{ f .x }}"),
];

/// No upper bound on the number of arguments.
pub(crate) const MANY: u8 = u8::MAX;

/// What runs a function: its arguments are already counted, and not null unless it says so.
pub(crate) type Run = fn(&mut Host, &mut [Value]) -> Result<Value, Fail>;

/// How the evaluator calls a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// All arguments first.
    Plain,
    /// `and`: stops at the first false operand.
    And,
    /// `or`: stops at the first true operand.
    Or,
    /// Its first argument, if it is a variable, takes the result.
    Changing,
}

/// A function.
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) least: u8,
    pub(crate) most: u8,
    /// It accepts null.
    pub(crate) nulls: bool,
    /// Its arguments are guard expressions.
    pub(crate) guard: bool,
    /// Its text may become a structure again (dialect §6.4 rule 2).
    pub(crate) json: bool,
    pub(crate) form: Form,
    pub(crate) run: Run,
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

impl Function {
    /// A function of `least` to `most` arguments.
    pub(crate) const fn new(name: &'static str, least: u8, most: u8, run: Run) -> Function {
        Function { name, least, most, nulls: false, guard: false, json: false, form: Form::Plain, run }
    }

    /// It accepts null.
    pub(crate) const fn nulls(mut self) -> Function {
        self.nulls = true;
        self
    }

    /// Its arguments are guard expressions, and it accepts null anywhere.
    pub(crate) const fn guard(mut self) -> Function {
        self.guard = true;
        self.nulls()
    }

    /// Its text may become a structure again.
    pub(crate) const fn json(mut self) -> Function {
        self.json = true;
        self.nulls()
    }

    pub(crate) const fn form(mut self, form: Form) -> Function {
        self.form = form;
        self
    }
}

/// Stands for a function that does not exist, so that parsing can go on.
pub(crate) static UNKNOWN: Function = Function::new("unknown", 0, MANY, |_, _| Ok(Value::Null)).nulls();

/// The function called `name`.
pub(crate) fn find(name: &str) -> Option<&'static Function> {
    TABLES.iter().copied().flatten().find(|function| function.name == name)
}

/// The names of all functions, in no order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLES.iter().copied().flatten().map(|function| function.name)
}

/// The problem of using a function that does not exist.
pub(crate) fn unknown(name: &str, span: Span) -> Problem {
    if let Some((_, help)) = ABSENT.iter().find(|(absent, _)| absent.contains(&name)) {
        return Problem::new("CZ0406", format!("unknown function '{name}'"), span).help(*help);
    }
    match suggest::similar(name, names()) {
        Some(near) => {
            let message = format!("unknown function '{name}'. Did you mean '{near}'?");
            Problem::new("CZ0406", message, span)
        }
        None => Problem::new("CZ0406", format!("unknown function '{name}'"), span)
            .help(format!("a variable starts with a dot: .{name}")),
    }
}

/// What functions may use of their surroundings.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) budget: Budget,
    pub(crate) random: random::Random,
    pub(crate) now_unix_us: i64,
}

impl Host {
    /// The surroundings of one render.
    pub(crate) fn new(ambient: Ambient, limits: Limits) -> Host {
        Host {
            budget: Budget::new(limits),
            random: random::Random::new(ambient.seed),
            now_unix_us: ambient.now_unix_us,
        }
    }

    /// `value` as text, as it would be printed.
    pub(crate) fn print(&mut self, value: &Value) -> Result<Rc<str>, Fail> {
        if let Value::String(text) = value {
            return Ok(text.clone());
        }
        let text = print::to_string(value, self.budget.max_output())?;
        self.budget.allow(text.len())?;
        Ok(text)
    }

    /// A string that was built within what [`Budget::allow`] said.
    pub(crate) fn string(&mut self, text: String) -> Result<Value, Fail> {
        self.budget.allow(text.len())?;
        Ok(Value::string(text))
    }

    /// A list, whose elements are paid for.
    pub(crate) fn list(&mut self, items: Vec<Value>) -> Result<Value, Fail> {
        self.budget.spend(items.len())?;
        Value::list(items)
    }
}
