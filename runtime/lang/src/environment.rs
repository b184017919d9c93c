//! Environment variables: the real ones over those of the `.env` file.

use std::collections::BTreeMap;

use crate::dotenv::DotEnv;
use crate::source::Origin;

/// Looks up environment variables.
pub trait Environment: Send + Sync {
    /// The value of a variable; `None` when it is not set. Called at load and again at every use.
    fn lookup(&self, name: &str) -> Option<String>;
}

impl Environment for BTreeMap<String, String> {
    fn lookup(&self, name: &str) -> Option<String> {
        self.get(name).cloned()
    }
}

/// Whether `name` may be the name of a variable: `[A-Za-z_][A-Za-z0-9_]*`.
pub fn is_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether the values of a key or variable of this name must be masked (dialect §1.5).
pub fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    [
        "api_key",
        "apikey",
        "password",
        "passwd",
        "secret",
        "token",
        "authorization",
        "private_key",
        "admin_key",
        "credential",
    ]
    .iter()
    .any(|word| name.contains(word))
}

/// The environment of a project: real variables win over its `.env` file.
#[derive(Clone)]
pub struct ProjectEnvironment {
    real: std::sync::Arc<dyn Environment>,
    file: std::sync::Arc<DotEnv>,
    /// Variables that stand in secret keys or that plugins see as placeholders.
    secret_names: std::sync::Arc<std::collections::BTreeSet<String>>,
}

impl std::fmt::Debug for ProjectEnvironment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ProjectEnvironment").field("dotenv_names", &self.file.entries.len()).finish_non_exhaustive()
    }
}

impl ProjectEnvironment {
    /// Lays `real` over `file`.
    pub fn new(real: std::sync::Arc<dyn Environment>, file: DotEnv) -> Self {
        Self { real, file: std::sync::Arc::new(file), secret_names: std::sync::Arc::default() }
    }

    /// The same with more names whose values are secret.
    pub(crate) fn with_secret_names(self, names: impl IntoIterator<Item = String>) -> Self {
        let names = self.secret_names.iter().cloned().chain(names).collect();
        Self { secret_names: std::sync::Arc::new(names), ..self }
    }

    /// The value of a variable and what set it.
    pub fn find(&self, name: &str) -> Option<(String, Origin)> {
        if let Some(value) = self.real.lookup(name) {
            return Some((value, Origin::Environment(name.to_owned())));
        }
        self.file.get(name).map(|(value, line)| (value.to_owned(), Origin::DotEnv(line)))
    }

    /// Names the `.env` file declares, the only undeclared ones that templates may enumerate.
    pub fn declared(&self) -> impl Iterator<Item = &str> {
        self.file.entries.iter().map(|(name, _, _)| name.as_str())
    }

    /// Values that output should show as `***`: of secret-looking names of the `.env` file and of those that the project
    /// refers to, of variables that stand in secret keys, and of those plugins see as placeholders.
    /// Values under 4 bytes are left out: masking them would tear ordinary text apart.
    pub fn masks(&self) -> Vec<String> {
        let declared = self.declared().filter(|name| is_secret_name(name));
        let names: std::collections::BTreeSet<&str> =
            declared.chain(self.secret_names.iter().map(String::as_str)).collect();
        let mut masks: Vec<String> =
            names.into_iter().filter_map(|name| self.lookup(name)).filter(|value| value.len() >= 4).collect();
        masks.sort();
        masks.dedup();
        masks
    }
}

impl Environment for ProjectEnvironment {
    fn lookup(&self, name: &str) -> Option<String> {
        self.find(name).map(|(value, _)| value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_variables_win_and_secrets_are_masked() {
        let real = BTreeMap::from([("A".to_owned(), "real".to_owned())]);
        let file = crate::dotenv::parse("A=file\nB=two\nMY_API_KEY=sk-12345\nPIN_TOKEN=1\n");
        let environment = ProjectEnvironment::new(std::sync::Arc::new(real), file);
        assert_eq!(environment.lookup("A").as_deref(), Some("real"));
        assert_eq!(environment.find("B"), Some(("two".into(), Origin::DotEnv(2))));
        assert_eq!(environment.lookup("C"), None);
        assert_eq!(environment.masks(), ["sk-12345"]);
    }
}
