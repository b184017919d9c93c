//! Export and import of a SQLite database.

use std::collections::HashMap;

use async_trait::async_trait;
use compozy_engine::time::Timestamp;
use sqlx::Row as _;
use sqlx::sqlite::SqliteRow;

use super::super::Error;
use super::super::table::Table;
use super::super::transfer::{Act, ImportBatch, Progress, Row, Snapshot, Source, Staged, Transfer};
use super::super::work::columns::{self, Columns};
use super::super::work::import::{Import, from_content};
use super::super::work::operation::{Operation, Outcome, list};
use super::SqliteStorage;
use super::error::from_sqlx;
use super::export::{self, SqliteSnapshot};

#[async_trait]
impl Transfer for SqliteStorage {
    async fn export(&self, source: Source) -> Result<Box<dyn Snapshot>, Error> {
        Ok(Box::new(SqliteSnapshot::new(&self.reader, source).await?))
    }

    async fn stored(&self, table: &'static Table, keys: &[Row]) -> Result<Vec<Option<Row>>, Error> {
        export::stored(&mut *self.reader.get().await?, table, keys).await
    }

    async fn payloads(&self, hashes: &[&str]) -> Result<Vec<String>, Error> {
        let sql = "SELECT p.hash FROM json_each(?) AS w CROSS JOIN payloads AS p ON p.hash = w.value";
        let query = sqlx::query(sql).bind(list(hashes));
        let rows = query.fetch_all(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        rows.iter().map(|row| row.try_get_unchecked(0).map_err(from_sqlx)).collect()
    }

    async fn imported_from(&self, runs: &[&str]) -> Result<HashMap<String, (String, String)>, Error> {
        let sql = "SELECT e.exec_id, e.import_id, e.import_hash FROM json_each(?) AS w \
                   CROSS JOIN executions AS e ON e.exec_id = w.value \
                   WHERE e.import_id IS NOT NULL AND e.import_hash IS NOT NULL";
        let query = sqlx::query(sql).bind(list(runs));
        let rows = query.fetch_all(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        let pair = |row: &SqliteRow| {
            let mut columns = Columns::of(row);
            Ok((columns.text()?, (columns.text()?, columns.text()?)))
        };
        rows.iter().map(pair).collect()
    }

    async fn imports(&self) -> Result<Vec<Progress>, Error> {
        let sql = "SELECT export_id, table_name, taken, skipped, sha256, written, options, state, updated_at \
                   FROM import_progress ORDER BY export_id, table_name";
        let rows = sqlx::query(sql).fetch_all(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        rows.iter().map(columns::progress).collect()
    }

    async fn import_acts(
        &self,
        export_id: &str,
        table: &'static Table,
        names: &[&str],
    ) -> Result<HashMap<String, Act>, Error> {
        let sql = "SELECT i.name, i.act FROM json_each(?2) AS w CROSS JOIN import_rows AS i \
                   ON i.export_id = ?1 AND i.table_name = ?3 AND i.name = w.value";
        let query = sqlx::query(sql).bind(export_id.to_owned()).bind(list(names)).bind(table.name);
        let rows = query.fetch_all(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        let pair = |row: &SqliteRow| {
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
        let sql = "SELECT name, position, act, content FROM import_rows WHERE export_id = ? AND table_name = ? \
                   AND (name, position) > (?, ?) ORDER BY name, position LIMIT ?";
        let query = sqlx::query(sql).bind(export_id.to_owned()).bind(table.name).bind(name.to_owned());
        let query = query.bind(position).bind(limit);
        let rows = query.fetch_all(&mut *self.reader.get().await?).await.map_err(from_sqlx)?;
        let staged = |row: &SqliteRow| {
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

impl SqliteStorage {
    async fn import(&self, import: Import) -> Result<Outcome, Error> {
        self.operation(Operation::Import(import)).await
    }
}

fn act(word: &str) -> Result<Act, Error> {
    Act::parse(word).ok_or_else(|| Error::Unusable(format!("a waiting row is to be '{word}'")))
}
