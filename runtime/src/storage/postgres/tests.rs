//! What only a PostgreSQL server can get wrong: several nodes, connections that go, servers that restart, spellings.

#[path = "../../../../tests/support/postgres.rs"]
mod server;

use std::sync::Arc;
use std::sync::Mutex;

use compozy_lang::settings::{Database, Driver};

use super::super::Storage;
use super::super::suite;
use super::{Options, PgStorage, Role, open};
use crate::clock::Clock;

/// The settings for a URL, as a project would have them.
fn settings(url: &str) -> Database {
    Database { driver: Driver::Postgres, conn_string: Some(url.to_owned()), ..Database::default() }
}

async fn opened(url: &str, role: Role) -> PgStorage {
    open(Options::new(&settings(url), role, Clock::system()).unwrap()).await.unwrap()
}

async fn fresh() -> (String, Arc<dyn Storage>) {
    let url = server::database();
    let storage = opened(&url, Role::Server).await;
    (url, Arc::new(storage))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_suite_on_a_server() {
    let made = Mutex::new(Vec::new());
    suite::all(|| async {
        let (url, storage) = fresh().await;
        made.lock().unwrap().push(url);
        storage
    })
    .await;
    for url in made.into_inner().unwrap() {
        server::drop_database(&url);
    }
}
