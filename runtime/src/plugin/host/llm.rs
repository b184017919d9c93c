//! `compozy:host/llm`: specified, linked and refused. No version answers it yet, so a component that imports it loads
//! and gets a typed error when it asks.

use super::unavailable;
use crate::plugin::bindings::lent::compozy::host::{llm, types};
use crate::plugin::state::State;

const NOT_YET: &str = "asking models from a plugin is not part of this version";

impl State {
    fn refuse_llm(&mut self) -> wasmtime::Result<types::Error> {
        let call = self.enter()?;
        Ok(match call.binding.grants.llm(&call.binding.plugin_id) {
            Ok(()) => unavailable(NOT_YET, false),
            Err(refusal) => call.refused(refusal),
        })
    }
}

impl llm::Host for State {
    async fn chat(
        &mut self,
        _provider: Option<String>,
        _messages: Vec<llm::Message>,
    ) -> wasmtime::Result<Result<llm::Answer, types::Error>> {
        Ok(Err(self.refuse_llm()?))
    }

    async fn embed(
        &mut self,
        _embedder: Option<String>,
        _texts: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<Vec<f32>>, types::Error>> {
        Ok(Err(self.refuse_llm()?))
    }
}
