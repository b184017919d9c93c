//! Embeddings: the body of a request and what its answer says.
//! Source of the protocol: <https://platform.openai.com/docs/api-reference/embeddings>.

use compozy_plugin::Result;
use compozy_plugin::embedder::Embeddings;
use llm_wire::failure;
use serde::Deserialize;
use serde_json::{Value, json};

/// The body as JSON text.
pub(crate) fn write(model: &str, texts: &[String], dimension: Option<u32>) -> Result<Vec<u8>> {
    let mut body = json!({"model": model, "input": texts, "encoding_format": "float"});
    if let Some(dimension) = dimension {
        body["dimensions"] = dimension.into();
    }
    Ok(serde_json::to_vec(&body)?)
}

#[derive(Deserialize)]
struct Answer {
    data: Vec<One>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct One {
    /// Which text it belongs to; servers that leave it out keep the order.
    index: Option<usize>,
    embedding: Vec<f32>,
}

#[derive(Deserialize)]
struct Usage {
    prompt_tokens: Option<u64>,
}

/// Vectors of `count` texts, in their order.
pub(crate) fn parse(body: &[u8], count: usize) -> Result<Embeddings> {
    let body: Value = serde_json::from_slice(body).map_err(failure::malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let answer: Answer = serde_json::from_value(body).map_err(failure::malformed)?;
    if answer.data.len() != count {
        return Err(failure::malformed(format!("{} vectors for {count} texts", answer.data.len())));
    }
    let mut vectors = vec![Vec::new(); count];
    for (place, one) in answer.data.into_iter().enumerate() {
        match vectors.get_mut(one.index.unwrap_or(place)) {
            Some(vector) if vector.is_empty() => *vector = one.embedding,
            _ => return Err(failure::malformed("a vector of no text, or two of one")),
        }
    }
    let prompt_tokens = answer.usage.and_then(|usage| usage.prompt_tokens).unwrap_or(0);
    Ok(Embeddings { vectors, prompt_tokens })
}

#[cfg(test)]
mod tests {
    use super::{parse, write};

    #[test]
    fn the_body_asks_for_a_reduced_size_only_where_one_is_wanted() {
        let text =
            |dimension| String::from_utf8(write("m", &["a".to_owned()], dimension).expect("JSON")).expect("text");
        assert_eq!(text(None), r#"{"model":"m","input":["a"],"encoding_format":"float"}"#);
        assert_eq!(text(Some(3)), r#"{"model":"m","input":["a"],"encoding_format":"float","dimensions":3}"#);
    }

    #[test]
    fn vectors_come_in_the_order_of_their_texts() {
        let body = br#"{"data": [{"index": 1, "embedding": [2.0]}, {"index": 0, "embedding": [1.0]}], "usage": {"prompt_tokens": 9}}"#;
        let found = parse(body, 2).expect("vectors");
        assert_eq!((found.vectors, found.prompt_tokens), (vec![vec![1.0], vec![2.0]], 9));
        let found = parse(br#"{"data": [{"embedding": [1.0]}, {"embedding": [2.0]}]}"#, 2).expect("vectors");
        assert_eq!((found.vectors, found.prompt_tokens), (vec![vec![1.0], vec![2.0]], 0));
    }

    #[test]
    fn what_is_no_answer_is_told() {
        for (body, code) in [
            ("{", "provider_malformed"),
            ("{}", "provider_malformed"),
            (r#"{"data": []}"#, "provider_malformed"),
            (r#"{"data": [{"index": 7, "embedding": [1.0]}]}"#, "provider_malformed"),
            (r#"{"data": [{"embedding": ["x"]}]}"#, "provider_malformed"),
            (r#"{"error": {"message": "no such model"}}"#, "provider_error"),
        ] {
            assert_eq!(parse(body.as_bytes(), 1).expect_err(body).code, code, "{body}");
        }
    }
}
