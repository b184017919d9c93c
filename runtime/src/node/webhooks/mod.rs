//! Webhooks: a delivery is verified, then the first event whose filter is true starts the workflow.
//!
//! [`Node::verify_delivery`] sees the raw bytes and comes before anything reads them; [`Node::deliver`] sees what they
//! say. That a delivery has come is recorded with the run that it starts.

mod signature;

use std::sync::Arc;

use compozy_engine::error::StepError;
use compozy_lang::plan::WebhookEvent;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::step::request::Seen;
use super::triggers::Hook;
use super::{Accepted, Error, Node, StartRequest, Violation};
use crate::storage::row::{DELIVERY, Idempotency};
use signature::Forged;

/// Longest key that is kept as it is, in bytes; of a longer one the digest is kept.
const LONGEST_KEY: usize = 255;

/// What a delivery says.
#[derive(Debug)]
pub struct Delivery {
    /// Its body.
    pub payload: Value,
    /// Its headers by lower-case name.
    pub headers: Map<String, Value>,
    /// Its query parameters.
    pub query: Map<String, Value>,
    /// Digest of the raw body, from [`digest`].
    pub digest: String,
    /// The sender's idempotency key.
    pub key: Option<String>,
}

/// What a delivery came to.
#[derive(Debug)]
pub enum Delivered {
    /// This event started a run.
    Started {
        /// The event.
        event: String,
        /// The run.
        accepted: Accepted,
    },
    /// It came before, within the time of `dedupe.ttl`.
    Duplicate,
    /// No filter is true.
    NoMatch,
}

impl Hook {
    /// Method that deliveries use.
    #[must_use]
    pub fn method(&self) -> &str {
        &self.webhook.method
    }
}

/// What a body is known by.
#[must_use]
pub fn digest(body: &[u8]) -> String {
    Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Node {
    /// The webhook with this slug.
    #[must_use]
    pub fn webhook(&self, slug: &str) -> Option<Arc<Hook>> {
        self.worker.steps.listening().webhook(slug).cloned()
    }

    /// Checks the signature of a raw body. `header` gives the values of a header.
    ///
    /// # Errors
    /// [`Error::Unverified`]; [`Error::WebhookUnusable`] when the secret is not to be had.
    pub async fn verify_delivery<'h>(
        &self,
        hook: &Hook,
        header: impl Fn(&str) -> Vec<&'h [u8]>,
        body: &[u8],
    ) -> Result<(), Error> {
        let Some(verify) = &hook.webhook.verify else { return Ok(()) };
        let slug = &hook.webhook.slug;
        let (worker, nothing) = (&self.worker, Map::new());
        let seen = worker.steps.seen(&hook.plan, &nothing, slug);
        let secret = worker.steps.text_of_request(&seen, &verify.secret).await;
        let secret = secret.map_err(|error| unusable(slug, "verify.secret", &error))?;
        // Everybody knows how to sign with an empty key.
        if secret.is_empty() {
            return Err(Error::WebhookUnusable(format!("webhook '{slug}': verify.secret is empty")));
        }
        let checked = match header(signature::header(verify)).as_slice() {
            [one] => std::str::from_utf8(one)
                .map_err(|_| Forged::Unreadable)
                .and_then(|text| signature::check(verify, &secret, text, body, seen.at)),
            _ => Err(Forged::Missing),
        };
        checked.map_err(|forged| {
            tracing::warn!(slug, "a delivery is refused: {forged}");
            Error::Unverified
        })
    }

    /// Starts the workflow with the first event whose filter is true. Durable when it returns.
    ///
    /// # Errors
    /// [`Error::EventInvalid`], [`Error::WebhookUnusable`], and every variant of [`Node::submit`].
    pub async fn deliver(&self, hook: &Hook, delivery: Delivery) -> Result<Delivered, Error> {
        let Delivery { payload, headers, query, digest, key } = delivery;
        let mut request = Map::new();
        request.insert("payload".to_owned(), payload);
        request.insert("headers".to_owned(), Value::Object(headers));
        request.insert("query".to_owned(), Value::Object(query));
        let id = self.worker.clock.ulid();
        let seen = self.worker.steps.seen(&hook.plan, &request, &id);
        let Some(event) = hook.webhook.events.iter().find(|event| self.is_it(hook, &seen, event)) else {
            return Ok(Delivered::NoMatch);
        };
        let start = StartRequest {
            workflow_id: hook.plan.id.clone(),
            input: self.input(hook, &seen, event).await?,
            task: None,
            tags: Map::new(),
            durability: None,
            priority: 0,
            trigger: json!({"type": "webhook", "name": event.name, "slug": hook.webhook.slug}),
            idempotency: self.key(hook, &seen, &digest, key).await?,
        };
        let accepted = self.submit(start).await.map_err(|error| match error {
            Error::InputInvalid { violations, .. } => Error::EventInvalid { event: event.name.clone(), violations },
            other => other,
        })?;
        if accepted.replayed {
            return Ok(Delivered::Duplicate);
        }
        Ok(Delivered::Started { event: event.name.clone(), accepted })
    }

    /// A filter that fails, usually over a member that this request does not have, is not true.
    fn is_it(&self, hook: &Hook, seen: &Seen<'_>, event: &WebhookEvent) -> bool {
        self.worker.steps.passes(seen, &event.filter).unwrap_or_else(|error| {
            tracing::debug!(slug = hook.webhook.slug, event = event.name, "a filter is not true: {}", error.message);
            false
        })
    }

    async fn input(&self, hook: &Hook, seen: &Seen<'_>, event: &WebhookEvent) -> Result<Value, Error> {
        let slug = &hook.webhook.slug;
        let invalid = |violations| Error::EventInvalid { event: event.name.clone(), violations };
        let rendered = self.worker.steps.value_of_request(seen, &event.input).await;
        let input = rendered.map_err(|error| {
            let unusable = unusable(slug, &format!("input of event '{}'", event.name), &error);
            if error.code == "CZ0113" {
                return unusable;
            }
            tracing::warn!("{unusable}");
            let message = "the input cannot be made of this request".to_owned();
            invalid(vec![Violation { pointer: String::new(), message }])
        })?;
        if let Some(schema) = &event.schema {
            let site = format!("event '{}'", event.name);
            let checked = self.worker.schemas.check(&hook.plan.digest, &site, schema, &input);
            checked.map_err(invalid)?;
        }
        Ok(if input.is_null() { Value::Object(Map::new()) } else { input })
    }

    /// What the delivery is known by: `dedupe.key`, else the sender's key, else, where the webhook says so, the body.
    async fn key(
        &self,
        hook: &Hook,
        seen: &Seen<'_>,
        body: &str,
        sent: Option<String>,
    ) -> Result<Option<Idempotency>, Error> {
        let slug = &hook.webhook.slug;
        let Some(dedupe) = &hook.webhook.dedupe else { return Ok(None) };
        let own = match &dedupe.key {
            Some(key) => {
                let text = self.worker.steps.text_of_request(seen, key).await;
                Some(text.map_err(|error| unusable(slug, "dedupe.key", &error))?).filter(|key| !key.is_empty())
            }
            None => None,
        };
        let by_body = || dedupe.by_body.then(|| format!("body:{body}"));
        let key = own.map(|key| format!("key:{key}")).or(sent.map(|key| format!("sent:{key}"))).or_else(by_body);
        let Some(key) = key else { return Ok(None) };
        let key = if key.len() > LONGEST_KEY { format!("long:{}", digest(key.as_bytes())) } else { key };
        Ok(Some(Idempotency {
            scope: format!("{DELIVERY}{slug}"),
            key,
            // Whatever else it says, it is the same delivery.
            request_hash: String::new(),
            expires_at: seen.at.after(dedupe.ttl),
        }))
    }
}

/// The log says why, the sender does not learn it.
fn unusable(slug: &str, what: &str, error: &StepError) -> Error {
    Error::WebhookUnusable(format!("webhook '{slug}': {what}: {} [{}]", error.message, error.code))
}
