//! Makes slugs: what a text is called in a URL.

use compozy_plugin::{Error, Result, export_tool};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Document {
    text: String,
}

#[derive(Serialize)]
struct Named {
    slug: String,
    words: usize,
}

fn slugify(document: Document) -> Result<Named> {
    let text = document.text.to_lowercase();
    let separates = |letter: char| letter.is_ascii() && !letter.is_ascii_alphanumeric();
    let words: Vec<&str> = text.split(separates).filter(|word| !word.is_empty()).collect();
    if words.is_empty() {
        return Err(Error::new("empty", "the text has no words"));
    }
    Ok(Named { slug: words.join("-"), words: words.len() })
}

#[derive(Deserialize)]
struct Candidate {
    slug: String,
    taken: Vec<String>,
}

#[derive(Serialize)]
struct Free {
    slug: String,
}

fn unique(candidate: Candidate) -> Result<Free> {
    let Candidate { slug, taken } = candidate;
    let numbered = (2u64..).map(|number| format!("{slug}-{number}"));
    let free = std::iter::once(slug.clone()).chain(numbered).find(|name| !taken.contains(name));
    Ok(Free { slug: free.unwrap_or_default() })
}

export_tool! {
    summary: "Makes slugs", stateless: true;
    slugify {
        description: "The slug of a text, and how many words it has",
        input: r#"{"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}"#,
        read_only: true,
        idempotent: true,
    }
    unique {
        description: "The slug, with a number behind it if it is taken",
        input: r#"{"type": "object", "required": ["slug", "taken"], "properties": {"slug": {"type": "string"}, "taken": {"type": "array", "items": {"type": "string"}}}}"#,
        read_only: true,
        idempotent: true,
    }
}
