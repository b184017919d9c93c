//! A PostgreSQL to measure: the one that `DATABASE_URL` names, or a server started for this, below the target folder.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, Row as _};

use crate::machine;

// How tests start one. It panics where a test would end.
#[path = "../tests/support/postgres.rs"]
#[expect(clippy::expect_used, clippy::panic, reason = "shared with tests")]
mod server;

/// Connections of the largest comparison, of three nodes, and some to look with.
const CONNECTIONS: u32 = 400;

/// About what a step writes, in one row.
const CONTENT: usize = 300;

/// A running PostgreSQL.
pub(crate) struct Postgres {
    own: Option<server::Postgres>,
    url: String,
    made: Mutex<Vec<String>>,
}

impl Postgres {
    /// Finds or starts one.
    pub(crate) fn start() -> Result<Self> {
        let (own, url) = match server::given() {
            Some(url) => (None, url),
            None => {
                let own = server::Postgres::start_in(&machine::target()?, CONNECTIONS);
                let url = own.url("postgres");
                (Some(own), url)
            }
        };
        Ok(Self { own, url, made: Mutex::default() })
    }

    /// URL of a new, empty database.
    pub(crate) fn database(&self) -> String {
        let mut made = self.made.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let name = format!("compozy_bench_{}_{}", std::process::id(), made.len());
        server::execute(&self.url, format!("CREATE DATABASE {name}"));
        made.push(server::with_name(&self.url, &name));
        made.last().cloned().unwrap_or_default()
    }

    /// Transactions of one inserted row a second, by `pgbench` with so many clients.
    pub(crate) fn inserts_per_second(&self, clients: usize, span: Duration) -> Result<f64> {
        let url = self.database();
        server::execute(&url, "CREATE TABLE rows (id bigserial PRIMARY KEY, content text NOT NULL)".to_owned());
        let scratch = machine::scratch()?;
        let script = scratch.path().join("insert.sql");
        let content = "x".repeat(CONTENT);
        std::fs::write(&script, format!("INSERT INTO rows (content) VALUES ('{content}');\n")).context("write it")?;
        let threads = std::thread::available_parallelism().context("count the cores")?.get().min(clients);
        let output = Command::new(self.program("pgbench"))
            .args(["-n", "-M", "prepared", "-c", &clients.to_string(), "-j", &threads.to_string()])
            .args(["-T", &span.as_secs().max(1).to_string(), "-f"])
            .arg(&script)
            .arg(&url)
            .output()
            .context("start pgbench")?;
        let said = String::from_utf8_lossy(&output.stdout);
        let rate = said.lines().find_map(|line| line.strip_prefix("tps = ")?.split(' ').next()?.parse().ok());
        match rate {
            Some(rate) if output.status.success() => Ok(rate),
            _ => bail!("measure with pgbench: {said}{}", String::from_utf8_lossy(&output.stderr)),
        }
    }

    fn program(&self, name: &str) -> PathBuf {
        let own = self.own.as_ref().map(|own| own.programs.join(name));
        own.filter(|program| program.is_file()).unwrap_or_else(|| Path::new(name).to_owned())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // One's own server goes with all it has.
        if self.own.is_none() {
            let made = self.made.get_mut().map(std::mem::take).unwrap_or_default();
            made.iter().for_each(|url| server::drop_database(url));
        }
    }
}

/// A connection to look into a database with.
pub(crate) async fn connect(url: &str) -> Result<PgConnection> {
    PgConnection::connect(url).await.context("connect to the database")
}

/// The numbers in the first column of what a query finds.
pub(crate) async fn numbers(connection: &mut PgConnection, sql: &str) -> Result<Vec<i64>> {
    let rows = sqlx::query(AssertSqlSafe(sql)).fetch_all(connection).await.with_context(|| format!("ask {sql}"))?;
    rows.iter().map(|row| row.try_get(0).context("read a number")).collect()
}
