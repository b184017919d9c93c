//! `compozy:host/vector`: specified, linked and refused. No version answers it yet, so a component that imports it
//! loads and gets a typed error when it asks.

use super::unavailable;
use crate::plugin::bindings::lent::compozy::host::{types, vector};
use crate::plugin::state::State;

const NOT_YET: &str = "vector databases are not part of this version";

impl State {
    fn refuse_vector(&mut self, database: &str, write: bool) -> wasmtime::Result<types::Error> {
        let call = self.enter()?;
        Ok(match call.binding.grants.vector(&call.binding.plugin_id, database, write) {
            Ok(()) => unavailable(NOT_YET, false),
            Err(refusal) => call.refused(refusal),
        })
    }
}

impl vector::Host for State {
    async fn upsert(
        &mut self,
        database: String,
        _points: Vec<vector::Point>,
    ) -> wasmtime::Result<Result<(), types::Error>> {
        Ok(Err(self.refuse_vector(&database, true)?))
    }

    async fn search(
        &mut self,
        database: String,
        _embedding: Vec<f32>,
        _top_k: u32,
        _filter: Option<String>,
    ) -> wasmtime::Result<Result<Vec<vector::Hit>, types::Error>> {
        Ok(Err(self.refuse_vector(&database, false)?))
    }

    async fn delete(&mut self, database: String, _ids: Vec<String>) -> wasmtime::Result<Result<u64, types::Error>> {
        Ok(Err(self.refuse_vector(&database, true)?))
    }
}
