//! Script tools: the bundled JavaScript engine, called with the text of the script that the run keeps in its plan.
//!
//! A script is an entry of `plugins` of its own as far as grants, limits and its key-value space go; what they share is the
//! compiled engine. Each call gets a fresh instance of it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use compozy_engine::error::StepError;
use compozy_lang::plan::{Script, Tool};

use crate::plugin::call::Binding;
use crate::plugin::{Grants, script};

/// Scripts whose bindings are kept; one more, and all are made again as they are called.
const KEPT: usize = 256;

/// Bindings of the scripts that have been called, by everything they are made of: two runs may know different texts under
/// one id.
#[derive(Debug, Default)]
pub(super) struct Bindings(Mutex<HashMap<u64, Vec<(Tool, Binding)>>>);

impl Bindings {
    /// The engine bound to a script. `grants` is asked when the script is new.
    pub(super) fn of(
        &self,
        tool: &Tool,
        source: &Script,
        engine: &Binding,
        grants: impl FnOnce() -> Result<Grants, StepError>,
    ) -> Result<Binding, StepError> {
        let key = key(tool, source);
        if let Some(known) = self.find(key, tool, source) {
            return Ok(known);
        }
        let binding = Binding {
            // No id of an entry of `plugins` holds this sign, so nobody shares the script's key-value space.
            plugin_id: format!("script#{}", tool.id).into(),
            grants: Arc::new(grants()?),
            limits: source.limits.clone(),
            config: script::config(tool, source).into(),
            ..engine.clone()
        };
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() >= KEPT {
            kept.clear();
        }
        kept.entry(key).or_default().push((tool.clone(), binding.clone()));
        Ok(binding)
    }

    fn find(&self, key: u64, tool: &Tool, script: &Script) -> Option<Binding> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&(Tool, Binding)| {
            let known = &known.0;
            known.id == tool.id
                && known.function == tool.function
                && known.config == tool.config
                && known.script.as_ref() == Some(script)
        };
        kept.get(&key)?.iter().find(same).map(|(_, binding)| binding.clone())
    }
}

/// Finds what is probably the same.
fn key(tool: &Tool, script: &Script) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    (&tool.id, &tool.function, &script.modules).hash(&mut hasher);
    hasher.finish()
}
