//! CEL expressions at load (dialect §7): compiled to find what is wrong with them, and asked for the variables they use.
//!
//! Nothing is evaluated here. The parser and the later evaluation recurse over what is written, so the text is measured
//! before it is parsed: an expression that passes fits the stack of any thread.

use std::collections::BTreeSet;

use cel::Env;

use crate::plan::Reference;

mod walk;

use walk::{Walk, outcomes, outermost};

/// Longest expression in bytes.
pub const MAX_SOURCE: usize = 16 << 10;

/// Deepest nesting of an expression.
pub const MAX_DEPTH: usize = 100;

/// Most operators, accesses and brackets of an expression, each of which may be a level of nesting.
const MAX_SYMBOLS: usize = 600;

/// Deepest brackets.
const MAX_BRACKETS: usize = 40;

/// Variables of expressions; those that a place does not have are null there.
pub const ROOTS: &[&str] = &[
    "input",
    "with",
    "workflow",
    "tasks",
    "env",
    "project",
    "item",
    "index",
    "parent",
    "output",
    "error",
    "signal",
    "processor",
    "trigger",
    "payload",
    "headers",
    "query",
];

/// Names of types, which are values too.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "dyn", "int", "list", "map", "null_type", "string", "type", "uint", "optional"];

/// Functions of the standard library; macros are expanded before they could be seen.
const FUNCTIONS: &[&str] = &[
    "bool",
    "bytes",
    "contains",
    "double",
    "duration",
    "dyn",
    "endsWith",
    "getDate",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getFullYear",
    "getHours",
    "getMilliseconds",
    "getMinutes",
    "getMonth",
    "getSeconds",
    "hasValue",
    "int",
    "matches",
    "none",
    "of",
    "ofNonZeroValue",
    "or",
    "orValue",
    "size",
    "startsWith",
    "string",
    "timestamp",
    "type",
    "uint",
    "value",
];

/// Names that look like functions and are macros, for suggestions.
const MACROS: &[&str] = &["all", "exists", "exists_one", "filter", "has", "map"];

/// What is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// `CZ0409`, or `CZ0407` for an unknown variable.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// How to mend it.
    pub help: Option<String>,
    /// First byte.
    pub start: usize,
    /// Byte after the last.
    pub end: usize,
}

/// An expression that compiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compiled {
    /// Root variables and members it refers to, sorted, none inside another.
    pub references: Vec<Reference>,
    /// Every value it can have, where each is written out (`c ? "a" : "b"`) or the expression is true or false.
    pub outcomes: Option<Vec<String>>,
}

/// Which names an expression may use.
#[derive(Debug, Clone, Copy, Default)]
pub struct Names<'n> {
    /// Variables besides [`ROOTS`].
    pub more: &'n [String],
    /// Ids that may follow `tasks.`; `None`: not checked.
    pub tasks: Option<&'n [String]>,
}

/// Compiles an expression.
///
/// # Errors
/// Everything that is wrong with it, at least one problem.
pub fn compile(source: &str, names: Names<'_>) -> Result<Compiled, Vec<Problem>> {
    let whole = |message: String| {
        let problem =
            Problem { code: "CZ0409", message: format!("CEL: {message}"), help: None, start: 0, end: source.len() };
        Err(vec![Problem { help: Some("split it, for example into several tasks".into()), ..problem }])
    };
    if source.len() > MAX_SOURCE {
        return whole(format!("the expression is longer than {MAX_SOURCE} bytes"));
    }
    let (symbols, brackets) = measure(source);
    if symbols > MAX_SYMBOLS {
        return whole(format!("the expression has more than {MAX_SYMBOLS} operators"));
    }
    if brackets > MAX_BRACKETS {
        return whole(format!("brackets nest deeper than {MAX_BRACKETS} levels"));
    }
    let (expression, info) =
        Env::stdlib().parser().parse_with_source_info(source).map_err(|errors| syntax(source, &errors.errors))?;
    let mut walk =
        Walk { source, info: &info, names, locals: Vec::new(), paths: BTreeSet::new(), problems: Vec::new() };
    if !walk.visit(&expression, 0) {
        return whole(format!("the expression nests deeper than {MAX_DEPTH} levels"));
    }
    if !walk.problems.is_empty() {
        return Err(walk.problems);
    }
    let references = outermost(walk.paths).into_iter().map(|path| Reference { path, whole: true }).collect();
    Ok(Compiled { references, outcomes: outcomes(&expression) })
}

/// Counts what may nest, and the deepest brackets; what stands in quotes does not count.
fn measure(source: &str) -> (usize, usize) {
    let (mut symbols, mut open, mut deepest) = (0, 0usize, 0);
    let mut quote = None;
    let mut escaped = false;
    for byte in source.bytes() {
        if let Some(end) = quote {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                // A literal never ends later than its line; what is left open is found by the parser.
                _ if byte == end || byte == b'\n' => quote = None,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' | b'\'' => quote = Some(byte),
            b'(' | b'[' | b'{' => {
                open += 1;
                deepest = deepest.max(open);
            }
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        symbols += usize::from(b".[({?!-+*/%<>=&|".contains(&byte));
    }
    (symbols, deepest)
}

/// The parser's errors in our words; the first syntax error explains those after it.
fn syntax(source: &str, errors: &[cel::ParseError]) -> Vec<Problem> {
    let first = errors.iter().find(|error| error.msg.starts_with("Syntax error")).or(errors.first());
    let Some(error) = first else {
        return vec![Problem {
            code: "CZ0409",
            message: "CEL: it cannot be read".into(),
            help: None,
            start: 0,
            end: source.len(),
        }];
    };
    let start = offset(source, error.pos);
    let (reason, token) = reword(&error.msg);
    let end = (start + token.len().max(1)).min(source.len()).max(start);
    let help = match token.trim() {
        "=" => Some("use == to compare"),
        "and" | "AND" => Some("write && for and"),
        "or" | "OR" => Some("write || for or"),
        token if token.starts_with(['"', '\'']) => Some("the text in quotes is not closed"),
        "}" | "{" if source.contains("${") => Some("quote the text around ${…}"),
        _ if source.contains(" and ") => Some("write && for and, || for or, ! for not"),
        _ => None,
    };
    vec![Problem { code: "CZ0409", message: format!("CEL: {reason}"), help: help.map(str::to_owned), start, end }]
}

/// The byte at a 1-based line and column in characters.
fn offset(source: &str, (line, column): (isize, isize)) -> usize {
    let line = usize::try_from(line.max(1)).unwrap_or(1) - 1;
    let column = usize::try_from(column.max(1)).unwrap_or(1) - 1;
    let begin: usize = source.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = source.get(begin..).unwrap_or_default();
    begin + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
}

/// A message of the parser without its list of tokens, and the token it is about.
fn reword(message: &str) -> (String, String) {
    let message = message.strip_prefix("Syntax error: ").unwrap_or(message);
    let quoted = |marker: &str| {
        let rest = message.split_once(marker)?.1;
        let rest = rest.strip_prefix('\'')?;
        let end = rest.find("' expecting").or_else(|| rest.rfind('\''))?;
        rest.get(..end).map(|token| token.trim().to_owned())
    };
    for marker in
        ["mismatched input ", "extraneous input ", "token recognition error at: ", "no viable alternative at input "]
    {
        match quoted(marker).as_deref() {
            Some("<EOF>") => return ("the expression ends too early".into(), String::new()),
            Some(token) => return (format!("unexpected {}", crate::yaml::describe_text(token)), token.to_owned()),
            None => {}
        }
    }
    let line = message.lines().next().unwrap_or_default();
    (line.split(" expecting ").next().unwrap_or(line).trim().to_owned(), String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn references(source: &str) -> Vec<String> {
        let compiled = compile(source, Names::default()).unwrap_or_else(|problems| panic!("{source}: {problems:?}"));
        compiled.references.into_iter().map(|reference| reference.path.join("/")).collect()
    }

    fn problem(source: &str) -> String {
        let tasks = ["draft".to_owned(), "my-task".to_owned()];
        let more = ["file".to_owned()];
        let problems = compile(source, Names { more: &more, tasks: Some(&tasks) }).unwrap_err();
        let Problem { code, message, start, end, .. } = &problems[0];
        format!("{code} {start}..{end} {message}")
    }

    #[test]
    fn references_are_the_fixed_ways_into_the_variables() {
        for (source, expected) in [
            ("input.amount > 100.0 ? \"manual\" : \"auto\"", &["input/amount"][..]),
            ("tasks[\"my-task\"].output.x == tasks.b.output[0].y", &["tasks/b/output", "tasks/my-task/output/x"]),
            ("has(input.a.b) && input.a.b > 1", &["input/a/b"]),
            ("input.a.b > 1 && input.a == null", &["input/a"]),
            ("input.list.exists(x, x.id == item.id && index > 0)", &["index", "input/list", "item/id"]),
            ("input[with.key].deep", &["input", "with/key"]),
            ("type(input.n) == string || 'input.z' in query", &["input/n", "query"]),
            ("[input.a, {input.b: input.c}].size() > 0", &["input/a", "input/b", "input/c"]),
            ("1 + 1 == 2", &[]),
            ("duration('1h') > duration('1m') && input.?a.orValue(1) == 1", &["input/a"]),
        ] {
            assert_eq!(references(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (source, expected) in [
            ("input.a = 2", "CZ0409 8..9 CEL: unexpected '='"),
            ("input.a >", "CZ0409 9..9 CEL: the expression ends too early"),
            ("input.a\n  && input.b b", "CZ0409 21..22 CEL: unexpected 'b'"),
            (
                "'é' == \"ü\" && inptu.x",
                "CZ0407 16..21 unknown variable 'inptu' in an expression. Did you mean 'input'?",
            ),
            (
                "tasks.draf.output == 1",
                "CZ0407 0..5 unknown variable 'tasks.draf' in an expression. Did you mean 'tasks.draft'?",
            ),
            ("input.a.startWith('x')", "CZ0409 8..17 CEL: unknown function 'startWith'. Did you mean 'startsWith'?"),
            ("lower(input.a) == 'x'", "CZ0409 0..5 CEL: unknown function 'lower'"),
            ("", "CZ0409 0..0 CEL: the expression ends too early"),
        ] {
            assert_eq!(problem(source), expected, "{source}");
        }
        assert!(compile("file.path == tasks['my-task'].output", Names { more: &["file".into()], tasks: None }).is_ok());
    }

    #[test]
    fn outcomes_are_known_where_they_are_written_out() {
        let outcomes = |source: &str| compile(source, Names::default()).unwrap().outcomes;
        let texts = |all: &[&str]| Some(all.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>());
        assert_eq!(outcomes("input.a > 1 ? 'x' : input.b ? 'y' : 'z'"), texts(&["x", "y", "z"]));
        assert_eq!(outcomes("input.a in [1]"), texts(&["true", "false"]));
        assert_eq!(outcomes("input.a"), None);
        assert_eq!(outcomes("input.a ? 'x' : input.b"), None);
    }

    #[test]
    fn nothing_written_exhausts_the_stack() {
        for (open, middle, close) in [
            ("(", "1", ")"),
            ("[", "1", "]"),
            ("{1:", "1", "}"),
            ("!", "true", ""),
            ("-", "1", ""),
            ("", "input", ".b"),
            ("", "input", "[0]"),
            ("", "1", "+1"),
            ("", "input", ".size()"),
            ("true?1:", "1", ""),
            ("", "true", "&&true"),
            ("", "1", "==1"),
            ("input.map(x,", "x", ")"),
            ("'", "", ""),
            ("\\", "", ""),
            ("${", "", "}"),
        ] {
            for count in [1, 10, 39, 41, 95, 250, 599, 2_000, 20_000] {
                let source = format!("{}{middle}{}", open.repeat(count), close.repeat(count));
                let _ = compile(&source, Names::default());
            }
        }
    }

    #[test]
    fn garbage_never_panics() {
        let pieces = [
            "input", ".", "(", ")", "[", "]", "'", "\"", "\\", "?", ":", "&&", "=", "é", "\n", "1", "0x", "b'", "{",
            "}", ",", "has", "`", "r'", "'''", " in ", "u", "-", "\u{0}",
        ];
        let mut seed = 0x9e37_79b9_u64;
        for _ in 0..3_000 {
            let mut source = String::new();
            for _ in 0..12 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                source.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
            }
            for problem in compile(&source, Names::default()).err().into_iter().flatten() {
                assert!(problem.start <= problem.end && problem.end <= source.len(), "{source:?} {problem:?}");
            }
        }
    }
}
