//! What a plugin may do, decided before any side effect.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

pub(crate) use compozy_lang::plan::ModelGrant;
use compozy_lang::plan::{Access, Permissions};

use super::background::Habit;
use super::bindings::lent::compozy::host::types;
use super::egress::pattern::Pattern;
use super::environment::{Environment, Fixed};
use super::error::{Error, printable, shortened};
use super::host::sql;
use super::secret::{Mask, Secret};

/// The permissions of one plugin entry, ready to be asked. Default deny: what was not granted is refused.
pub struct Grants {
    pub(crate) http: Vec<Pattern>,
    pub(crate) folders: Vec<Folder>,
    sql: BTreeMap<String, bool>,
    vector: BTreeMap<String, bool>,
    kv: Access,
    env: BTreeSet<String>,
    secrets: BTreeMap<String, Option<Secret>>,
    llm: Option<ModelGrant>,
    environment: Arc<dyn Environment>,
    /// Made at its first use: a plugin that logs asks for it with every record.
    mask: OnceLock<Mask>,
    /// How long the calls of this entry compute.
    habit: Habit,
    /// Actions that were refused and logged, so that a loop does not flood the log.
    logged: Mutex<HashSet<String>>,
}

impl fmt::Debug for Grants {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grants").field("http", &self.http).field("sql", &self.sql).finish_non_exhaustive()
    }
}

/// A folder of the project that the guest may see.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    /// Name by which the guest opens it: as written.
    pub(crate) name: String,
    /// Where it is, inside the project, symlinks resolved.
    pub(crate) path: PathBuf,
    /// Whether it may also write.
    pub(crate) write: bool,
}

/// A use that was not granted.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    /// `plugin 'shop' was refused …; allow it with permissions.…`
    pub(crate) message: String,
    /// The YAML that would allow it.
    pub(crate) line: String,
}

impl From<Refusal> for types::Error {
    fn from(refusal: Refusal) -> Self {
        Self { code: "CZ0703".into(), message: refusal.message, retryable: false, retry_after_ms: None }
    }
}

impl Grants {
    /// Nothing is granted.
    #[must_use]
    pub fn none() -> Self {
        Self {
            http: Vec::new(),
            folders: Vec::new(),
            sql: BTreeMap::new(),
            vector: BTreeMap::new(),
            kv: Access::None,
            env: BTreeSet::new(),
            secrets: BTreeMap::new(),
            llm: None,
            environment: Arc::new(Fixed::default()),
            mask: OnceLock::new(),
            habit: Habit::default(),
            logged: Mutex::default(),
        }
    }

    /// Reads the `permissions` of a plugin entry. `root` is the project folder that `fs` paths stay in; values of `env`
    /// and `secrets` are asked from `environment` at each use.
    ///
    /// # Errors
    /// A pattern or folder cannot be read.
    pub fn new(permissions: &Permissions, root: &Path, environment: Arc<dyn Environment>) -> Result<Self, Error> {
        let http = permissions
            .http
            .iter()
            .map(|text| Pattern::parse(text).map_err(|reason| Error::Permission { key: "http", reason }))
            .collect::<Result<_, _>>()?;
        let folders =
            permissions.fs.iter().map(|grant| folder(root, &grant.id, grant.write)).collect::<Result<_, _>>()?;
        Ok(Self {
            http,
            folders,
            sql: permissions.sql.iter().map(|grant| (grant.id.clone(), grant.write)).collect(),
            vector: permissions.vector.iter().map(|grant| (grant.id.clone(), grant.write)).collect(),
            kv: permissions.kv,
            env: permissions.env.iter().cloned().collect(),
            secrets: permissions.secrets.iter().map(|name| (name.clone(), None)).collect(),
            llm: permissions.llm.clone(),
            environment,
            mask: OnceLock::new(),
            habit: Habit::default(),
            logged: Mutex::default(),
        })
    }

    /// What a provider entry grants its plugin: `origin`, written by the operator and therefore trusted whatever
    /// address it has, and secrets whose values are known.
    pub(crate) fn provider(origin: Pattern, secrets: impl IntoIterator<Item = (String, Secret)>) -> Self {
        Self {
            http: vec![origin],
            secrets: secrets.into_iter().map(|(name, secret)| (name, Some(secret))).collect(),
            ..Self::none()
        }
    }

    /// Leave to use the database labelled `label`; `Ok(true)` when it may also write.
    pub(crate) fn sql(&self, plugin_id: &str, label: &str) -> Result<bool, Refusal> {
        // What is its own it may change, also where only its name is written.
        let known = self.sql.get(label).map(|write| *write || label == sql::OWN);
        known.ok_or_else(|| self.refuse(plugin_id, &format!("database '{label}'"), format!("sql: [{label}]")))
    }

    /// Leave to use the vector DB `id`, also for writing when `write`.
    pub(crate) fn vector(&self, plugin_id: &str, id: &str, write: bool) -> Result<(), Refusal> {
        match self.vector.get(id) {
            Some(may_write) if *may_write || !write => Ok(()),
            Some(_) => Err(self.refuse(
                plugin_id,
                &format!("writing vector DB '{id}'"),
                format!("vector: [{{id: {id}, mode: rw}}]"),
            )),
            None => Err(self.refuse(plugin_id, &format!("vector DB '{id}'"), format!("vector: [{id}]"))),
        }
    }

    /// Leave to read (and with `write` to change) the plugin's own key-value space.
    pub(crate) fn kv(&self, plugin_id: &str, write: bool) -> Result<(), Refusal> {
        match (self.kv, write) {
            (Access::ReadWrite, _) | (Access::Read, false) => Ok(()),
            (_, true) => Err(self.refuse(plugin_id, "writing its key-value space", "kv: read-write".into())),
            (_, false) => Err(self.refuse(plugin_id, "reading its key-value space", "kv: read".into())),
        }
    }

    /// Leave to ask the provider entry `provider`; `None` is the default one, or the first of those granted.
    pub(crate) fn llm(&self, plugin_id: &str, provider: Option<&str>) -> Result<ModelGrant, Refusal> {
        let Some(grant) = &self.llm else {
            return Err(self.refuse(plugin_id, "asking a model", "llm: true".into()));
        };
        match provider {
            Some(id) if !grant.providers.is_empty() && !grant.providers.iter().any(|granted| granted == id) => {
                let action = format!("asking the provider '{id}'");
                Err(self.refuse(plugin_id, &action, format!("llm: {{providers: [{id}]}}")))
            }
            _ => Ok(grant.clone()),
        }
    }

    /// The value of the environment variable `name`.
    pub(crate) fn env(&self, plugin_id: &str, name: &str) -> Result<Option<String>, Refusal> {
        if self.env.contains(name) {
            return Ok(self.environment.lookup(name));
        }
        Err(self.refuse(plugin_id, &format!("environment variable '{name}'"), format!("env: [{name}]")))
    }

    /// The value of the secret `name`; `None` when it is granted but unset.
    pub(crate) fn secret(&self, plugin_id: &str, name: &str) -> Result<Option<Secret>, Refusal> {
        match self.secrets.get(name) {
            Some(known) => Ok(known.clone().or_else(|| self.environment.lookup(name).map(Secret::new))),
            None => Err(self.refuse(plugin_id, &format!("secret '{name}'"), format!("secrets: [{name}]"))),
        }
    }

    /// Every granted secret that has a value, by name.
    pub(crate) fn all_secrets(&self) -> Vec<(&str, Secret)> {
        let value = |name: &str, known: &Option<Secret>| {
            known.clone().or_else(|| self.environment.lookup(name).map(Secret::new))
        };
        self.secrets.iter().filter_map(|(name, known)| Some((name.as_str(), value(name, known)?))).collect()
    }

    /// Strikes out every granted secret.
    pub(crate) fn mask(&self) -> &Mask {
        self.mask.get_or_init(|| {
            let secrets = self.all_secrets();
            Mask::new(secrets.iter().map(|(_, secret)| secret.reveal()))
        })
    }

    /// How long the calls of this entry have computed lately.
    pub(crate) fn habit(&self) -> &Habit {
        &self.habit
    }

    /// Refuses `action`, which `permissions.<line>` would allow, and logs it the first time.
    pub(crate) fn refuse(&self, plugin_id: &str, action: &str, line: String) -> Refusal {
        // Names come from the guest: they are shortened and escaped before they reach the log.
        let action = printable(shortened(action, NAME_BYTES));
        let line = printable(shortened(&line, NAME_BYTES));
        let message = format!("plugin '{plugin_id}' was refused {action}; allow it with permissions.{line}");
        let mut logged = self.logged.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.len() < LOGGED_REFUSALS && logged.insert(format!("{plugin_id} {action}")) {
            tracing::warn!(plugin.id = plugin_id, code = "CZ0703", "{message}");
        }
        Refusal { message, line: format!("permissions.{line}") }
    }
}

/// Bytes of an action or line in a refusal.
const NAME_BYTES: usize = 300;

/// Distinct refusals that are logged per plugin entry.
const LOGGED_REFUSALS: usize = 100;

/// A folder grant, resolved and held inside the project.
fn folder(root: &Path, written: &str, write: bool) -> Result<Folder, Error> {
    let refuse = |reason: &dyn fmt::Display| Error::Permission { key: "fs", reason: format!("'{written}': {reason}") };
    let root = root.canonicalize().map_err(|error| refuse(&error))?;
    let path = root.join(written).canonicalize().map_err(|error| refuse(&error))?;
    if !path.starts_with(&root) || !path.is_dir() {
        return Err(refuse(&"not a folder inside the project"));
    }
    Ok(Folder { name: written.to_owned(), path, write })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use compozy_lang::plan::{Access, Grant, Permissions};

    use super::{Grants, ModelGrant};
    use crate::plugin::environment::Fixed;

    fn grants(permissions: Permissions) -> Grants {
        let environment = Fixed(BTreeMap::from([("REGION".into(), "eu".into()), ("TOKEN".into(), "s3cr3t".into())]));
        Grants::new(&permissions, Path::new("."), Arc::new(environment)).unwrap()
    }

    #[test]
    fn nothing_is_granted_by_default_and_the_refusal_names_the_line() {
        let none = grants(Permissions::default());
        let messages = [
            none.sql("p", "shop").unwrap_err().message,
            none.vector("p", "docs", false).unwrap_err().message,
            none.kv("p", false).unwrap_err().message,
            none.kv("p", true).unwrap_err().message,
            none.env("p", "REGION").unwrap_err().message,
            none.secret("p", "TOKEN").unwrap_err().message,
            none.llm("p", None).unwrap_err().message,
        ];
        let expected = [
            "plugin 'p' was refused database 'shop'; allow it with permissions.sql: [shop]",
            "plugin 'p' was refused vector DB 'docs'; allow it with permissions.vector: [docs]",
            "plugin 'p' was refused reading its key-value space; allow it with permissions.kv: read",
            "plugin 'p' was refused writing its key-value space; allow it with permissions.kv: read-write",
            "plugin 'p' was refused environment variable 'REGION'; allow it with permissions.env: [REGION]",
            "plugin 'p' was refused secret 'TOKEN'; allow it with permissions.secrets: [TOKEN]",
            "plugin 'p' was refused asking a model; allow it with permissions.llm: true",
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn what_is_granted_is_given_and_no_more() {
        let some = grants(Permissions {
            sql: [("shop", true), ("log", false), ("own", false)]
                .map(|(id, write)| Grant { id: id.into(), write })
                .into(),
            vector: vec![Grant { id: "docs".into(), write: false }],
            kv: Access::Read,
            env: vec!["REGION".into(), "UNSET".into()],
            secrets: vec!["TOKEN".into()],
            ..Permissions::default()
        });
        assert!(some.sql("p", "shop").unwrap());
        assert!(!some.sql("p", "log").unwrap());
        assert!(some.sql("p", "own").unwrap());
        assert!(some.vector("p", "docs", false).is_ok());
        assert!(some.vector("p", "docs", true).is_err());
        assert!(some.kv("p", false).is_ok());
        assert!(some.kv("p", true).is_err());
        assert_eq!(some.env("p", "REGION").unwrap().as_deref(), Some("eu"));
        assert_eq!(some.env("p", "UNSET").unwrap(), None);
        assert!(some.env("p", "TOKEN").is_err(), "a secret is not readable in clear");
        assert_eq!(some.mask().apply("x s3cr3t"), "x ***");
        let models = grants(Permissions {
            llm: Some(ModelGrant { providers: vec!["fast".into()], ..ModelGrant::default() }),
            ..Permissions::default()
        });
        assert!(models.llm("p", None).is_ok() && models.llm("p", Some("fast")).is_ok());
        assert_eq!(
            models.llm("p", Some("best")).unwrap_err().message,
            "plugin 'p' was refused asking the provider 'best'; allow it with permissions.llm: {providers: [best]}"
        );
    }

    #[test]
    fn folders_stay_inside_the_project() {
        let project = tempfile::tempdir().unwrap();
        std::fs::create_dir(project.path().join("data")).unwrap();
        std::os::unix::fs::symlink("/", project.path().join("out")).unwrap();
        for (written, fits) in
            [("./data", true), ("data/../data", true), ("..", false), ("/etc", false), ("out", false), ("none", false)]
        {
            let permissions =
                Permissions { fs: vec![Grant { id: written.into(), write: false }], ..Permissions::default() };
            let read = Grants::new(&permissions, project.path(), Arc::new(Fixed::default()));
            assert_eq!(read.is_ok(), fits, "{written}");
        }
    }
}
