//! compozy.
fn main() {}
