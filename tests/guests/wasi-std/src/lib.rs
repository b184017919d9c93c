//! A tool that uses Rust's standard library through WASI, as any ordinary guest does: it loads, and finds nothing.

use std::time::{SystemTime, UNIX_EPOCH};
use std::{env, fs};

use compozy_plugin::{Result, export_tool};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Probe {
    /// A file to read.
    path: String,
    /// A variable to read.
    variable: String,
}

/// What was found; a `None` was denied or absent.
#[derive(Serialize)]
struct Found {
    file: Option<String>,
    file_error: Option<String>,
    directory_entries: Option<usize>,
    variable: Option<String>,
    variables: usize,
    arguments: usize,
    connection_error: Option<String>,
    seconds_since_1970: u64,
}

#[allow(clippy::disallowed_methods, reason = "what the standard library finds is the question")]
fn probe(probe: Probe) -> Result<Found> {
    println!("probing {}", probe.path);
    eprintln!("probing {} (standard error)", probe.path);
    let file = fs::read_to_string(&probe.path);
    Ok(Found {
        file_error: file.as_ref().err().map(ToString::to_string),
        file: file.ok(),
        directory_entries: fs::read_dir("/").ok().map(Iterator::count),
        variable: env::var(&probe.variable).ok(),
        variables: env::vars().count(),
        arguments: env::args().count(),
        connection_error: std::net::TcpStream::connect("127.0.0.1:9").err().map(|error| error.to_string()),
        seconds_since_1970: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |elapsed| elapsed.as_secs()),
    })
}

export_tool! {
    summary: "Looks for what a sandbox must not have";
    probe { description: "Reads a file, a folder, the environment and the clock, and tries to connect", read_only: true }
}
