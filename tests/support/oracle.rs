//! What a program must give, computed without compozy.

use super::program::{Program, Step};

/// How a run must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// With this number.
    Success(i64),
    /// With an unhandled failure.
    Failed,
}

/// The number after a step; `None` when the step ends the run.
pub(crate) fn after(step: Step, number: i64) -> Option<i64> {
    match step {
        Step::Add(add) | Step::AddAndSleep(add, _) | Step::Retry(_, add) | Step::Handled(add) => Some(number + add),
        Step::Effect => Some(number),
        Step::Loop(turns, add) => Some(number + i64::from(turns) * add),
        Step::Fail => None,
    }
}

/// How a run of the program must end.
pub(crate) fn result(program: &Program) -> Expected {
    let end = program.steps.iter().try_fold(program.input, |number, step| after(*step, number));
    end.map_or(Expected::Failed, Expected::Success)
}

/// The idempotency keys of all effects of a run, each of which must have happened.
pub(crate) fn effects(program: &Program, exec_id: &str) -> Vec<String> {
    let mut keys = Vec::new();
    for (index, step) in program.steps.iter().enumerate() {
        let turns = match step {
            Step::Effect => 1,
            Step::Loop(turns, _) => *turns,
            _ => 0,
        };
        keys.extend((1..=turns).map(|turn| format!("{exec_id}:s{index}:{turn}")));
    }
    keys
}

#[test]
fn the_oracle_adds_up() {
    let program = Program {
        id: "p".to_owned(),
        input: 1,
        steps: vec![Step::Add(2), Step::Loop(3, 4), Step::Retry(2, 5), Step::Handled(6), Step::Effect],
    };
    assert_eq!(result(&program), Expected::Success(26));
    assert_eq!(effects(&program, "x"), ["x:s1:1", "x:s1:2", "x:s1:3", "x:s4:1"]);
}
