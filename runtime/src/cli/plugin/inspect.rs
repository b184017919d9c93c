//! `compozy plugin inspect`.

use std::path::Path;

use clap::Args;
use compozy_lang::plan::PluginKind;
use serde_json::{Value, json};

use super::{build, described, listed, located, size};
use crate::authoring::inspect::{self, Findings};
use crate::cli::failure::{Failure, Problem};
use crate::cli::output::{Format, Output, escaped};
use crate::cli::session::Session;
use crate::cli::{compose, exit, report};
use crate::plugin::Source;
use crate::plugin::component::word;
use crate::plugin::tool::Description;

/// Examples and exit codes.
pub const HELP: &str = "Examples:\n  compozy plugin inspect word-count.wasm\n  compozy plugin inspect builtin:llm-openai --wit\n\nExit codes:\n  0 it can be used, 2 unreadable file, 3 it is no plugin";

/// Arguments of `plugin inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// A component, or builtin:NAME
    #[arg(value_name = "FILE")]
    pub plugin: String,
    /// Print its interfaces as WIT instead
    #[arg(long)]
    pub wit: bool,
}

/// Looks into a component.
pub(super) async fn run(session: &Session, args: InspectArgs) -> Result<u8, Failure> {
    let bytes = located(&args.plugin)?;
    if args.wit {
        let text = inspect::wit(&bytes)?;
        return match session.output.format {
            Format::Table => session.output.line(text.trim_end()),
            _ => session.output.document(&json!({"plugin": args.plugin, "wit": text})),
        }
        .map(|()| exit::OK);
    }
    let findings = inspect::findings(&bytes)?;
    // What cannot be loaded is still shown as far as it is known.
    let (description, problem) = match findings.kinds.first() {
        Some(kind) => describe(bytes, *kind).await,
        None => {
            let reason = format!("it exports no interface of compozy:plugin; it exports {}", listed(&findings.exports));
            (None, Some(Failure::new("CZ0702", reason)))
        }
    };
    print(&session.output, &args.plugin, &findings, description.as_ref(), problem.as_ref())?;
    let Some(problem) = problem else { return Ok(exit::OK) };
    if session.output.format == Format::Table {
        report::failure(&session.output, &problem);
    }
    Ok(exit::VALIDATION)
}

/// What a tool says of itself, and why it cannot be used.
async fn describe(bytes: Vec<u8>, kind: PluginKind) -> (Option<Description>, Option<Failure>) {
    let described = async {
        let host = compose::host(Path::new("compozy.yaml"))?;
        described(&host, Source::Bytes(bytes.into()), kind).await
    };
    match described.await {
        Ok(description) => (description, None),
        Err(failure) => (None, Some(failure)),
    }
}

fn print(
    output: &Output,
    plugin: &str,
    found: &Findings,
    description: Option<&Description>,
    problem: Option<&Failure>,
) -> Result<(), Failure> {
    if output.format != Format::Table {
        return output.document(&document(plugin, found, description, problem));
    }
    let kinds: Vec<&str> = found.kinds.iter().map(|kind| word(*kind)).collect();
    output.line(&format!("{} ({})", escaped(plugin), listed(&kinds)))?;
    if let Some(description) = description {
        output.line(&format!(
            "  summary  {}, version {}",
            escaped(&description.summary),
            escaped(&description.version)
        ))?;
    }
    output.line(&format!("  exports  {}", listed(&found.exports)))?;
    output.line(&format!("  imports  {}", listed(&found.imports)))?;
    output.line(&format!("  needs    {}", listed(&found.grants)))?;
    if !found.possible_grants.is_empty() {
        output.line(&format!("  if used  {}", listed(&found.possible_grants)))?;
    }
    output.line(&format!("  size     {}, memory {}", size(found.size_bytes), size(found.memory_bytes)))?;
    output.line(&format!("  digest   sha256:{}", found.digest))?;
    for function in description.iter().flat_map(|description| &description.functions) {
        output.line(&format!("  {}: {}", escaped(&function.name), escaped(&function.description)))?;
        for (side, schema) in [("input", &function.input_schema), ("output", &function.output_schema)] {
            if let Some(schema) = schema {
                output.line(&format!("    {side:<6} {}", escaped(&compact(schema))))?;
            }
        }
        let marks = marks(function.read_only, function.destructive, function.idempotent);
        if !marks.is_empty() {
            output.line(&format!("    {}", marks.join(", ")))?;
        }
    }
    Ok(())
}

fn marks(read_only: bool, destructive: bool, idempotent: bool) -> Vec<&'static str> {
    let all = [(read_only, "read-only"), (destructive, "destructive"), (idempotent, "idempotent")];
    all.into_iter().filter(|(is_set, _)| *is_set).map(|(_, word)| word).collect()
}

/// A schema on one line.
fn compact(schema: &str) -> String {
    serde_json::from_str::<Value>(schema).map_or_else(|_| schema.to_owned(), |schema| schema.to_string())
}

fn document(plugin: &str, found: &Findings, description: Option<&Description>, problem: Option<&Failure>) -> Value {
    let mut document = build::findings(found);
    let Value::Object(members) = &mut document else { return document };
    members.insert("plugin".to_owned(), plugin.into());
    if let Some(description) = description {
        let schema = |schema: &Option<String>| {
            schema.as_ref().and_then(|schema| serde_json::from_str(schema).ok()).unwrap_or(Value::Null)
        };
        let functions = description.functions.iter().map(|function| {
            json!({
                "name": function.name, "description": function.description,
                "input_schema": schema(&function.input_schema), "output_schema": schema(&function.output_schema),
                "read_only": function.read_only, "destructive": function.destructive,
                "idempotent": function.idempotent,
            })
        });
        members.insert("summary".to_owned(), description.summary.as_str().into());
        members.insert("version".to_owned(), description.version.as_str().into());
        members.insert("stateless".to_owned(), description.stateless.into());
        members.insert("functions".to_owned(), functions.collect());
    }
    if let Some(Failure::Problem(problem)) = problem {
        let Problem { code, message, .. } = &**problem;
        members.insert("problem".to_owned(), json!({"code": code, "message": message}));
    }
    document
}
