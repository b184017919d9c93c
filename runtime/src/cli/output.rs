//! Writing to stdout and stderr: formats, colours, tables.
//!
//! Data goes to stdout, talk goes to stderr. `json`, `yaml` and `ndjson` print documents of the API unchanged; `table`
//! is for people, and no byte of stored data can move their cursor.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::failure::Failure;

/// Forms of the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Table,
    /// One JSON document.
    Json,
    /// One YAML document.
    Yaml,
    /// One JSON document per line.
    Ndjson,
}

impl Format {
    /// Reads a word of `--output`; the reference's `tui` and `auto` mean `table`.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        match word.trim().to_ascii_lowercase().as_str() {
            "table" | "tui" | "auto" | "text" => Some(Self::Table),
            "json" => Some(Self::Json),
            "yaml" | "yml" => Some(Self::Yaml),
            "ndjson" | "jsonl" => Some(Self::Ndjson),
            _ => None,
        }
    }
}

/// What decides whether a stream is coloured.
#[derive(Debug, Clone, Copy, Default)]
pub struct ColorSources<'a> {
    /// `--color`, `--no-color`; `Some(None)` is `auto`.
    pub flag: Option<Option<bool>>,
    /// `NO_COLOR`.
    pub no_color: Option<&'a str>,
    /// `CLICOLOR_FORCE`.
    pub force: Option<&'a str>,
    /// `TERM`.
    pub term: Option<&'a str>,
}

impl ColorSources<'_> {
    /// Flag > `NO_COLOR` > `CLICOLOR_FORCE` > TTY test.
    #[must_use]
    pub fn decide(&self, is_terminal: bool) -> bool {
        if let Some(Some(chosen)) = self.flag {
            return chosen;
        }
        let set = |value: Option<&str>| value.is_some_and(|value| !value.is_empty());
        if set(self.no_color) {
            return false;
        }
        if set(self.force) && self.force != Some("0") {
            return true;
        }
        is_terminal && self.term != Some("dumb")
    }
}

/// Colours of the terminal's own palette.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    /// Errors, failed runs.
    Red,
    /// Successes.
    Green,
    /// Warnings, waiting runs.
    Yellow,
    /// Places and gutters.
    Blue,
    /// What stands out.
    Bold,
    /// What stands back.
    Dim,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Self::Red => "1;31",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Blue => "34",
            Self::Bold => "1",
            Self::Dim => "2",
        }
    }
}

/// `text`, painted when `on`.
#[must_use]
pub fn painted(text: &str, paint: Paint, on: bool) -> String {
    if on { format!("\x1b[{}m{text}\x1b[0m", paint.code()) } else { text.to_owned() }
}

/// Where a command writes.
#[derive(Debug, Clone)]
pub struct Output {
    /// Form of the result.
    pub format: Format,
    /// Result and errors only.
    pub quiet: bool,
    /// 0, 1 (`-v`) or 2 (`-vv`).
    pub verbose: u8,
    /// Colours on stdout.
    pub color_out: bool,
    /// Colours on stderr.
    pub color_err: bool,
    /// stderr shows spinners.
    pub spinner: bool,
    /// Columns of the terminal behind stdout; `None` when there is none.
    pub width: Option<usize>,
}

impl Output {
    /// Settles colours and width for this process's streams.
    #[must_use]
    pub fn new(format: Format, quiet: bool, verbose: u8, colors: ColorSources<'_>) -> Self {
        let (out, err) = (io::stdout().is_terminal(), io::stderr().is_terminal());
        Self {
            format,
            quiet,
            verbose,
            color_out: colors.decide(out),
            color_err: colors.decide(err),
            spinner: err && !quiet && colors.term != Some("dumb"),
            width: if out { terminal_size::terminal_size().map(|(width, _)| usize::from(width.0)) } else { None },
        }
    }

    /// Writes one line to stdout and flushes it.
    ///
    /// # Errors
    /// [`Failure::closed_pipe`] when nobody reads any more.
    pub fn line(&self, text: &str) -> Result<(), Failure> {
        let mut stdout = io::stdout().lock();
        writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(Failure::from_stdout)
    }

    /// Writes talk to stderr unless quiet. Nothing is done about a stderr that cannot be written.
    pub fn talk(&self, text: &str) {
        if !self.quiet {
            let _ = writeln!(io::stderr().lock(), "{text}");
        }
    }

    /// Writes talk that `-v` asks for.
    pub fn detail(&self, text: &str) {
        if self.verbose > 0 {
            self.talk(text);
        }
    }

    /// Writes a warning to stderr, also when quiet.
    pub fn warn(&self, text: &str) {
        let word = painted("warning", Paint::Yellow, self.color_err);
        let _ = writeln!(io::stderr().lock(), "{word}: {}", escaped(text));
    }

    /// Prints one document in the chosen machine form. Never called for `table`.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn document(&self, document: &Value) -> Result<(), Failure> {
        match self.format {
            Format::Yaml => {
                let text = serde_yaml::to_string(document).map_err(|error| Failure::internal(&error.to_string()))?;
                self.line(text.trim_end_matches('\n'))
            }
            Format::Ndjson => self.line(&document.to_string()),
            Format::Json | Format::Table => {
                let text =
                    serde_json::to_string_pretty(document).map_err(|error| Failure::internal(&error.to_string()))?;
                self.line(&text)
            }
        }
    }

    /// Prints a list document `{"<plural>": […], "page": …}`: whole, or one item per line for `ndjson`.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn list(&self, plural: &str, document: &Value) -> Result<(), Failure> {
        match (self.format, document.get(plural).and_then(Value::as_array)) {
            (Format::Ndjson, Some(items)) => items.iter().try_for_each(|item| self.document(item)),
            _ => self.document(document),
        }
    }

    /// Prints a table.
    ///
    /// # Errors
    /// As [`Self::line`].
    pub fn table(&self, table: &Table) -> Result<(), Failure> {
        table.lines(self.width, self.color_out).iter().try_for_each(|line| self.line(line))
    }
}

/// Plain columns with two spaces between them.
#[derive(Debug, Clone, Default)]
pub struct Table {
    header: Vec<&'static str>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these column heads.
    #[must_use]
    pub fn new(header: &[&'static str]) -> Self {
        Self { header: header.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; its texts are escaped.
    pub fn row(&mut self, cells: &[&str]) {
        self.rows.push(cells.iter().map(|cell| escaped(cell).replace(['\n', '\t'], " ")).collect());
    }

    /// The lines, cut to `width`, statuses painted when `color`.
    #[must_use]
    pub fn lines(&self, width: Option<usize>, color: bool) -> Vec<String> {
        let widths: Vec<usize> = (0..self.header.len())
            .map(|column| {
                let cells = self.rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
                cells.chain(self.header.get(column).map(|head| head.len())).max().unwrap_or(0)
            })
            .collect();
        let head = self.header.iter().map(ToString::to_string).collect::<Vec<_>>();
        std::iter::once((&head, true))
            .chain(self.rows.iter().map(|row| (row, false)))
            .map(|(cells, is_head)| line(cells, &widths, width, color, is_head))
            .collect()
    }
}

fn line(cells: &[String], widths: &[usize], limit: Option<usize>, color: bool, is_head: bool) -> String {
    let mut text = String::new();
    let mut used = 0;
    for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let gap = if index == 0 { 0 } else { 2 };
        let room = limit.map_or(usize::MAX, |limit| limit.saturating_sub(used + gap));
        if room == 0 {
            break;
        }
        let shown = cut(cell, room);
        let length = shown.chars().count();
        let last = index + 1 == cells.len();
        text.push_str(&"  "[..gap]);
        match status_paint(cell) {
            _ if is_head => text.push_str(&painted(&shown, Paint::Bold, color)),
            Some(paint) => text.push_str(&painted(&shown, paint, color)),
            None => text.push_str(&shown),
        }
        if !last {
            text.push_str(&" ".repeat(width.min(&room).saturating_sub(length)));
        }
        used += gap + (*width).min(room);
    }
    text.truncate(text.trim_end_matches(' ').len());
    text
}

fn cut(text: &str, room: usize) -> String {
    if text.chars().count() <= room {
        return text.to_owned();
    }
    let mut short: String = text.chars().take(room.saturating_sub(1)).collect();
    short.push('…');
    short
}

/// How a status word is painted; `None` for every other text.
#[must_use]
pub fn status_paint(word: &str) -> Option<Paint> {
    match word {
        "SUCCESS" => Some(Paint::Green),
        "FAILED" | "TIMED_OUT" => Some(Paint::Red),
        "RUNNING" => Some(Paint::Blue),
        "WAITING" | "PAUSED" | "PENDING" | "CANCELED" => Some(Paint::Yellow),
        _ => None,
    }
}

/// `text` with every control character but newline and tab written as `\u001b`.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        if (c.is_control() && c != '\n' && c != '\t') || is_bidi(c) {
            safe.push_str(&format!("\\u{:04x}", u32::from(c)));
        } else {
            safe.push(c);
        }
    }
    safe
}

/// Characters that reorder the text around them ("Trojan Source", CVE-2021-42574).
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A duration for people: `850ms`, `2.3s`, `4m05s`, `3h02m`.
#[must_use]
pub fn duration_text(milliseconds: u64) -> String {
    match milliseconds {
        0..1_000 => format!("{milliseconds}ms"),
        1_000..60_000 => format!("{}.{}s", milliseconds / 1_000, milliseconds % 1_000 / 100),
        60_000..3_600_000 => format!("{}m{:02}s", milliseconds / 60_000, milliseconds / 1_000 % 60),
        _ => format!("{}h{:02}m", milliseconds / 3_600_000, milliseconds / 60_000 % 60),
    }
}

/// `2026-01-31T09:30:00.250Z` as `2026-01-31 09:30:00`; `-` for null.
#[must_use]
pub fn time_text(value: Option<&Value>) -> String {
    match value.and_then(Value::as_str) {
        Some(text) => text.get(..19).map_or_else(|| text.to_owned(), |short| short.replacen('T', " ", 1)),
        None => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_follow_flag_then_environment_then_terminal() {
        let none = ColorSources::default();
        let cases = [
            (none, true, true),
            (none, false, false),
            (ColorSources { flag: Some(Some(true)), no_color: Some("1"), ..none }, false, true),
            (ColorSources { flag: Some(Some(false)), force: Some("1"), ..none }, true, false),
            (ColorSources { flag: Some(None), ..none }, true, true),
            (ColorSources { no_color: Some("1"), force: Some("1"), ..none }, true, false),
            (ColorSources { no_color: Some(""), ..none }, true, true),
            (ColorSources { force: Some("1"), ..none }, false, true),
            (ColorSources { force: Some("0"), ..none }, false, false),
            (ColorSources { term: Some("dumb"), ..none }, true, false),
        ];
        for (sources, is_terminal, expected) in cases {
            assert_eq!(sources.decide(is_terminal), expected, "{sources:?} {is_terminal}");
        }
    }

    #[test]
    fn formats_have_aliases() {
        assert_eq!(Format::parse("tui"), Some(Format::Table));
        assert_eq!(Format::parse("auto"), Some(Format::Table));
        assert_eq!(Format::parse("JSON"), Some(Format::Json));
        assert_eq!(Format::parse("xml"), None);
    }

    #[test]
    fn tables_are_plain_columns_cut_only_on_a_terminal() {
        let mut table = Table::new(&["ID", "NAME", "STATUS"]);
        table.row(&["hello-world", "Hello", "SUCCESS"]);
        table.row(&["b", "\x1b[2Jevil\nname", "-"]);
        assert_eq!(
            table.lines(None, false),
            [
                "ID           NAME                STATUS",
                "hello-world  Hello               SUCCESS",
                "b            \\u001b[2Jevil name  -"
            ]
        );
        let narrow = table.lines(Some(20), false);
        assert_eq!(narrow, ["ID           NAME", "hello-world  Hello", "b            \\u001b…"]);
        assert!(narrow.iter().all(|line| line.chars().count() <= 20));
        assert!(table.lines(None, true)[1].ends_with("\x1b[32mSUCCESS\x1b[0m"));
    }

    #[test]
    fn control_and_reordering_characters_are_escaped() {
        for (text, expected) in [
            ("plain\n\tä", "plain\n\tä"),
            ("\x1b]0;x\x07", "\\u001b]0;x\\u0007"),
            ("\u{9b}1m\u{202e}\r", "\\u009b1m\\u202e\\u000d"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn durations_are_short() {
        for (ms, text) in [(0, "0ms"), (999, "999ms"), (2_345, "2.3s"), (65_000, "1m05s"), (7_260_000, "2h01m")] {
            assert_eq!(duration_text(ms), text);
        }
    }
}
