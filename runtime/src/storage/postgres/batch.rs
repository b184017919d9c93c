//! Rows of many logical transactions as one statement: one round trip, and one flush for all of them.
//!
//! Each kind of row is a part of the statement (a data-modifying CTE over arrays). The rows of runs are guarded by owner,
//! epoch and seq; if fewer matched than were given, the statement divides by zero and nothing of it happens. All parts see
//! the database as it was before, so no two of them may touch the same row: what one logical transaction does twice is
//! put together here first.

use std::collections::{BTreeMap, HashMap};

use sqlx::postgres::PgArguments;
use sqlx::{AssertSqlSafe, PgConnection, Postgres};

use super::super::work::encode::{Definition, Encoded};
use super::super::work::slot::{Slot, Value};
use super::error::Refused;
use super::sql;
use super::statement::{self, Part};

/// Guards that a batch adds to those of its runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Guard {
    /// A run that ends has no parent and no concurrency key: nothing has to be done to others.
    Plain,
    /// Only its owner and its place in its journal.
    Own,
}

/// Whether commits wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flush {
    /// As the server is set: they do.
    Wait,
    /// They do not (`durability: normal`).
    Later,
}

/// Rows of one kind, column by column.
#[derive(Debug)]
struct Table<'a> {
    columns: Vec<Vec<&'a Value>>,
}

impl<'a> Table<'a> {
    fn new(width: usize) -> Self {
        Self { columns: vec![Vec::new(); width] }
    }

    fn push(&mut self, row: impl IntoIterator<Item = &'a Value>) {
        for (column, value) in self.columns.iter_mut().zip(row) {
            column.push(value);
        }
    }

    fn rows(&self) -> usize {
        self.columns.first().map_or(0, Vec::len)
    }
}

/// Rows made here, which outlive the statement.
#[derive(Debug, Default)]
struct Made {
    definitions: Vec<[Value; 5]>,
    heads: Vec<[Value; 4]>,
    runs: Vec<[Value; 2]>,
    usage: Vec<Vec<Value>>,
    /// Rows of steps of which PostgreSQL would not take what they wait for.
    steps: HashMap<[String; 2], Vec<Value>>,
}

/// Writes the rows of `members` in one statement. Rows about signals and about other runs are not among them.
///
/// # Errors
/// [`Refused`]; then nothing was written.
pub(super) async fn write(
    connection: &mut PgConnection,
    members: &[&Encoded],
    definitions: &[&Definition],
    guard: Guard,
    flush: Flush,
) -> Result<(), Refused> {
    let made = made(members, definitions);
    let tables = tables(members, &made);
    let updates = members.iter().filter(|member| member.update.is_some()).count();
    if tables.is_empty() && updates == 0 {
        return Ok(());
    }
    let mut moved = Table::new(Slot::Move.columns());
    for update in members.iter().filter_map(|member| member.update.as_ref()) {
        moved.push(update.row(Slot::Move));
    }
    let mut parts: Vec<Part> = Vec::new();
    if updates > 0 {
        parts.push(Part::Runs { plain: guard == Guard::Plain });
    }
    parts.extend(tables.keys().map(|slot| Part::Rows(*slot)));
    let sql = statement::text(&parts, updates > 0, flush == Flush::Later);
    let mut query = sql::query(AssertSqlSafe(sql));
    if updates > 0 {
        query = bind(query, &moved, statement::types(Slot::Move));
    }
    for (slot, table) in &tables {
        query = bind(query, table, statement::types(*slot));
    }
    if updates > 0 {
        query = query.bind(updates as i64);
    }
    query.execute(connection).await?;
    Ok(())
}

type Query<'q> = sqlx::query::Query<'q, Postgres, PgArguments>;

/// One array for each column.
fn bind<'q>(mut query: Query<'q>, table: &Table<'_>, types: &str) -> Query<'q> {
    for (column, kind) in table.columns.iter().zip(types.chars()) {
        query = match kind {
            't' => query.bind(column.iter().map(|value| value.text()).collect::<Vec<Option<&str>>>()),
            'b' => query.bind(column.iter().map(|value| value.bytes()).collect::<Vec<Option<&[u8]>>>()),
            _ => query.bind(column.iter().map(|value| value.integer()).collect::<Vec<Option<i64>>>()),
        };
    }
    query
}

/// What several members share, once.
fn made(members: &[&Encoded], definitions: &[&Definition]) -> Made {
    let mut made = Made::default();
    let mut runs: BTreeMap<&str, i64> = BTreeMap::new();
    let mut at = None;
    for start in members.iter().filter_map(|member| member.started.as_ref()) {
        *runs.entry(&start.workflow_id).or_default() += 1;
        at = Some(start.at);
    }
    made.runs = runs.into_iter().map(|(id, count)| [Value::Text(id.into()), Value::Integer(count)]).collect();
    if let Some(at) = at {
        let sorted: BTreeMap<_, _> = definitions.iter().map(|one| (&one.digest, *one)).collect();
        made.definitions = sorted.values().map(|definition| definition.row(at)).collect();
        let heads: BTreeMap<_, _> = definitions.iter().map(|one| ((&one.kind, &one.id), *one)).collect();
        made.heads = heads.values().map(|definition| definition.head(at)).collect();
    }
    let mut usage: BTreeMap<Vec<&str>, (&[Value], i64, i64)> = BTreeMap::new();
    for row in rows_of(members, Slot::Usage) {
        let key = row.iter().filter_map(Value::text).collect();
        let number = |column: usize| row.get(column).and_then(Value::integer).unwrap_or(0);
        let sum = usage.entry(key).or_insert((row, 0, 0));
        sum.1 += number(4);
        sum.2 += number(5);
    }
    made.steps = rows_of(members, Slot::Step).filter_map(readable).collect();
    made.usage = usage
        .into_values()
        .map(|(row, prompt, completion)| {
            let key = row.iter().take(4).cloned();
            key.chain([Value::Integer(prompt), Value::Integer(completion)]).collect()
        })
        .collect();
    made
}

/// A step with U+FFFD for U+0000 in what it waits for: an index takes that JSON apart, which PostgreSQL does for none with
/// U+0000 in it. Nobody can name such a signal, so nothing is lost. `None` for the usual step.
fn readable(row: &[Value]) -> Option<([String; 2], Vec<Value>)> {
    let waits_for = row.get(WAITING_FOR).and_then(Value::text).filter(|json| json.contains("\\u0000"))?;
    let mut json = serde_json::from_str(waits_for).ok()?;
    replace_nul(&mut json);
    let mut mended = row.to_vec();
    *mended.get_mut(WAITING_FOR)? = Value::Text(json.to_string().into());
    Some((step_key(row)?, mended))
}

/// Place of `waiting_for` in a row of [`Slot::Step`].
const WAITING_FOR: usize = 12;

fn step_key(row: &[Value]) -> Option<[String; 2]> {
    let text = |column: usize| row.get(column).and_then(Value::text).map(str::to_owned);
    Some([text(0)?, text(1)?])
}

fn replace_nul(json: &mut serde_json::Value) {
    match json {
        serde_json::Value::String(text) => *text = text.replace('\0', "\u{fffd}"),
        serde_json::Value::Array(items) => items.iter_mut().for_each(replace_nul),
        serde_json::Value::Object(entries) => entries.values_mut().for_each(replace_nul),
        _ => {}
    }
}

/// The rows of a kind, over all members.
fn rows_of<'a>(members: &[&'a Encoded], slot: Slot) -> impl Iterator<Item = &'a [Value]> {
    let of = move |member: &&'a Encoded| member.rows.iter().find(|(present, _)| *present == slot).map(|(_, rows)| rows);
    members.iter().filter_map(of).flat_map(move |rows| rows.chunks(slot.columns()))
}

/// Kinds whose rows have a key of so many columns at the front, the last one given for a key counts.
const KEYED: [(Slot, usize); 5] =
    [(Slot::Payload, 1), (Slot::PayloadRef, 2), (Slot::Step, 2), (Slot::Attempt, 2), (Slot::ClearedTimer, 2)];

/// Every kind there is something of, in the order of the statement.
fn tables<'a>(members: &[&'a Encoded], made: &'a Made) -> BTreeMap<Slot, Table<'a>> {
    let mut tables = BTreeMap::new();
    let mut put = |slot: Slot, rows: Vec<&'a [Value]>| {
        if !rows.is_empty() {
            let mut table = Table::new(slot.columns());
            rows.into_iter().for_each(|row| table.push(row));
            debug_assert!(table.rows() > 0);
            tables.insert(slot, table);
        }
    };
    put(Slot::Definition, made.definitions.iter().map(<[_; 5]>::as_slice).collect());
    put(Slot::Head, made.heads.iter().map(<[_; 4]>::as_slice).collect());
    put(Slot::WorkflowRuns, made.runs.iter().map(<[_; 2]>::as_slice).collect());
    put(Slot::Usage, made.usage.iter().map(Vec::as_slice).collect());
    for slot in [Slot::Execution, Slot::Idempotency, Slot::Ready, Slot::Journal, Slot::EndedReady, Slot::EndedTimer] {
        put(slot, rows_of(members, slot).collect());
    }
    put(Slot::EndedSignal, rows_of(members, Slot::EndedSignal).collect());
    for (slot, key) in KEYED {
        put(slot, last_of_each(rows_of(members, slot), key));
    }
    if !made.steps.is_empty() {
        let mended = |row: &'a [Value]| step_key(row).and_then(|key| made.steps.get(&key)).map_or(row, Vec::as_slice);
        put(Slot::Step, last_of_each(rows_of(members, Slot::Step), 2).into_iter().map(mended).collect());
    }
    put(Slot::Timer, timers(members));
    tables
}

/// The last row of each key, in the order of the keys: two writers that need the same rows take them in the same order.
fn last_of_each<'a>(rows: impl Iterator<Item = &'a [Value]>, key: usize) -> Vec<&'a [Value]> {
    let of = |row: &'a [Value]| row.iter().take(key).map(Value::order).collect::<Vec<_>>();
    rows.map(|row| (of(row), row)).collect::<BTreeMap<_, _>>().into_values().collect()
}

/// Timers that are set and not taken back in the same transaction.
fn timers<'a>(members: &[&'a Encoded]) -> Vec<&'a [Value]> {
    let mut set: HashMap<Vec<Option<&str>>, &'a [Value]> = HashMap::new();
    for member in members {
        let one = &[*member][..];
        if member.update.as_ref().is_some_and(|update| update.ends) {
            continue;
        }
        for row in rows_of(one, Slot::Timer) {
            set.insert(row.iter().take(2).map(Value::text).collect(), row);
        }
        for row in rows_of(one, Slot::ClearedTimer) {
            set.remove(&row.iter().take(2).map(Value::text).collect::<Vec<_>>());
        }
    }
    let mut rows: Vec<_> = set.into_values().collect();
    rows.sort_by_key(|row| row.iter().take(2).map(Value::text).map(|text| text.map(str::to_owned)).collect::<Vec<_>>());
    rows
}

/// A key in the order PostgreSQL's rows are locked: numbers by size, texts by bytes.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Order<'a> {
    Nothing,
    Number(i64),
    Text(&'a str),
}

impl Value {
    fn order(&self) -> Order<'_> {
        match self {
            Self::Null | Self::Blob(_) => Order::Nothing,
            Self::Integer(number) => Order::Number(*number),
            Self::Text(text) => Order::Text(text),
        }
    }

    pub(in crate::storage::postgres) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            _ => None,
        }
    }

    fn bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Blob(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// Whether one statement can hold all of `member`.
pub(super) fn fits(member: &Encoded) -> bool {
    let concerns_others =
        member.outward.is_some() || member.started.as_ref().is_some_and(|start| start.concurrency_key.is_some());
    let has_signals = member.rows.iter().any(|(slot, _)| matches!(slot, Slot::NotedSignal | Slot::SettledSignal));
    !concerns_others && !has_signals
}

/// Definitions that `members` bring along.
pub(super) fn definitions<'a>(members: &[&'a Encoded]) -> impl Iterator<Item = &'a Definition> {
    members.iter().filter_map(|member| member.started.as_ref().and_then(|start| start.definition.as_ref()))
}
