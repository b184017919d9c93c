//! Room for JavaScript that recurses: an interpreter, a parser and JSON take a few kilobytes of stack per level.

fn main() {
    if std::env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "wasm32") {
        println!("cargo::rustc-link-arg=-zstack-size=4194304");
    }
    println!("cargo::rerun-if-changed=build.rs");
}
