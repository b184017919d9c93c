//! How problems are shown: `error[CZ0108]: …` with place, source line, caret and help, or one JSON document.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use compozy_lang::diagnostic::{COUNTED, Diagnostic, Severity};
use serde_json::Value;

use super::failure::{Diagnostics, Failure, Problem};
use super::output::{Format, Output, Paint, escaped, painted};

/// Largest file that is read again to show a line of it, bytes.
const SHOWN_FILE: u64 = 10 << 20;
/// The warning about a secret that stands in the file itself.
const LITERAL_SECRET: &str = "CZ0505";
/// Longest source line shown, characters.
const SHOWN_LINE: usize = 160;

/// Shows why a command failed, on stderr.
pub fn failure(output: &Output, failure: &Failure) {
    let text = match (failure, output.format) {
        (Failure::Quiet(_), _) => return,
        (failure, Format::Json | Format::Yaml | Format::Ndjson) => failure.document().to_string(),
        (Failure::Problem(problem), Format::Table) => problem_text(problem, output.color_err),
        (Failure::Diagnostics(found), Format::Table) => diagnostics_text(found, output.color_err),
    };
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Shows what a load met short of errors. Notes are left to `validate` and `-vv`.
pub fn warnings(output: &Output, found: &Diagnostics) {
    let least = if output.verbose > 1 { Severity::Note } else { Severity::Warning };
    let mut lines = Lines::new(&found.root);
    for diagnostic in found.all.iter().filter(|diagnostic| diagnostic.severity <= least) {
        let _ = writeln!(std::io::stderr().lock(), "{}", diagnostic_text(diagnostic, &mut lines, output.color_err));
    }
}

/// The text form of one problem.
#[must_use]
pub fn problem_text(problem: &Problem, color: bool) -> String {
    let head = painted(&format!("error[{}]", escaped(&problem.code)), Paint::Red, color);
    let mut text = format!("{head}: {}", escaped(&problem.message));
    for error in &problem.errors {
        let member = |name: &str| error.get(name).and_then(Value::as_str).map(escaped).unwrap_or_default();
        match member("pointer").as_str() {
            "" => text.push_str(&format!("\n  - {}", member("message"))),
            pointer => text.push_str(&format!("\n  - {pointer}: {}", member("message"))),
        }
    }
    if let Some(hint) = &problem.hint {
        text.push_str(&help_text(hint, color));
    }
    text
}

/// The text form of all diagnostics, with a count of those left out.
#[must_use]
pub fn diagnostics_text(found: &Diagnostics, color: bool) -> String {
    let mut lines = Lines::new(&found.root);
    let mut parts: Vec<String> =
        found.all.iter().map(|diagnostic| diagnostic_text(diagnostic, &mut lines, color)).collect();
    if found.omitted > 0 {
        let least = if found.omitted >= COUNTED { "at least " } else { "" };
        parts.push(format!("… and {least}{} more", found.omitted));
    }
    parts.join("\n")
}

fn diagnostic_text(diagnostic: &Diagnostic, lines: &mut Lines<'_>, color: bool) -> String {
    let paint = match diagnostic.severity {
        Severity::Error => Paint::Red,
        Severity::Warning => Paint::Yellow,
        Severity::Note => Paint::Blue,
    };
    let head = painted(&format!("{}[{}]", diagnostic.severity.word(), diagnostic.code), paint, color);
    let arrow = painted("-->", Paint::Blue, color);
    let mut text = format!("{head}: {}", escaped(&diagnostic.message));
    if !diagnostic.place.file.is_empty() {
        text.push_str(&format!("\n  {arrow} {}", escaped(&diagnostic.place.to_string())));
    }
    // A line that is known to hold a secret is not shown at all.
    let shown = (diagnostic.code != LITERAL_SECRET).then(|| lines.line(&diagnostic.place.file, diagnostic.place.line));
    if let Some(line) = shown.flatten() {
        text.push_str(&excerpt(
            &line,
            diagnostic.place.line,
            diagnostic.place.column,
            diagnostic.span_len,
            paint,
            color,
        ));
    }
    for (place, note) in &diagnostic.related {
        text.push_str(&format!("\n  {arrow} {} ({})", escaped(&place.to_string()), escaped(note)));
    }
    if let Some(help) = &diagnostic.help {
        text.push_str(&help_text(help, color));
    }
    text
}

fn help_text(help: &str, color: bool) -> String {
    let lead = painted("=", Paint::Blue, color);
    escaped(help)
        .lines()
        .enumerate()
        .map(
            |(index, line)| if index == 0 { format!("\n  {lead} help: {line}") } else { format!("\n          {line}") },
        )
        .collect()
}

/// The source line and a caret under the characters that are wrong.
fn excerpt(line: &str, number: u32, column: u32, span: u32, paint: Paint, color: bool) -> String {
    let shown: String = line.chars().take(SHOWN_LINE).collect();
    let number = number.to_string();
    let gutter = " ".repeat(number.len());
    let bar = painted("|", Paint::Blue, color);
    let mut text = format!("\n {number} {bar} {}", escaped(&shown).replace('\t', " "));
    let before = (column as usize).saturating_sub(1);
    let length = shown.chars().count();
    if column > 0 && before < length.max(1) {
        let carets = (span as usize).clamp(1, length.saturating_sub(before).max(1));
        let carets = painted(&"^".repeat(carets), paint, color);
        text.push_str(&format!("\n {gutter} {bar} {}{carets}", " ".repeat(before)));
    }
    text
}

/// The line, cut after the first key of a secret that has a value: what follows may be the secret or a part of it.
fn without_secret(line: &str) -> String {
    for (at, _) in line.match_indices([':', '=']) {
        let (before, value) = (line.get(..at).unwrap_or_default(), line.get(at + 1..).unwrap_or_default());
        if secret_key(before) && !value.trim().is_empty() && !is_reference(value) {
            return format!("{before}{} ***", line.get(at..=at).unwrap_or_default());
        }
    }
    line.to_owned()
}

/// Whether the word that `text` ends with names a secret.
fn secret_key(text: &str) -> bool {
    let text = text.trim_end().trim_end_matches(['"', '\'']);
    let word = text.rsplit(|letter: char| !letter.is_alphanumeric() && !"_-.".contains(letter)).next();
    word.is_some_and(|word| {
        compozy_lang::environment::is_secret_name(&word.replace('-', "_")) || word == "conn_string" || word == "dsn"
    })
}

/// Nothing but `${VAR}`, without a default.
fn is_reference(value: &str) -> bool {
    let value = value.trim().trim_matches(['"', '\'']);
    let name = value.strip_prefix("${").and_then(|rest| rest.strip_suffix('}'));
    name.is_some_and(|name| !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_'))
}

/// Whether the line of this index lies within the value of a secret's key: a block text, or a list.
fn in_secret(text: &str, index: usize) -> bool {
    let lines: Vec<&str> = text.lines().take(index + 1).collect();
    let depth = |line: &str| line.len() - line.trim_start().len();
    let Some((line, above)) = lines.split_last() else { return false };
    let (mut least, mut item) = (depth(line), line.trim_start().starts_with('-'));
    for line in above.iter().rev().filter(|line| !line.trim().is_empty()) {
        let holds = depth(line) < least || (item && depth(line) == least && !line.trim_start().starts_with('-'));
        if !holds {
            continue;
        }
        if line.split_once(':').is_some_and(|(key, _)| secret_key(key)) {
            return true;
        }
        (least, item) = (depth(line), line.trim_start().starts_with('-'));
    }
    false
}

/// Lines of the files that diagnostics point into, each file read once.
struct Lines<'a> {
    root: &'a Path,
    files: HashMap<String, Option<String>>,
}

impl<'a> Lines<'a> {
    fn new(root: &'a Path) -> Self {
        Self { root, files: HashMap::new() }
    }

    /// A line as it may be shown.
    fn line(&mut self, file: &str, number: u32) -> Option<String> {
        let index = usize::try_from(number.checked_sub(1)?).ok()?;
        let root = self.root;
        let text = self.files.entry(file.to_owned()).or_insert_with(|| read(&root.join(file)));
        let text = text.as_deref()?;
        let line = text.lines().nth(index)?.trim_start_matches('\u{feff}');
        Some(if in_secret(text, index) { "***".to_owned() } else { without_secret(line) })
    }
}

fn read(path: &Path) -> Option<String> {
    let metadata = std::fs::metadata(path).ok()?;
    (metadata.is_file() && metadata.len() <= SHOWN_FILE).then(|| std::fs::read_to_string(path).ok())?
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use compozy_lang::source::Place;

    use super::*;

    fn place(file: &str, line: u32, column: u32) -> Place {
        Place { file: Arc::from(file), line, column }
    }

    #[test]
    fn a_diagnostic_shows_place_line_caret_and_help() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("compozy.yaml"), "name: x\ndatabase:\n  dbnam: a\n  password: hunter2\n")
            .unwrap();
        let unknown = Diagnostic::error("CZ0108", "unknown key 'dbnam'", place("compozy.yaml", 3, 3))
            .length(5)
            .help("did you mean 'dbname'?");
        let secret =
            Diagnostic::warning("CZ0505", "'database.password' holds a literal secret", place("compozy.yaml", 4, 13));
        let found = Diagnostics { all: vec![unknown, secret], omitted: 2, root: folder.path().to_owned() };
        assert_eq!(
            diagnostics_text(&found, false),
            "error[CZ0108]: unknown key 'dbnam'\n  --> compozy.yaml:3:3\n 3 |   dbnam: a\n   |   ^^^^^\n  = help: did you mean 'dbname'?\n\
             warning[CZ0505]: 'database.password' holds a literal secret\n  --> compozy.yaml:4:13\n\
             … and 2 more"
        );
    }

    #[test]
    fn no_line_shows_a_secret() {
        for (line, shown) in [
            ("  api_key: sk-1", "  api_key: ***"),
            ("- {provider: openai, api_key: sk-1, model: m}", "- {provider: openai, api_key: ***"),
            ("headers: {\"Authorization\": \"Bearer sk-1\"}", "headers: {\"Authorization\": ***"),
            ("headers: {X-Api-Key: sk-1}", "headers: {X-Api-Key: ***"),
            ("  password: a${B}", "  password: ***"),
            ("  password: ${B:-sk-1}", "  password: ***"),
            ("  conn_string: postgres://u:sk-1@h/d", "  conn_string: ***"),
            ("  url: 'host=h password=sk-1'", "  url: 'host=h password= ***"),
            ("  password: ${B}", "  password: ${B}"),
            ("  api_key:", "  api_key:"),
            ("  dbnam: a", "  dbnam: a"),
        ] {
            assert_eq!(without_secret(line), shown);
        }
        let text = "a:\n  token: |\n    sk-1\n\n    sk-2\n  next: 1\nsecrets:\n- sk-3\nb:\n- c\n";
        let inside: Vec<usize> = (0..text.lines().count()).filter(|index| in_secret(text, *index)).collect();
        assert_eq!(inside, [2, 4, 7], "the empty line has nothing to hide");
    }

    #[test]
    fn a_missing_file_leaves_the_line_out() {
        let gone = Diagnostic::error("CZ0201", "workflow source 'x' not found", place("gone.yaml", 2, 1));
        let found = Diagnostics { all: vec![gone], omitted: 0, root: "/nonexistent".into() };
        assert_eq!(
            diagnostics_text(&found, false),
            "error[CZ0201]: workflow source 'x' not found\n  --> gone.yaml:2:1"
        );
    }

    #[test]
    fn a_problem_lists_its_violations() {
        let problem = Problem {
            code: "input_invalid".into(),
            message: "input does not match".into(),
            hint: Some("see\nthe schema".into()),
            errors: vec![serde_json::json!({"pointer": "/city", "message": "is required\u{1b}"})],
            ..Problem::default()
        };
        assert_eq!(
            problem_text(&problem, false),
            "error[input_invalid]: input does not match\n  - /city: is required\\u001b\n  = help: see\n          the schema"
        );
    }
}
