//! `.env` files (dialect §1.5): `KEY=value` lines, never expanded, never written into the process environment.

/// What a `.env` file says.
#[derive(Debug, Clone, Default)]
pub struct DotEnv {
    /// Names and values in the order written, with their lines from 1; the last of a name counts.
    pub entries: Vec<(String, String, u32)>,
    /// Lines that are not `KEY=value` (CZ0116).
    pub ignored: Vec<u32>,
}

impl DotEnv {
    /// The value of a name and its line.
    pub fn get(&self, name: &str) -> Option<(&str, u32)> {
        self.entries.iter().rev().find(|(key, _, _)| key == name).map(|(_, value, line)| (value.as_str(), *line))
    }
}

/// Reads the text of a `.env` file. A quoted value may span lines.
pub fn parse(text: &str) -> DotEnv {
    let mut found = DotEnv::default();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1u32;
    while !rest.is_empty() {
        let line_end = rest.find('\n').map_or(rest.len(), |end| end + 1);
        let (current, _) = rest.split_at_checked(line_end).unwrap_or((rest, ""));
        let mut used = line_end;
        let trimmed = current.trim();
        if !trimmed.is_empty() && !trimmed.starts_with('#') {
            match entry(rest, line_end) {
                Some((name, value, length)) => {
                    used = length;
                    found.entries.push((name, value, line));
                }
                None => found.ignored.push(line),
            }
        }
        let (done, tail) = rest.split_at_checked(used).unwrap_or((rest, ""));
        line += crate::source::narrow(done.matches('\n').count());
        rest = tail;
    }
    found
}

/// One entry at the start of `text` and how many bytes it takes, its newline included.
fn entry(text: &str, line_end: usize) -> Option<(String, String, usize)> {
    let (line, _) = text.split_at_checked(line_end)?;
    let equals = line.find('=')?;
    let (name, _) = line.split_at_checked(equals)?;
    let name = name.trim_start();
    let name = name.strip_prefix("export").filter(|rest| rest.starts_with([' ', '\t'])).unwrap_or(name).trim();
    if !crate::environment::is_name(name) {
        return None;
    }
    let after = text.get(equals + 1..)?;
    let space = after.len() - after.trim_start_matches([' ', '\t']).len();
    let value = after.get(space..)?;
    let start = equals + 1 + space;
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let Some(quote) = quote else {
        let value = line.get(equals + 1..)?;
        let value = value.find(" #").and_then(|end| value.get(..end)).unwrap_or(value);
        return Some((name.to_owned(), value.trim().to_owned(), line_end));
    };
    let (value, length) = quoted(value, quote)?;
    let end = start + length;
    let tail = text.get(end..)?;
    let tail_end = tail.find('\n').map_or(tail.len(), |end| end + 1);
    let remains = tail.get(..tail_end)?.trim();
    (remains.is_empty() || remains.starts_with('#')).then(|| (name.to_owned(), value, end + tail_end))
}

/// A quoted value and its length with both quotes.
fn quoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((offset, c)) = chars.next() {
        match c {
            _ if c == quote => return Some((value, offset + 1)),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => value.push('\n'),
                't' => value.push('\t'),
                'r' => value.push('\r'),
                other @ ('"' | '\\' | '$') => value.push(other),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read() {
        let text = "A=1\nexport B = two words # note\n# comment\n\nC='lit\\n # x'\nD=\"a\\n\\\"b\\\" \\\\\" # end\nE=\nF=x#y\n";
        let found = parse(text);
        let values: Vec<_> = found.entries.iter().map(|(k, v, l)| (k.as_str(), v.as_str(), *l)).collect();
        assert_eq!(
            values,
            [
                ("A", "1", 1),
                ("B", "two words", 2),
                ("C", "lit\\n # x", 5),
                ("D", "a\n\"b\" \\", 6),
                ("E", "", 7),
                ("F", "x#y", 8)
            ]
        );
        assert!(found.ignored.is_empty());
    }

    #[test]
    fn quoted_values_span_lines_and_bad_lines_are_named() {
        let found = parse("A=\"one\ntwo\"\nnonsense\n1X=2\nB='open\nC=3\r\n");
        assert_eq!(found.get("A"), Some(("one\ntwo", 1)));
        assert_eq!(found.get("C"), Some(("3", 6)));
        assert_eq!(found.ignored, [3, 4, 5]);
    }

    #[test]
    fn the_last_of_a_name_counts() {
        assert_eq!(parse("A=1\nA=2").get("A"), Some(("2", 2)));
    }
}
