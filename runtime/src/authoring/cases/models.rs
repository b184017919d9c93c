//! The project's models, played: answers in the order they are asked for.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use compozy_lang::cases::{Answer as Played, ExpectedError, ModelAnswer};

use super::Complaints;
use crate::plugin::CallContext;
use crate::plugin::host::llm::{Answer, EmbedOptions, Embeddings, Error, Message, Models, Parameters, Usage};

/// Answers that have not been given yet.
#[derive(Debug)]
pub struct Script {
    left: Mutex<VecDeque<ModelAnswer>>,
    complaints: Complaints,
}

impl Script {
    /// What is to be answered; what goes otherwise is told to `complaints`.
    #[must_use]
    pub fn new(answers: Vec<ModelAnswer>, complaints: Complaints) -> Self {
        Self { left: Mutex::new(answers.into()), complaints }
    }

    /// Answers that nobody asked for.
    #[must_use]
    pub fn unused(&self) -> Vec<String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner).len();
        if left == 0 { Vec::new() } else { vec![format!("{left} answers of models were not asked for")] }
    }

    /// The next answer to a question that ends with `last`.
    fn next(&self, last: &str) -> Result<Played, Error> {
        let next = self.left.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let Some(ModelAnswer { expect, answer }) = next else {
            return Err(self.complain("no answer is written for this question to a model"));
        };
        if let Some(piece) = expect.filter(|piece| !last.contains(piece.as_str())) {
            self.complaints.note(format!("expected a question with '{piece}', got '{last}'"));
        }
        Ok(answer)
    }

    fn complain(&self, what: &str) -> Error {
        self.complaints.note(what.to_owned());
        Error { code: "unavailable".into(), message: what.to_owned(), retryable: false, retry_after_ms: None }
    }
}

/// A token for every four bytes, as the host counts where a provider does not say.
fn tokens(text: &str) -> u64 {
    text.len().div_ceil(4) as u64
}

fn played(error: ExpectedError) -> Error {
    Error {
        code: error.code.unwrap_or_else(|| "CZ0507".to_owned()),
        message: error.message.unwrap_or_else(|| "the model did not answer".to_owned()),
        retryable: error.retryable.unwrap_or_default(),
        retry_after_ms: None,
    }
}

#[async_trait]
impl Models for Script {
    async fn chat(
        &self,
        provider: Option<&str>,
        messages: Vec<Message>,
        parameters: Parameters,
        _ctx: &CallContext,
    ) -> Result<Answer, Error> {
        let last = messages.last().map(|message| message.content.clone()).unwrap_or_default();
        match self.next(&last)? {
            Played::Text(text) => Ok(Answer {
                usage: Usage {
                    prompt_tokens: messages.iter().map(|message| tokens(&message.content)).sum(),
                    completion_tokens: tokens(&text),
                },
                text,
                provider: provider.unwrap_or("default").to_owned(),
                model: parameters.model.unwrap_or_else(|| "played".to_owned()),
            }),
            Played::Vectors(_) => Err(self.complain("the next answer holds vectors, and a model was asked for text")),
            Played::Error(error) => Err(played(error)),
        }
    }

    async fn embed(
        &self,
        provider: Option<&str>,
        texts: Vec<String>,
        options: EmbedOptions,
        _ctx: &CallContext,
    ) -> Result<Embeddings, Error> {
        let last = texts.last().cloned().unwrap_or_default();
        match self.next(&last)? {
            #[expect(clippy::cast_possible_truncation, reason = "vectors are of 32-bit floats")]
            Played::Vectors(vectors) => Ok(Embeddings {
                vectors: vectors.iter().map(|vector| vector.iter().map(|value| *value as f32).collect()).collect(),
                prompt_tokens: texts.iter().map(|text| tokens(text)).sum(),
                provider: provider.unwrap_or("default").to_owned(),
                model: options.model.unwrap_or_else(|| "played".to_owned()),
            }),
            Played::Text(_) => Err(self.complain("the next answer holds text, and a model was asked for vectors")),
            Played::Error(error) => Err(played(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::plugin::host::llm::Role;

    #[tokio::test]
    async fn answers_are_given_in_order() {
        let error = ExpectedError { code: Some("CZ0506".into()), retryable: Some(true), ..ExpectedError::default() };
        let answers = vec![
            ModelAnswer { expect: Some("sky".into()), answer: Played::Text("blue".into()) },
            ModelAnswer { expect: Some("sea".into()), answer: Played::Error(error) },
            ModelAnswer { expect: None, answer: Played::Vectors(vec![vec![0.5]]) },
        ];
        let complaints = Complaints::default();
        let script = Script::new(answers, complaints.clone());
        let ctx = CallContext::outside_runs(Duration::from_secs(1));
        let ask = |text: &str| vec![Message { role: Role::User, content: text.to_owned() }];
        let parameters =
            || Parameters { model: None, temperature: None, max_tokens: None, output_schema: None, extra: None };
        let answer = script.chat(None, ask("the sky?"), parameters(), &ctx).await.unwrap();
        assert_eq!((answer.text.as_str(), answer.usage.prompt_tokens), ("blue", 2));
        let error = script.chat(None, ask("the sky?"), parameters(), &ctx).await.unwrap_err();
        assert_eq!((error.code.as_str(), error.retryable), ("CZ0506", true));
        assert_eq!(complaints.take(), ["expected a question with 'sea', got 'the sky?'"]);
        assert_eq!(script.unused(), ["1 answers of models were not asked for"]);
        let options = EmbedOptions { model: None, dimension: None };
        assert_eq!(script.embed(None, vec!["a".into()], options, &ctx).await.unwrap().vectors, [[0.5]]);
        assert_eq!(script.chat(None, ask("?"), parameters(), &ctx).await.unwrap_err().code, "unavailable");
    }
}
