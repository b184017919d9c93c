//! `compozy config show`: every setting, and where it came from.

use std::io::IsTerminal;

use clap::Args;
use compozy_lang::load::Setting;
use serde_json::{Map, Value, json};

use crate::cli::compose;
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Table};
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy config show\n  compozy config show --origin -o json\n\nExit codes:\n  0 ok, 2 usage, 3 invalid project";

/// Arguments of `config show`.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// Also say where each value came from
    #[arg(long)]
    pub origin: bool,
    /// Show secrets; needs a terminal or --yes
    #[arg(long)]
    pub reveal: bool,
}

/// Prints them; also those of an invalid project, with exit 3.
///
/// # Errors
/// The diagnostics.
pub async fn run(session: &Session, args: ShowArgs) -> Result<u8, Failure> {
    if args.reveal && !session.yes && !std::io::stdout().is_terminal() {
        return Err(
            Failure::usage("--reveal shows secrets and stdout is no terminal").hint("add --yes if that is wanted")
        );
    }
    let read = compose::read(session, &super::config_file(session)?, false).await?;
    if read.loaded.is_none() {
        return Err(Failure::Diagnostics(Box::new(read.found)));
    }
    if session.output.format == Format::Table {
        session.output.table(&table(&read.settings, &args))?;
    } else {
        session.output.document(&document(&read.settings, &args))?;
    }
    Ok(exit::OK)
}

fn shown<'s>(setting: &'s Setting, args: &ShowArgs) -> &'s str {
    if setting.secret && !args.reveal { "***" } else { &setting.value }
}

fn table(settings: &[Setting], args: &ShowArgs) -> Table {
    let mut table = Table::new(if args.origin { &["KEY", "VALUE", "ORIGIN"] } else { &["KEY", "VALUE"] });
    for setting in settings {
        let value = shown(setting, args);
        if args.origin {
            table.row(&[&setting.path, value, &setting.origin]);
        } else {
            table.row(&[&setting.path, value]);
        }
    }
    table
}

fn document(settings: &[Setting], args: &ShowArgs) -> Value {
    let entry = |setting: &Setting| match args.origin {
        true => json!({"value": shown(setting, args), "origin": setting.origin}),
        false => shown(setting, args).into(),
    };
    let members: Map<String, Value> = settings.iter().map(|setting| (setting.path.clone(), entry(setting))).collect();
    json!({"settings": members})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_hidden_unless_revealed() {
        let setting = Setting {
            path: "database.password".into(),
            value: "hunter2".into(),
            origin: "env DB_PASSWORD".into(),
            place: None,
            secret: true,
        };
        let hidden = ShowArgs { origin: true, reveal: false };
        assert_eq!(
            table(std::slice::from_ref(&setting), &hidden).lines(None, false),
            ["KEY                VALUE  ORIGIN", "database.password  ***    env DB_PASSWORD"]
        );
        assert_eq!(
            document(&[setting], &ShowArgs { origin: false, reveal: true }),
            json!({"settings": {"database.password": "hunter2"}})
        );
    }
}
