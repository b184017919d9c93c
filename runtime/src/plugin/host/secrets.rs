//! `compozy:host/secrets`: placeholders, and their exchange for the real values on the way out.

use crate::plugin::bindings::lent::compozy::host::{secrets, types};
use crate::plugin::call::{Binding, RunContext};
use crate::plugin::secret::{Secret, placeholder};
use crate::plugin::state::State;

impl secrets::Host for State {
    fn get(&mut self, name: String) -> wasmtime::Result<Result<String, types::Error>> {
        let call = self.enter()?;
        Ok(match call.binding.grants.secret(&call.binding.plugin_id, &name) {
            Ok(Some(_)) => Ok(placeholder_of(&call.binding, call.run.as_deref(), &name)),
            Ok(None) => Err(types::Error {
                code: "CZ0113".into(),
                message: format!("the secret '{name}' is not set in the environment"),
                retryable: false,
                retry_after_ms: None,
            }),
            Err(refusal) => Err(call.refused(refusal)),
        })
    }
}

/// What stands for the secret `name` in calls of `binding` within `run`.
pub(crate) fn placeholder_of(binding: &Binding, run: Option<&RunContext>, name: &str) -> String {
    placeholder(run.map_or("", |run| &run.exec_id), &binding.plugin_id, name)
}

/// The placeholders of one call, with the values they stand for.
#[derive(Debug, Default)]
pub(crate) struct Exchange(Vec<(String, Secret)>);

impl Exchange {
    /// Every granted secret that has a value.
    pub(crate) fn of(binding: &Binding, run: Option<&RunContext>) -> Self {
        let secrets = binding.grants.all_secrets().into_iter();
        Self(secrets.map(|(name, secret)| (placeholder_of(binding, run, name), secret)).collect())
    }

    /// Whether there is nothing to exchange.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `bytes` with every placeholder replaced by its value; `None` when there is none in it.
    pub(crate) fn apply(&self, bytes: &[u8]) -> Option<Vec<u8>> {
        let mut exchanged: Option<Vec<u8>> = None;
        for (placeholder, secret) in &self.0 {
            if let Some(replaced) =
                replaced(exchanged.as_deref().unwrap_or(bytes), placeholder.as_bytes(), secret.reveal().as_bytes())
            {
                exchanged = Some(replaced);
            }
        }
        exchanged
    }
}

fn replaced(bytes: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let mut rest = bytes;
    let mut result = Vec::new();
    while let Some(at) = find(rest, from) {
        let (before, after) = rest.split_at_checked(at)?;
        result.extend_from_slice(before);
        result.extend_from_slice(to);
        rest = after.get(from.len()..)?;
    }
    if rest.len() == bytes.len() {
        return None;
    }
    result.extend_from_slice(rest);
    Some(result)
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    // All placeholders begin with `p`; looking for that byte first keeps large bodies cheap.
    let first = *needle.first()?;
    let mut from = 0;
    while let Some(offset) = bytes.get(from..)?.iter().position(|byte| *byte == first) {
        let at = from + offset;
        if bytes.get(at..)?.starts_with(needle) {
            return Some(at);
        }
        from = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::{Exchange, Secret};

    #[test]
    fn every_placeholder_is_exchanged_and_nothing_else() {
        let exchange = Exchange(vec![("ph-1".into(), Secret::new("one")), ("ph-2".into(), Secret::new("two"))]);
        for (text, expected) in [
            ("", None),
            ("pp ph- ph-3", None),
            ("ph-1", Some("one")),
            ("a ph-1 ph-2 pph-1ph-", Some("a one two ponep")),
        ] {
            let exchanged = exchange.apply(text.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap());
            let expected = expected.map(|text| if text.ends_with('p') { format!("{text}h-") } else { text.to_owned() });
            assert_eq!(exchanged, expected, "{text}");
        }
    }
}
