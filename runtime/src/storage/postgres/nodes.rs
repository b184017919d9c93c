//! Nodes, their leases, and runs that change hands. Leases end by the database's clock: no two nodes need agree on one.

use compozy_engine::time::Timestamp;
use sqlx::PgConnection;

use super::super::row::Node;
use super::super::work::operation::{Claimed, Outcome};
use super::claim;
use super::known::Known;
use super::sql;
use crate::id::{ExecId, NodeId};

/// Most runs that are freed in one transaction.
const FREED: i64 = 256;

/// What is read of a run that was claimed: id, status, level, whether its end concerns others.
type Row = (String, String, String, bool);

/// Takes at most `limit` queued runs for `node`.
pub(super) async fn claim(
    connection: &mut PgConnection,
    known: &Known,
    node: &NodeId,
    limit: u32,
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    let ids = claim::choose(connection, known, node, limit, now).await?;
    take(connection, known, node, &ids, now).await
}

/// Takes one run, if it has not ended, no live node owns it, and it waits for no key.
pub(super) async fn claim_one(
    connection: &mut PgConnection,
    known: &Known,
    node: &NodeId,
    exec_id: &ExecId,
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    let free = concat!(
        "SELECT 1 FROM executions AS e WHERE exec_id = $1 AND finished_at IS NULL ",
        "AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = e.owner_node AND n.lease_until > ",
        now!(),
        ") AND NOT EXISTS (SELECT 1 FROM ready AS r WHERE r.exec_id = e.exec_id AND r.gated = 1) FOR NO KEY UPDATE OF e"
    );
    let free = sql::query(free).bind(exec_id.as_str());
    if free.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(Outcome::Claimed(Vec::new()));
    }
    let leave = sql::query("DELETE FROM ready WHERE exec_id = $1").bind(exec_id.as_str());
    leave.execute(&mut *connection).await?;
    take(connection, known, node, &[exec_id.as_str().to_owned()], now).await
}

/// Takes one run that `node` owns already under a new epoch.
pub(super) async fn claim_anew(
    connection: &mut PgConnection,
    known: &Known,
    node: &NodeId,
    exec_id: &ExecId,
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    let own = "SELECT 1 FROM executions WHERE exec_id = $1 AND owner_node = $2 FOR NO KEY UPDATE";
    let own = sql::query(own).bind(exec_id.as_str()).bind(node.as_str());
    if own.fetch_optional(&mut *connection).await?.is_none() {
        return Ok(Outcome::Claimed(Vec::new()));
    }
    take(connection, known, node, &[exec_id.as_str().to_owned()], now).await
}

/// The runs that `node` owns.
pub(super) async fn owned(connection: &mut PgConnection, node: &NodeId) -> Result<Vec<ExecId>, sqlx::Error> {
    let query = sql::query_as("SELECT exec_id FROM executions WHERE owner_node = $1").bind(node.as_str());
    let ids: Vec<(String,)> = query.fetch_all(connection).await?;
    Ok(ids.into_iter().map(|(exec_id,)| exec_id.into()).collect())
}

/// The runs that `node` claimed at `now`. One that it started then has begun, under its first epoch.
pub(super) async fn claimed_at(
    connection: &mut PgConnection,
    known: &Known,
    node: &NodeId,
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    let sql = "SELECT exec_id, status, durability, parent_exec_id IS NOT NULL OR concurrency_key IS NOT NULL \
               FROM executions WHERE owner_node = $1 AND updated_at = $2 AND finished_at IS NULL \
               AND (status = 'PENDING' OR epoch > 1)";
    let rows = sql::query_as::<_, Row>(sql).bind(node.as_str()).bind(now.0).fetch_all(connection).await?;
    Ok(claimed(known, rows))
}

fn claimed(known: &Known, rows: Vec<Row>) -> Outcome {
    let mut concern_others = Vec::new();
    let mut claimed = Vec::with_capacity(rows.len());
    for (exec_id, status, durability, concerns_others) in rows {
        let exec_id = ExecId::from(exec_id);
        if concerns_others {
            concern_others.push(exec_id.clone());
        }
        claimed.push(Claimed { exec_id, status: status.into(), durability });
    }
    known.claimed(&claimed, |exec_id| concern_others.contains(exec_id));
    Outcome::Claimed(claimed)
}

/// Makes `node` the owner of `ids` under a new epoch.
async fn take(
    connection: &mut PgConnection,
    known: &Known,
    node: &NodeId,
    ids: &[String],
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    if ids.is_empty() {
        return Ok(Outcome::Claimed(Vec::new()));
    }
    let sql = "UPDATE executions SET owner_node = $1, epoch = epoch + 1, updated_at = $2, \
               affinity_node = CASE WHEN affinity_node = $1 THEN affinity_node END \
               WHERE exec_id = ANY($3) AND finished_at IS NULL \
               RETURNING exec_id, status, durability, parent_exec_id IS NOT NULL OR concurrency_key IS NOT NULL";
    let query = sql::query_as::<_, Row>(sql).bind(node.as_str()).bind(now.0).bind(ids);
    Ok(claimed(known, query.fetch_all(connection).await?))
}

/// Makes claimable again what `node` owns.
pub(super) async fn hand_back(
    connection: &mut PgConnection,
    node: &NodeId,
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    let sql = "SELECT exec_id FROM executions WHERE owner_node = $1 \
               UNION SELECT exec_id FROM executions WHERE owner_node IS NULL AND affinity_node = $1 ORDER BY 1";
    let ids: Vec<(String,)> = sql::query_as(sql).bind(node.as_str()).fetch_all(&mut *connection).await?;
    let still = "(owner_node = $2 OR (owner_node IS NULL AND affinity_node = $2))";
    free(connection, ids, (still, ""), node, now).await.map(Outcome::Count)
}

/// Makes some of the runs of dead nodes claimable, and forgets nodes that have none left. Fewer than [`FREED`] is all.
pub(super) async fn recover(
    connection: &mut PgConnection,
    me: &NodeId,
    now: Timestamp,
) -> Result<Outcome, sqlx::Error> {
    const DEAD: &str = concat!(
        "$1 AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = owner_node AND n.lease_until > ",
        now!(),
        ")"
    );
    let sql = format!(
        "(SELECT exec_id FROM executions WHERE owner_node IS NOT NULL AND owner_node <> {DEAD} LIMIT {FREED}) UNION \
         (SELECT exec_id FROM executions WHERE owner_node IS NULL AND affinity_node IS NOT NULL AND affinity_node <> {} \
         LIMIT {FREED}) ORDER BY 1 LIMIT {FREED}",
        DEAD.replace("owner_node", "affinity_node")
    );
    let query = sql::query_as(sqlx::AssertSqlSafe(sql)).bind(me.as_str());
    let ids: Vec<(String,)> = query.fetch_all(&mut *connection).await?;
    // Whoever was freed by another node meanwhile has no owner or a live one.
    let still = concat!(
        "coalesce(owner_node, affinity_node) <> $2 AND NOT EXISTS (SELECT 1 FROM nodes AS n ",
        "WHERE n.node_id = coalesce(owner_node, affinity_node) AND n.lease_until > ",
        now!(),
        ")"
    );
    // A transaction of a node that was stopped in it holds its rows until the server ends it: the rest need not wait.
    let freed = free(connection, ids, (still, "SKIP LOCKED"), me, now).await?;
    let forget = concat!(
        "DELETE FROM nodes AS n WHERE n.node_id <> $1 AND n.lease_until <= ",
        now!(),
        " AND NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.owner_node = n.node_id) ",
        "AND NOT EXISTS (SELECT 1 FROM executions AS e WHERE e.affinity_node = n.node_id AND e.finished_at IS NULL)"
    );
    sql::query(forget).bind(me.as_str()).execute(connection).await?;
    Ok(Outcome::Count(freed))
}

/// Whether there are runs of dead nodes, or rows of such nodes, to be freed.
pub(super) async fn any_dead(connection: &mut PgConnection, me: &NodeId) -> Result<bool, sqlx::Error> {
    let sql = concat!(
        "SELECT EXISTS (SELECT 1 FROM nodes WHERE node_id <> $1 AND lease_until <= ",
        now!(),
        ") OR EXISTS (SELECT 1 FROM executions AS e WHERE e.owner_node IS NOT NULL AND e.owner_node <> $1 ",
        "AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = e.owner_node)) ",
        "OR EXISTS (SELECT 1 FROM executions AS e WHERE e.owner_node IS NULL AND e.affinity_node IS NOT NULL ",
        "AND e.affinity_node <> $1 AND NOT EXISTS (SELECT 1 FROM nodes AS n WHERE n.node_id = e.affinity_node))"
    );
    let (found,): (bool,) = sql::query_as(sql).bind(me.as_str()).fetch_one(connection).await?;
    Ok(found)
}

/// Whether [`recover`] may have left some.
pub(super) fn is_cut_off(freed: u64) -> bool {
    freed >= FREED as u64
}

/// Makes those of `ids` for which `still` holds, over `$2` a node, claimable by anyone. Runs that somebody writes to at
/// the moment are waited for, in the order of their ids, or passed over if `locked` says so.
async fn free(
    connection: &mut PgConnection,
    ids: Vec<(String,)>,
    (still, locked): (&str, &str),
    node: &NodeId,
    now: Timestamp,
) -> Result<u64, sqlx::Error> {
    if ids.is_empty() {
        return Ok(0);
    }
    let ids: Vec<String> = ids.into_iter().map(|(exec_id,)| exec_id).collect();
    let lock = format!(
        "SELECT exec_id FROM executions WHERE exec_id = ANY($1) AND {still} ORDER BY exec_id FOR NO KEY UPDATE {locked}"
    );
    let query = sql::query_as(sqlx::AssertSqlSafe(lock)).bind(&ids).bind(node.as_str());
    let locked: Vec<(String,)> = query.fetch_all(&mut *connection).await?;
    let ids: Vec<String> = locked.into_iter().map(|(exec_id,)| exec_id).collect();
    // A run that is to stay paused waits for `resume`, not for a node. What was under way goes on before what is new.
    let queue = "INSERT INTO ready (exec_id, not_before, priority, concurrency_key, workflow_id) \
                 SELECT exec_id, least($2, created_at), priority, concurrency_key, workflow_id FROM executions \
                 WHERE exec_id = ANY($1) AND (status IN ('PENDING', 'RUNNING', 'WAITING') \
                 OR (status = 'PAUSED' AND (pause_request IS NULL OR cancel_request IS NOT NULL))) ORDER BY exec_id \
                 ON CONFLICT (exec_id) DO UPDATE SET affinity_node = NULL";
    sql::query(queue).bind(&ids).bind(now.0).execute(&mut *connection).await?;
    let leave =
        "UPDATE executions SET owner_node = NULL, affinity_node = NULL, updated_at = $2 WHERE exec_id = ANY($1)";
    sql::query(leave).bind(&ids).bind(now.0).execute(connection).await?;
    Ok(ids.len() as u64)
}

/// Registers or renews a node: its lease lasts as long as the row says, from the database's now on.
pub(super) async fn put(connection: &mut PgConnection, node: &Node) -> Result<(), sqlx::Error> {
    let sql = concat!(
        "INSERT INTO nodes (node_id, kind, version, pid, lease_until) VALUES ($1, $2, $3, $4, ",
        now!(),
        " + $5) ON CONFLICT (node_id) DO UPDATE SET lease_until = excluded.lease_until"
    );
    let lease = node.lease_until.0.saturating_sub(node.renewed_at.0);
    let query = sql::query(sql).bind(node.node_id.as_str()).bind(&node.kind).bind(&node.version);
    query.bind(i64::from(node.pid)).bind(lease).execute(connection).await.map(|_| ())
}

/// Forgets a node.
pub(super) async fn remove(connection: &mut PgConnection, node: &NodeId) -> Result<(), sqlx::Error> {
    let query = sql::query("DELETE FROM nodes WHERE node_id = $1").bind(node.as_str());
    query.execute(connection).await.map(|_| ())
}
