//! The `compozy` program.

use std::process::ExitCode;

fn main() -> ExitCode {
    // The one TLS provider of the process; a second call would only say that there is one already.
    let _already_there = rustls::crypto::ring::default_provider().install_default();
    compozy::cli::main(std::env::args_os())
}
