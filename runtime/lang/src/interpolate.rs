//! `${VAR}` in scalars (dialect §1.4): taken apart at load, filled in where the value is used.
//!
//! What a variable inserts is *inert*: it is never YAML, never scanned again, and plain text to the template language.

use crate::diagnostic::Diagnostic;
use crate::environment::{Environment, is_name};
use crate::plan::{Segment, Template};
use crate::source::{Place, narrow};

/// Levels of `${…}` inside the default of another.
const LEVELS: usize = 8;

/// A variable that is not set and has no default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingVariable {
    /// Its name.
    pub name: String,
    /// Where it is written.
    pub place: Place,
}

impl MissingVariable {
    /// CZ0113, for the value at the key path `path`.
    pub fn diagnostic(&self, path: &str) -> Diagnostic {
        let Self { name, place } = self;
        let of = if path.is_empty() { place.to_string() } else { format!("{place}, {path}") };
        Diagnostic::error(
            "CZ0113",
            format!("environment variable {name} is not set ({of}) and has no default"),
            place.clone(),
        )
        .path(path)
        .help(format!("set it, for example in .env, or write ${{{name}:-…}}"))
    }
}

impl std::fmt::Display for MissingVariable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "environment variable {} is not set ({}) and has no default", self.name, self.place)
    }
}

impl std::error::Error for MissingVariable {}

/// A scalar with its variables filled in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolved {
    /// The whole text.
    pub text: String,
    /// Byte ranges of `text` that came from outside.
    pub inert: Vec<(u32, u32)>,
}

impl Resolved {
    fn insert(&mut self, text: &str) {
        let start = narrow(self.text.len());
        self.text.push_str(text);
        let end = narrow(self.text.len());
        match self.inert.last_mut() {
            Some(last) if last.1 == start => last.1 = end,
            _ if end > start => self.inert.push((start, end)),
            _ => {}
        }
    }
}

impl Template {
    /// A text without variables and templates.
    pub fn literal(text: impl Into<String>) -> Self {
        Self { segments: vec![Segment::Literal(text.into())], ..Self::default() }
    }

    /// Fills in the variables.
    ///
    /// # Errors
    /// The first variable that is not set and has no default.
    pub fn resolve(&self, environment: &dyn Environment) -> Result<Resolved, MissingVariable> {
        let mut resolved = Resolved::default();
        for segment in &self.segments {
            match segment {
                Segment::Literal(text) => resolved.text.push_str(text),
                variable => resolved.insert(&value_of(variable, environment)?),
            }
        }
        Ok(resolved)
    }

    /// The text when it holds no variable.
    pub fn fixed_text(&self) -> Option<String> {
        self.segments
            .iter()
            .map(|segment| match segment {
                Segment::Literal(text) => Some(text.as_str()),
                Segment::Variable { .. } => None,
            })
            .collect()
    }

    /// The value of a scalar that holds no template action: a plain scalar is typed by its filled-in text, every other
    /// is that text.
    pub fn value_of_plain(&self, text: &str) -> serde_json::Value {
        if self.plain { crate::yaml::core::filled_value(text) } else { text.into() }
    }
}

/// The text a segment stands for.
fn value_of(segment: &Segment, environment: &dyn Environment) -> Result<String, MissingVariable> {
    match segment {
        Segment::Literal(text) => Ok(text.clone()),
        Segment::Variable { name, default, place } => match (environment.lookup(name), default) {
            (Some(value), None) => Ok(value),
            (Some(value), Some(_)) if !value.is_empty() => Ok(value),
            (_, Some(default)) => default.iter().map(|part| value_of(part, environment)).collect(),
            (None, None) => Err(MissingVariable { name: name.clone(), place: place.clone() }),
        },
    }
}

/// A scalar taken apart.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    /// The pieces with their byte ranges in the decoded scalar.
    pub(crate) pieces: Vec<(Segment, usize, usize)>,
    /// Ranges that look like a variable and are none (CZ0115).
    pub(crate) odd: Vec<(usize, usize)>,
}

impl Parts {
    /// Takes a decoded scalar apart; `place` gives the place of a byte range.
    pub(crate) fn of(text: &str, place: &dyn Fn(usize, usize) -> Place) -> Self {
        let mut parts = Self::default();
        scan(text, &Braces::of(text), 0, 0, place, &mut parts);
        parts
    }

    /// Whether it holds a variable.
    pub(crate) fn has_variable(&self) -> bool {
        self.pieces.iter().any(|(segment, _, _)| matches!(segment, Segment::Variable { .. }))
    }

    /// The pieces alone, neighbouring literals joined.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut segments: Vec<Segment> = Vec::new();
        for (segment, _, _) in &self.pieces {
            match (segments.last_mut(), segment) {
                (Some(Segment::Literal(last)), Segment::Literal(text)) => last.push_str(text),
                (_, segment) => segments.push(segment.clone()),
            }
        }
        segments
    }

    /// Fills in the variables; missing ones become empty inert text and are returned beside.
    pub(crate) fn fill(&self, environment: &dyn Environment) -> (Resolved, Vec<MissingVariable>, Vec<Run>) {
        let (mut resolved, mut missing, mut runs) = (Resolved::default(), Vec::new(), Vec::new());
        for (segment, start, end) in &self.pieces {
            let from = resolved.text.len();
            match segment {
                Segment::Literal(text) => resolved.text.push_str(text),
                variable => match value_of(variable, environment) {
                    Ok(value) => resolved.insert(&value),
                    Err(variable) => missing.push(variable),
                },
            }
            let literal = matches!(segment, Segment::Literal(_));
            runs.push(Run { from, to: resolved.text.len(), start: *start, end: *end, literal });
        }
        (resolved, missing, runs)
    }
}

/// Which bytes of the resolved text came from which bytes of the decoded scalar.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    from: usize,
    to: usize,
    start: usize,
    end: usize,
    literal: bool,
}

/// The range of the decoded scalar behind a range of the resolved text.
pub(crate) fn decoded_range(runs: &[Run], start: usize, end: usize) -> (usize, usize) {
    let last = runs.last().map_or(0, |run| run.end);
    let first = runs.get(runs.partition_point(|run| run.to <= start));
    let begin =
        first.map_or(last, |run| if run.literal { run.start + start.saturating_sub(run.from) } else { run.start });
    let final_one = runs.get(runs.partition_point(|run| run.to < end));
    let finish =
        final_one.map_or(last, |run| if run.literal { run.start + end.saturating_sub(run.from) } else { run.end });
    (begin, finish.max(begin))
}

/// Appends the pieces of `text`, which begins at byte `base` of the scalar.
fn scan(
    text: &str,
    braces: &Braces,
    base: usize,
    level: usize,
    place: &dyn Fn(usize, usize) -> Place,
    parts: &mut Parts,
) {
    let mut literal = 0;
    let mut at = 0;
    let flush = |parts: &mut Parts, from: usize, to: usize| {
        if let Some(piece) = text.get(from..to).filter(|piece| !piece.is_empty()) {
            parts.pieces.push((Segment::Literal(piece.to_owned()), base + from, base + to));
        }
    };
    while let Some(dollar) = text.get(at..).and_then(|rest| rest.find('$')).map(|found| at + found) {
        let rest = text.get(dollar..).unwrap_or_default();
        if rest.starts_with("$${") {
            flush(parts, literal, dollar);
            let length = braces.closing(base + dollar + 2).map_or(3, |end| end + 1 - base - dollar);
            flush(parts, dollar + 1, dollar + length);
            at = dollar + length;
            literal = at;
            continue;
        }
        if !rest.starts_with("${") {
            at = dollar + 1;
            continue;
        }
        let end = braces.closing(base + dollar + 1).map(|end| end - base - dollar);
        let inner = end.and_then(|end| rest.get(2..end));
        let length = end.map_or(2, |end| end + 1);
        let range = (base + dollar, base + dollar + length);
        match inner.and_then(|inner| variable(inner, braces, range.0 + 2, level, place, parts)) {
            Some((name, default)) => {
                flush(parts, literal, dollar);
                let segment = Segment::Variable { name, default, place: place(range.0, range.1) };
                parts.pieces.push((segment, range.0, range.1));
                literal = dollar + length;
            }
            None => parts.odd.push(range),
        }
        at = dollar + length;
    }
    flush(parts, literal, text.len());
}

/// Name and default of what stands between `${` and `}`.
fn variable(
    inner: &str,
    braces: &Braces,
    base: usize,
    level: usize,
    place: &dyn Fn(usize, usize) -> Place,
    parts: &mut Parts,
) -> Option<(String, Option<Vec<Segment>>)> {
    let Some((name, default)) = inner.split_once(":-") else {
        return is_name(inner).then(|| (inner.to_owned(), None));
    };
    if !is_name(name) || level + 1 >= LEVELS {
        return None;
    }
    let mut nested = Parts::default();
    scan(default, braces, base + name.len() + 2, level + 1, place, &mut nested);
    let segments = nested.segments();
    parts.odd.extend(nested.odd);
    Some((name.to_owned(), Some(segments)))
}

/// Which `}` closes which `{` of a scalar, worked out in one pass.
struct Braces(Vec<(usize, usize)>);

impl Braces {
    fn of(text: &str) -> Self {
        let (mut open, mut pairs) = (Vec::new(), Vec::new());
        for (offset, byte) in text.bytes().enumerate() {
            match byte {
                b'{' => open.push(offset),
                b'}' => pairs.extend(open.pop().map(|start| (start, offset))),
                _ => {}
            }
        }
        pairs.sort_unstable();
        Self(pairs)
    }

    /// Offset of the `}` that closes the `{` at an offset.
    fn closing(&self, open: usize) -> Option<usize> {
        let found = self.0.binary_search_by_key(&open, |(start, _)| *start).ok()?;
        self.0.get(found).map(|(_, end)| *end)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    fn template(text: &str, plain: bool) -> (Template, Parts) {
        let parts = Parts::of(text, &|start, _| Place { column: narrow(start) + 1, ..Place::default() });
        (Template { segments: parts.segments(), plain, ..Template::default() }, parts)
    }

    fn environment() -> BTreeMap<String, String> {
        [("A", "1"), ("T", "{{ .input.n }}"), ("E", ""), ("X", "${A}")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into()
    }

    /// Dialect §6.9, the interpolation table; what stands in an action is the template plugin's part.
    #[test]
    fn variables_are_filled_in() {
        for (text, plain, expected) in [
            ("${A}", true, json!(1)),
            ("${A}", false, json!("1")),
            ("x${A}", true, json!("x1")),
            ("${U:-7}", true, json!(7)),
            ("${E:-d}", true, json!("d")),
            ("${E}", true, json!("")),
            ("${U:-${A}}", true, json!(1)),
            ("$${A}", true, json!("${A}")),
            ("$A", true, json!("$A")),
            ("a$b", true, json!("a$b")),
            ("$$", true, json!("$$")),
            ("$$${A}", true, json!("$${A}")),
            ("$${A:-${A}}x${A}", true, json!("${A:-${A}}x1")),
            ("${a.b}", true, json!("${a.b}")),
            ("${}", true, json!("${}")),
            ("${A", true, json!("${A")),
            ("${X}", true, json!("${A}")),
            ("${U:-{\"a\": {}}}", false, json!("{\"a\": {}}")),
            ("${U:-}", true, json!("")),
            ("${U1:-${U2:-${U3:-deep}}}", true, json!("deep")),
            ("é${A}é", true, json!("é1é")),
            ("${T}", true, json!("{{ .input.n }}")),
        ] {
            let (template, _) = template(text, plain);
            let resolved = template.resolve(&environment()).unwrap();
            assert_eq!(template.value_of_plain(&resolved.text), expected, "{text}");
        }
    }

    #[test]
    fn a_missing_variable_is_named_with_its_place() {
        let (template, _) = template("a ${U}", true);
        let missing = template.resolve(&environment()).unwrap_err();
        assert_eq!((missing.name.as_str(), missing.place.column), ("U", 3));
        let (nested, _) = self::template("${U:-${V}}", true);
        assert_eq!(nested.resolve(&environment()).unwrap_err().name, "V");
    }

    #[test]
    fn inserted_text_is_inert() {
        let (template, parts) = template("{{ .x }}/${T}${A}/é${E}", false);
        let resolved = template.resolve(&environment()).unwrap();
        assert_eq!(resolved.text, "{{ .x }}/{{ .input.n }}1/é");
        assert_eq!(resolved.inert, [(9, 24)]);
        let (filled, missing, runs) = parts.fill(&environment());
        assert_eq!((filled, missing), (resolved, vec![]));
        assert_eq!(decoded_range(&runs, 3, 5), (3, 5));
        assert_eq!(decoded_range(&runs, 12, 14), (9, 13));
        assert_eq!(decoded_range(&runs, 25, 27), (18, 20));
    }

    #[test]
    fn what_is_no_variable_is_kept_and_named() {
        for (text, odd) in
            [("${}", vec![(0, 3)]), ("a${b.c}d", vec![(1, 7)]), ("${A", vec![(0, 2)]), ("$A $$ $${x.y}", vec![])]
        {
            assert_eq!(template(text, true).1.odd, odd, "{text}");
        }
        let deep = format!("{}x{}", "${A:-".repeat(9), "}".repeat(9));
        assert_eq!(template(&deep, true).1.odd.len(), 1);
    }
}
