//! Text and calls of an answer that comes in pieces, within bounds.

use compozy_plugin::llm::ToolCall;
use compozy_plugin::{Result, http};

use crate::{ANSWER_LIMIT, failure};

/// Different tool calls of one answer.
const CALL_LIMIT: usize = 128;

/// What came so far.
#[derive(Debug, Default)]
pub struct Gathered {
    text: String,
    /// By the index that the server gives them.
    calls: Vec<(u64, ToolCall)>,
}

impl Gathered {
    /// Adds text.
    pub fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }

    /// The text so far.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Different calls so far.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.calls.len() as u64
    }

    /// The call of this index, a new one where there is none.
    ///
    /// # Errors
    /// There are too many.
    pub fn call(&mut self, index: u64) -> Result<&mut ToolCall> {
        let position = self.calls.iter().position(|(present, _)| *present == index).unwrap_or(self.calls.len());
        if position >= CALL_LIMIT {
            return Err(failure::malformed(format!("more than {CALL_LIMIT} tool calls")));
        }
        if position == self.calls.len() {
            let empty = ToolCall { id: String::new(), name: String::new(), arguments: String::new() };
            self.calls.push((index, empty));
        }
        let found = self.calls.get_mut(position).map(|(_, call)| call);
        found.ok_or_else(|| failure::malformed("a tool call is lost"))
    }

    /// Refuses more than an answer may have; `beside` are bytes that are kept elsewhere.
    ///
    /// # Errors
    /// There is more.
    pub fn check(&self, beside: usize) -> Result<()> {
        let length = |call: &ToolCall| call.id.len() + call.name.len() + call.arguments.len();
        let calls: usize = self.calls.iter().map(|(_, call)| length(call)).sum();
        if self.text.len() + calls + beside > ANSWER_LIMIT {
            return Err(failure::from_http(http::Error::TooLong(ANSWER_LIMIT)));
        }
        Ok(())
    }

    /// Text and calls, these in order; ids and arguments that the server left out are filled in.
    ///
    /// # Errors
    /// A call has no name.
    pub fn finish(mut self) -> Result<(String, Vec<ToolCall>)> {
        self.calls.sort_by_key(|(index, _)| *index);
        let calls: Vec<ToolCall> =
            self.calls.into_iter().enumerate().map(|(number, (_, call))| complete(number, call)).collect();
        if calls.iter().any(|call| call.name.is_empty()) {
            return Err(failure::malformed("a tool call has no name"));
        }
        Ok((self.text, calls))
    }
}

/// A call with an id and arguments, whatever the server left out; `number` counts from 0.
#[must_use]
pub fn complete(number: usize, mut call: ToolCall) -> ToolCall {
    if call.id.is_empty() {
        call.id = format!("call-{}", number + 1);
    }
    if call.arguments.is_empty() {
        call.arguments = "{}".to_owned();
    }
    call
}

#[cfg(test)]
mod tests {
    use super::{ANSWER_LIMIT, CALL_LIMIT, Gathered};

    #[test]
    fn more_than_an_answer_may_have_is_refused() {
        let mut gathered = Gathered::default();
        for index in 0..CALL_LIMIT as u64 {
            gathered.call(index).expect("few").name.push('f');
        }
        assert_eq!(gathered.call(1000).expect_err("too many").code, "provider_malformed");
        gathered.call(0).expect("known").arguments.push_str(&"x".repeat(ANSWER_LIMIT / 2));
        assert!(gathered.check(0).is_ok());
        gathered.push(&"y".repeat(ANSWER_LIMIT / 2));
        assert_eq!(gathered.check(0).expect_err("too long").code, "provider_malformed");
    }

    #[test]
    fn calls_are_completed() {
        let mut gathered = Gathered::default();
        gathered.call(7).expect("few").name.push('b');
        gathered.call(3).expect("few").name.push('a');
        let (_, calls) = gathered.finish().expect("named");
        let calls: Vec<_> = calls.iter().map(|call| (&*call.id, &*call.name, &*call.arguments)).collect();
        assert_eq!(calls, [("call-1", "a", "{}"), ("call-2", "b", "{}")]);
    }
}
