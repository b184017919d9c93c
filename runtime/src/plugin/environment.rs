//! Environment variables, as plugins and providers may come to see them.

use std::collections::BTreeMap;
use std::fmt;

/// Where values of environment variables come from: the real environment, `.env`, or a test's table.
pub trait Environment: Send + Sync + fmt::Debug {
    /// The value of `name`, if it is set. Called at each use, from async code: it must not block.
    fn var(&self, name: &str) -> Option<String>;
}

/// A fixed set of variables.
#[derive(Clone, Default)]
pub struct Fixed(pub BTreeMap<String, String>);

impl Environment for Fixed {
    fn var(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

impl fmt::Debug for Fixed {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(self.0.keys()).finish()
    }
}
