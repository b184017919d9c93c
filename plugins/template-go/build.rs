//! Gives the guest the shadow stack its parser and evaluator need at their depth limits.

fn main() {
    println!("cargo::rustc-link-arg=-zstack-size=262144");
}
