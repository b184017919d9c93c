//! Source text to tokens.
//!
//! Inert ranges never act as syntax: outside of actions they are text, inside string literals content, elsewhere an error.

use std::rc::Rc;

use crate::{
    ast::Opening,
    problem::{Problem, Span},
};

mod literals;

/// A token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Token {
    /// What it is.
    pub kind: Kind,
    /// Where it stands.
    pub span: Span,
    /// White space or a comment stands before it.
    pub spaced: bool,
}

/// The kinds of token.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// Text outside of actions, already trimmed.
    Text(Opening),
    /// `{{`
    Open,
    /// `}}`
    Close,
    /// A word: a keyword or a function.
    Word(Rc<str>),
    /// `.name`
    Segment(Rc<str>),
    /// A lone `.`
    Dot,
    /// `$` or `$name`, without the `$`
    Variable(Rc<str>),
    /// An integer.
    Int(i64),
    /// A float, or an integer outside 64 bits.
    Float(f64),
    /// A string literal.
    String(Rc<str>),
    /// `(`
    LeftParen,
    /// `)`
    RightParen,
    /// `|`
    Pipe,
    /// `,`
    Comma,
    /// `:=`
    Declare,
    /// `=`
    Assign,
    /// The end of the source.
    End,
}

/// What lexing gave.
#[derive(Debug)]
pub(crate) struct Tokens {
    /// The tokens, closed by `End`.
    pub tokens: Vec<Token>,
    /// `{%` in the text: plain text that was probably meant otherwise (CZ0412).
    pub warnings: Vec<Problem>,
}

/// Splits `text`; `inert` are the ranges that came from outside.
///
/// # Errors
/// The first thing that is no token: CZ0401.
pub(crate) fn lex(text: &str, inert: &[Span]) -> Result<Tokens, Problem> {
    // Ranges end where the text ends: every one gets the lexer ahead.
    let clamp = |span: &Span| Span::new(span.start, span.end.min(text.len()));
    let mut inert: Vec<Span> = inert.iter().map(clamp).filter(|span| span.start < span.end).collect();
    inert.sort_unstable_by_key(|span| span.start);
    inert.dedup_by(|next, before| {
        let overlaps = next.start <= before.end;
        if overlaps {
            before.end = before.end.max(next.end);
        }
        overlaps
    });
    let mut lexer = Lexer {
        text,
        bytes: text.as_bytes(),
        inert,
        at: 0,
        spaced: false,
        tokens: Vec::with_capacity(16),
        warnings: Vec::new(),
    };
    lexer.run()?;
    Ok(Tokens { tokens: lexer.tokens, warnings: lexer.warnings })
}

struct Lexer<'a> {
    text: &'a str,
    bytes: &'a [u8],
    inert: Vec<Span>,
    at: usize,
    spaced: bool,
    tokens: Vec<Token>,
    warnings: Vec<Problem>,
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

impl Lexer<'_> {
    fn byte(&self, at: usize) -> Option<u8> {
        self.bytes.get(at).copied()
    }

    fn slice(&self, start: usize, end: usize) -> &str {
        self.text.get(start..end).unwrap_or_default()
    }

    fn starts(&self, at: usize, what: &str) -> bool {
        self.bytes.get(at..).is_some_and(|rest| rest.starts_with(what.as_bytes()))
    }

    /// End of the inert range `at` lies in.
    fn inert_end(&self, at: usize) -> Option<usize> {
        let after = self.inert.partition_point(|span| span.start <= at);
        let span = self.inert.get(after.checked_sub(1)?)?;
        (at < span.end).then_some(span.end)
    }

    fn push(&mut self, kind: Kind, start: usize) {
        let span = Span::new(start, self.at);
        let spaced = std::mem::take(&mut self.spaced);
        self.tokens.push(Token { kind, span, spaced });
    }

    fn wrong(&self, reason: impl AsRef<str>, start: usize) -> Problem {
        let mut end = (start + 1).min(self.bytes.len());
        while !self.text.is_char_boundary(end) {
            end += 1;
        }
        Problem::syntax(reason, Span::new(start, end))
    }

    fn run(&mut self) -> Result<(), Problem> {
        let mut trim = false;
        loop {
            let open = self.find_open(self.at);
            let end = open.unwrap_or(self.bytes.len());
            let trim_right =
                open.is_some_and(|at| self.byte(at + 2) == Some(b'-') && self.byte(at + 3).is_some_and(is_space));
            self.text_token(end, trim, trim_right);
            let Some(start) = open else { break };
            self.at = start + 2;
            self.push(Kind::Open, start);
            if trim_right {
                self.at += 1;
            }
            trim = self.action(start)?;
        }
        self.push(Kind::End, self.bytes.len());
        Ok(())
    }

    /// The next `{{` the template itself wrote.
    fn find_open(&self, mut from: usize) -> Option<usize> {
        loop {
            let at = from + self.text.get(from..)?.find("{{")?;
            if self.inert_end(at).is_none() && self.inert_end(at + 1).is_none() {
                return Some(at);
            }
            from = at + 1;
        }
    }

    fn text_token(&mut self, end: usize, trim_left: bool, trim_right: bool) {
        let mut start = self.at;
        let mut stop = end;
        let blank = |c: char| matches!(c, ' ' | '\t' | '\r' | '\n');
        if trim_left {
            let kept = self.slice(start, stop).trim_start_matches(blank).len();
            start = stop - kept;
        }
        if trim_right {
            stop = start + self.slice(start, stop).trim_end_matches(blank).len();
        }
        self.at = stop;
        if start < stop {
            self.warn_percent(start, stop);
            let first = self.slice(start, stop).find(|c: char| !c.is_whitespace());
            let opening = match first {
                None => Opening::Blank,
                Some(at) if self.inert_end(start + at).is_some() => Opening::Foreign,
                Some(_) => Opening::Own,
            };
            self.push(Kind::Text(opening), start);
        }
        self.spaced = false;
    }

    fn warn_percent(&mut self, start: usize, end: usize) {
        let found = self.slice(start, end).match_indices("{%");
        let places: Vec<usize> = found.map(|(at, _)| start + at).collect();
        for at in places {
            if self.inert_end(at).is_some() || self.inert_end(at + 1).is_some() {
                continue;
            }
            let message = "'{%' is plain text here; templates use {{ }}";
            self.warnings.push(Problem { warning: true, ..Problem::new("CZ0412", message, Span::new(at, at + 2)) });
        }
    }

    /// The inside of an action, to its `}}`; returns whether the text behind is trimmed.
    fn action(&mut self, open: usize) -> Result<bool, Problem> {
        loop {
            let start = self.at;
            let Some(byte) = self.byte(start) else {
                return Err(Problem::syntax("unclosed action", Span::new(open, open + 2)).help("close it with }}"));
            };
            if self.inert_end(start).is_some() {
                return Err(self
                    .wrong("interpolated text inside an action", start)
                    .help("${…} may stand in a string literal only: \"${…}\""));
            }
            if is_space(byte) {
                self.at += 1;
                self.spaced = true;
                if self.starts(self.at, "-}}") && self.inert_end(self.at).is_none() {
                    self.at += 3;
                    self.push(Kind::Close, start + 1);
                    return Ok(true);
                }
            } else if self.starts(start, "/*") {
                self.comment(start)?;
            } else if self.starts(start, "}}") {
                self.at += 2;
                self.push(Kind::Close, start);
                return Ok(false);
            } else {
                self.token(byte, start)?;
            }
        }
    }

    fn comment(&mut self, start: usize) -> Result<(), Problem> {
        let mut from = start + 2;
        loop {
            let rest = self.text.get(from..).unwrap_or_default();
            let Some(at) = rest.find("*/") else {
                return Err(self.wrong("unclosed comment", start).help("close it with */"));
            };
            from += at;
            if self.inert_end(from).is_none() && self.inert_end(from + 1).is_none() {
                break;
            }
            from += 1;
        }
        self.at = from + 2;
        self.spaced = true;
        Ok(())
    }

    fn token(&mut self, byte: u8, start: usize) -> Result<(), Problem> {
        let next = self.byte(start + 1);
        let digit_follows = next.is_some_and(|b| b.is_ascii_digit());
        let kind = match byte {
            b'(' => Kind::LeftParen,
            b')' => Kind::RightParen,
            b'|' if next != Some(b'|') => Kind::Pipe,
            b',' => Kind::Comma,
            b':' if next == Some(b'=') => {
                self.at += 1;
                Kind::Declare
            }
            b'=' if next != Some(b'=') => Kind::Assign,
            b'"' | b'\'' => return self.quoted(byte, start),
            b'`' => return self.raw(start),
            b'$' => return self.variable(start),
            b'.' if digit_follows && !self.continues_path() => return self.number(start),
            b'.' if next.is_some_and(is_word) => return self.segment(start),
            b'.' => Kind::Dot,
            b'0'..=b'9' => return self.number(start),
            b'+' | b'-'
                if digit_follows
                    || (next == Some(b'.') && self.byte(start + 2).is_some_and(|b| b.is_ascii_digit())) =>
            {
                return self.number(start);
            }
            _ if is_word(byte) => return self.word(start),
            _ => return Err(self.unexpected(byte, start)),
        };
        self.at += 1;
        self.push(kind, start);
        Ok(())
    }

    /// A `.` right behind a name or a `)` continues a path, so digits behind it are a segment and no number.
    fn continues_path(&self) -> bool {
        !self.spaced
            && matches!(
                self.tokens.last().map(|token| &token.kind),
                Some(Kind::Segment(_) | Kind::Variable(_) | Kind::RightParen)
            )
    }

    fn unexpected(&self, byte: u8, start: usize) -> Problem {
        let found = self.slice(start, self.bytes.len()).chars().next().unwrap_or(' ');
        let problem = self.wrong(format!("unexpected '{found}'"), start);
        match byte {
            b'<' | b'>' | b'=' | b'!' | b'+' | b'-' | b'*' | b'/' | b'%' => {
                problem.help("use lt, eq, add: templates have functions, no operators")
            }
            b'&' | b'|' => problem.help("use and, or: templates have functions, no operators"),
            _ => problem,
        }
    }

    fn word_end(&self, from: usize) -> usize {
        let rest = self.bytes.get(from..).unwrap_or_default();
        from + rest.iter().take_while(|b| is_word(**b)).count()
    }

    fn word(&mut self, start: usize) -> Result<(), Problem> {
        self.at = self.word_end(start);
        self.no_inert(start)?;
        let word = self.slice(start, self.at).into();
        self.push(Kind::Word(word), start);
        Ok(())
    }

    fn variable(&mut self, start: usize) -> Result<(), Problem> {
        self.at = self.word_end(start + 1);
        self.no_inert(start)?;
        let name = self.slice(start + 1, self.at).into();
        self.push(Kind::Variable(name), start);
        Ok(())
    }

    /// `.name`; a `-` between two letters, digits or `_` belongs to it.
    fn segment(&mut self, start: usize) -> Result<(), Problem> {
        self.at = self.word_end(start + 1);
        while self.byte(self.at) == Some(b'-') && self.byte(self.at + 1).is_some_and(is_word) {
            self.at = self.word_end(self.at + 1);
        }
        self.no_inert(start)?;
        let name = self.slice(start + 1, self.at).into();
        self.push(Kind::Segment(name), start);
        Ok(())
    }

    fn no_inert(&self, start: usize) -> Result<(), Problem> {
        match (start..self.at).find(|at| self.inert_end(*at).is_some()) {
            None => Ok(()),
            Some(at) => Err(self
                .wrong("interpolated text inside an action", at)
                .help("${…} may stand in a string literal only: \"${…}\"")),
        }
    }
}
