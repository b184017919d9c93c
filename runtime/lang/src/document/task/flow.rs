//! What follows a task: transitions, retries.

use std::time::Duration;

use crate::plan::{RetryPolicy, Template, TemplateMode, ValueTemplate};
use crate::schema::task::{ON_TIMEOUT, RETRY, TRANSITION};
use crate::yaml::Node;

use crate::document::Name;
use crate::document::fields::Fields;
use crate::document::reader::{Reader, SiteKind};

/// `on_success` or `on_error` as written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Transition {
    /// The next task's id, or a template of it.
    pub(crate) next: Option<NextRef>,
    /// Values laid over the next task's `with`.
    pub(crate) with: Option<ValueTemplate>,
}

/// A next task as written.
#[derive(Debug, Clone)]
pub(crate) enum NextRef {
    /// By id.
    Id(Name),
    /// By a template.
    Template(Template),
}

impl NextRef {
    /// How it is shown, and where it is written.
    pub(crate) fn shown(&self) -> (String, Name) {
        match self {
            NextRef::Id(name) => (name.text.clone(), name.clone()),
            NextRef::Template(template) => {
                let name = Name { text: String::new(), place: template.place.clone(), length: 1 };
                ("a template".into(), name)
            }
        }
    }
}

/// `retry_policy` as written: every part may be absent.
#[derive(Debug, Clone, Default)]
pub(crate) struct Retry {
    pub(crate) maximum_attempts: Option<u32>,
    pub(crate) initial_interval: Option<Duration>,
    pub(crate) backoff_coefficient: Option<f64>,
    pub(crate) maximum_interval: Option<Duration>,
    pub(crate) non_retryable_error_types: Option<Vec<String>>,
}

impl Retry {
    /// What is written here over what `under` says.
    pub(crate) fn over(&self, under: &Retry) -> Retry {
        Retry {
            maximum_attempts: self.maximum_attempts.or(under.maximum_attempts),
            initial_interval: self.initial_interval.or(under.initial_interval),
            backoff_coefficient: self.backoff_coefficient.or(under.backoff_coefficient),
            maximum_interval: self.maximum_interval.or(under.maximum_interval),
            non_retryable_error_types: self
                .non_retryable_error_types
                .clone()
                .or_else(|| under.non_retryable_error_types.clone()),
        }
    }

    /// With the defaults of dialect §4.4.
    pub(crate) fn policy(&self) -> RetryPolicy {
        let usual = RetryPolicy::default();
        let initial_interval = self.initial_interval.unwrap_or(usual.initial_interval);
        RetryPolicy {
            maximum_attempts: self.maximum_attempts.unwrap_or(usual.maximum_attempts),
            initial_interval,
            backoff_coefficient: self.backoff_coefficient.unwrap_or(usual.backoff_coefficient),
            maximum_interval: self.maximum_interval.unwrap_or(usual.maximum_interval).max(initial_interval),
            non_retryable_error_types: self.non_retryable_error_types.clone().unwrap_or_default(),
        }
    }
}

impl Reader<'_> {
    pub(super) fn on_success(&mut self, fields: &Fields<'_>) -> Transition {
        self.at(SiteKind::Output, |reader| {
            let mut transition = reader.transition(fields, "on_success").unwrap_or_default();
            if let Some(node) = fields.get("next") {
                let short = reader.next(node, &fields.at("next"));
                match (&transition.next, fields.entry("on_success"), fields.entry("next")) {
                    (Some(_), Some(first), Some(second)) => {
                        let target = first.value.get("next").unwrap_or(&first.value);
                        let first = crate::yaml::Entry { value: target.clone(), ..first.clone() };
                        reader.second_spelling(&first, second);
                    }
                    _ => transition.next = short,
                }
            }
            transition
        })
    }

    /// `on_error` of a task or of a `config`.
    pub(crate) fn on_error(&mut self, fields: &Fields<'_>) -> Option<Transition> {
        self.at(SiteKind::Error, |reader| reader.transition(fields, "on_error"))
    }

    fn transition(&mut self, fields: &Fields<'_>, name: &str) -> Option<Transition> {
        let node = fields.get(name)?;
        let path = fields.at(name);
        if node.scalar().is_some() {
            return Some(Transition { next: self.next(node, &path), with: None });
        }
        let inner = self.fields(node, &TRANSITION, &path)?;
        Some(Transition {
            next: inner.get("next").and_then(|node| self.next(node, &inner.at("next"))),
            with: inner.get("with").map(|node| self.templates(node, &inner.at("with"), TemplateMode::Value)),
        })
    }

    /// `on_timeout` of a wait task: an id, or a map with `next`.
    pub(super) fn on_timeout(&mut self, fields: &Fields<'_>) -> Option<NextRef> {
        let node = fields.get("on_timeout")?;
        let path = fields.at("on_timeout");
        if node.scalar().is_some() {
            return self.next(node, &path);
        }
        let inner = self.fields(node, &ON_TIMEOUT, &path)?;
        inner.get("next").and_then(|node| self.next(node, &inner.at("next")))
    }

    fn next(&mut self, node: &Node, path: &str) -> Option<NextRef> {
        if node.scalar().is_some_and(|scalar| scalar.text.contains("{{")) {
            return self.template(node, path, TemplateMode::Text).map(NextRef::Template);
        }
        self.name_of(node, path).filter(|name| !name.text.is_empty()).map(NextRef::Id)
    }

    /// `retry_policy` and `retries` of several maps, the first wins.
    pub(crate) fn retry(&mut self, all: &[Option<&Fields<'_>>]) -> Retry {
        let mut found = Retry::default();
        for fields in all.iter().copied().flatten() {
            let one = self.one_retry(fields);
            found = found.over(&one);
        }
        found
    }

    fn one_retry(&mut self, fields: &Fields<'_>) -> Retry {
        let mut retry = Retry::default();
        if let Some(policy) =
            fields.get("retry_policy").and_then(|node| self.fields(node, &RETRY, &fields.at("retry_policy")))
        {
            retry.maximum_attempts = self.number(&policy, "maximum_attempts");
            retry.initial_interval = self.duration(&policy, "initial_interval");
            retry.maximum_interval = self.duration(&policy, "maximum_interval");
            retry.backoff_coefficient = self.backoff(&policy);
            if policy.get("non_retryable_error_types").is_some() {
                retry.non_retryable_error_types = Some(self.texts(&policy, "non_retryable_error_types"));
            }
            if let (Some(first), Some(second)) = (policy.entry("maximum_attempts"), fields.entry("retries")) {
                self.second_spelling(first, second);
                return retry;
            }
        }
        if let Some(retries) = self.number(fields, "retries") {
            retry.maximum_attempts = Some(retries.saturating_add(1));
        }
        retry
    }

    fn backoff(&mut self, policy: &Fields<'_>) -> Option<f64> {
        let node = policy.get("backoff_coefficient")?;
        let path = policy.at("backoff_coefficient");
        let value = self.float_of(node, &path)?;
        if !(1.0..=1000.0).contains(&value) {
            self.expected(node, &path, "a number from 1 to 1000");
            return None;
        }
        Some(value)
    }
}
