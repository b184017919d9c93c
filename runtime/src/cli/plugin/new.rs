//! `compozy plugin new`.

use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;
use compozy_lang::plan::PluginKind;
use serde_json::json;

use crate::authoring::language::{self, LANGUAGES};
use crate::authoring::project::{self, Blank};
use crate::cli::exit;
use crate::cli::failure::Failure;
use crate::cli::output::Format;
use crate::cli::session::Session;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin new word-count --lang rust\n  compozy plugin new house-model --lang rust --kind llm --dir plugins/house-model\n\nExit codes:\n  0 made, 2 usage, 6 the folder is not empty";

/// Arguments of `plugin new`.
#[derive(Debug, Args)]
pub struct NewArgs {
    /// Lower-case letters, digits and single hyphens; names folder, package and component
    #[arg(value_name = "NAME")]
    pub name: String,
    /// Language of the plugin
    #[arg(long, value_name = "LANG", value_parser = PossibleValuesParser::new(LANGUAGES.iter().map(|language| language.name)))]
    pub lang: String,
    /// What the plugin is to be
    #[arg(long, value_name = "KIND", default_value = "tool", value_parser = ["tool", "llm", "embedder", "template"])]
    pub kind: String,
    /// Folder of the project; default: NAME
    #[arg(long, value_name = "DIR")]
    pub dir: Option<PathBuf>,
}

/// Makes the project.
pub(super) fn run(session: &Session, args: &NewArgs) -> Result<u8, Failure> {
    let kind = match args.kind.as_str() {
        "llm" => PluginKind::Llm,
        "embedder" => PluginKind::Embedder,
        "template" => PluginKind::Template,
        _ => PluginKind::Tool,
    };
    let language = language::find(&args.lang)
        .ok_or_else(|| Failure::usage(format!("there is no template for language '{}'", args.lang)))?;
    let blank = Blank::new(&args.name, kind)?;
    let folder = args.dir.clone().unwrap_or_else(|| PathBuf::from(blank.name()));
    let files = project::write(&folder, language, &blank)?;
    let output = &session.output;
    if output.format != Format::Table {
        let document = json!({
            "name": blank.name(), "kind": args.kind, "language": language.name, "folder": folder, "files": files,
        });
        return output.document(&document).map(|()| exit::OK);
    }
    output.line(&format!(
        "Made plugin '{}' ({}, {}) in {}",
        blank.name(),
        args.kind,
        language.title,
        folder.display()
    ))?;
    output.talk(&format!(
        "Next:\n  cd {}\n  compozy plugin build\n  compozy plugin test\nREADME.md tells more.",
        folder.display()
    ));
    Ok(exit::OK)
}
