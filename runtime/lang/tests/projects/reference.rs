//! docs/keys.md, made from the key tables.

use std::fmt::Write as _;
use std::path::Path;

use compozy_lang::schema::{Key, Kind, Table, cases::CASES, project::PROJECT};

/// `docs/keys.md` is what the tables say. Renew it with `COMPOZY_RENEW=1 cargo test -p compozy-lang --test projects`.
#[test]
fn the_reference_of_keys_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/keys.md");
    let text = reference();
    if std::env::var_os("COMPOZY_RENEW").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let present = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(present == text, "docs/keys.md is out of date; run this test with COMPOZY_RENEW=1");
    for told in ["### task", "| `wait_for` |", "### webhook"] {
        assert!(text.contains(told), "{told}");
    }
}

fn reference() -> String {
    let mut text = String::from(
        "# Keys\n\n\
         Every key of `compozy.yaml`, of workflow files and of a plugin's `cases.yaml`, made from the tables that the program itself reads them by.\n\
         `compozy schema KIND` prints the same as JSON Schema for editors.\n\
         *Template* values may hold `{{ … }}`; a list may be written as its only item.\n",
    );
    let mut tables: Vec<(&'static Table, String)> = Vec::new();
    collect(&PROJECT, "`compozy.yaml`", &mut tables);
    collect(&CASES, "`cases.yaml` beside a plugin", &mut tables);
    for (table, place) in &tables {
        write(&mut text, table, place);
    }
    text
}

/// Every table once, in the order in which a reader meets it, with the key under which it stands.
fn collect(table: &'static Table, place: &str, found: &mut Vec<(&'static Table, String)>) {
    if found.iter().any(|(known, _)| std::ptr::eq(*known, table)) {
        return;
    }
    found.push((table, place.to_owned()));
    for key in table.keys.iter().filter(|key| !key.idle) {
        maps(&key.kind, &mut |inner| collect(inner, &format!("`{}` of {}", key.name, table.name), found));
    }
}

fn maps(kind: &Kind, visit: &mut dyn FnMut(&'static Table)) {
    match kind {
        Kind::Map(table) => visit(table),
        Kind::List(inner) | Kind::MapOf(inner) | Kind::Typed(inner) => maps(inner, visit),
        Kind::Either(kinds) => kinds.iter().for_each(|kind| maps(kind, visit)),
        _ => {}
    }
}

fn write(text: &mut String, table: &Table, place: &str) {
    let (idle, real): (Vec<&Key>, Vec<&Key>) = table.keys.iter().partition(|key| key.idle);
    writeln!(text, "\n### {}\n\n{place}\n\n| Key | Value | Default | Meaning |\n|---|---|---|---|", table.name)
        .unwrap();
    for key in real {
        let mut meaning = key.doc.to_owned();
        if !key.only.is_empty() {
            write!(meaning, " Only {}.", key.only.join(", ")).unwrap();
        }
        if !key.aliases.is_empty() {
            let aliases: Vec<String> = key.aliases.iter().map(|alias| format!("`{alias}`")).collect();
            write!(meaning, " Also {}.", aliases.join(", ")).unwrap();
        }
        let default = key.default.map(|text| format!("`{text}`")).unwrap_or_default();
        let row = format!("`{}` | {} | {default} | {meaning}", key.name, value(&key.kind));
        // A bar would end the cell.
        writeln!(text, "| {} |", row.replace("||", "\\|\\|")).unwrap();
    }
    if !idle.is_empty() {
        let names: Vec<String> = idle.iter().map(|key| format!("`{}`", key.name)).collect();
        writeln!(text, "\nAccepted without effect: {}.", names.join(", ")).unwrap();
    }
}

fn value(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Int(..) => "integer".to_owned(),
        Kind::Float => "number".to_owned(),
        Kind::Bool => "true or false".to_owned(),
        Kind::Duration(_) => "duration".to_owned(),
        Kind::Size => "size".to_owned(),
        Kind::Choice(words) => words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "),
        Kind::Any => "any".to_owned(),
        Kind::Schema => "JSON Schema, or the id of one".to_owned(),
        Kind::Template => "template".to_owned(),
        Kind::Templates => "any, with templates".to_owned(),
        Kind::Typed(inner) => format!("{}, or a template", value(inner)),
        Kind::Map(table) => format!("[{}](#{})", table.name, table.name.replace(' ', "-")),
        Kind::List(inner) => format!("list of: {}", value(inner)),
        Kind::MapOf(inner) => format!("map of: {}", value(inner)),
        Kind::Either(kinds) => kinds.iter().map(value).collect::<Vec<_>>().join("; or "),
    }
}
