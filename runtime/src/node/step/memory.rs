//! Memory tasks, and the memories of prompts.
//!
//! What a step changes in a memory is attached to its result and written with it, so a recorded step has changed the
//! memory once and any other has not. From the moment it is decided until then the key is held.

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::Attachment;
use compozy_engine::json::Json;
use compozy_lang::plan::{Memory, MemoryBinding, MemoryDefinition, Template};
use serde_json::Value;

use super::prompt::usage_of;
use super::render::Batch;
use super::{Attempt, Executor, Lost, Raw, Scope};
use crate::memory::{self, Asked, Message, Operation, Place, Ready, Seen};
use crate::plugin::call::CallContext;
use crate::provider::Role;

/// A key of a memory that a prompt uses.
struct Bound<'a> {
    memory: &'a MemoryDefinition,
    key: String,
    read_only: bool,
    seen: Seen,
}

impl Bound<'_> {
    fn place(&self) -> Place<'_> {
        Place { memory: self.memory, key: &self.key }
    }
}

/// What stands before a prompt.
pub(super) struct Recalled<'a>(Vec<Bound<'a>>);

impl Recalled<'_> {
    /// What was said before.
    pub(super) fn history(&self) -> Vec<(Role, String)> {
        let messages = self.0.iter().flat_map(|bound| &bound.seen.state.messages);
        messages.map(|message| (role(&message.role), message.content.clone())).collect()
    }
}

/// The role a model sees. What a tool said then answers no call of now.
fn role(word: &str) -> Role {
    match word {
        "system" => Role::System,
        "assistant" => Role::Assistant,
        _ => Role::User,
    }
}

impl Executor {
    /// A memory task.
    pub(super) async fn use_memory(&self, attempt: &Attempt<'_>, memory: &Memory, with: &Value) -> Result<Raw, Lost> {
        let definition = definition_of(attempt, &memory.memory)?;
        let key = self.key_of(attempt, memory.key.as_ref(), definition, with).await?;
        let mut batch = Batch::new(&self.environment);
        let payload = memory.payload.as_ref().map(|payload| batch.value(payload)).transpose()?;
        let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
        let payload = payload.map(|payload| values.fill(payload));
        let timeout = self.timeout(attempt, with).await?;
        let operation = Operation::of(memory.operation, payload.as_ref(), &memory.options);
        let word = operation_word(memory);
        let operation = operation.map_err(|error| failed(word, &error))?;
        let secrets = self.watchers.secrets();
        let operation = operation.map_messages(|text| secrets.text(text));
        let place = Place::new(definition, &key).map_err(|error| failed(word, &error))?;
        let call = CallContext {
            run: Some(attempt.run_context()),
            timeout: timeout.unwrap_or(self.prompt_timeout),
            cancel: attempt.cancel.clone(),
            models: attempt.models.clone(),
        };
        let ready = self.memory.perform(place, &operation, &asked(attempt, call)).await;
        let Ready { output, prepared, answers } = ready.map_err(|error| failed(word, &error))?;
        let attached = (!prepared.is_nothing()).then(|| Attachment::new(prepared)).into_iter().collect();
        Ok(Raw { output: Json::from(&output), usage: answers.iter().map(usage_of).collect(), attached })
    }

    /// What stands before `prompt`. A prompt that could not be remembered is not asked.
    pub(super) async fn recall<'a>(
        &self,
        attempt: &Attempt<'a>,
        bindings: &[MemoryBinding],
        with: &Value,
        prompt: &str,
    ) -> Result<Recalled<'a>, StepError> {
        let mut all: Vec<Bound<'a>> = Vec::with_capacity(bindings.len());
        for binding in bindings {
            let memory = definition_of(attempt, &binding.memory)?;
            let key = self.key_of(attempt, binding.key.as_ref(), memory, with).await?;
            if let Some(known) = all.iter_mut().find(|known| known.memory.id == memory.id && known.key == key) {
                known.read_only &= binding.read_only;
                continue;
            }
            let place = Place::new(memory, &key).map_err(|error| failed("read", &error))?;
            let seen = self.memory.look(place, true).await.map_err(|error| failed("read", &error))?;
            if !binding.read_only {
                let checked = self.memory.rule(place).check(&[Message::new("user", prompt)]);
                checked.map_err(|error| failed("append", &error))?;
            }
            all.push(Bound { memory, key, read_only: binding.read_only, seen });
        }
        Ok(Recalled(all))
    }

    /// Adds what was asked and answered to the memories of a prompt, with its result.
    pub(super) async fn remember(
        &self,
        attempt: &Attempt<'_>,
        recalled: Recalled<'_>,
        (prompt, answer): (&str, &str),
        call: CallContext,
        raw: &mut Raw,
    ) -> Result<(), StepError> {
        let Recalled(mut all) = recalled;
        if all.is_empty() {
            return Ok(());
        }
        // Several keys are held at once: in this order by everybody.
        all.sort_by(|one, other| (&one.memory.id, &one.key).cmp(&(&other.memory.id, &other.key)));
        let secrets = self.watchers.secrets();
        let [prompt, answer] = [prompt, answer].map(|text| secrets.text(text.to_owned()));
        let asked = asked(attempt, call);
        for bound in &all {
            let place = bound.place();
            let used = self.memory.used(place, &bound.seen, &asked.writer);
            let mut prepared = memory::Prepared::of(place);
            if !bound.read_only {
                let said = vec![Message::new("user", prompt.clone()), Message::new("assistant", answer.clone())];
                let ready = self.memory.remember(place, said, &asked).await;
                let ready = ready.map_err(|error| failed("append", &error))?;
                raw.usage.extend(ready.answers.iter().map(usage_of));
                prepared = ready.prepared;
            }
            prepared.after(used.into_iter().collect());
            if !prepared.is_nothing() {
                raw.attached.push(Attachment::new(prepared));
            }
        }
        Ok(())
    }

    /// The key that a task or a binding names, else the memory's default.
    async fn key_of(
        &self,
        attempt: &Attempt<'_>,
        key: Option<&Template>,
        memory: &MemoryDefinition,
        with: &Value,
    ) -> Result<String, StepError> {
        let Some(template) = key.or(memory.default_key.as_ref()) else {
            let message = format!("task '{}' names no key of memory '{}'", attempt.task.id, memory.id);
            return Err(StepError::new("CZ0323", ErrorKind::Internal, message));
        };
        let mut batch = Batch::new(&self.environment);
        let shape = batch.scalar(template)?;
        let values = self.render(attempt, batch, Scope { with: Some(with), ..Scope::default() }).await?;
        Ok(values.text(shape))
    }
}

fn definition_of<'a>(attempt: &Attempt<'a>, id: &str) -> Result<&'a MemoryDefinition, StepError> {
    attempt.plan.memories.get(id).ok_or_else(|| {
        StepError::new(
            "internal",
            ErrorKind::Internal,
            format!("memory '{id}' is not in the definition of the workflow"),
        )
    })
}

/// The step's own id: what it writes, it writes once.
fn asked(attempt: &Attempt<'_>, call: CallContext) -> Asked {
    Asked { writer: format!("{}:{}", attempt.step.id, attempt.step.attempt), call }
}

fn operation_word(memory: &Memory) -> &'static str {
    use compozy_lang::plan::MemoryOperation as Of;
    match memory.operation {
        Of::Read => "read",
        Of::Write => "write",
        Of::Append => "append",
        Of::Delete => "delete",
        Of::Clear => "clear",
        Of::Flush => "flush",
        Of::Stats => "stats",
        Of::Health => "health",
    }
}

/// CZ0323: an operation that failed.
fn failed(operation: &str, error: &memory::Error) -> StepError {
    let kind = match error {
        memory::Error::Summary(_) => ErrorKind::Llm,
        memory::Error::Canceled => ErrorKind::Canceled,
        memory::Error::Refused(_) | memory::Error::Storage(_) => ErrorKind::Internal,
    };
    let mut failed = StepError::new("CZ0323", kind, format!("memory {operation} failed: {error}"));
    failed.retryable = error.retryable();
    failed
}
