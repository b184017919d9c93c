//! Programs of all containers against the recursive oracle.

use proptest::prelude::*;

use super::interpreter::{self, Result};
use super::program::{Node, programs};
use super::simulation::{Asked, Crash, Simulation};

fn simulate(program: &[Node], crash: Crash, cancel: Option<u64>) -> Result {
    let cancel = cancel.map(|at| (at, Asked::Cancel));
    simulate_asked(program, crash, cancel.as_slice())
}

fn simulate_asked(program: &[Node], crash: Crash, asked: &[(u64, Asked)]) -> Result {
    let ran = Simulation::new(program).run(crash, asked);
    Result { status: ran.status, executions: ran.executions }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_500, failure_persistence: None, max_shrink_iters: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn containers_agree_with_the_oracle(program in programs()) {
        prop_assert_eq!(simulate(&program, Crash::Never, None), interpreter::run(&program, None));
    }

    #[test]
    fn a_crash_between_two_events_changes_nothing(program in programs(), turn in 0_usize..60) {
        prop_assert_eq!(simulate(&program, Crash::After(turn), None), interpreter::run(&program, None));
    }

    #[test]
    fn crashes_between_all_events_change_nothing(program in programs()) {
        prop_assert_eq!(simulate(&program, Crash::Always, None), interpreter::run(&program, None));
    }

    #[test]
    fn cancel_ends_everything_at_once(program in programs(), at in 1_u64..20_000_000) {
        prop_assert_eq!(simulate(&program, Crash::Never, Some(at)), interpreter::run(&program, Some(at)));
    }

    #[test]
    fn a_pause_changes_when_things_happen_and_nothing_else(
        program in programs(),
        at in 1_u64..10_000_000,
        pause in 1_u64..10_000_000,
        crash in prop_oneof![Just(Crash::Never), Just(Crash::Always)],
    ) {
        // What depends on who comes first may end otherwise.
        let program: Vec<Node> = program.into_iter().map(Node::without_haste).collect();
        let asked = [(at, Asked::Pause), (at + pause, Asked::Resume)];
        prop_assert_eq!(simulate_asked(&program, crash, &asked), interpreter::run(&program, None));
    }
}
