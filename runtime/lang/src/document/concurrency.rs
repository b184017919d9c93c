//! `config.concurrency` of a workflow: a limit for all its runs, or a key and a limit.
//!
//! A key is known when a run is recorded, before anything of it executes; it may therefore hold values of the input and
//! nothing else.

use crate::plan::{Concurrency, KeyPart};
use crate::schema::workflow::CONCURRENCY;
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::Reader;

/// Most runs at once that can be written.
const MOST: i64 = 100_000;

impl Reader<'_> {
    /// Reads it; without a key the workflow's id is the key.
    pub(crate) fn concurrency(&mut self, config: &Fields<'_>, workflow: &str) -> Option<Concurrency> {
        let node = config.get("concurrency")?;
        let path = config.at("concurrency");
        let own = || vec![KeyPart::Text(format!("workflow {workflow}"))];
        if node.scalar().is_some() {
            let limit = self.int_of(node, &path, 1, MOST)?;
            return Some(Concurrency { key: own(), limit: limit_of(limit) });
        }
        let fields = self.fields(node, &CONCURRENCY, &path)?;
        let key = match fields.get("key") {
            Some(node) => self.concurrency_key(node, &fields.at("key"))?,
            None => own(),
        };
        let limit = self.int(&fields, "limit")?;
        Some(Concurrency { key, limit: limit_of(limit) })
    }

    fn concurrency_key(&mut self, node: &Node, path: &str) -> Option<Vec<KeyPart>> {
        let text = self.text_of(node, path)?;
        if self.parts(node).has_variable() {
            let problem = node.diagnostic("CZ0401", "template: a variable cannot be part of a concurrency key");
            self.report(problem.help("write the text itself, or take it from the input: {{ .input.NAME }}"));
            return None;
        }
        match parts(&text) {
            Ok(parts) if parts.is_empty() => {
                self.expected_text(node, path, "a key", &text);
                None
            }
            Ok(parts) => Some(parts),
            Err(action) => {
                let message = format!("template: '{action}' cannot be part of a concurrency key");
                self.report(
                    node.diagnostic("CZ0401", message).help("write {{ .input.NAME }}: a key is known at the start"),
                );
                None
            }
        }
    }
}

fn limit_of(limit: i64) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// Takes a key apart; the action that is more than a value of the input otherwise.
fn parts(text: &str) -> Result<Vec<KeyPart>, String> {
    let mut parts = Vec::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let (action, behind) = after.split_once("}}").ok_or_else(|| format!("{{{{{after}"))?;
        if !before.is_empty() {
            parts.push(KeyPart::Text(before.to_owned()));
        }
        parts.push(KeyPart::Input(input_path(action).ok_or_else(|| format!("{{{{{action}}}}}"))?));
        rest = behind;
    }
    if !rest.is_empty() {
        parts.push(KeyPart::Text(rest.to_owned()));
    }
    Ok(parts)
}

/// The names behind `.input`.
fn input_path(action: &str) -> Option<Vec<String>> {
    let names: Vec<String> = action.trim().strip_prefix(".input.")?.split('.').map(str::to_owned).collect();
    let is_name =
        |name: &String| !name.is_empty() && name.chars().all(|letter| letter.is_alphanumeric() || letter == '_');
    names.iter().all(is_name).then_some(names)
}

#[cfg(test)]
mod tests {
    use super::parts;
    use crate::plan::KeyPart;

    #[test]
    fn keys_hold_values_of_the_input_and_nothing_else() {
        let text = |text: &str| KeyPart::Text(text.into());
        let input = |path: &str| KeyPart::Input(path.split('.').map(str::to_owned).collect());
        for (written, expected) in [
            ("payments", Ok(vec![text("payments")])),
            ("{{ .input.a }}", Ok(vec![input("a")])),
            ("a-{{.input.b.c}}-{{ .input.d }}", Ok(vec![text("a-"), input("b.c"), text("-"), input("d")])),
            ("", Ok(vec![])),
            ("{{ .tasks.a }}", Err("{{ .tasks.a }}")),
            ("{{ .input }}", Err("{{ .input }}")),
            ("{{ .input.a | upper }}", Err("{{ .input.a | upper }}")),
            ("{{ .input.a", Err("{{ .input.a")),
        ] {
            assert_eq!(parts(written), expected.map_err(str::to_owned), "{written}");
        }
    }
}
