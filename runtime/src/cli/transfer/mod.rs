//! `compozy export` and `compozy import`: the database directly, or through the server that holds it in memory.

pub mod export;
pub mod import;
mod ticker;

use std::sync::Arc;

use super::client::Client;
use super::compose::{self, Loaded};
use super::failure::Failure;
use super::session::Session;
use super::usable::Plugins;
use super::{backend, config, open};
use crate::storage::Storage;
use crate::storage::sqlite::Role;

/// Where the rows are.
pub(super) enum Database {
    /// In a database that this process opens.
    Local(Arc<dyn Storage>, Box<Loaded>),
    /// In a server.
    Remote(Client),
}

impl Database {
    /// Finds it (cli-and-api §4.1).
    ///
    /// # Errors
    /// An invalid project; a database in memory without its server (`memory_server_unreachable`); one that cannot be
    /// opened.
    pub(super) async fn find(session: &Session, role: Role) -> Result<Self, Failure> {
        let client = |url: &str| Client::new(url, session.api_key.clone(), session.insecure, session.clock.clone());
        if let Some(url) = &session.server {
            return Ok(Self::Remote(client(url)?));
        }
        let loaded = compose::load(session, &config::config_file(session)?, Plugins::Unused).await?;
        if compose::is_ephemeral(&loaded.project) {
            let server = if session.local { None } else { backend::discover(session, &loaded).await? };
            return match server {
                Some(server) => Ok(Self::Remote(client(&server.url)?)),
                None => Err(Failure::new(
                    "memory_server_unreachable",
                    "the project keeps its executions in the memory of a server, and none is running",
                )
                .hint("start it with `compozy start`")),
            };
        }
        let storage = open::storage(session, &loaded.project, role).await?;
        Ok(Self::Local(storage, Box::new(loaded)))
    }
}
