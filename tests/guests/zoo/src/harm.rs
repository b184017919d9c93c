//! Functions that use up whatever they are given: time, memory, stack, host calls.

use std::hint::black_box;

use compozy_plugin::{Result, clock, config, http, kv, log, models, run, secrets, sql};
use serde::Deserialize;
use serde_json::{Value, json};

pub(crate) fn endless_loop(_: Value) -> Result<Value> {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns).wrapping_add(1);
    }
}

/// Doubles what it asks for while it is granted; ends with how much it got, or in a trap.
pub(crate) fn memory_bomb(_: Value) -> Result<Value> {
    const PIECE: usize = 1 << 20;
    let mut taken: Vec<Vec<u8>> = Vec::new();
    loop {
        let mut piece: Vec<u8> = Vec::new();
        if piece.try_reserve_exact(PIECE).is_err() {
            return Ok(json!({"taken_bytes": taken.len() * PIECE}));
        }
        piece.resize(PIECE, 0xA5);
        taken.push(black_box(piece));
    }
}

/// Fills the engine's call stack. The operation on the way back keeps a compiler from making a loop of it.
pub(crate) fn deep_recursion(_: Value) -> Result<Value> {
    fn descend(depth: u64) -> u64 {
        if depth == u64::MAX {
            return 0;
        }
        descend(depth + 1).rotate_left(7) ^ depth
    }
    Ok(json!({"result": descend(black_box(0))}))
}

/// Fills the guest's own stack inside its memory, which is shorter than the engine's.
pub(crate) fn big_frames(_: Value) -> Result<Value> {
    fn descend(depth: u64) -> u64 {
        if black_box(depth) == u64::MAX {
            return 0;
        }
        let frame = black_box([depth; 32]);
        descend(black_box(depth + 1)) + frame.iter().sum::<u64>()
    }
    Ok(json!({"result": descend(0)}))
}

pub(crate) fn call_storm(_: Value) -> Result<Value> {
    loop {
        // Refused or not, it goes on.
        drop(black_box(kv::get("storm")));
    }
}

#[derive(Deserialize)]
pub(crate) struct Flood {
    /// 0: without end.
    records: u64,
    bytes: usize,
}

pub(crate) fn log_flood(flood: Flood) -> Result<Value> {
    let message = "x".repeat(flood.bytes);
    let mut written = 0;
    while flood.records == 0 || written < flood.records {
        log::info(&message);
        written += 1;
    }
    Ok(json!({"records": written}))
}

#[derive(Deserialize)]
pub(crate) struct Record {
    message: String,
    #[serde(default)]
    fields: Vec<(String, String)>,
    level: Option<String>,
}

pub(crate) fn log(record: Record) -> Result<Value> {
    let level = match record.level.as_deref() {
        Some("trace") => log::Level::Trace,
        Some("debug") => log::Level::Debug,
        Some("warn") => log::Level::Warn,
        Some("error") => log::Level::Error,
        _ => log::Level::Info,
    };
    let fields: Vec<(&str, &str)> = record.fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    log::record(level, &record.message, &fields);
    Ok(Value::Null)
}

#[derive(Deserialize)]
pub(crate) struct Storm {
    /// The interface that is called without end.
    interface: String,
    url: Option<String>,
}

/// Calls one function of an interface without end, refused or not.
pub(crate) fn storm(storm: Storm) -> Result<Value> {
    let url = storm.url.unwrap_or_else(|| "http://192.0.2.1/".to_owned());
    loop {
        match storm.interface.as_str() {
            "log" => log::info("storm"),
            "config" => drop(black_box(config::get::<Value>())),
            "env" => drop(black_box(config::env("REGION"))),
            "secrets" => drop(black_box(secrets::get("TOKEN"))),
            "kv" => drop(black_box(kv::set("storm", b"storm"))),
            "sql" => drop(black_box(sql::open("shop").and_then(|shop| shop.query("SELECT 1", &[])))),
            "llm" => drop(black_box(models::ask("storm"))),
            "run" => drop(black_box(run::current())),
            "http" => drop(black_box(http::Request::get(url.as_str()).send())),
            "clock" => clock::sleep(std::time::Duration::ZERO),
            other => return Err(compozy_plugin::Error::new("unknown", other)),
        }
    }
}

#[derive(Deserialize)]
pub(crate) struct Leak {
    /// What is taken and never given back: `connections`, `transactions`, `cursors`, `responses`.
    what: String,
    url: Option<String>,
}

/// Takes handles until it is refused, then answers how many it holds; they are left to the host.
pub(crate) fn leak(leak: Leak) -> Result<Value> {
    let mut held = 0;
    let mut keep = || held += 1;
    let refusal = match leak.what.as_str() {
        "connections" => loop {
            match sql::open("shop") {
                Ok(connection) => std::mem::forget(connection),
                Err(error) => break error.code,
            }
            keep();
        },
        "transactions" => {
            let shop = sql::open("shop")?;
            loop {
                match shop.begin() {
                    Ok(transaction) => std::mem::forget(transaction),
                    Err(error) => break error.code,
                }
                keep();
            }
        }
        "cursors" => {
            let shop = sql::open("shop")?;
            loop {
                match shop.cursor("SELECT 1", &[]) {
                    Ok(cursor) => std::mem::forget(cursor),
                    Err(error) => break error.code,
                }
                keep();
            }
        }
        "responses" => {
            let url = leak.url.unwrap_or_default();
            loop {
                match http::Request::get(url.as_str()).send() {
                    Ok(response) => std::mem::forget(response),
                    Err(error) => break error.to_string(),
                }
                keep();
            }
        }
        other => return Err(compozy_plugin::Error::new("unknown", other)),
    };
    Ok(json!({"held": held, "refusal": refusal}))
}

#[derive(Deserialize)]
pub(crate) struct Label {
    label: String,
}

/// Ends when the host refuses another handle.
pub(crate) fn handle_storm(database: Label) -> Result<Value> {
    let mut handles = Vec::new();
    loop {
        handles.push(sql::open(&database.label)?);
    }
}

#[derive(Deserialize)]
pub(crate) struct Address {
    url: String,
}

pub(crate) fn wait_forever(address: Address) -> Result<Value> {
    let response = http::Request::get(address.url).send()?;
    Ok(json!({"status": response.status}))
}
