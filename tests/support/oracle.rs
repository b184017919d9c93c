//! What a program must give, computed without compozy.

use super::program::{Program, Step, Waves};

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
        Step::Add(add)
        | Step::AddAndSleep(add, _)
        | Step::Retry(_, add)
        | Step::Handled(add)
        | Step::Aggregate(add)
        | Step::Race(add)
        | Step::FailFast(add)
        | Step::Again(add)
        | Step::Router(add)
        | Step::SubRun(add)
        | Step::Signal(add)
        | Step::Memory(add)
        | Step::Timeout(add) => Some(number + add),
        Step::Effect => Some(number),
        Step::Loop(times, add) | Step::Parallel(times, add, _) => Some(number + i64::from(times) * add),
        Step::Collection(_, items, add) => Some(number + i64::from(items - 1) * add),
        Step::Composite(add, _) => Some(number + 2 * add),
        Step::Nested(add) => Some(number + 3 * add),
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
    let mut number = program.input;
    for (index, step) in program.steps.iter().enumerate() {
        let at = format!("{exec_id}:s{index}");
        let inside = format!("{at}/s{index}-");
        match *step {
            Step::Effect => keys.push(format!("{at}:1")),
            Step::Loop(turns, _) => keys.extend((1..=turns).map(|turn| format!("{at}:{turn}"))),
            Step::Parallel(branches, ..) => keys.extend((0..branches).map(|branch| format!("{inside}b{branch}:1"))),
            Step::Race(_) => keys.push(format!("{inside}quick:1")),
            Step::Collection(_, items, _) => {
                keys.extend((0..items).filter(|item| *item != 1).map(|item| format!("{inside}i{item}:1")));
            }
            Step::Composite(..) => keys.push(format!("{inside}inner/s{index}-trace:1")),
            Step::Again(_) => keys.extend((1..=2).map(|execution| format!("{inside}trace:{execution}"))),
            Step::Router(_) if number % 2 == 0 => keys.push(format!("{inside}even:1")),
            Step::Nested(_) => {
                keys.extend((0..2).map(|item| format!("{inside}each/s{index}-each-{item}/s{index}-trace:1")));
            }
            _ => {}
        }
        number = after(*step, number).unwrap_or(number);
    }
    keys
}

/// How many runs of [`super::program::SUB`] a run of the program starts.
pub(crate) fn sub_runs(program: &Program) -> usize {
    program.steps.iter().filter(|step| matches!(step, Step::SubRun(_))).count()
}

#[test]
fn the_oracle_adds_up() {
    let steps = vec![
        Step::Add(2),
        Step::Loop(3, 4),
        Step::Retry(2, 5),
        Step::Handled(6),
        Step::Effect,
        Step::Router(4),
        Step::Collection(Waves::Two, 3, 10),
        Step::Nested(1),
    ];
    let program = Program { id: "p".to_owned(), input: 1, steps };
    assert_eq!(result(&program), Expected::Success(53));
    let expected = [
        "x:s1:1",
        "x:s1:2",
        "x:s1:3",
        "x:s4:1",
        "x:s5/s5-even:1",
        "x:s6/s6-i0:1",
        "x:s6/s6-i2:1",
        "x:s7/s7-each/s7-each-0/s7-trace:1",
        "x:s7/s7-each/s7-each-1/s7-trace:1",
    ];
    assert_eq!(effects(&program, "x"), expected);
}
