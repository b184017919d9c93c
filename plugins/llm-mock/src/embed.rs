//! Vectors without a model: words that two texts share bring them closer, and nothing else does.
//!
//! Each word adds to a few places of the vector that its hash chooses ("feature hashing": Weinberger et al., "Feature
//! Hashing for Large Scale Multitask Learning", ICML 2009); the sum is brought to length 1.

use compozy_plugin::embedder::Embeddings;
use compozy_plugin::{Error, Result};

/// Places of a vector, unless it is asked for with fewer or more.
const DIMENSION: u32 = 64;

/// The longest vector.
const LARGEST: u32 = 4096;

/// Places that a word adds to.
const PLACES: u64 = 4;

/// One vector per text.
pub(crate) fn embed(texts: &[String], dimension: Option<u32>) -> Result<Embeddings> {
    let dimension = dimension.unwrap_or(DIMENSION);
    if !(1..=LARGEST).contains(&dimension) {
        return Err(Error::new("invalid_dimension", format!("the mock makes vectors of 1 to {LARGEST} numbers")));
    }
    let prompt_tokens = texts.iter().map(|text| text.split_whitespace().count() as u64).sum();
    Ok(Embeddings { vectors: texts.iter().map(|text| vector(text, dimension as usize)).collect(), prompt_tokens })
}

fn vector(text: &str, dimension: usize) -> Vec<f32> {
    let mut vector = vec![0.0_f32; dimension];
    let words = text.split(|character: char| !character.is_alphanumeric()).filter(|word| !word.is_empty());
    for word in words {
        let word = word.to_lowercase();
        for place in 0..PLACES {
            let hash = hash(&word, place);
            let sign = if hash >> 63 == 0 { 1.0 } else { -1.0 };
            if let Some(number) = vector.get_mut(hash as usize % dimension) {
                *number += sign;
            }
        }
    }
    let length = vector.iter().map(|number| number * number).sum::<f32>().sqrt();
    if length == 0.0 {
        // A text without words, or one whose words cancel out, still has a direction.
        if let Some(first) = vector.first_mut() {
            *first = 1.0;
        }
        return vector;
    }
    vector.into_iter().map(|number| number / length).collect()
}

/// FNV-1a, 64 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>), with the finish of MurmurHash3 so that all bits depend
/// on all of the word.
fn hash(word: &str, seed: u64) -> u64 {
    let bytes = word.bytes().chain(seed.to_le_bytes());
    let hash = bytes
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::embed;

    fn vectors(texts: &[&str], dimension: Option<u32>) -> Vec<Vec<f32>> {
        let texts: Vec<String> = texts.iter().map(|&text| text.to_owned()).collect();
        embed(&texts, dimension).expect("vectors").vectors
    }

    #[test]
    fn shared_words_bring_texts_closer() {
        let found = vectors(&["the cat sat", "The CAT sat!", "the cat ran", "stock prices fell", "", "?!"], None);
        let near = |a: usize, b: usize| found[a].iter().zip(&found[b]).map(|(a, b)| a * b).sum::<f32>();
        assert!((near(0, 1) - 1.0).abs() < 1e-5, "letters and marks do not matter");
        assert!(near(0, 2) > near(0, 3) + 0.2, "{} {}", near(0, 2), near(0, 3));
        for vector in &found {
            assert_eq!(vector.len(), 64);
            assert!((vector.iter().map(|number| number * number).sum::<f32>() - 1.0).abs() < 1e-5);
        }
    }

    #[test]
    fn the_dimension_is_as_asked() {
        assert_eq!(vectors(&["a", "b"], Some(7)).iter().map(Vec::len).collect::<Vec<_>>(), [7, 7]);
        for wrong in [0, 4097, u32::MAX] {
            assert_eq!(embed(&[], Some(wrong)).expect_err("refused").code, "invalid_dimension");
        }
    }
}
