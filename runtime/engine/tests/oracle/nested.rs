//! Programs of all containers against the recursive oracle.

use proptest::prelude::*;

use super::interpreter::{self, Result};
use super::program::{Node, programs};
use super::simulation::{Crash, Simulation};

fn simulate(program: &[Node], crash: Crash, cancel: Option<u64>) -> Result {
    let ran = Simulation::new(program).run(crash, cancel);
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
}
