//! A tool that moves money between accounts in a database of the project.
//!
//! Both changes and the note that they were made are one transaction, so a crash leaves all of it or nothing. A step that
//! is executed again comes with the same idempotency key, finds the note, and moves nothing a second time.

use compozy_plugin::sql::{Transaction, Value};
use compozy_plugin::{Error, Result, export_tool, run, sql};
use serde::{Deserialize, Serialize};

/// The label under `databases:`.
const DATABASE: &str = "bank";

#[derive(Deserialize)]
struct Account {
    account: String,
    cents: i64,
}

#[derive(Deserialize)]
struct Transfer {
    from: String,
    to: String,
    cents: i64,
}

#[derive(Serialize)]
struct Balance {
    account: String,
    cents: i64,
}

#[derive(Serialize)]
struct Moved {
    from: Balance,
    to: Balance,
    /// It was done by an earlier attempt.
    again: bool,
}

const TABLES: [&str; 2] = [
    "CREATE TABLE IF NOT EXISTS accounts (account TEXT PRIMARY KEY, cents INTEGER NOT NULL CHECK (cents >= 0))",
    "CREATE TABLE IF NOT EXISTS transfers (key TEXT PRIMARY KEY)",
];

fn open(input: Account) -> Result<Balance> {
    let bank = sql::open(DATABASE)?;
    for table in TABLES {
        bank.execute(table, &[])?;
    }
    let Account { account, cents } = input;
    let insert = "INSERT INTO accounts VALUES (?1, ?2) ON CONFLICT (account) DO UPDATE SET cents = ?2";
    bank.execute(insert, &[account.as_str().into(), cents.into()])?;
    Ok(Balance { account, cents })
}

fn transfer(input: Transfer) -> Result<Moved> {
    let Transfer { from, to, cents } = input;
    if cents <= 0 {
        return Err(Error::new("invalid_amount", "the amount must be more than nothing"));
    }
    let key = run::idempotency_key().ok_or_else(|| Error::new("no_run", "money is only moved by a run"))?;
    let bank = sql::open(DATABASE)?;
    // Every `?` below leaves without commit, which undoes what was done until there.
    let transaction = bank.begin()?;
    let is_new = transaction.execute("INSERT OR IGNORE INTO transfers VALUES (?1)", &[key.into()])? == 1;
    if is_new {
        take(&transaction, &from, cents)?;
        give(&transaction, &to, cents)?;
    }
    let moved = Moved { from: balance(&transaction, from)?, to: balance(&transaction, to)?, again: !is_new };
    transaction.commit()?;
    Ok(moved)
}

fn take(transaction: &Transaction, account: &str, cents: i64) -> Result<()> {
    let take = "UPDATE accounts SET cents = cents - ?2 WHERE account = ?1 AND cents >= ?2";
    match transaction.execute(take, &[account.into(), cents.into()])? {
        0 => Err(Error::new("insufficient_funds", format!("'{account}' does not have {cents} cents"))),
        _ => Ok(()),
    }
}

fn give(transaction: &Transaction, account: &str, cents: i64) -> Result<()> {
    let give = "UPDATE accounts SET cents = cents + ?2 WHERE account = ?1";
    match transaction.execute(give, &[account.into(), cents.into()])? {
        0 => Err(Error::new("unknown_account", format!("there is no account '{account}'"))),
        _ => Ok(()),
    }
}

fn balance(transaction: &Transaction, account: String) -> Result<Balance> {
    let found = transaction.query("SELECT cents FROM accounts WHERE account = ?1", &[account.as_str().into()])?;
    match found.rows.first().and_then(|row| row.first()) {
        Some(Value::Integer(cents)) => Ok(Balance { account, cents: *cents }),
        _ => Err(Error::new("unknown_account", format!("there is no account '{account}'"))),
    }
}

export_tool! {
    summary: "Moves money between accounts";

    open {
        description: "Opens an account with so many cents, or sets what is in it",
        input: r#"{"type": "object", "required": ["account", "cents"], "properties": {"account": {"type": "string"}, "cents": {"type": "integer", "minimum": 0}}}"#,
        idempotent: true,
    }
    transfer {
        description: "Moves cents from one account to another, all of it or nothing",
        input: r#"{"type": "object", "required": ["from", "to", "cents"], "properties": {"from": {"type": "string"}, "to": {"type": "string"}, "cents": {"type": "integer"}}}"#,
        idempotent: true,
    }
}
