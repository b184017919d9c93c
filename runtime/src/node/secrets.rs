//! Keeps the values of secret variables out of what is recorded and shown: a template may hand `.env.KEY` to a model or a
//! tool, and a peer may send it back, but no input, output, error or event of a step holds it.
//!
//! Values are struck out by the same rule as in logs. Text inside JSON strings is looked at, so JSON stays JSON.

use std::sync::Arc;

use compozy_engine::error::StepError;
use compozy_engine::event::{Done, Failure, Opened, Opens, Outcome, Rendered, Sent, SubRun, Target};
use compozy_engine::json::Json;
use compozy_engine::opening::Items;
use serde_json::Value;

use crate::plugin::secret::Mask;

/// Shortest value that is struck out of recorded data, in bytes. A log line loses little by a word too many; an output
/// is what the run is for, and `DB_PASSWORD=demo` must not cut words out of it.
const SHORTEST: usize = 8;

/// The secret values of a project.
#[derive(Debug, Default)]
pub(crate) struct Secrets(Mask);

impl Secrets {
    /// Those of these values that are long enough.
    pub(crate) fn new(values: &[String]) -> Self {
        Self::of(values.iter().map(String::as_str).filter(|value| value.len() >= SHORTEST))
    }

    fn of<'v>(values: impl IntoIterator<Item = &'v str>) -> Self {
        Self(Mask::new(values))
    }

    /// What may be recorded of an attempt. A project without secrets pays nothing.
    pub(crate) fn outcome(&self, outcome: Outcome) -> Outcome {
        if self.0.is_empty() {
            return outcome;
        }
        match outcome {
            Outcome::Done(done) => Outcome::Done(Done {
                input: done.input.map(|input| self.json(input)),
                output: self.json(done.output),
                transition: self.rendered(done.transition),
                signals: done.signals.into_iter().map(|sent| self.sent(sent)).collect(),
                ..done
            }),
            Outcome::Failed(failure) => Outcome::Failed(Failure {
                input: failure.input.map(|input| self.json(input)),
                output: failure.output.map(|output| self.json(output)),
                error: self.error(failure.error),
                transition: self.rendered(failure.transition),
                ..failure
            }),
            Outcome::Opened(opened) => Outcome::Opened(Opened {
                input: opened.input.map(|input| self.json(input)),
                body: self.opens(opened.body),
                ..opened
            }),
            Outcome::Unmatched => Outcome::Unmatched,
        }
    }

    fn opens(&self, body: Opens) -> Opens {
        match body {
            Opens::Branches { workers, batch, items: Some(items) } => {
                let values = items.values.iter().map(|item| self.json(item.clone())).collect();
                Opens::Branches { workers, batch, items: Some(Items { values, ids: items.ids }) }
            }
            Opens::Run(run) => Opens::Run(SubRun { input: self.json(run.input), ..run }),
            body @ (Opens::List | Opens::Branches { items: None, .. } | Opens::Wait { .. }) => body,
        }
    }

    fn sent(&self, sent: Sent) -> Sent {
        Sent { payload: self.json(sent.payload), ..sent }
    }

    /// What may be recorded of a run's output.
    pub(crate) fn output(&self, output: Result<Json, StepError>) -> Result<Json, StepError> {
        output.map(|output| self.json(output)).map_err(|error| self.error(error))
    }

    /// Masks a text that comes in pieces.
    pub(crate) fn stream(self: &Arc<Self>) -> Stream {
        Stream { secrets: Arc::clone(self), held: String::new() }
    }

    fn rendered(&self, rendered: Rendered) -> Rendered {
        let next = match rendered.next {
            Some(Target::Unknown(id)) => Some(Target::Unknown(self.text(id))),
            next => next,
        };
        Rendered { next, with: rendered.with.map(|with| self.value(with)) }
    }

    fn error(&self, error: StepError) -> StepError {
        let (detail, help) = (error.detail, error.help);
        StepError {
            // A plugin chooses its codes.
            code: self.text(error.code),
            message: self.text(error.message),
            detail: detail.map(|text| self.text(text)),
            help: help.map(|text| self.text(text)),
            ..error
        }
    }

    /// A value without them.
    pub(crate) fn json(&self, json: Json) -> Json {
        let text = json.as_str();
        // Most values hold no secret. A `\` may hide one behind an escape of another spelling.
        if !text.contains('\\') && !self.0.is_in(text) {
            return json;
        }
        let (before, after) = (json.to_value(), self.value(json.to_value()));
        if before == after { json } else { Json::from(&after) }
    }

    fn value(&self, value: Value) -> Value {
        match value {
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(items) => items.into_iter().map(|item| self.value(item)).collect(),
            Value::Object(members) => {
                members.into_iter().map(|(name, value)| (self.text(name), self.value(value))).collect()
            }
            other => other,
        }
    }

    /// A text without them.
    pub(crate) fn text(&self, text: String) -> String {
        match self.0.apply(&text) {
            std::borrow::Cow::Borrowed(_) => text,
            std::borrow::Cow::Owned(masked) => masked,
        }
    }
}

/// A text that comes in pieces. The end of what came is held back while a secret may have begun in it.
#[derive(Debug)]
pub(crate) struct Stream {
    secrets: Arc<Secrets>,
    held: String,
}

impl Stream {
    /// What may be shown once `piece` has come; often empty.
    pub(crate) fn push(&mut self, piece: &str) -> String {
        if self.secrets.0.is_empty() {
            return piece.to_owned();
        }
        self.held.push_str(piece);
        // Whole secrets go first, so that what is left of one is not taken for the beginning of another.
        self.held = self.secrets.text(std::mem::take(&mut self.held));
        let begun = self.held.len() - self.secrets.0.begun_in(&self.held);
        let rest = self.held.split_off(begun);
        std::mem::replace(&mut self.held, rest)
    }

    /// The rest, when no more comes.
    pub(crate) fn finish(self) -> String {
        self.held
    }
}

#[cfg(test)]
mod tests {
    use compozy_engine::error::ErrorKind;
    use serde_json::json;

    use super::*;

    #[test]
    fn pieces_of_a_secret_are_held_back() {
        let secrets = Arc::new(Secrets::of(["secret", "é-öäü"]));
        for (pieces, shown) in [
            (&["a sec", "ret b"][..], &["a ", "*** b", ""][..]),
            (&["s", "e", "c", "r", "e", "t"], &["", "", "", "", "", "***", ""]),
            (&["a sec", "ond"], &["a ", "second", ""]),
            (&["a sec"], &["a ", "sec"]),
            (&["x é", "-ö", "äü y"], &["x ", "", "*** y", ""]),
            (&["secsec", "retret"], &["sec", "***ret", ""]),
        ] {
            let mut stream = secrets.stream();
            let mut seen: Vec<String> = pieces.iter().map(|piece| stream.push(piece)).collect();
            seen.push(stream.finish());
            assert_eq!(seen, shown, "{pieces:?}");
        }
    }

    #[test]
    fn short_words_are_no_secrets() {
        let secrets = Secrets::new(&["demo".to_owned(), "demo-4242".to_owned()]);
        assert_eq!(secrets.text("demo and demo-4242".to_owned()), "demo and ***");
    }

    #[test]
    fn every_part_of_an_outcome_is_masked() {
        let secrets = Secrets::of(["can\"ary", "1234"]);
        let value = json!({"a": ["x can\"ary"], "can\"ary": 1234, "b": "1234", "c": "Y2FuImFyeQ=="});
        let masked = json!({"a": ["x ***"], "***": 1234, "b": "***", "c": "***=="});
        let rendered = || Rendered { next: Some(Target::Unknown("1234".into())), with: Some(value.clone()) };
        let done = Outcome::Done(Done {
            input: Some(Json::from(&value)),
            output: Json::parse(r#"{"t":"\u0063an\u0022ary"}"#).unwrap(),
            transition: rendered(),
            ..Done::new(Json::null())
        });
        let Outcome::Done(done) = secrets.outcome(done) else { panic!("it is done") };
        assert_eq!(done.input.unwrap().to_value(), masked);
        assert_eq!(done.output.as_str(), r#"{"t":"***"}"#);
        assert!(matches!(done.transition, Rendered { next: Some(Target::Unknown(id)), with: Some(with) }
            if id == "***" && with == masked.clone()));
        let mut error = StepError::new("x 1234", ErrorKind::Tool, "got can\"ary");
        error.detail = Some("1234".into());
        let failed = Outcome::Failed(Failure {
            input: None,
            output: Some(Json::from(&json!("1234"))),
            error,
            transition: rendered(),
            usage: Vec::new(),
        });
        let Outcome::Failed(failure) = secrets.outcome(failed) else { panic!("it failed") };
        assert_eq!(failure.error.code, "x ***");
        assert_eq!((failure.error.message.as_str(), failure.error.detail.as_deref()), ("got ***", Some("***")));
        assert_eq!(failure.output.unwrap().as_str(), "\"***\"");
        let items = Items { values: vec![Json::from(&value)].into(), ids: None };
        let body = Opens::Branches { workers: 1, batch: 0, items: Some(items) };
        let opened = Outcome::Opened(Opened { input: Some(Json::from(&value)), timeout: None, body });
        let Outcome::Opened(opened) = secrets.outcome(opened) else { panic!("it is open") };
        let Opens::Branches { items: Some(items), .. } = opened.body else { panic!("it has items") };
        assert_eq!((opened.input.unwrap().to_value(), items.values[0].to_value()), (masked.clone(), masked));
        let output = secrets.output(Ok(Json::from(&json!("can\"ary")))).unwrap();
        assert_eq!(output.as_str(), "\"***\"");
        // What holds no secret keeps its spelling.
        let kept = Json::parse(r#"{"a":1.50,"b":"\u0041\n"}"#).unwrap();
        assert_eq!(secrets.json(kept).as_str(), r#"{"a":1.50,"b":"\u0041\n"}"#);
    }
}
