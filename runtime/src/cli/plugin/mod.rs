//! `compozy plugin …`.

pub mod build;
pub mod compile;
pub mod inspect;
pub mod list;
pub mod new;
pub mod pull;
mod stage;
pub mod test;

use std::path::Path;
use std::sync::Arc;

use clap::Subcommand;
use compozy_lang::plan::{PluginKind, PluginLimits};

use super::failure::Failure;
use super::session::Session;
use crate::authoring;
use crate::plugin::tool::{self, Description};
use crate::plugin::{Binding, Grants, Host, Source, bundled};

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin new word-count --lang rust\n  compozy plugin build\n\nExit codes:\n  0 ok, 1 failed, 2 usage, 3 no plugin, 4 not found, 6 a program is missing or a folder is not empty";

/// The commands.
#[derive(Debug, Subcommand)]
pub enum PluginCommand {
    /// Make a project for a new plugin
    #[command(after_help = new::HELP)]
    New(new::NewArgs),
    /// Compile a plugin project to a component
    #[command(after_help = build::HELP)]
    Build(build::BuildArgs),
    /// Show what is in a component, and what it needs
    #[command(after_help = inspect::HELP)]
    Inspect(inspect::InspectArgs),
    /// List the plugins of the project and those inside this program
    #[command(after_help = list::HELP)]
    List(list::ListArgs),
    /// Compile a component ahead of time
    #[command(after_help = compile::HELP)]
    Compile(compile::CompileArgs),
    /// Fetch the components that the project names in registries
    #[command(after_help = pull::HELP)]
    Pull(pull::PullArgs),
    /// Run the cases of a plugin, without a server
    #[command(after_help = test::HELP)]
    Test(test::TestArgs),
}

/// Carries one out.
///
/// # Errors
/// Why it ended early.
pub async fn run(session: &Session, command: PluginCommand) -> Result<u8, Failure> {
    match command {
        PluginCommand::New(args) => new::run(session, &args),
        PluginCommand::Build(args) => build::run(session, args).await,
        PluginCommand::Inspect(args) => Box::pin(inspect::run(session, args)).await,
        PluginCommand::List(args) => Box::pin(list::run(session, args)).await,
        PluginCommand::Compile(args) => compile::run(session, args).await,
        PluginCommand::Pull(args) => pull::run(session, args).await,
        PluginCommand::Test(args) => Box::pin(test::run(session, args)).await,
    }
}

impl From<authoring::Error> for Failure {
    fn from(error: authoring::Error) -> Self {
        let failure = Self::new(error.code(), error.to_string());
        match error.help() {
            Some(help) => failure.hint(help),
            None => failure,
        }
    }
}

/// The bytes of a component: of a file, or of `builtin:NAME`.
fn located(written: &str) -> Result<Vec<u8>, Failure> {
    let Some(name) = written.strip_prefix("builtin:") else {
        return authoring::build::read(Path::new(written)).map_err(Failure::from);
    };
    match bundled::find(name) {
        Some(bundled) => bundled.unpack().map_err(|error| Failure::new(error.code(), error.to_string())),
        None => {
            let known = bundled::names().join(", ");
            Err(Failure::new("CZ0701", format!("no plugin '{name}' is built in")).hint(format!("there are {known}")))
        }
    }
}

/// Loads a component and asks a tool what it offers, without any grant.
async fn described(host: &Arc<Host>, source: Source, kind: PluginKind) -> Result<Option<Description>, Failure> {
    let component = host.load(source, kind).await;
    let component = component.map_err(|error| Failure::new(error.code(), error.to_string()))?;
    if kind != PluginKind::Tool {
        return Ok(None);
    }
    let binding = Binding {
        plugin_id: "plugin".into(),
        component,
        grants: Grants::none().into(),
        limits: PluginLimits::default(),
        config: "null".into(),
        services: Arc::default(),
    };
    let described = tool::describe(&binding).await;
    described.map(Some).map_err(|error| Failure::new(&error.code, error.message))
}

/// `1 case`, `2 cases`.
fn noun(count: usize, word: &str) -> String {
    if count == 1 { format!("1 {word}") } else { format!("{count} {word}s") }
}

/// A path without a leading `./`.
fn shown(path: &Path) -> String {
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}

/// `3.2 KiB`, `1.4 MiB`.
fn size(bytes: u64) -> String {
    const KIB: u64 = 1 << 10;
    const MIB: u64 = 1 << 20;
    match bytes {
        0..KIB => format!("{bytes} bytes"),
        KIB..MIB => format!("{}.{} KiB", bytes / KIB, bytes % KIB * 10 / KIB),
        _ => format!("{}.{} MiB", bytes / MIB, bytes % MIB * 10 / MIB),
    }
}

/// Names with commas between, or `nothing`.
fn listed<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_short() {
        for (bytes, text) in [(0, "0 bytes"), (1_023, "1023 bytes"), (1_536, "1.5 KiB"), (3 << 20, "3.0 MiB")] {
            assert_eq!(size(bytes), text);
        }
    }
}
