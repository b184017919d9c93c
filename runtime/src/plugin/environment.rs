//! Environment variables, as plugins and providers may come to see them.

use std::collections::BTreeMap;
use std::fmt;

pub use compozy_lang::environment::Environment;

/// A fixed set of variables.
#[derive(Clone, Default)]
pub struct Fixed(pub BTreeMap<String, String>);

impl Environment for Fixed {
    fn lookup(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}
