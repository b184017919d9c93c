//! Builds what a case needs around its plugin: a database in memory, databases in files of their own, played hosts.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use compozy_lang::cases::{Case, CaseFile};
use serde_json::Value;

use crate::authoring::cases::{Complaints, Stage, http, models};
use crate::cli::databases::Lent;
use crate::cli::failure::Failure;
use crate::clock::{Clock, random_bytes};
use crate::plugin::egress::connect::Network;
use crate::plugin::environment::Fixed;
use crate::plugin::host::{Services, sql};
use crate::plugin::tool::{self, Function};
use crate::plugin::{Binding, Component, Grants};
use crate::storage::Storage;
use crate::storage::named::NamedDatabases;
use crate::storage::row::KvEntry;
use crate::storage::sqlite::{self, Role};

/// Id of the plugin in its cases.
const PLUGIN: &str = "plugin";

/// What all cases of a file share.
pub(super) struct Scene<'a> {
    /// The plugin.
    pub(super) component: Arc<Component>,
    /// Folder that `fs` grants stay in.
    pub(super) folder: &'a Path,
    /// Permissions and limits.
    pub(super) file: &'a CaseFile,
    /// The time.
    pub(super) clock: Clock,
}

/// A folder that goes with its owner.
#[derive(Debug)]
pub(super) struct Temporary(PathBuf);

impl Temporary {
    fn new() -> Result<Self, Failure> {
        let name = format!("compozy-cases-{}", crate::plugin::hex(&random_bytes::<8>()));
        let path = std::env::temp_dir().join(name);
        let mut builder = std::fs::DirBuilder::new();
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
        let made = builder.create(&path);
        made.map_err(|error| Failure::usage(format!("cannot make {}: {error}", path.display())))?;
        Ok(Self(path))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // A folder of temporary files that cannot be removed is nobody's problem here.
        drop(std::fs::remove_dir_all(&self.0));
    }
}

impl Scene<'_> {
    /// What a tool describes.
    pub(super) async fn functions(&self) -> Result<Vec<Function>, Failure> {
        let binding = self.binding(Grants::none(), Services::default());
        let described = tool::describe(&binding).await;
        described.map(|found| found.functions).map_err(|error| Failure::new(&error.code, error.message))
    }

    /// The stage of one case, and the folder that its databases need as long as it is played.
    pub(super) async fn stage(&self, case: &Case) -> Result<(Stage, Option<Temporary>), Failure> {
        let wrong = |key: &str, reason: String| {
            Failure::new("CZ0110", format!("{}: case '{}': {key}: {reason}", case.place, case.name))
        };
        let complaints = Complaints::default();
        let http = Arc::new(http::Script::new(case.world.http.clone(), complaints.clone(), self.clock.clone()));
        let models = Arc::new(models::Script::new(case.world.llm.clone(), complaints.clone()));
        let storage = self.storage(case).await.map_err(|reason| wrong("kv", reason))?;
        let (databases, folder) = self.databases(case).await.map_err(|(key, reason)| wrong(&key, reason))?;
        let services = Services {
            storage: Some(storage),
            databases: Some(Arc::new(databases)),
            models: Some(models.clone()),
            network: Arc::new(Network::played(http.clone())),
            clock: self.clock.clone(),
            ..Services::default()
        };
        let variables = case.world.env.iter().chain(&case.world.secrets);
        let environment = Fixed(variables.map(|(name, value)| (name.clone(), value.clone())).collect());
        let grants = Grants::new(&self.file.permissions, self.folder, Arc::new(environment));
        let grants = grants.map_err(|error| Failure::new(error.code(), error.to_string()))?;
        Ok((Stage { binding: self.binding(grants, services), http, models, complaints }, folder))
    }

    fn binding(&self, grants: Grants, services: Services) -> Binding {
        Binding {
            plugin_id: PLUGIN.into(),
            component: Arc::clone(&self.component),
            grants: Arc::new(grants),
            limits: self.file.limits.clone(),
            config: "null".into(),
            services: Arc::new(services),
        }
    }

    async fn storage(&self, case: &Case) -> Result<Arc<dyn Storage>, String> {
        let options = sqlite::Options::new(":memory:", Role::Embedded, self.clock.clone());
        let storage = sqlite::open(options).await.map_err(|error| error.to_string())?;
        for (key, value) in &case.world.kv {
            let value = match value {
                Value::String(text) => text.clone().into_bytes(),
                other => other.to_string().into_bytes(),
            };
            let entry = KvEntry { space: PLUGIN.to_owned(), key: key.clone(), value, expires_at: None };
            storage.kv_set(entry, None, self.clock.now()).await.map_err(|error| error.to_string())?;
        }
        Ok(Arc::new(storage))
    }

    /// Real SQLite files for the databases that the case sets up or the plugin is granted.
    async fn databases(&self, case: &Case) -> Result<(Lent, Option<Temporary>), (String, String)> {
        let granted = self.file.permissions.sql.iter().map(|grant| &grant.id);
        let labels: Vec<&String> = case.world.sql.keys().chain(granted).collect();
        if labels.is_empty() {
            return Ok((Lent(NamedDatabases::default()), None));
        }
        let folder = Temporary::new().map_err(|_| ("sql".to_owned(), "no temporary folder can be made".to_owned()))?;
        let files = labels.into_iter().enumerate();
        // A label is no file name.
        let paths: BTreeMap<String, PathBuf> =
            files.map(|(number, label)| (label.clone(), folder.0.join(format!("{number}.db")))).collect();
        let databases = NamedDatabases::new(paths).with_own(folder.0.join(sql::OWN));
        for (label, statements) in &case.world.sql {
            let failed = |error: crate::storage::named::Error| (format!("sql.{label}"), error.message);
            let opened = match label.as_str() {
                sql::OWN => databases.open_own(PLUGIN),
                label => databases.open(label, true),
            };
            let connection = opened.map_err(failed)?;
            for statement in statements {
                connection.execute(statement, Vec::new()).await.map_err(failed)?;
            }
        }
        Ok((Lent(databases), Some(folder)))
    }
}
