//! Upper and lower case, and the shapes of names.

fn is_connector(c: char) -> bool {
    c == '-' || c == '_' || c.is_whitespace()
}

fn upper(c: char) -> char {
    let mut all = c.to_uppercase();
    match (all.next(), all.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

fn lower(c: char) -> char {
    let mut all = c.to_lowercase();
    match (all.next(), all.next()) {
        (Some(only), None) => only,
        _ => c,
    }
}

/// Upper case for the first letter of each word; as Go's `strings.Title`, any ASCII but letters, digits and `_` ends a word.
pub(crate) fn title(text: &str) -> String {
    let mut before = ' ';
    let change = |c: char| {
        let starts = match before {
            '_' => false,
            b if b.is_ascii() => !b.is_ascii_alphanumeric(),
            b => !b.is_alphanumeric() && b.is_whitespace(),
        };
        before = c;
        if starts { upper(c) } else { c }
    };
    text.chars().map(change).collect()
}

/// Lower case for the first letter of each word.
pub(crate) fn untitle(text: &str) -> String {
    let mut before = ' ';
    let change = |c: char| {
        let starts = before.is_whitespace();
        before = c;
        if starts { lower(c) } else { c }
    };
    text.chars().map(change).collect()
}

/// Upper for lower and lower for upper.
pub(crate) fn swap(text: &str) -> String {
    let change = |c: char| if c.is_uppercase() { lower(c) } else { upper(c) };
    text.chars().map(change).collect()
}

/// The first letters of all words.
pub(crate) fn initials(text: &str) -> String {
    text.split_whitespace().filter_map(|word| word.chars().next()).collect()
}

/// `http_server` as `HttpServer`. Connectors at the ends stay, of several in the middle all but one.
pub(crate) fn camel(text: &str) -> String {
    let body = text.trim_start_matches(is_connector);
    let leading = text.len() - body.len();
    let mut out: String = text.get(..leading).unwrap_or_default().into();
    let mut before: Option<char> = None;
    // A word written all in capitals continues in lower case.
    let mut capitals = false;
    for c in body.chars() {
        match before {
            None => {
                capitals = c.is_uppercase();
                out.push(upper(c));
            }
            Some(b) if is_connector(c) => {
                if is_connector(b) {
                    out.push(b);
                }
            }
            Some(b) if is_connector(b) => {
                capitals = c.is_uppercase();
                out.push(upper(c));
            }
            Some(_) if capitals && c.is_uppercase() => out.push(lower(c)),
            Some(_) => {
                capitals = false;
                out.push(c);
            }
        }
        before = Some(c);
    }
    out.extend(before.filter(|last| is_connector(*last)));
    out
}

/// `HTTPServer` as `http_server`, with `connector` for `_`.
pub(crate) fn joined(text: &str, connector: char) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len() + 8);
    // The word being written began with a digit: "2m3s" is one word.
    let mut number_word = false;
    for (at, &c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).and_then(|at| chars.get(at)).copied();
        if is_connector(c) {
            out.push(connector);
            number_word = false;
            continue;
        }
        let begins = before.is_some_and(|b| !is_connector(b) && begins_word(&chars, at, b, c, number_word));
        if begins {
            out.push(connector);
        }
        if begins || before.is_none_or(is_connector) {
            number_word = c.is_numeric();
        }
        out.push(lower(c));
    }
    out
}

fn begins_word(chars: &[char], at: usize, before: char, c: char, number_word: bool) -> bool {
    let next_lower = chars.get(at + 1).is_some_and(|next| next.is_lowercase());
    if c.is_uppercase() {
        return !before.is_uppercase() || next_lower;
    }
    if c.is_numeric() && !before.is_numeric() && !number_word {
        // A number belongs to the word before it, unless lower case letters go on: "Bld4Floor3rd" is bld4, floor, 3rd.
        let rest = chars.get(at..).unwrap_or_default();
        return rest.iter().find(|c| !c.is_numeric()).is_some_and(|next| next.is_lowercase());
    }
    false
}
