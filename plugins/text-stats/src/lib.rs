//! A tool plugin as a user writes one: typed functions, their schemas, and one `export_tool!`.

mod count;

use compozy_plugin::{Error, Result, export_tool};
use serde::{Deserialize, Serialize};

/// Words an adult reads per minute of silent English prose.
/// Source: M. Brysbaert, "How many words do we read per minute?", Journal of Memory and Language 109, 2019.
const WORDS_PER_MINUTE: u32 = 238;

#[derive(Deserialize)]
struct StatsInput {
    text: String,
    words_per_minute: Option<u32>,
}

/// Figures about a text; see `stats.output.json`.
#[derive(Debug, PartialEq, Serialize)]
struct Stats {
    characters: usize,
    words: usize,
    unique_words: usize,
    lines: usize,
    sentences: usize,
    paragraphs: usize,
    longest_word: Option<String>,
    reading_time_seconds: u64,
}

fn stats(input: StatsInput) -> Result<Stats> {
    let pace = input.words_per_minute.unwrap_or(WORDS_PER_MINUTE);
    if pace == 0 {
        return Err(Error::new("invalid_input", "words_per_minute must be at least 1"));
    }
    let text = input.text.as_str();
    let words = count::words(text);
    Ok(Stats {
        characters: text.chars().count(),
        unique_words: count::unique(&words),
        lines: text.lines().count(),
        sentences: count::sentences(text),
        paragraphs: count::paragraphs(text),
        longest_word: count::longest(&words).map(str::to_owned),
        reading_time_seconds: (words.len() as u64 * 60).div_ceil(u64::from(pace)),
        words: words.len(),
    })
}

export_tool! {
    summary: "Figures about a text", stateless: true;
    stats {
        description: "Counts the characters, words, lines, sentences and paragraphs of a text and estimates its reading time",
        input: include_str!("stats.input.json"),
        output: include_str!("stats.output.json"),
        read_only: true,
        idempotent: true,
    }
}

#[cfg(test)]
mod tests {
    use super::{Stats, StatsInput, stats};

    fn check(text: &str) -> Stats {
        stats(StatsInput { text: text.to_owned(), words_per_minute: None }).expect("valid input")
    }

    #[test]
    fn counts_a_text() {
        assert_eq!(
            check("Hello, world! Is this it?\nHello again: it's 3.5 km.\n\nThe café…"),
            Stats {
                characters: 62,
                words: 12,
                unique_words: 11,
                lines: 4,
                sentences: 4,
                paragraphs: 2,
                longest_word: Some("Hello".to_owned()),
                reading_time_seconds: 4,
            }
        );
    }

    #[test]
    fn counts_nothing() {
        let empty = check(" \n ");
        assert_eq!((empty.words, empty.sentences, empty.paragraphs, empty.longest_word), (0, 0, 0, None));
    }

    #[test]
    fn refuses_a_pace_of_zero() {
        let input = StatsInput { text: "a".to_owned(), words_per_minute: Some(0) };
        assert_eq!(stats(input).expect_err("zero").code, "invalid_input");
    }

    #[test]
    fn output_and_schemas_agree() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("stats.output.json")).expect("JSON");
        let output = serde_json::to_value(check("One. Two.")).expect("JSON");
        let names = |value: &serde_json::Value| value.as_object().map(|map| map.keys().cloned().collect::<Vec<_>>());
        assert_eq!(names(&schema["properties"]), names(&output));
        let input: serde_json::Value = serde_json::from_str(include_str!("stats.input.json")).expect("JSON");
        assert_eq!(names(&input["properties"]), Some(vec!["text".to_owned(), "words_per_minute".to_owned()]));
    }
}
