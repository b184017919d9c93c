//! Embeddings: the body of a request and what its answer says.
//! Source of the protocol: <https://github.com/ollama/ollama/blob/main/docs/api.md>, "Generate Embeddings".

use compozy_plugin::Result;
use compozy_plugin::embedder::Embeddings;
use llm_wire::failure;
use serde::Deserialize;
use serde_json::{Value, json};

/// The body as JSON text.
pub(crate) fn write(model: &str, texts: &[String], dimension: Option<u32>) -> Result<Vec<u8>> {
    let mut body = json!({"model": model, "input": texts});
    if let Some(dimension) = dimension {
        body["dimensions"] = dimension.into();
    }
    Ok(serde_json::to_vec(&body)?)
}

#[derive(Deserialize)]
struct Answer {
    embeddings: Vec<Vec<f32>>,
    prompt_eval_count: Option<u64>,
}

/// Vectors of `count` texts, in their order.
pub(crate) fn parse(body: &[u8], count: usize) -> Result<Embeddings> {
    let body: Value = serde_json::from_slice(body).map_err(failure::malformed)?;
    if let Some(error) = failure::from_body(&body) {
        return Err(error);
    }
    let answer: Answer = serde_json::from_value(body).map_err(failure::malformed)?;
    if answer.embeddings.len() != count {
        return Err(failure::malformed(format!("{} vectors for {count} texts", answer.embeddings.len())));
    }
    Ok(Embeddings { vectors: answer.embeddings, prompt_tokens: answer.prompt_eval_count.unwrap_or(0) })
}

#[cfg(test)]
mod tests {
    use super::{parse, write};

    #[test]
    fn texts_become_vectors() {
        let text =
            |dimension| String::from_utf8(write("m", &["a".to_owned()], dimension).expect("JSON")).expect("text");
        assert_eq!(text(None), r#"{"model":"m","input":["a"]}"#);
        assert_eq!(text(Some(3)), r#"{"model":"m","input":["a"],"dimensions":3}"#);
        let found = parse(br#"{"embeddings": [[1.0], [2.0]], "prompt_eval_count": 9}"#, 2).expect("vectors");
        assert_eq!((found.vectors, found.prompt_tokens), (vec![vec![1.0], vec![2.0]], 9));
        for body in ["{", "{}", r#"{"embeddings": []}"#, r#"{"embeddings": [["x"]]}"#] {
            assert_eq!(parse(body.as_bytes(), 1).expect_err(body).code, "provider_malformed", "{body}");
        }
    }
}
