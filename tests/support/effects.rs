//! Counts the effects of tools outside of any database of ours: the zoo's `effect` posts its idempotency key here.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::listener::{self, Listener};

/// How often a key arrived, by the life of the server process during which it did.
type Counts = BTreeMap<String, BTreeMap<u32, u32>>;

/// The counter.
#[derive(Debug)]
pub(crate) struct Effects {
    listener: Listener,
    state: Arc<Mutex<(u32, Counts)>>,
}

impl Effects {
    pub(crate) fn listen() -> Self {
        let state = Arc::new(Mutex::new((0, Counts::new())));
        let shared = Arc::clone(&state);
        let listener = Listener::serve(move |request, stream| {
            let body: Value = serde_json::from_slice(&request.body).expect("an effect is JSON");
            let key = body["idempotency_key"].as_str().expect("an effect has its key").to_owned();
            {
                let mut state = shared.lock().unwrap();
                let life = state.0;
                *state.1.entry(key).or_default().entry(life).or_default() += 1;
            }
            listener::answer(stream, 200, &[("content-type", "application/json")], b"{}");
        });
        Self { listener, state }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/effect", self.listener.address)
    }

    /// The pattern for `permissions.http`.
    pub(crate) fn grant(&self) -> String {
        format!("http://{}", self.listener.address)
    }

    /// To be called while no server process lives: what arrives from now on is counted as the next life's.
    pub(crate) fn next_life(&self) {
        self.listener.quiet();
        self.state.lock().unwrap().0 += 1;
    }

    /// Effects with this key, all lives together.
    pub(crate) fn count(&self, key: &str) -> u32 {
        self.state.lock().unwrap().1.get(key).map_or(0, |lives| lives.values().sum())
    }

    /// Every key with its counts.
    pub(crate) fn counts(&self) -> Counts {
        self.state.lock().unwrap().1.clone()
    }
}
