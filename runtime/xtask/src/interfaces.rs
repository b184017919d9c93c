//! `cargo xtask interfaces`: the reference of the plugin interfaces, `docs/plugins/interfaces.md`, made from `wit/`.

use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result};
use wit_parser::{
    Docs, Function, FunctionKind, Handle, Interface, Resolve, Stability, Type, TypeDef, TypeDefKind, TypeId,
};

use crate::process;

/// Packages of ours, in the order a reader needs them.
const PACKAGES: [(&str, &str); 2] = [
    ("plugin", "What a plugin exports, one interface for each `kind`."),
    ("host", "What a plugin may import. Each use is refused until the project grants it."),
];

/// Interfaces in the order a reader needs them; any other comes behind.
const ORDER: [&str; 13] = [
    "tool",
    "llm-provider",
    "embedder",
    "template",
    "run",
    "config",
    "log",
    "secrets",
    "kv",
    "sql",
    "llm",
    "vector",
    "types",
];

/// Writes the reference.
///
/// # Errors
/// The WIT files cannot be read, or the reference cannot be written.
pub(crate) fn write() -> Result<()> {
    let path = path();
    fs::create_dir_all(path.parent().context("find the folder of the reference")?).context("make docs/plugins")?;
    fs::write(&path, reference()?).with_context(|| format!("write {}", path.display()))
}

fn path() -> PathBuf {
    process::project_root().join("docs/plugins/interfaces.md")
}

/// The text of the reference.
fn reference() -> Result<String> {
    let mut resolve = Resolve::default();
    resolve.push_dir(process::project_root().join("wit")).context("read wit/")?;
    let mut text = String::from(
        "# Plugin interfaces\n\n\
         Made from [`wit/`](../../wit/README.md) by `cargo xtask interfaces`; edit the comments there.\n\
         JSON travels as text. `result<T, E>` is an answer or an error, `option<T>` a value or nothing.\n\
         How a plugin is written with them: [authoring](authoring.md).\n",
    );
    for (package, about) in PACKAGES {
        let found = resolve.packages.iter().map(|(_, found)| found);
        let found = found.into_iter().find(|found| found.name.namespace == "compozy" && found.name.name == package);
        let found = found.with_context(|| format!("find the package compozy:{package} in wit/"))?;
        writeln!(text, "\n## {}\n\n{about}", found.name)?;
        let place = |name: &str| ORDER.iter().position(|known| *known == name).unwrap_or(ORDER.len());
        let mut interfaces: Vec<_> = found.interfaces.iter().collect();
        interfaces.sort_by_key(|(name, _)| place(name));
        for (name, interface) in interfaces {
            page(&mut text, &resolve, &format!("{}/{name}", found.name.name), &resolve.interfaces[*interface])?;
        }
    }
    Ok(text)
}

/// One interface.
fn page(text: &mut String, resolve: &Resolve, name: &str, interface: &Interface) -> Result<()> {
    writeln!(text, "\n### compozy:{name}\n")?;
    paragraphs(text, &interface.docs)?;
    for (name, id) in &interface.types {
        let definition = &resolve.types[*id];
        // What `use` brings in is told where it is defined.
        if !matches!(definition.kind, TypeDefKind::Type(_)) {
            self::definition(text, resolve, name, definition)?;
            let methods = interface.functions.values().filter(|function| function.kind.resource() == Some(*id));
            methods.into_iter().try_for_each(|method| function(text, resolve, method))?;
        }
    }
    let free = interface.functions.values().filter(|function| function.kind == FunctionKind::Freestanding);
    free.into_iter().try_for_each(|free| function(text, resolve, free))
}

fn definition(text: &mut String, resolve: &Resolve, name: &str, definition: &TypeDef) -> Result<()> {
    let kind = definition.kind.as_str();
    writeln!(text, "\n#### {kind} `{name}`{}\n", since(&definition.stability))?;
    paragraphs(text, &definition.docs)?;
    let rows: Vec<(String, &Docs)> = match &definition.kind {
        TypeDefKind::Record(record) => {
            let field = |field: &wit_parser::Field| format!("`{}: {}`", field.name, spelled(resolve, &field.ty));
            record.fields.iter().map(|each| (field(each), &each.docs)).collect()
        }
        TypeDefKind::Variant(variant) => {
            let case = |case: &wit_parser::Case| match &case.ty {
                Some(ty) => format!("`{}({})`", case.name, spelled(resolve, ty)),
                None => format!("`{}`", case.name),
            };
            variant.cases.iter().map(|each| (case(each), &each.docs)).collect()
        }
        TypeDefKind::Enum(cases) => cases.cases.iter().map(|case| (format!("`{}`", case.name), &case.docs)).collect(),
        TypeDefKind::Flags(flags) => flags.flags.iter().map(|flag| (format!("`{}`", flag.name), &flag.docs)).collect(),
        _ => Vec::new(),
    };
    if !rows.is_empty() {
        text.push('\n');
    }
    for (row, docs) in rows {
        let about = docs.contents.as_deref().map(one_line).filter(|about| !about.is_empty());
        writeln!(text, "- {row}{}", about.map(|about| format!(": {about}")).unwrap_or_default())?;
    }
    Ok(())
}

fn function(text: &mut String, resolve: &Resolve, function: &Function) -> Result<()> {
    let own = function.params.iter().filter(|parameter| parameter.name != "self");
    let parameters: Vec<String> =
        own.map(|parameter| format!("{}: {}", parameter.name, spelled(resolve, &parameter.ty))).collect();
    let result = function.result.as_ref().map(|ty| format!(" -> {}", spelled(resolve, ty))).unwrap_or_default();
    let owner = function.kind.resource().and_then(|id| resolve.types[id].name.clone());
    let name = function.item_name();
    let title = owner.map_or_else(|| name.to_owned(), |owner| format!("{owner}.{name}"));
    writeln!(text, "\n#### `{title}`{}\n", since(&function.stability))?;
    writeln!(text, "```wit\n{name}: func({}){result}\n```\n", parameters.join(", "))?;
    paragraphs(text, &function.docs)
}

/// A type as WIT writes it.
fn spelled(resolve: &Resolve, ty: &Type) -> String {
    let one = |name: &str, ty: &Type| format!("{name}<{}>", spelled(resolve, ty));
    match ty {
        Type::Id(id) => named(resolve, *id).unwrap_or_else(|| match &resolve.types[*id].kind {
            TypeDefKind::Option(ty) => one("option", ty),
            TypeDefKind::List(ty) => one("list", ty),
            TypeDefKind::Tuple(tuple) => {
                let parts: Vec<String> = tuple.types.iter().map(|ty| spelled(resolve, ty)).collect();
                format!("tuple<{}>", parts.join(", "))
            }
            TypeDefKind::Result(result) => match (&result.ok, &result.err) {
                (ok, Some(error)) => {
                    let ok = ok.as_ref().map_or_else(|| "_".to_owned(), |ty| spelled(resolve, ty));
                    format!("result<{ok}, {}>", spelled(resolve, error))
                }
                (Some(ok), None) => one("result", ok),
                (None, None) => "result".to_owned(),
            },
            TypeDefKind::Handle(Handle::Own(id)) => named(resolve, *id).unwrap_or_default(),
            TypeDefKind::Handle(Handle::Borrow(id)) => format!("borrow<{}>", named(resolve, *id).unwrap_or_default()),
            TypeDefKind::Type(ty) => spelled(resolve, ty),
            other => other.as_str().to_owned(),
        }),
        Type::ErrorContext => "error-context".to_owned(),
        // The primitive ones are spelled like their Rust names, in small letters.
        primitive => format!("{primitive:?}").to_lowercase(),
    }
}

fn named(resolve: &Resolve, id: TypeId) -> Option<String> {
    resolve.types[id].name.clone()
}

/// ` (since 0.1.1)`, but for what was there from the first version on.
fn since(stability: &Stability) -> String {
    match stability {
        Stability::Stable { since, .. } if since.to_string() != "0.1.0" => format!(" (since {since})"),
        _ => String::new(),
    }
}

fn paragraphs(text: &mut String, docs: &Docs) -> Result<()> {
    if let Some(contents) = docs.contents.as_deref().map(str::trim).filter(|contents| !contents.is_empty()) {
        writeln!(text, "{contents}")?;
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::{path, reference};

    #[test]
    fn the_reference_is_that_of_the_files() {
        let present = std::fs::read_to_string(path()).unwrap_or_default();
        assert_eq!(present, reference().unwrap(), "run `cargo xtask interfaces`");
        for told in [
            "#### `connection.query`",
            "query: func(statement: string, parameters: list<value>) -> result<row-set, error>",
        ] {
            assert!(present.contains(told), "{told}");
        }
    }
}
