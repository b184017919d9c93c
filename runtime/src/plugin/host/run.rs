//! `compozy:host/run`: where in which run the call stands.

use crate::plugin::bindings::lent::compozy::host::run::{Context, Host};
use crate::plugin::state::State;

impl Host for State {
    fn current(&mut self) -> wasmtime::Result<Option<Context>> {
        let remaining = self.remaining();
        let call = self.enter()?;
        let Some(run) = call.run.as_deref() else { return Ok(None) };
        let now_ms = u64::try_from(call.binding.services.clock.now().0 / 1_000).unwrap_or(0);
        let remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX);
        Ok(Some(Context {
            exec_id: run.exec_id.clone(),
            workflow_id: run.workflow_id.clone(),
            step_path: run.step_path.clone(),
            attempt: run.attempt,
            idempotency_key: run.idempotency_key.clone(),
            deadline_unix_ms: now_ms.checked_add(remaining_ms),
        }))
    }
}
