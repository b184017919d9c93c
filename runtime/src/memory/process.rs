//! Memories with `persistence: in_memory`: they live as long as the process.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use compozy_engine::time::Timestamp;

use crate::storage::row::{MemoryAct, MemoryChange, MemoryMessage, MemoryState, MemoryTotals};

/// Most bytes of all messages; beyond it the keys that were not used for longest go.
const MOST_BYTES: u64 = 64 << 20;

/// The memories of this process.
#[derive(Debug, Default)]
pub(super) struct Process(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    keys: HashMap<(String, String), Entry>,
    bytes: u64,
}

#[derive(Debug, Default)]
struct Entry {
    state: MemoryState,
    next_seq: i64,
    used_at: i64,
}

impl Entry {
    fn bytes(&self) -> u64 {
        // What a key costs besides its messages.
        256 + self.state.messages.iter().map(|message| message.bytes + 64).sum::<u64>()
    }
}

impl Process {
    /// What a memory holds under a key, expired or not.
    pub(super) fn read(&self, memory: &str, key: &str) -> Option<MemoryState> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.keys.get(&(memory.to_owned(), key.to_owned())).map(|entry| entry.state.clone())
    }

    /// Carries changes out. They were decided while their keys were held, so they fit.
    pub(super) fn write(&self, changes: &[MemoryChange], now: Timestamp) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for change in changes {
            kept.write(change, now);
        }
        if kept.bytes > MOST_BYTES {
            kept.make_room(now);
        }
    }

    /// What the keys of each memory hold together, by its id.
    pub(super) fn totals(&self, now: Timestamp) -> Vec<MemoryTotals> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: Vec<MemoryTotals> = Vec::new();
        for ((memory, _), entry) in &kept.keys {
            if entry.state.expires_at.is_some_and(|at| at <= now) {
                continue;
            }
            let messages = &entry.state.messages;
            let (count, tokens) = (messages.len() as u64, messages.iter().map(|message| message.tokens).sum::<u64>());
            match found.iter_mut().find(|one| one.memory == *memory) {
                Some(one) => {
                    (one.keys, one.messages, one.tokens) = (one.keys + 1, one.messages + count, one.tokens + tokens);
                }
                None => found.push(MemoryTotals { memory: memory.clone(), keys: 1, messages: count, tokens }),
            }
        }
        found
    }
}

impl Kept {
    fn write(&mut self, change: &MemoryChange, now: Timestamp) {
        let place = (change.memory.clone(), change.key.clone());
        let before = self.keys.get(&place).map_or(0, Entry::bytes);
        match &change.act {
            MemoryAct::Delete { .. } => {
                self.keys.remove(&place);
            }
            MemoryAct::Used => {
                let Some(entry) = self.keys.get_mut(&place) else { return };
                entry.state.messages.iter_mut().for_each(|message| message.used_at = now.0);
                (entry.used_at, entry.state.expires_at) = (now.0, change.expires_at);
            }
            MemoryAct::Write { cleared, dropped, added, backup, .. } => {
                let entry = self.keys.entry(place.clone()).or_default();
                let messages = &mut entry.state.messages;
                messages.retain(|message| !*cleared && !dropped.contains(&message.seq));
                for new in added {
                    let seq = new.seq.unwrap_or_else(|| {
                        entry.next_seq += 1;
                        entry.next_seq
                    });
                    messages.push(MemoryMessage {
                        seq,
                        role: new.role.clone(),
                        content: new.content.clone(),
                        bytes: new.content.len() as u64,
                        tokens: new.tokens,
                        summary: new.summary,
                        used_at: now.0,
                    });
                }
                messages.sort_by_key(|message| message.seq);
                entry.state.version = if entry.state.version == 0 { now.0.max(1) } else { entry.state.version + 1 };
                (entry.state.backup, entry.state.expires_at, entry.used_at) = (*backup, change.expires_at, now.0);
            }
        }
        let after = self.keys.get(&place).map_or(0, Entry::bytes);
        self.bytes = self.bytes.saturating_sub(before) + after;
    }

    fn make_room(&mut self, now: Timestamp) {
        self.keys.retain(|_, entry| entry.state.expires_at.is_none_or(|at| at > now));
        let mut by_use: Vec<_> = self.keys.iter().map(|(place, entry)| (entry.used_at, place.clone())).collect();
        by_use.sort();
        self.bytes = self.keys.values().map(Entry::bytes).sum();
        for (_, place) in by_use {
            if self.bytes <= MOST_BYTES / 2 {
                break;
            }
            if let Some(entry) = self.keys.remove(&place) {
                self.bytes = self.bytes.saturating_sub(entry.bytes());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::row::NewMessage;

    fn write(key: &str, content: &str, dropped: Vec<i64>) -> MemoryChange {
        let new = |seq| NewMessage { seq, role: "user".into(), content: content.into(), tokens: 1, summary: false };
        let added = dropped.last().map(|last| new(Some(*last))).into_iter().chain([new(None)]).collect();
        let act = MemoryAct::Write { version: 0, cleared: false, dropped, added, backup: false };
        MemoryChange { memory: "m".into(), key: key.into(), writer: String::new(), expires_at: None, act }
    }

    #[test]
    fn messages_keep_their_order() {
        let process = Process::default();
        process.write(&[write("k", "a", vec![]), write("k", "b", vec![]), write("k", "c", vec![1, 2])], Timestamp(5));
        let state = process.read("m", "k").unwrap();
        let seen: Vec<_> = state.messages.iter().map(|message| (message.seq, message.content.as_str())).collect();
        assert_eq!(seen, [(2, "c"), (3, "c")]);
        let totals = MemoryTotals { memory: "m".into(), keys: 1, messages: 2, tokens: 2 };
        assert_eq!(process.totals(Timestamp(5)), [totals]);
        let gone = MemoryChange { act: MemoryAct::Delete { version: 7 }, ..write("k", "", vec![]) };
        process.write(&[gone], Timestamp(6));
        assert_eq!((process.read("m", "k"), process.0.lock().unwrap().bytes), (None, 0));
    }

    #[test]
    fn there_is_room_for_the_latest() {
        let process = Process::default();
        let large = "x".repeat(1 << 20);
        for number in 0..80 {
            process.write(&[write(&number.to_string(), &large, vec![])], Timestamp(number));
        }
        assert!(process.read("m", "0").is_none() && process.read("m", "79").is_some());
        assert!(process.0.lock().unwrap().bytes <= MOST_BYTES);
    }
}
