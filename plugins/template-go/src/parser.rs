//! Tokens to a template: text, actions and blocks; `parser/pipelines.rs` has what stands inside an action, `parser/templates.rs` what
//! defines and calls templates.

use std::{collections::HashMap, rc::Rc};

use crate::{
    ast::{Body, Branches, Node, Opening, Pipeline, Range, Template},
    lexer::{self, Kind, Token},
    problem::{Problem, Span},
    source::Limits,
};

mod pipelines;
mod templates;

/// What parsing gave.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// The template; none after a syntax problem.
    pub template: Option<Template>,
    /// Problems and warnings, in order of appearance.
    pub problems: Vec<Problem>,
}

/// Parses `text`, of which the `inert` ranges are never syntax.
pub(crate) fn parse(text: &str, inert: &[Span], limits: &Limits) -> Parsed {
    match try_parse(text, inert, limits) {
        Ok((template, mut problems)) => {
            problems.sort_by_key(|problem| problem.span.start);
            Parsed { template: Some(template), problems }
        }
        Err(problem) => Parsed { template: None, problems: vec![problem] },
    }
}

fn try_parse(text: &str, inert: &[Span], limits: &Limits) -> Result<(Template, Vec<Problem>), Problem> {
    if text.len() > limits.max_source {
        let message = format!("source limit of {} exceeded in the template", limits.max_source);
        return Err(Problem::new("CZ0410", message, Span::new(0, text.len()))
            .help("make it smaller, or raise limits.template.max_source"));
    }
    let lexed = lexer::lex(text, inert)?;
    let mut parser = Parser {
        text,
        tokens: lexed.tokens,
        at: 0,
        depth: 0,
        max_depth: limits.max_depth,
        scope: Scope::root(),
        defined: HashMap::new(),
        called: Vec::new(),
        problems: lexed.warnings,
    };
    let is_template = parser.tokens.iter().any(|token| token.kind == Kind::Open);
    let nodes = parser.top_level()?;
    let body = Body { nodes, slots: parser.scope.slots };
    parser.check_called();
    let template = Template { text: text.into(), body, defined: parser.defined, is_template };
    Ok((template, parser.problems))
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    max_depth: usize,
    scope: Scope,
    defined: HashMap<Rc<str>, Body>,
    /// Names used by `template`, to be checked when every `define` is known.
    called: Vec<(Rc<str>, Span)>,
    problems: Vec<Problem>,
}

/// What names mean at a place.
struct Scope {
    /// Visible variables; the position is the slot.
    variables: Vec<Rc<str>>,
    /// Most slots in use at once.
    slots: usize,
    /// `.` is the root context.
    dot_is_root: bool,
    /// `$` is the root context.
    dollar_is_root: bool,
    /// Loops around this place.
    loops: usize,
}

impl Scope {
    fn root() -> Scope {
        Scope { variables: vec!["".into()], slots: 1, dot_is_root: true, dollar_is_root: true, loops: 0 }
    }

    fn defined() -> Scope {
        Scope { dot_is_root: false, dollar_is_root: false, ..Scope::root() }
    }

    fn declare(&mut self, name: Rc<str>) -> usize {
        self.variables.push(name);
        self.slots = self.slots.max(self.variables.len());
        self.variables.len() - 1
    }
}

/// What ended a list of nodes.
#[derive(Clone, Copy, PartialEq)]
enum Stop {
    End,
    Else,
    Source,
}

impl Parser<'_> {
    fn peek(&self) -> &Kind {
        self.tokens.get(self.at).map_or(&Kind::End, |token| &token.kind)
    }

    fn span(&self) -> Span {
        let end = Span::new(self.text.len(), self.text.len());
        self.tokens.get(self.at).map_or(end, |token| token.span)
    }

    fn spaced(&self) -> bool {
        self.tokens.get(self.at).is_none_or(|token| token.spaced)
    }

    fn next(&mut self) -> Option<Token> {
        let token = self.tokens.get(self.at).cloned();
        self.at += 1;
        token
    }

    /// The word at this place.
    fn word(&self) -> Option<Rc<str>> {
        match self.peek() {
            Kind::Word(word) => Some(word.clone()),
            _ => None,
        }
    }

    fn accept(&mut self, kind: &Kind) -> bool {
        let found = self.peek() == kind;
        if found {
            self.at += 1;
        }
        found
    }

    fn unexpected(&self, place: &str) -> Problem {
        let span = self.span();
        let found = self.text.get(span.start..span.end).unwrap_or_default();
        if found.is_empty() {
            return Problem::syntax(format!("unexpected end of the template {place}"), span);
        }
        let problem = Problem::syntax(format!("unexpected '{found}' {place}"), span);
        match found.as_bytes() {
            [b'+' | b'-' | b'=', ..] => problem.help("use lt, eq, add: templates have functions, no operators"),
            _ => problem,
        }
    }

    fn close(&mut self, place: &str) -> Result<(), Problem> {
        if self.accept(&Kind::Close) {
            return Ok(());
        }
        Err(self.unexpected(place))
    }

    fn enter(&mut self) -> Result<(), Problem> {
        if self.depth >= self.max_depth {
            let message = format!("nesting limit of {} exceeded in the template", self.max_depth);
            return Err(
                Problem::new("CZ0410", message, self.span()).help("nest less, or raise limits.template.max_depth")
            );
        }
        self.depth += 1;
        Ok(())
    }

    fn top_level(&mut self) -> Result<Vec<Node>, Problem> {
        let (nodes, stop) = self.nodes(true)?;
        match stop {
            Stop::Source => Ok(nodes),
            Stop::End => {
                Err(Problem::syntax("unexpected {{end}}", self.before()).help("there is no open block to end"))
            }
            Stop::Else => {
                Err(Problem::syntax("unexpected {{else}}", self.before())
                    .help("there is no open block it could belong to"))
            }
        }
    }

    /// The place of the word just read.
    fn before(&self) -> Span {
        let token = self.tokens.get(self.at.saturating_sub(1));
        token.map_or_else(|| self.span(), |token| token.span)
    }

    /// Nodes up to the `end` or `else` that does not belong to them; that word is read, its `}}` is not.
    fn nodes(&mut self, top: bool) -> Result<(Vec<Node>, Stop), Problem> {
        let mut nodes = Vec::new();
        loop {
            let Some(token) = self.next() else {
                return Ok((nodes, Stop::Source));
            };
            match token.kind {
                Kind::Text(opening) => nodes.push(Node::Text { span: token.span, opening }),
                Kind::Open => {
                    let word = self.word();
                    match word.as_deref() {
                        Some("end") => {
                            self.at += 1;
                            return Ok((nodes, Stop::End));
                        }
                        Some("else") => {
                            self.at += 1;
                            return Ok((nodes, Stop::Else));
                        }
                        Some("define") if top => self.define(token.span)?,
                        word => self.action(word.unwrap_or_default(), token.span, &mut nodes)?,
                    }
                }
                _ => return Ok((nodes, Stop::Source)),
            }
        }
    }

    fn action(&mut self, word: &str, open: Span, nodes: &mut Vec<Node>) -> Result<(), Problem> {
        let start = self.span();
        match word {
            "if" | "with" | "range" | "block" => {
                self.at += 1;
                self.enter()?;
                nodes.push(match word {
                    "if" => Node::If(self.branches("if", open)?),
                    "with" => Node::With(self.branches("with", open)?),
                    "range" => Node::Range(Box::new(self.range(open)?)),
                    _ => self.block(open, start)?,
                });
                self.depth -= 1;
            }
            "template" => {
                self.at += 1;
                nodes.push(self.template(start)?);
            }
            "break" | "continue" => {
                self.at += 1;
                if self.scope.loops == 0 {
                    return Err(Problem::syntax(format!("{{{{{word}}}}} outside of range"), start));
                }
                self.close("after it")?;
                nodes.push(if word == "break" { Node::Break } else { Node::Continue });
            }
            "define" => {
                return Err(Problem::syntax("{{define}} inside of a block", start).help("move it to the top level"));
            }
            _ if self.peek() == &Kind::Close => self.empty_action(open)?,
            _ => {
                let pipeline = self.statement("in action")?;
                self.close("in action")?;
                nodes.push(Node::Action(pipeline));
            }
        }
        Ok(())
    }

    /// An action may be empty only if a comment stands in it.
    fn empty_action(&mut self, open: Span) -> Result<(), Problem> {
        let close = self.span();
        let inside = self.text.get(open.end..close.start).unwrap_or_default();
        if !inside.contains("/*") {
            return Err(Problem::syntax("empty action", open.to(close)));
        }
        self.at += 1;
        Ok(())
    }

    /// The body of a block and what ended it, which cannot be the source.
    fn body(&mut self, what: &str, open: Span) -> Result<(Vec<Node>, Stop), Problem> {
        let (nodes, stop) = self.nodes(false)?;
        if stop == Stop::Source {
            return Err(Problem::syntax(format!("unclosed {{{{{what}}}}}"), open).help("close it with {{ end }}"));
        }
        Ok((nodes, stop))
    }

    /// The last body of a block, which only `end` may close.
    fn last_body(&mut self, what: &str, open: Span) -> Result<Vec<Node>, Problem> {
        let (nodes, stop) = self.body(what, open)?;
        if stop == Stop::Else {
            return Err(Problem::syntax("a second {{else}}", self.before()));
        }
        self.close("after end")?;
        Ok(nodes)
    }

    fn branches(&mut self, what: &str, open: Span) -> Result<Branches, Problem> {
        let visible = self.scope.variables.len();
        let root = self.scope.dot_is_root;
        let mut result = Branches { branches: Vec::new(), otherwise: Vec::new() };
        loop {
            let condition = self.statement(&format!("in {what}"))?;
            self.close(&format!("in {what}"))?;
            self.scope.dot_is_root = root && what == "if";
            let (body, stop) = self.body(what, open)?;
            self.scope.dot_is_root = root;
            result.branches.push((condition, body));
            if stop == Stop::End {
                self.close("after end")?;
                break;
            }
            if self.word().as_deref() == Some(what) {
                self.at += 1;
                continue;
            }
            self.close("after else")?;
            result.otherwise = self.last_body(what, open)?;
            break;
        }
        self.scope.variables.truncate(visible);
        Ok(result)
    }

    fn range(&mut self, open: Span) -> Result<Range, Problem> {
        let visible = self.scope.variables.len();
        let root = self.scope.dot_is_root;
        let (key, element, over) = self.range_head()?;
        self.close("in range")?;
        self.scope.dot_is_root = false;
        self.scope.loops += 1;
        let (body, stop) = self.body("range", open)?;
        self.scope.loops -= 1;
        self.scope.dot_is_root = root;
        let otherwise = if stop == Stop::Else {
            self.close("after else")?;
            self.last_body("range", open)?
        } else {
            self.close("after end")?;
            Vec::new()
        };
        self.scope.variables.truncate(visible);
        Ok(Range { key, element, over, body, otherwise })
    }

    /// `$i, $x := pipeline`, `$x := pipeline` or `pipeline`; the variables begin to exist after it.
    fn range_head(&mut self) -> Result<(Option<usize>, Option<usize>, Pipeline), Problem> {
        let names = self.range_names()?;
        let declares = match self.peek() {
            Kind::Declare => true,
            Kind::Assign if !names.is_empty() => false,
            _ if names.is_empty() => return Ok((None, None, self.pipeline("in range")?)),
            _ => return Err(self.unexpected("in range")),
        };
        self.at += 1;
        let over = self.pipeline("in range")?;
        let mut slots = Vec::new();
        for (name, span) in names {
            slots.push(if declares { self.scope.declare(name) } else { self.slot(&name, span)? });
        }
        Ok(match slots.as_slice() {
            [key, element] => (Some(*key), Some(*element), over),
            [element] => (None, Some(*element), over),
            _ => (None, None, over),
        })
    }

    /// Reads `$x` or `$i, $x` if they are followed by `:=` or `=`.
    fn range_names(&mut self) -> Result<Vec<(Rc<str>, Span)>, Problem> {
        let mut names = Vec::new();
        let start = self.at;
        while let Kind::Variable(name) = self.peek() {
            names.push((name.clone(), self.span()));
            self.at += 1;
            if names.len() == 2 || !self.accept(&Kind::Comma) {
                break;
            }
        }
        if !matches!(self.peek(), Kind::Declare | Kind::Assign) {
            if names.len() == 2 {
                return Err(self.unexpected("in range"));
            }
            self.at = start;
            names.clear();
        }
        Ok(names)
    }
}

impl Template {
    /// The only expression there is, if the template is just that (dialect §6.4 rule 2).
    pub(crate) fn lone(&self) -> Option<&Pipeline> {
        let blank = |node: &&Node| !matches!(node, Node::Text { opening: Opening::Blank, .. });
        let mut nodes = self.body.nodes.iter().filter(blank);
        match (nodes.next(), nodes.next()) {
            (Some(Node::Action(pipeline)), None) if self.defined.is_empty() => {
                pipeline.target.is_none().then_some(pipeline)
            }
            _ => None,
        }
    }
}
