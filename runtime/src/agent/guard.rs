//! When the tool calls of an attempt come to an end.

use std::collections::BTreeMap;

use compozy_lang::plan::ToolGuards;
use serde_json::json;

/// Most calls in one answer: as many as a provider offers tools at most. More are an attack or a fault.
pub const MOST_CALLS: usize = 128;

/// Why no further tool is called.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stop {
    /// `max_iterations` (CZ0509).
    #[error("more than {0} rounds")]
    Rounds(u32),
    /// The other guards (CZ0510).
    #[error("no progress: {0}")]
    NoProgress(String),
}

impl Stop {
    /// The stable code.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Rounds(_) => "CZ0509",
            Self::NoProgress(_) => "CZ0510",
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn help(&self) -> &'static str {
        match self {
            Self::Rounds(_) => "raise max_iterations of the agent or llm.max_tool_iterations, or fix the tool",
            Self::NoProgress(_) => "raise the cap under llm, or fix the tool",
        }
    }
}

/// A call that was carried out, or refused.
#[derive(Debug, Clone, Copy)]
pub struct Heard<'a> {
    /// Name of the tool, as the model called it.
    pub tool: &'a str,
    /// Its arguments, in a form that is the same for equal ones.
    pub arguments: &'a str,
    /// The result as text; `None`: it failed.
    pub result: Option<&'a str>,
}

/// How far the loop of one attempt has come.
#[derive(Debug)]
pub struct Progress<'g> {
    guards: &'g ToolGuards,
    rounds: u32,
    /// Calls by tool id.
    calls: BTreeMap<String, u32>,
    errors_in_a_row: u32,
    /// The last call with its result, and how often in a row it was that.
    last: Option<(String, u32)>,
}

impl<'g> Progress<'g> {
    /// Nothing was asked for yet.
    #[must_use]
    pub fn new(guards: &'g ToolGuards) -> Self {
        Self { guards, rounds: 0, calls: BTreeMap::new(), errors_in_a_row: 0, last: None }
    }

    /// Answers whose calls were carried out, the present one among them.
    #[must_use]
    pub fn rounds(&self) -> u32 {
        self.rounds
    }

    /// Whether the calls of one more answer are carried out. Called before any of them is; `tools` are the ids, `None`
    /// for what was not offered.
    ///
    /// # Errors
    /// Too many rounds, or more calls of a tool than its cap.
    pub fn admit<'a>(&mut self, tools: impl IntoIterator<Item = Option<&'a str>>) -> Result<(), Stop> {
        if self.rounds >= self.guards.max_iterations {
            return Err(Stop::Rounds(self.guards.max_iterations));
        }
        self.rounds += 1;
        let mut asked = 0;
        for tool in tools {
            asked += 1;
            let Some(tool) = tool else { continue };
            let calls = self.calls.entry(tool.to_owned()).or_default();
            *calls = calls.saturating_add(1);
            if let Some(cap) = self.guards.cap(tool).filter(|cap| *calls > *cap) {
                return Err(Stop::NoProgress(format!("more than {cap} calls of tool '{tool}'")));
            }
        }
        if asked > MOST_CALLS {
            return Err(Stop::NoProgress(format!("more than {MOST_CALLS} calls in one answer")));
        }
        Ok(())
    }

    /// Takes note of what came of a call; in the order in which the model asked.
    ///
    /// # Errors
    /// Too many failures, or too many equal calls with equal results, in a row.
    pub fn heard(&mut self, call: Heard<'_>) -> Result<(), Stop> {
        let Some(result) = call.result else {
            self.last = None;
            self.errors_in_a_row += 1;
            let most = self.guards.max_sequential_errors;
            return if self.errors_in_a_row > most {
                Err(Stop::NoProgress(format!(
                    "more than {most} failed calls in a row, the last of tool '{}'",
                    call.tool
                )))
            } else {
                Ok(())
            };
        };
        self.errors_in_a_row = 0;
        let seen = compozy_lang::digest::of(&json!([call.tool, call.arguments, result]));
        let times = match self.last.take() {
            Some((last, times)) if last == seen => times.saturating_add(1),
            _ => 1,
        };
        self.last = Some((seen, times));
        let most = self.guards.max_consecutive_successes;
        if times > most {
            let again = format!("tool '{}' was called more than {most} times in a row with equal results", call.tool);
            return Err(Stop::NoProgress(again));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use compozy_lang::plan::ToolGuards;

    use super::{Heard, MOST_CALLS, Progress, Stop};

    fn guards() -> ToolGuards {
        ToolGuards {
            max_iterations: 3,
            max_sequential_errors: 2,
            max_consecutive_successes: 2,
            default_cap: 0,
            caps: [("pay".to_owned(), 2), ("free".to_owned(), 0)].into(),
            ..ToolGuards::default()
        }
    }

    /// What ends each list of answers; an answer is the tools it asks for.
    #[test]
    fn rounds_and_caps() {
        let no_progress = |reason: &str| Err(Stop::NoProgress(reason.to_owned()));
        let many = vec!["a"; MOST_CALLS + 1];
        type Answers<'a> = &'a [&'a [&'a str]];
        let table: [(u32, Answers<'_>, Result<(), Stop>); 8] = [
            (0, &[&["a"], &["a"], &["a"]], Ok(())),
            (0, &[&["a"], &["a"], &["a"], &["a"]], Err(Stop::Rounds(3))),
            (0, &[&["pay"], &["pay"]], Ok(())),
            (0, &[&["pay", "a"], &["pay", "pay"]], no_progress("more than 2 calls of tool 'pay'")),
            (0, &[&["?", "?", "?"], &["?"]], Ok(())),
            (1, &[&["a", "b"], &["b"]], no_progress("more than 1 calls of tool 'b'")),
            (1, &[&["free", "free"], &["pay", "free"]], Ok(())),
            (0, &[&many], no_progress("more than 128 calls in one answer")),
        ];
        for (default_cap, answers, expected) in table {
            let guards = ToolGuards { default_cap, ..guards() };
            let mut progress = Progress::new(&guards);
            let ended = answers.iter().try_for_each(|answer| {
                progress.admit(answer.iter().map(|tool| Some(*tool).filter(|tool| *tool != "?")))
            });
            assert_eq!(ended, expected, "{answers:?}");
        }
    }

    #[test]
    fn failures_and_repetitions() {
        let failed = |tool| Heard { tool, arguments: "1", result: None };
        let gave = |arguments, result| Heard { tool: "a", arguments, result: Some(result) };
        let failures = "more than 2 failed calls in a row, the last of tool 'b'";
        let repeated = "tool 'a' was called more than 2 times in a row with equal results";
        for (calls, expected) in [
            (vec![failed("a"), failed("b")], None),
            (vec![failed("a"), failed("a"), failed("b")], Some(failures)),
            (vec![failed("a"), failed("a"), gave("1", "x"), failed("b"), failed("b")], None),
            (vec![gave("1", "x"), gave("1", "x")], None),
            (vec![gave("1", "x"), gave("1", "x"), gave("1", "x")], Some(repeated)),
            // Other arguments, another result or a failure in between is progress.
            (vec![gave("1", "x"), gave("1", "x"), gave("2", "x"), gave("1", "x"), gave("1", "x")], None),
            (vec![gave("1", "x"), gave("1", "x"), gave("1", "y"), gave("1", "x")], None),
            (vec![gave("1", "x"), gave("1", "x"), failed("a"), gave("1", "x")], None),
        ] {
            let guards = guards();
            let mut progress = Progress::new(&guards);
            let ended = calls.iter().try_for_each(|call| progress.heard(*call));
            assert_eq!(ended, expected.map_or(Ok(()), |reason| Err(Stop::NoProgress(reason.to_owned()))), "{calls:?}");
        }
    }
}
