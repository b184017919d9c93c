//! Text cut to a width: the algorithms of Go's goutils, which sprig uses, on characters.

const MARK: &str = "...";

/// `text` in at most `width` characters, from about `offset` on, with `...` where something was cut off.
pub(crate) fn abbreviate(text: &str, offset: usize, width: usize) -> String {
    let chars: Vec<char> = text.chars().collect();
    let length = chars.len();
    if length <= width {
        return text.into();
    }
    let kept = width.saturating_sub(MARK.len());
    let mut offset = offset.min(length);
    if length - offset < kept {
        offset = length.saturating_sub(kept);
    }
    let part = |from: usize, to: usize| chars.get(from..to.min(length)).unwrap_or_default().iter().collect::<String>();
    if offset <= 4 {
        return part(0, kept) + MARK;
    }
    if offset.saturating_add(kept) < length {
        return MARK.to_owned() + &part(offset, offset + kept.saturating_sub(MARK.len())) + MARK;
    }
    MARK.to_owned() + &part(length.saturating_sub(kept), length)
}

/// `text` broken at spaces into lines of at most `width` characters; longer words are cut, or stick out.
pub(crate) fn wrap(text: &str, width: usize, line_break: &str, cut_words: bool) -> String {
    let chars: Vec<char> = text.chars().collect();
    let part = |from: usize, to: usize| chars.get(from..to).unwrap_or_default();
    let mut out = String::with_capacity(text.len());
    let mut offset = 0;
    while chars.len() - offset > width {
        if chars.get(offset) == Some(&' ') {
            offset += 1;
            continue;
        }
        let line = part(offset, offset + width + 1);
        let end = if let Some(space) = line.iter().rposition(|c| *c == ' ') {
            offset + space
        } else if cut_words {
            out.extend(part(offset, offset + width));
            out.push_str(line_break);
            offset += width;
            continue;
        } else {
            let rest = part(offset + width, chars.len());
            match rest.iter().position(|c| *c == ' ') {
                Some(space) => offset + width + space,
                None => break,
            }
        };
        out.extend(part(offset, end));
        out.push_str(line_break);
        offset = end + 1;
    }
    out.extend(part(offset, chars.len()));
    out
}
