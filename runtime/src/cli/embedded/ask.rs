//! What is asked of runs under way without a server: cancel, pause, resume, signals.

use serde_json::{Value, json};

use super::{Embedded, exec_id};
use crate::cli::backend::Fork;
use crate::cli::failure::Failure;
use crate::node::{self, ForkRequest, Place, SignalRequest};
use crate::storage::row::{Demand, Wanted};

impl Embedded {
    /// Asks for a run to be canceled; with a node inside, the run ends soon.
    ///
    /// # Errors
    /// `execution_not_found`, `execution_finished`; the database fails.
    pub async fn cancel(&self, id: &str, reason: Option<&str>) -> Result<(), Failure> {
        let exec_id = exec_id(id)?;
        if let Some(node) = &self.node {
            node.cancel(&exec_id, "user", reason).await?;
            return Ok(());
        }
        let reason = reason.map(str::to_owned);
        let demand = Demand { exec_id, wanted: Wanted::Cancel, by: "user".to_owned(), reason };
        let asked = self.storage.request(&demand, self.clock.now()).await;
        node::repeated_cancel(asked)?;
        Ok(())
    }

    /// Asks for a run to be paused, or resumed. With a node inside, a resumed run that nobody owns goes on here.
    ///
    /// # Errors
    /// `execution_not_found`, `execution_finished`; the database fails.
    pub async fn pause(&self, id: &str, paused: bool) -> Result<(), Failure> {
        let exec_id = exec_id(id)?;
        if let Some(node) = &self.node {
            if paused {
                node.pause(&exec_id, "user").await?;
            } else {
                node.resume(&exec_id, "user").await?;
                node.adopt(&exec_id);
            }
            return Ok(());
        }
        let wanted = if paused { Wanted::Pause } else { Wanted::Resume };
        let demand = Demand { exec_id, wanted, by: "user".to_owned(), reason: None };
        self.storage.request(&demand, self.clock.now()).await?;
        Ok(())
    }

    /// Starts a run that goes on from another one, and drives it here.
    ///
    /// # Errors
    /// What the node refuses.
    pub async fn fork(&self, id: &str, fork: Fork) -> Result<Value, Failure> {
        let node = self.node.as_ref().ok_or_else(|| Failure::internal("this command cannot run workflows"))?;
        let request = ForkRequest {
            exec_id: exec_id(id)?,
            place: fork.at.map_or(Place::Failure, Place::Task),
            input: fork.input,
            latest: fork.latest,
            idempotency: None,
        };
        let accepted = node.fork(request).await?;
        let exec_url = format!("/api/v0/executions/workflows/{}", accepted.exec_id);
        Ok(json!({"exec_id": accepted.exec_id, "exec_url": exec_url, "workflow_id": accepted.workflow_id}))
    }

    /// Keeps a signal for a run; whoever runs it takes the signal.
    ///
    /// # Errors
    /// `execution_not_found`, `execution_finished`; the database fails.
    pub async fn signal(
        &self,
        id: &str,
        name: &str,
        payload: Value,
        dedupe_key: Option<&str>,
    ) -> Result<Value, Failure> {
        node::check_signal(&self.loaded.project, name, &payload)?;
        let request = SignalRequest {
            name: name.to_owned(),
            payload,
            dedupe_key: dedupe_key.map(str::to_owned),
            source: "cli".to_owned(),
            idempotency: None,
        };
        let kept = node::put_signal(&*self.storage, &self.clock, &exec_id(id)?, request).await?;
        Ok(json!({"signal_id": kept.signal_id, "state": kept.state}))
    }
}
