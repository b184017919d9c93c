//! Prompt tasks: one question to a model, or as many as it takes with the tools it may call.

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::Usage;
use compozy_engine::json::Json;
use compozy_lang::plan::Prompt;
use serde_json::{Value, json};

use super::render::Batch;
use super::tool::call_error;
use super::{Attempt, Executor, Lost, Raw, Scope};
use crate::plugin::call::CallContext;
use crate::plugin::{CallError, Kind};
use crate::provider::{self, Answer, OnPiece, Piece, PromptRequest};

/// What a prompt came to.
pub(super) struct Answered {
    /// The model's last words.
    pub(super) text: String,
    /// The value in them, where the task has an output schema.
    pub(super) value: Option<Value>,
    /// What all questions took.
    pub(super) usage: Vec<Usage>,
}

impl Executor {
    pub(super) async fn prompt(&self, attempt: &Attempt<'_>, prompt: &Prompt, with: &Value) -> Result<Raw, Lost> {
        let mut batch = Batch::new(&self.environment);
        let text = batch.scalar(&prompt.prompt)?;
        let instructions = prompt.instructions.as_ref().map(|text| batch.scalar(text)).transpose()?;
        let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
        let (system, text) = (instructions.map(|shape| values.text(shape)), values.text(text));
        let recalled = self.recall(attempt, &prompt.memories, with, &text).await?;
        let request = PromptRequest {
            system: system.filter(|text| !text.is_empty()),
            history: recalled.history(),
            prompt: text.clone(),
            model: prompt.model.clone(),
            params: prompt.params.clone(),
            output_schema: attempt.task.output_schema.clone(),
            ..PromptRequest::default()
        };
        let timeout = self.timeout(attempt, with).await?;
        let ctx = CallContext {
            run: Some(attempt.run_context()),
            timeout: timeout.unwrap_or(self.prompt_timeout),
            cancel: attempt.cancel.clone(),
            models: attempt.models.clone(),
        };
        let answered = if prompt.toolbox.is_empty() {
            let answer = self.ask(attempt, prompt, &request, &ctx).await?;
            Answered { usage: vec![usage_of(&answer)], text: answer.text, value: answer.value }
        } else {
            Box::pin(self.converse(attempt, prompt, request, &ctx)).await?
        };
        let mut raw = read(&answered);
        let remembered = self.remember(attempt, recalled, (&text, &answered.text), ctx, &mut raw).await;
        match remembered {
            Ok(()) => Ok(raw),
            Err(error) => Err(Lost { usage: raw.usage, ..error.into() }),
        }
    }

    /// One question. What comes of the answer is shown to those who watch the run.
    pub(super) async fn ask(
        &self,
        attempt: &Attempt<'_>,
        prompt: &Prompt,
        request: &PromptRequest,
        ctx: &CallContext,
    ) -> Result<Answer, StepError> {
        let (exec_id, seq) = attempt.moment();
        let task = attempt.step.key.path.as_str();
        // Only a run that somebody watches is streamed; for the others the whole answer is cheaper.
        let secrets = self.watchers.secrets();
        let mut shown = secrets.stream();
        let mut on_piece = |piece: Piece<'_>| match piece {
            Piece::Text(text) => self.watchers.chunk(&exec_id, seq, task, &shown.push(text)),
            Piece::Restart => shown = secrets.stream(),
        };
        let on_piece: Option<OnPiece<'_>> = if self.watchers.any(&exec_id) { Some(&mut on_piece) } else { None };
        let answer = self.providers.chat(prompt.provider.as_deref(), request, ctx, on_piece).await;
        self.watchers.chunk(&exec_id, seq, task, &shown.finish());
        answer.map_err(provider_error)
    }
}

/// `{text, response}`; with an output schema the parsed value itself.
fn read(answered: &Answered) -> Raw {
    let output = match &answered.value {
        Some(value) => Json::from(value),
        None => Json::from(&json!({"text": answered.text, "response": answered.text})),
    };
    Raw { usage: answered.usage.clone(), ..Raw::new(output) }
}

/// What an answer took.
pub(super) fn usage_of(answer: &Answer) -> Usage {
    Usage {
        provider: answer.provider_id.clone(),
        model: answer.model.clone(),
        prompt_tokens: answer.usage.prompt_tokens,
        completion_tokens: answer.usage.completion_tokens,
    }
}

/// A failed question as the step's error.
pub(super) fn provider_error(error: provider::Error) -> StepError {
    let error = match error {
        provider::Error::Call(call) => return StepError { kind: model_kind(&call), ..call_error(call) },
        other => other,
    };
    let mut step = StepError::new(error.code(), ErrorKind::Llm, error.to_string());
    step.help = error.help();
    step.retryable = error.retryable();
    step.retry_after = error.retry_after();
    step
}

/// A trap inside an llm plugin is a failure of the model call; time and cancel keep their own kinds.
fn model_kind(error: &CallError) -> ErrorKind {
    match error.kind {
        Kind::Deadline => ErrorKind::Timeout,
        Kind::Canceled => ErrorKind::Canceled,
        _ => ErrorKind::Llm,
    }
}
