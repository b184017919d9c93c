//! Export and import of a PostgreSQL database.

use std::collections::HashMap;

use async_trait::async_trait;
use compozy_engine::time::Timestamp;
use sqlx::postgres::PgRow;

use super::super::Error;
use super::super::table::Table;
use super::super::transfer::{Act, ImportBatch, Progress, Row, Snapshot, Source, Staged, Transfer};
use super::super::work::columns::{self, Columns};
use super::super::work::import::{Import, from_content};
use super::super::work::operation::{Operation, Outcome};
use super::PgStorage;
use super::error::from_sqlx;
use super::export::{self, PgSnapshot};
use super::sql;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[async_trait]
impl Transfer for PgStorage {
    async fn export(&self, source: Source) -> Result<Box<dyn Snapshot>, Error> {
        let transaction = self.pool().begin_with(sql::SNAPSHOT).await.map_err(from_sqlx)?;
        Ok(Box::new(PgSnapshot::new(transaction, source).await?))
    }

    async fn stored(&self, table: &'static Table, keys: &[Row]) -> Result<Vec<Option<Row>>, Error> {
        export::stored(&mut *self.reader().await?, table, keys).await
    }

    async fn payloads(&self, hashes: &[&str]) -> Result<Vec<String>, Error> {
        let query = sql::query("SELECT hash FROM payloads WHERE hash = ANY($1)").bind(owned(hashes));
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(from_sqlx)?;
        rows.iter().map(|row| Columns::of(row).text()).collect()
    }

    async fn imported_from(&self, runs: &[&str]) -> Result<HashMap<String, (String, String)>, Error> {
        let sql = "SELECT exec_id, import_id, import_hash FROM executions WHERE exec_id = ANY($1) \
                   AND import_id IS NOT NULL AND import_hash IS NOT NULL";
        let query = sql::query(sql).bind(owned(runs));
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(from_sqlx)?;
        let pair = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Ok((columns.text()?, (columns.text()?, columns.text()?)))
        };
        rows.iter().map(pair).collect()
    }

    async fn imports(&self) -> Result<Vec<Progress>, Error> {
        let sql = "SELECT export_id, table_name, taken, skipped, sha256, written, options, state, updated_at \
                   FROM import_progress ORDER BY export_id, table_name";
        let rows = sql::query(sql).fetch_all(&mut *self.reader().await?).await.map_err(from_sqlx)?;
        rows.iter().map(columns::progress).collect()
    }

    async fn import_acts(
        &self,
        export_id: &str,
        table: &'static Table,
        names: &[&str],
    ) -> Result<HashMap<String, Act>, Error> {
        let sql = "SELECT name, act FROM import_rows WHERE export_id = $1 AND table_name = $2 AND name = ANY($3)";
        let query = sql::query(sql).bind(export_id.to_owned()).bind(table.name).bind(owned(names));
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(from_sqlx)?;
        let pair = |row: &PgRow| {
            let mut columns = Columns::of(row);
            Ok((columns.text()?, act(&columns.text()?)?))
        };
        rows.iter().map(pair).collect()
    }

    async fn import_staged(
        &self,
        export_id: &str,
        table: &'static Table,
        (name, position): (&str, i64),
        limit: u32,
    ) -> Result<Vec<Staged>, Error> {
        let sql = "SELECT name, position, act, content FROM import_rows WHERE export_id = $1 AND table_name = $2 \
                   AND (name, position) > ($3, $4) ORDER BY name, position LIMIT $5";
        let query = sql::query(sql).bind(export_id.to_owned()).bind(table.name).bind(name.to_owned());
        let query = query.bind(position).bind(i64::from(limit));
        let rows = query.fetch_all(&mut *self.reader().await?).await.map_err(from_sqlx)?;
        let staged = |row: &PgRow| {
            let mut columns = Columns::of(row);
            let (name, position, word) = (columns.text()?, columns.number()?, columns.text()?);
            let row = columns.text_option()?.map(|text| from_content(&text)).transpose()?;
            Ok(Staged { table, name, position, act: act(&word)?, row })
        };
        rows.iter().map(staged).collect()
    }

    async fn import_write(&self, batch: ImportBatch, now: Timestamp) -> Result<(), Error> {
        self.import(Import::Write { batch: Box::new(batch), now }).await.map(|_| ())
    }

    async fn import_finish(&self, export_id: &str, now: Timestamp) -> Result<(), Error> {
        self.import(Import::Finish { export_id: export_id.to_owned(), now }).await.map(|_| ())
    }

    async fn import_abort(&self, export_id: &str) -> Result<(), Error> {
        loop {
            match self.import(Import::Abort { export_id: export_id.to_owned() }).await? {
                Outcome::Count(0) => return Ok(()),
                Outcome::Count(_) => {}
                other => return super::unexpected(&other),
            }
        }
    }
}

impl PgStorage {
    async fn import(&self, import: Import) -> Result<Outcome, Error> {
        self.operation(Operation::Import(import)).await
    }
}

fn act(word: &str) -> Result<Act, Error> {
    Act::parse(word).ok_or_else(|| Error::Unusable(format!("a waiting row is to be '{word}'")))
}
