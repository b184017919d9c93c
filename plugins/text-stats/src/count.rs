//! What a word, a sentence and a paragraph is, and counting them.

/// Runs of letters and digits; an apostrophe, hyphen, dot or comma between two of them is part of the word (`it's`, `3.5`).
pub(crate) fn words(text: &str) -> Vec<&str> {
    text.split(char::is_whitespace)
        .map(|piece| piece.trim_matches(|character: char| !character.is_alphanumeric()))
        .filter(|word| !word.is_empty())
        .collect()
}

/// How many different words there are, without regard to case.
pub(crate) fn unique(words: &[&str]) -> usize {
    let mut lower: Vec<String> = words.iter().map(|word| word.to_lowercase()).collect();
    lower.sort_unstable();
    lower.dedup();
    lower.len()
}

/// The first of the longest words, by characters.
pub(crate) fn longest<'a>(words: &[&'a str]) -> Option<&'a str> {
    // `max_by_key` keeps the last of equals, hence the reverse.
    words.iter().rev().max_by_key(|word| word.chars().count()).copied()
}

/// Stretches that hold a word and end with `.`, `!`, `?` or `…` before a space, or with the text.
pub(crate) fn sentences(text: &str) -> usize {
    let (mut count, mut has_word, mut after_end) = (0, false, false);
    for character in text.chars() {
        if after_end && character.is_whitespace() {
            count += usize::from(has_word);
            has_word = false;
        }
        after_end = matches!(character, '.' | '!' | '?' | '…')
            || (after_end && matches!(character, '"' | '\'' | ')' | '”' | '’'));
        has_word |= character.is_alphanumeric();
    }
    count + usize::from(has_word)
}

/// Blocks of lines that are not empty.
pub(crate) fn paragraphs(text: &str) -> usize {
    let mut inside = false;
    text.lines()
        .filter(|line| {
            let begins = !inside && !line.trim().is_empty();
            inside = !line.trim().is_empty();
            begins
        })
        .count()
}
