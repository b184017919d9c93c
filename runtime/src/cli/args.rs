//! What may be typed: the commands, their flags and the help texts.
//!
//! This is the text as typed ("low"); [`super::session::Session`] is what it means once the environment is laid under
//! it. Global flags are valid before and after any subcommand and the last occurrence wins.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgAction, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

/// Runs YAML workflows durably; every tool, model and template engine is a sandboxed wasm component.
#[derive(Debug, Parser)]
#[command(
    name = "compozy",
    version = env!("CARGO_PKG_VERSION"),
    args_override_self = true,
    subcommand_required = true,
    arg_required_else_help = true,
    after_help = "Examples:\n  compozy start\n  compozy workflow run hello-world --param name=Ada\n\nExit codes:\n  0 ok, 1 failed, \
                  2 usage, 3 validation, 4 not found, 5 not allowed, 6 conflict, 7 unavailable, 124 timeout, 130 interrupted"
)]
pub struct Cli {
    /// Flags every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Flags every command takes.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArgs {
    /// Project file; default compozy.yaml, then compozy.yml, in the working directory [env: COMPOZY_CONFIG]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Change directory first [env: COMPOZY_CWD]
    #[arg(long, global = true, value_name = "DIR")]
    pub cwd: Option<PathBuf>,
    /// File of environment variables; default .env beside the project file [env: COMPOZY_ENV_FILE]
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
    /// table, json, yaml or ndjson [env: COMPOZY_OUTPUT]
    #[arg(short, long, global = true, value_name = "FMT")]
    pub output: Option<String>,
    /// Same as --output
    #[arg(long, global = true, value_name = "FMT")]
    pub format: Option<String>,
    /// Result and errors only [env: COMPOZY_QUIET]
    #[arg(short, long, global = true)]
    pub quiet: bool,
    /// Say more; twice for debugging [env: COMPOZY_VERBOSE]
    #[arg(short, long, global = true, action = ArgAction::Count)]
    pub verbose: u8,
    /// Same as -vv
    #[arg(long, global = true)]
    pub debug: bool,
    /// auto, always or never [env: NO_COLOR, CLICOLOR_FORCE]
    #[arg(long, global = true, value_name = "WHEN")]
    pub color: Option<String>,
    /// Same as --color=never
    #[arg(long, global = true)]
    pub no_color: bool,
    /// text or json; logs go to stderr [env: COMPOZY_LOG_FORMAT]
    #[arg(long, global = true, value_name = "FMT")]
    pub log_format: Option<String>,
    /// trace, debug, info, warn, error, off, or per module `info,engine=debug` [env: RUNTIME_LOG_LEVEL]
    #[arg(long, global = true, value_name = "LEVEL")]
    pub log_level: Option<String>,
    /// Use this server, no discovery and no fallback [env: COMPOZY_SERVER]
    #[arg(long, global = true, alias = "base-url", value_name = "URL")]
    pub server: Option<String>,
    /// Never contact a server [env: COMPOZY_LOCAL]
    #[arg(long, global = true)]
    pub local: bool,
    /// Key for the server [env: COMPOZY_API_KEY]
    #[arg(long, global = true, value_name = "KEY")]
    pub api_key: Option<String>,
    /// Allow the key to go over plain http to another machine
    #[arg(long, global = true)]
    pub insecure: bool,
    /// Override a key of the project file, `server.port=9000` (repeatable)
    #[arg(long = "set", global = true, value_name = "PATH=VALUE", action = ArgAction::Append)]
    pub set: Vec<String>,
    /// Replace every model by the deterministic mock [env: COMPOZY_MOCK_LLM]
    #[arg(long, global = true)]
    pub mock_llm: bool,
    /// Ask for no confirmation [env: COMPOZY_YES]
    #[arg(long, global = true)]
    pub yes: bool,
    /// Shorthands of `--set`.
    #[command(flatten)]
    pub shorthand: Shorthands,
}

/// Shorthands of `--set`.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Shorthands of --set")]
pub struct Shorthands {
    /// server.host
    #[arg(long, global = true, value_name = "HOST")]
    pub host: Option<String>,
    /// server.port
    #[arg(long, global = true, value_name = "PORT")]
    pub port: Option<String>,
    /// memory, persistent or distributed
    #[arg(long, global = true, value_name = "MODE")]
    pub mode: Option<String>,
    /// database.driver
    #[arg(long, global = true, value_name = "DRIVER")]
    pub db_driver: Option<String>,
    /// database.path
    #[arg(long, global = true, value_name = "PATH")]
    pub db_path: Option<String>,
    /// database.host
    #[arg(long, global = true, value_name = "HOST", hide_short_help = true)]
    pub db_host: Option<String>,
    /// database.port
    #[arg(long, global = true, value_name = "PORT", hide_short_help = true)]
    pub db_port: Option<String>,
    /// database.user
    #[arg(long, global = true, value_name = "USER", hide_short_help = true)]
    pub db_user: Option<String>,
    /// database.password
    #[arg(long, global = true, value_name = "PASSWORD", hide_short_help = true)]
    pub db_password: Option<String>,
    /// database.name
    #[arg(long, global = true, value_name = "NAME", hide_short_help = true)]
    pub db_name: Option<String>,
    /// database.ssl_mode
    #[arg(long, global = true, value_name = "MODE", hide_short_help = true)]
    pub db_ssl_mode: Option<String>,
    /// database.conn_string
    #[arg(long, global = true, value_name = "URL", hide_short_help = true)]
    pub db_conn_string: Option<String>,
    /// server.auth.enabled
    #[arg(long, global = true, value_name = "BOOL", num_args = 0..=1, require_equals = true, default_missing_value = "true", hide_short_help = true)]
    pub auth_enabled: Option<String>,
}

impl Shorthands {
    /// The overrides these stand for, as `(key path, value)`.
    #[must_use]
    pub fn overrides(&self) -> Vec<(String, String)> {
        let pairs = [
            ("server.host", &self.host),
            ("server.port", &self.port),
            ("mode", &self.mode),
            ("database.driver", &self.db_driver),
            ("database.path", &self.db_path),
            ("database.host", &self.db_host),
            ("database.port", &self.db_port),
            ("database.user", &self.db_user),
            ("database.password", &self.db_password),
            ("database.name", &self.db_name),
            ("database.ssl_mode", &self.db_ssl_mode),
            ("database.conn_string", &self.db_conn_string),
            ("server.auth.enabled", &self.auth_enabled),
        ];
        pairs.into_iter().filter_map(|(path, value)| Some((path.to_owned(), value.clone()?))).collect()
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the project's workflows
    #[command(alias = "server", after_help = super::start::HELP)]
    Start(super::start::StartArgs),
    /// Run and inspect workflows
    #[command(subcommand, alias = "workflows", after_help = super::workflow::HELP)]
    Workflow(super::workflow::WorkflowCommand),
    /// Inspect, watch and control runs
    #[command(subcommand, alias = "executions", after_help = super::execution::HELP)]
    Execution(super::execution::ExecutionCommand),
    /// Send signals to runs
    #[command(subcommand, after_help = super::signal::HELP)]
    Signal(super::signal::SignalCommand),
    /// Inspect, change and trigger schedules
    #[command(subcommand, alias = "schedules", after_help = super::schedule::HELP)]
    Schedule(super::schedule::ScheduleCommand),
    /// Write what the database holds to a file
    #[command(after_help = super::transfer::export::HELP)]
    Export(super::transfer::export::ExportArgs),
    /// Read an export into the database
    #[command(after_help = super::transfer::import::HELP)]
    Import(super::transfer::import::ImportArgs),
    /// Show and change the version of the database's schema
    #[command(subcommand, after_help = super::migrate::HELP)]
    Migrate(super::migrate::MigrateCommand),
    /// Make, build, test and inspect plugins
    #[command(subcommand, alias = "plugins", after_help = super::plugin::HELP)]
    Plugin(super::plugin::PluginCommand),
    /// Report every problem of a project at once
    #[command(after_help = super::validate::HELP)]
    Validate(super::validate::ValidateArgs),
    /// Show and check the configuration
    #[command(subcommand, after_help = super::config::HELP)]
    Config(super::config::ConfigCommand),
    /// Check that the project can be served here
    #[command(after_help = super::doctor::HELP)]
    Doctor(super::doctor::DoctorArgs),
    /// Explain an error code
    #[command(after_help = super::explain::HELP)]
    Explain(super::explain::ExplainArgs),
    /// Print a JSON Schema of the project files
    #[command(after_help = super::schema::HELP)]
    Schema(super::schema::SchemaArgs),
    /// Print a completion script for a shell
    #[command(after_help = super::completions::HELP)]
    Completions(super::completions::CompletionsArgs),
    /// Print version, commit, build date and target
    #[command(after_help = super::version::HELP)]
    Version,
}

/// Reads the command line.
///
/// # Errors
/// What clap says: a usage error, or the text of `--help` and `--version`.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Cli, clap::Error> {
    let mut command = command();
    let matches = command.try_get_matches_from_mut(hoisted(arguments))?;
    Cli::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
}

/// The whole command line as clap knows it.
#[must_use]
pub fn command() -> clap::Command {
    Cli::command()
}

/// Moves every `--set` before the subcommand: clap keeps only the innermost level's list of a global flag.
fn hoisted(arguments: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut arguments = arguments.into_iter();
    let mut front: Vec<OsString> = arguments.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(argument) = arguments.next() {
        if argument == "--" {
            rest.push(argument);
            rest.extend(arguments);
            break;
        }
        if argument == "--set" {
            front.push(argument);
            front.extend(arguments.next());
        } else if argument.to_str().is_some_and(|text| text.starts_with("--set=")) {
            front.push(argument);
        } else {
            rest.push(argument);
        }
    }
    front.extend(rest);
    front
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        parse(line.split(' ').map(OsString::from)).unwrap_or_else(|error| panic!("{line}: {error}"))
    }

    #[test]
    fn the_definition_is_consistent() {
        command().debug_assert();
    }

    #[test]
    fn global_flags_work_on_both_sides_and_the_last_wins() {
        for (line, config, output) in [
            ("compozy --config=a.yaml workflow run x", Some("a.yaml"), None),
            ("compozy workflow run x --config b.yaml", Some("b.yaml"), None),
            ("compozy -c a.yaml workflow run x -c b.yaml", Some("b.yaml"), None),
            ("compozy -c a.yaml -c b.yaml workflow list", Some("b.yaml"), None),
            ("compozy -o json workflow list -o yaml", None, Some("yaml")),
            ("compozy workflow -o json list", None, Some("json")),
        ] {
            let cli = parsed(line);
            assert_eq!(cli.global.config.as_deref(), config.map(std::path::Path::new), "{line}");
            assert_eq!(cli.global.output.as_deref(), output, "{line}");
        }
    }

    #[test]
    fn overrides_of_all_levels_are_kept_in_order() {
        let cli = parsed("compozy --set a=1 start --set=b=2 --set c=3");
        assert_eq!(cli.global.set, ["a=1", "b=2", "c=3"]);
        let cli = parsed("compozy start --port 9 --mode memory --db-path x.db --auth-enabled");
        let overrides = cli.global.shorthand.overrides();
        let pairs: Vec<_> = overrides.iter().map(|(path, value)| (path.as_str(), value.as_str())).collect();
        assert_eq!(
            pairs,
            [("server.port", "9"), ("mode", "memory"), ("database.path", "x.db"), ("server.auth.enabled", "true")]
        );
    }

    #[test]
    fn aliases_of_commands_and_flags_work() {
        for line in [
            "compozy server",
            "compozy workflow execute x --json {}",
            "compozy workflow run x --json-input={} --detach",
            "compozy executions list",
            "compozy workflow run x --base-url http://localhost:1",
            "compozy workflow run x --input -",
            "compozy execution cancel a b --reason why",
        ] {
            parsed(line);
        }
    }

    /// What the pages of codes tell people to type exists.
    #[test]
    fn codes_name_only_commands_and_flags_that_exist() {
        fn flags(command: &clap::Command, found: &mut Vec<String>) {
            found.extend(command.get_arguments().filter_map(|flag| flag.get_long().map(|long| format!("--{long}"))));
            command.get_subcommands().for_each(|sub| flags(sub, found));
        }
        let root = command();
        let mut known = vec!["--help".to_owned()];
        flags(&root, &mut known);
        let codes = compozy_lang::codes::DIAGNOSTICS.iter().chain(compozy_lang::codes::PROBLEMS);
        for entry in codes {
            for typed in
                [entry.title, entry.cause, entry.help].iter().flat_map(|text| text.split('`').skip(1).step_by(2))
            {
                let words: Vec<&str> = typed.split(' ').collect();
                for flag in words.iter().filter(|word| word.starts_with("--") && **word != "---") {
                    let name = flag.split('=').next().unwrap();
                    assert!(known.iter().any(|known| known == name), "{}: `{typed}`", entry.code);
                }
                if words[0] != "compozy" {
                    continue;
                }
                let named = words.iter().skip(1).take_while(|word| word.bytes().all(|byte| byte.is_ascii_lowercase()));
                named.fold(&root, |command, name| {
                    command.find_subcommand(name).unwrap_or_else(|| panic!("{}: `{typed}`", entry.code))
                });
            }
        }
    }

    #[test]
    fn every_command_has_examples_and_exit_codes() {
        fn walk(command: &clap::Command, path: &str) {
            for sub in command.get_subcommands() {
                let path = format!("{path} {}", sub.get_name());
                let help = sub.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:") && help.contains("Exit codes:"), "{path}");
                assert!(help.lines().filter(|line| line.starts_with("  compozy")).count() >= 2, "{path}: two examples");
                walk(sub, &path);
            }
        }
        walk(&command(), "compozy");
    }
}
