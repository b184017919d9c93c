//! Functions that use up whatever they are given: time, memory, stack, host calls.

use std::hint::black_box;

use compozy_plugin::{Result, http, kv, log, sql};
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
