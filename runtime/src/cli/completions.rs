//! `compozy completions SHELL`.

use clap::Args;
use clap_complete::Shell;

use super::failure::Failure;
use super::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy completions bash > ~/.local/share/bash-completion/completions/compozy\n  compozy completions fish > ~/.config/fish/completions/compozy.fish\n\nExit codes:\n  0 ok, 2 usage";

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// bash, zsh, fish, powershell or elvish
    pub shell: Shell,
}

/// Prints the script.
pub fn run(session: &Session, args: &CompletionsArgs) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::args::command(), "compozy", &mut script);
    session.output.line(String::from_utf8_lossy(&script).trim_end())
}
