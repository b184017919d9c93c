//! The command line: the only user of clap, and the composition root that builds the drivers.
//!
//! Stages: [`args`] is what was typed, [`session::Session`] what it means, one file per command what is done. Data goes
//! to stdout, talk to stderr; the exit code follows the problem's code.

pub mod args;
pub mod backend;
pub mod client;
pub mod completions;
pub mod compose;
pub mod config;
pub mod database_file;
pub mod databases;
pub mod discovery;
pub mod doctor;
mod dump;
pub mod embedded;
pub mod events;
pub mod execution;
pub mod exit;
pub mod explain;
pub mod failure;
pub mod logs;
pub mod migrate;
pub mod open;
pub mod output;
pub mod plugin;
pub mod probe;
pub mod record;
pub mod report;
pub mod schedule;
pub mod schema;
pub mod session;
pub mod signal;
pub mod signals;
pub mod start;
pub mod transfer;
pub mod usable;
pub mod validate;
pub mod version;
pub mod workflow;

use std::ffi::OsString;
use std::io::Write;
use std::process::ExitCode;

use args::{Cli, Command};
use failure::Failure;
use output::{ColorSources, Format, Output};
use session::Session;

/// Runs one command and gives its exit code.
#[must_use]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let cli = match args::parse(arguments.iter().cloned()) {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(usage(&error, &arguments)),
    };
    let output = fallback_output(&arguments);
    let code = prepare(&cli).map_err(|failure| (output, failure)).and_then(|session| {
        let output = session.output.clone();
        execute(session, cli.command).map_err(|failure| (output, failure))
    });
    ExitCode::from(code.unwrap_or_else(|(output, failure)| {
        report::failure(&output, &failure);
        failure.exit()
    }))
}

/// Changes the directory and lays flags over the environment.
fn prepare(cli: &Cli) -> Result<Session, Failure> {
    let folder = cli
        .global
        .cwd
        .clone()
        .or_else(|| std::env::var_os("COMPOZY_CWD").filter(|cwd| !cwd.is_empty()).map(Into::into));
    if let Some(folder) = folder {
        std::env::set_current_dir(&folder)
            .map_err(|error| Failure::usage(format!("cannot change to {}: {error}", folder.display())))?;
    }
    let session = Session::new(cli.global.clone(), &|name| std::env::var(name).ok())?;
    logs::install(&session, if matches!(cli.command, Command::Start(_)) { "info" } else { "warn" })?;
    Ok(session)
}

/// Carries out a command. Those that wait for nothing need no runtime.
fn execute(session: Session, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Version => version::run(&session).map(|()| exit::OK),
        Command::Completions(args) => completions::run(&session, &args).map(|()| exit::OK),
        Command::Explain(args) => explain::run(&session, &args).map(|()| exit::OK),
        Command::Schema(args) => schema::run(&session, &args).map(|()| exit::OK),
        command => {
            let workers = std::thread::available_parallelism().map_or(2, usize::from).max(2);
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(workers)
                .enable_all()
                .build()
                .map_err(|error| Failure::internal(&format!("cannot start the runtime: {error}")))?;
            let code = runtime.block_on(carry_out(session, command));
            // A read of stdin that nobody waits for any more must not keep the process.
            runtime.shutdown_background();
            code
        }
    }
}

async fn carry_out(session: Session, command: Command) -> Result<u8, Failure> {
    match command {
        Command::Start(args) => Box::pin(start::run(&session, args)).await,
        Command::Workflow(command) => Box::pin(workflow::run(&session, command)).await,
        Command::Execution(command) => Box::pin(execution::run(&session, command)).await,
        Command::Signal(command) => signal::run(&session, command).await,
        Command::Schedule(command) => Box::pin(schedule::run(&session, command)).await,
        Command::Migrate(command) => Box::pin(migrate::run(&session, command)).await,
        Command::Plugin(command) => Box::pin(plugin::run(&session, command)).await,
        Command::Export(args) => Box::pin(transfer::export::run(&session, args)).await,
        Command::Import(args) => Box::pin(transfer::import::run(&session, args)).await,
        Command::Validate(args) => Box::pin(validate::run(&session, args)).await,
        Command::Config(command) => Box::pin(config::run(&session, command)).await,
        Command::Doctor(args) => Box::pin(doctor::run(&session, args)).await,
        Command::Version | Command::Completions(_) | Command::Explain(_) | Command::Schema(_) => Ok(exit::OK),
    }
}

/// Shows help, or what is wrong with the arguments, and gives the exit code.
fn usage(error: &clap::Error, arguments: &[OsString]) -> u8 {
    if !error.use_stderr() {
        let text = error.render().to_string();
        let _ = writeln!(std::io::stdout().lock(), "{}", text.trim_end());
        return exit::OK;
    }
    let output = fallback_output(arguments);
    let text = error.render().to_string();
    if output.format == Format::Table {
        let _ = writeln!(std::io::stderr().lock(), "{}", text.trim_end());
    } else {
        let first = text.lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned();
        report::failure(&output, &Failure::usage(first));
    }
    exit::USAGE
}

/// Where to write while the arguments are not understood: `-o json` counts wherever it stands.
fn fallback_output(arguments: &[OsString]) -> Output {
    let words: Vec<&str> = arguments.iter().filter_map(|argument| argument.to_str()).collect();
    let named = words.iter().enumerate().rev().find_map(|(index, word)| {
        if ["-o", "--output", "--format"].contains(word) {
            return words.get(index + 1).copied();
        }
        ["--output=", "--format=", "-o=", "-o"].iter().find_map(|prefix| word.strip_prefix(prefix))
    });
    let variable = std::env::var("COMPOZY_OUTPUT").ok();
    let format = named.or(variable.as_deref()).and_then(Format::parse).unwrap_or(Format::Table);
    Output::new(format, false, 0, ColorSources { flag: Some(Some(false)), ..ColorSources::default() })
}
