//! The `compozy` program.

use std::process::ExitCode;

/// A step is many small allocations on several threads at once, which the system's allocator makes wait for each other.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // The one TLS provider of the process; a second call would only say that there is one already.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    compozy::cli::main(std::env::args_os())
}
