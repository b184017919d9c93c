//! A tool that traps while it is instantiated: `_initialize` runs before any export can be called.

use compozy_plugin::{Result, export_tool};
use serde::Deserialize;

/// Called once per instance, before its first export.
#[unsafe(no_mangle)]
pub extern "C" fn _initialize() {
    trap();
}

#[cfg(target_arch = "wasm32")]
fn trap() {
    core::arch::wasm32::unreachable()
}

#[cfg(not(target_arch = "wasm32"))]
fn trap() {}

#[derive(Deserialize)]
struct Nothing {}

fn never(_: Nothing) -> Result<()> {
    Ok(())
}

export_tool! {
    summary: "Traps at start";
    never { description: "Never gets to run" }
}
