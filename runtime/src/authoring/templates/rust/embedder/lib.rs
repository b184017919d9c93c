//! An embedder plugin: texts in, vectors out. This one counts letters; texts with the same letters come out alike.

wit_bindgen::generate!({ path: "wit", world: "compozy:plugin/embedder-plugin", generate_all });

use exports::compozy::plugin::embedder::{Embeddings, Error, Guest};

/// Letters of the alphabet: the length of a vector that nobody wants shorter.
const LETTERS: usize = 26;

struct Embedder;

impl Guest for Embedder {
    fn embed(model: String, texts: Vec<String>, dimension: Option<u32>) -> Result<Embeddings, Error> {
        if model != "letters" {
            return Err(error("unknown_model", format!("there is no model '{model}', only letters")));
        }
        let dimension = dimension.map_or(LETTERS, |wished| (wished as usize).clamp(1, LETTERS));
        let prompt_tokens = texts.iter().map(|text| text.split_whitespace().count() as u64).sum();
        Ok(Embeddings { vectors: texts.iter().map(|text| shares(text, dimension)).collect(), prompt_tokens })
    }
}

/// The share of each letter among those that are counted.
fn shares(text: &str, dimension: usize) -> Vec<f32> {
    let mut counts = vec![0_u32; dimension];
    for letter in text.bytes().map(|byte| byte.to_ascii_lowercase().wrapping_sub(b'a')) {
        if let Some(count) = counts.get_mut(usize::from(letter)) {
            *count += 1;
        }
    }
    let total = counts.iter().sum::<u32>().max(1) as f32;
    counts.into_iter().map(|count| count as f32 / total).collect()
}

fn error(code: &str, message: String) -> Error {
    Error { code: code.to_owned(), message, retryable: false, retry_after_ms: None }
}

export!(Embedder);

#[cfg(test)]
mod tests {
    #[test]
    fn shares_of_letters() {
        assert_eq!(super::shares("Abba!", 2), [0.5, 0.5]);
        assert_eq!(super::shares("", 2), [0.0, 0.0]);
    }
}
