//! Statements, named or not, and how transactions begin where sessions are not ours.
//!
//! Every statement of this driver is made here (a test says so), since where a pooler gives each transaction another
//! session no name given in one of them means anything in the next.

use std::sync::atomic::{AtomicBool, Ordering};

use sqlx::database::HasStatementCache;
use sqlx::postgres::PgArguments;
use sqlx::query::{Query, QueryAs};
use sqlx::{Connection as _, Database, FromRow, PgConnection, Postgres, SqlSafeStr, Transaction};

/// Some database of this process is reached through a pooler. What a client may not name it names nowhere: to do without
/// costs other databases a little time, and nothing else.
static UNNAMED: AtomicBool = AtomicBool::new(false);

/// From now on no statement gets a name.
pub(super) fn name_no_more() {
    UNNAMED.store(true, Ordering::Relaxed);
}

fn is_named() -> bool {
    !UNNAMED.load(Ordering::Relaxed)
}

/// A statement.
pub(super) fn query<'q>(text: impl SqlSafeStr) -> Query<'q, Postgres, PgArguments> {
    sqlx::query(text).persistent(is_named())
}

/// A statement whose rows are `O`.
pub(super) fn query_as<'q, D, O>(text: impl SqlSafeStr) -> QueryAs<'q, D, O, D::Arguments>
where
    D: Database + HasStatementCache,
    O: for<'r> FromRow<'r, D::Row>,
{
    sqlx::query_as(text).persistent(is_named())
}

/// What every session is set to (cli-and-api §10). `synchronous_commit` is set by each transaction that wants less.
pub(super) const SESSION: [(&str, &str); 6] = [
    ("search_path", "public"),
    ("default_transaction_isolation", "read committed"),
    ("statement_timeout", "30s"),
    ("lock_timeout", "5s"),
    ("idle_in_transaction_session_timeout", "10s"),
    // Planning a statement over many tables anew costs more than any of its plans.
    ("plan_cache_mode", "force_generic_plan"),
];

/// The same for one transaction, which leaves nothing behind.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL search_path = public; \
    SET LOCAL statement_timeout = '30s'; SET LOCAL lock_timeout = '5s'; \
    SET LOCAL idle_in_transaction_session_timeout = '10s'";

/// A transaction that sees the database as it is at its first statement.
pub(super) const SNAPSHOT: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY";

/// Begins a transaction with the session's settings, whoever's session it is.
pub(super) async fn begin(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    connection.begin_with(BEGIN).await
}

/// What begins a transaction on a connection of a pool, where sessions are not ours.
pub(super) const fn begin_text() -> &'static str {
    BEGIN
}

/// Begins a transaction that sees the database at one moment. Inside of one it is that one from here on: it must not have
/// read anything yet.
pub(super) async fn snapshot(connection: &mut PgConnection) -> Result<Transaction<'_, Postgres>, sqlx::Error> {
    if !connection.is_in_transaction() {
        return connection.begin_with(SNAPSHOT).await;
    }
    let set = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY";
    sqlx::raw_sql(set).execute(&mut *connection).await?;
    connection.begin().await
}
