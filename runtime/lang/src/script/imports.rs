//! Finds what a module imports, without parsing it: a reader of tokens that knows comments, strings, templates and regular
//! expressions, so that nothing inside those looks like an import.
//!
//! Where it errs (a slash after `}` or `)` is read as a division), an import is missed or a string of nonsense is found, and
//! the engine, which parses the module, says so when the script is called.

/// An import, and where its specifier stands.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Import {
    pub(super) specifier: String,
    /// From 1.
    pub(super) line: u32,
    /// In characters, from 1.
    pub(super) column: u32,
}

/// What the module imports or exports from elsewhere, and what it imports later by a literal name.
pub(super) fn of(text: &str) -> Vec<Import> {
    let mut found = Vec::new();
    let mut clause = Clause::None;
    let mut depth = 0_u32;
    let mut after_dot = false;
    let mut tokens = Tokens { text, at: 0, templates: Vec::new(), depth: 0, ends_value: false };
    while let Some((token, start)) = tokens.next() {
        clause = match (clause, &token) {
            (Clause::Import, Token::Text(specifier)) | (Clause::From, Token::Text(specifier)) => {
                found.push(import(text, start, specifier));
                Clause::None
            }
            (Clause::Import, Token::Mark(b'(')) => Clause::Call,
            (Clause::Call, Token::Text(specifier)) => {
                found.push(import(text, start, specifier));
                Clause::None
            }
            (Clause::Import, Token::Mark(b'.')) => Clause::None,
            (Clause::Import | Clause::Names, Token::Word("from")) => Clause::From,
            (Clause::Export, Token::Mark(b'*' | b'{'))
            | (Clause::Import, Token::Word(_) | Token::Mark(b'*' | b'{')) => Clause::Names,
            // `from` may also be one of the names.
            (Clause::From, Token::Word("from")) => Clause::From,
            (Clause::Names | Clause::From, Token::Word(_) | Token::Mark(b'*' | b'{' | b'}' | b',')) => Clause::Names,
            (Clause::Names, Token::Text(_)) => Clause::Names,
            (_, Token::Word("import")) if !after_dot => Clause::Import,
            (_, Token::Word("export")) if !after_dot && depth == 0 => Clause::Export,
            _ => Clause::None,
        };
        // Inside of braces only `import(…)` is one.
        if clause == Clause::None {
            depth = tokens.depth;
        }
        after_dot = matches!(token, Token::Mark(b'.'));
    }
    found
}

/// How far an import has been read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clause {
    None,
    /// After `import`.
    Import,
    /// After `import (`.
    Call,
    /// After `export`.
    Export,
    /// Among the names.
    Names,
    /// After a `from`.
    From,
}

#[derive(Debug, PartialEq, Eq)]
enum Token<'t> {
    Word(&'t str),
    /// A string, escapes as written: specifiers have none.
    Text(&'t str),
    Mark(u8),
}

struct Tokens<'t> {
    text: &'t str,
    at: usize,
    /// Depths of braces at which a template goes on.
    templates: Vec<u32>,
    depth: u32,
    /// The last token ended a value, so that a slash divides.
    ends_value: bool,
}

/// Words after which a value begins.
const BEFORE_VALUES: [&str; 16] = [
    "return",
    "typeof",
    "case",
    "in",
    "of",
    "delete",
    "void",
    "throw",
    "new",
    "instanceof",
    "else",
    "do",
    "await",
    "yield",
    "default",
    "export",
];

impl<'t> Tokens<'t> {
    fn byte(&self, ahead: usize) -> Option<u8> {
        self.text.as_bytes().get(self.at + ahead).copied()
    }

    /// The next token and its first byte.
    fn next(&mut self) -> Option<(Token<'t>, usize)> {
        loop {
            let start = self.at;
            let byte = self.byte(0)?;
            match byte {
                b'/' if self.byte(1) == Some(b'/') => self.skip_line(),
                b'/' if self.byte(1) == Some(b'*') => {
                    let end = self.text.get(self.at + 2..).and_then(|rest| rest.find("*/"));
                    self.at = end.map_or(self.text.len(), |end| self.at + 2 + end + 2);
                }
                b'/' if !self.ends_value => {
                    self.regular_expression();
                    self.ends_value = true;
                }
                b'"' | b'\'' => {
                    self.at += 1;
                    self.string(byte);
                    self.ends_value = true;
                    let end = self.at.saturating_sub(1).max(start + 1);
                    return Some((Token::Text(self.text.get(start + 1..end).unwrap_or_default()), start));
                }
                b'`' => {
                    self.at += 1;
                    self.template();
                }
                b'}' if self.templates.last() == Some(&self.depth) => {
                    self.templates.pop();
                    self.at += 1;
                    self.template();
                }
                _ if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#') || byte >= 0x80 => {
                    let is_part =
                        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'#') || byte >= 0x80;
                    while self.byte(0).is_some_and(is_part) {
                        self.at += 1;
                    }
                    let word = self.text.get(start..self.at).unwrap_or_default();
                    self.ends_value = !BEFORE_VALUES.contains(&word);
                    return Some((Token::Word(word), start));
                }
                _ if byte.is_ascii_whitespace() => self.at += 1,
                _ => {
                    match byte {
                        b'{' => self.depth += 1,
                        b'}' => self.depth = self.depth.saturating_sub(1),
                        _ => {}
                    }
                    self.at += 1;
                    self.ends_value = matches!(byte, b')' | b']' | b'}');
                    return Some((Token::Mark(byte), start));
                }
            }
        }
    }

    fn skip_line(&mut self) {
        while self.byte(0).is_some_and(|byte| byte != b'\n') {
            self.at += 1;
        }
    }

    /// To behind the closing quote, or to the end of the line, where a string has to end.
    fn string(&mut self, quote: u8) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'\n' => return,
                _ if byte == quote => return,
                _ => {}
            }
        }
    }

    /// Behind the closing backtick, or behind a `${`.
    fn template(&mut self) {
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'`' => {
                    self.ends_value = true;
                    return;
                }
                b'$' if self.byte(0) == Some(b'{') => {
                    self.at += 1;
                    self.templates.push(self.depth);
                    self.ends_value = false;
                    return;
                }
                _ => {}
            }
        }
    }

    fn regular_expression(&mut self) {
        self.at += 1;
        let mut in_class = false;
        while let Some(byte) = self.byte(0) {
            self.at += 1;
            match byte {
                b'\\' => self.at += 1,
                b'[' => in_class = true,
                b']' => in_class = false,
                b'/' if !in_class => return,
                b'\n' => return,
                _ => {}
            }
        }
    }
}

fn import(text: &str, start: usize, specifier: &str) -> Import {
    let before = text.get(..start).unwrap_or_default();
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    let narrow = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Import { specifier: specifier.to_owned(), line: narrow(line), column: narrow(column) }
}

#[cfg(test)]
mod tests {
    use super::{Import, of};

    #[test]
    fn imports_are_found_and_nothing_else() {
        for (text, expected) in [
            ("import './a.js'", vec!["./a.js"]),
            ("import a from './a.js'; import * as b from \"./b.js\";", vec!["./a.js", "./b.js"]),
            ("import a, { b as c, default as d } from './a.js'", vec!["./a.js"]),
            ("import{a}from'./a.js';import{b}from'./b.js'", vec!["./a.js", "./b.js"]),
            ("import from from './a.js'", vec!["./a.js"]),
            ("import { from } from './a.js'", vec!["./a.js"]),
            ("import data from './a.json' with { type: 'json' }", vec!["./a.json"]),
            (
                "export * from './a.js'; export * as b from './b.js'; export { c } from './c.js'",
                vec!["./a.js", "./b.js", "./c.js"],
            ),
            ("const x = 1\nexport { x }\nconst y = 'from'; const from = './z.js'", vec![]),
            ("export { x }; from; './z.js'", vec![]),
            ("export default async (input) => (await import('./later.js')).x", vec!["./later.js"]),
            ("function f() { return import( \"./later.js\" ) }", vec!["./later.js"]),
            ("import(name); import.meta.url; a.import './z.js'", vec![]),
            ("// import './z.js'\n/* import './z.js' */", vec![]),
            ("const s = \"import './z.js'\"; const t = `import './z.js' ${`${'import'}`} import './z.js'`", vec![]),
            ("const t = `${await import('./a.js')} import './z.js'`; import './b.js'", vec!["./a.js", "./b.js"]),
            ("const r = /import '.\\/z.js'[/']/g; import './a.js'", vec!["./a.js"]),
            ("const q = a / b; import './a.js'; c / d", vec!["./a.js"]),
            ("return /'/; import './a.js'", vec!["./a.js"]),
            ("if (a) { export * from './z.js' }", vec![]),
            ("'unterminated\nimport './a.js'", vec!["./a.js"]),
            ("export const from = 1, b = { c: './z.js' }", vec![]),
            ("import", vec![]),
            ("import {", vec![]),
            ("`${", vec![]),
            ("/*", vec![]),
            ("'\\", vec![]),
            ("ä; import './ö.js'", vec!["./ö.js"]),
        ] {
            let found: Vec<String> = of(text).into_iter().map(|import| import.specifier).collect();
            assert_eq!(found, expected, "{text}");
        }
    }

    #[test]
    fn places_are_those_of_the_specifier() {
        let found = of("// ä\nconst é = 1; import './a.js'");
        assert_eq!(found, vec![Import { specifier: "./a.js".into(), line: 2, column: 21 }]);
    }
}
