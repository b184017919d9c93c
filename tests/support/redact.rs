//! Replaces what differs from run to run, so that whole outputs can be compared.

/// `[exec]` for ULIDs, `[time]` for RFC 3339 times, `[duration]` for `12ms` and `1.2s`, `[port]` after `127.0.0.1:` and
/// ` :`, and each of `names` by its replacement first.
pub(crate) fn redact(text: &str, names: &[(&str, &str)]) -> String {
    let mut text = text.to_owned();
    for (value, name) in names {
        text = text.replace(value, name);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        let at_word = !before.is_ascii_alphanumeric();
        let found =
            if at_word { MATCHERS.iter().find_map(|(name, length)| Some((*name, length(rest)?))) } else { None };
        let (taken, shown) = match found {
            Some((name, length)) => (length, name),
            None => match port(rest) {
                Some(length) => (length, ":[port]"),
                None => (first.len_utf8(), &rest[..first.len_utf8()]),
            },
        };
        out.push_str(shown);
        before = rest[..taken].chars().next_back().unwrap_or(' ');
        rest = &rest[taken..];
    }
    out
}

type Matcher = fn(&str) -> Option<usize>;

const MATCHERS: &[(&str, Matcher)] = &[("[time]", time), ("[exec]", ulid), ("[duration]", duration)];

/// Ends a match: the next character must not continue the word.
fn whole(text: &str, length: usize) -> Option<usize> {
    let next = text[length..].chars().next();
    next.is_none_or(|next| !next.is_ascii_alphanumeric()).then_some(length)
}

fn ulid(text: &str) -> Option<usize> {
    let length = text.bytes().take_while(|byte| byte.is_ascii_digit() || byte.is_ascii_uppercase()).count();
    (length == 26).then(|| whole(text, 26)).flatten()
}

fn time(text: &str) -> Option<usize> {
    let shape = "0000-00-00T00:00:00";
    let bytes = text.as_bytes();
    // In tables a space stands for the `T`, and there is no `Z`.
    if text.get(10..11) == Some(" ") {
        return time(&format!("{}Z", text.get(..19)?.replacen(' ', "T", 1))).map(|_| 19);
    }
    let fits = bytes.len() > shape.len()
        && shape
            .bytes()
            .zip(bytes)
            .all(|(shape, byte)| if shape == b'0' { byte.is_ascii_digit() } else { shape == *byte });
    let rest = text.get(shape.len()..).filter(|_| fits)?;
    let fraction = rest.bytes().take_while(|byte| *byte == b'.' || byte.is_ascii_digit()).count();
    rest[fraction..].starts_with('Z').then_some(shape.len() + fraction + 1)
}

fn duration(text: &str) -> Option<usize> {
    let number = text.bytes().take_while(|byte| byte.is_ascii_digit() || *byte == b'.').count();
    if number == 0 || text.starts_with('.') {
        return None;
    }
    let unit = ["ms", "µs", "us", "s", "m"].into_iter().find(|unit| text[number..].starts_with(unit))?;
    whole(text, number + unit.len())
}

fn port(text: &str) -> Option<usize> {
    let digits = text.strip_prefix(':')?.bytes().take_while(u8::is_ascii_digit).count();
    (4..=5).contains(&digits).then(|| whole(text, digits + 1)).flatten()
}

/// Runs of spaces become one: columns are as wide as their widest cell.
pub(crate) fn squeeze(text: &str) -> String {
    let lines = text.lines().map(|line| line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" "));
    lines.map(|line| line + "\n").collect()
}

#[test]
fn what_differs_is_replaced() {
    for (text, expected) in [
        ("Execution: 01KBQ2W3E4R5T6Y7U8I9O0P1A2\n", "Execution: [exec]\n"),
        ("ready in 12ms, 1.25s", "ready in [duration], [duration]"),
        ("at 2026-11-22T10:00:00.123Z.", "at [time]."),
        ("hello  2026-11-22 10:00:00  12ms", "hello  [time]  [duration]"),
        ("Server listening on :8080", "Server listening on :[port]"),
        ("http://127.0.0.1:41233/v1", "http://127.0.0.1:[port]/v1"),
        ("compozy.yaml:12:3: a1ms b", "compozy.yaml:12:3: a1ms b"),
    ] {
        assert_eq!(redact(text, &[]), expected);
    }
}
