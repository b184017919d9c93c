//! What is asked about schedules, of a server or of the database.

use serde_json::{Map, Value, json};

use crate::cli::backend::Backend;
use crate::cli::failure::Failure;
use crate::cli::session::Session;
use crate::node::schedules::Change;

impl Backend {
    /// `GET /schedules`.
    ///
    /// # Errors
    /// A bad parameter, or the server or database is out of reach; so for all that follow.
    pub async fn schedules(&self, query: &[(&str, String)]) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => client.get(&["schedules"], query).await,
            Self::Embedded(embedded) => embedded.schedules(query).await,
        }
    }

    /// `GET /schedules/{workflow}`, with its next `times` runs if asked for.
    ///
    /// # Errors
    /// Also `schedule_not_found`.
    pub async fn schedule(&self, id: &str, times: Option<u32>) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => {
                let query: Vec<(&str, String)> = times.map(|times| ("next", times.to_string())).into_iter().collect();
                client.get(&path(id), &query).await
            }
            Self::Embedded(embedded) => embedded.schedule(id, times).await,
        }
    }

    /// `PATCH /schedules/{workflow}`.
    ///
    /// # Errors
    /// Also `schedule_not_found`, `definition_invalid`.
    pub async fn change_schedule(&self, id: &str, change: &Change) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => client.patch(&path(id), &body(change)).await,
            Self::Embedded(embedded) => embedded.change_schedule(id, change).await,
        }
    }

    /// `POST /schedules/{workflow}/trigger`.
    ///
    /// # Errors
    /// Also `schedule_not_found`, and what a start may meet.
    pub async fn trigger_schedule(&self, session: &Session, id: &str) -> Result<Value, Failure> {
        match self {
            Self::Remote(client) => {
                let path: Vec<&str> = path(id).into_iter().chain(["trigger"]).collect();
                // A key of our own makes it safe to send again when the answer got lost.
                client.post(&path, &json!({}), Some(&session.clock.ulid())).await
            }
            Self::Embedded(embedded) => embedded.trigger_schedule(id).await,
        }
    }
}

/// `report/2` is two segments.
fn path(id: &str) -> Vec<&str> {
    std::iter::once("schedules").chain(id.split('/')).collect()
}

fn body(change: &Change) -> Value {
    let mut members = Map::new();
    let mut put = |name: &str, value: Option<Value>| members.extend(value.map(|value| (name.to_owned(), value)));
    put("enabled", change.enabled.map(|enabled| json!(enabled)));
    put("cron", change.cron.as_ref().map(|cron| json!(cron)));
    put("timezone", change.timezone.as_ref().map(|timezone| json!(timezone)));
    Value::Object(members)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_says_only_what_it_changes() {
        assert_eq!(body(&Change { enabled: Some(Some(false)), ..Change::default() }), json!({"enabled": false}));
        assert_eq!(body(&Change::reset()), json!({"enabled": null, "cron": null, "timezone": null}));
        assert_eq!(path("report/2"), ["schedules", "report", "2"]);
    }
}
