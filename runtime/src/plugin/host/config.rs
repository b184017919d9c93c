//! `compozy:host/config`: the entry's `config:` and granted environment variables.

use crate::plugin::bindings::lent::compozy::host::{config, types};
use crate::plugin::state::State;

impl config::Host for State {
    fn get(&mut self) -> wasmtime::Result<String> {
        Ok(self.enter()?.binding.config.to_string())
    }

    fn env(&mut self, name: String) -> wasmtime::Result<Result<Option<String>, types::Error>> {
        let call = self.enter()?;
        let value = call.binding.grants.env(&call.binding.plugin_id, &name);
        Ok(value.map_err(|refusal| call.refused(refusal)))
    }
}
