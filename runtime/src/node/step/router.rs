//! Routers: an expression gives the route.

use compozy_engine::error::{ErrorKind, StepError};
use compozy_engine::event::{Done, Target};
use compozy_engine::json::Json;
use compozy_lang::plan::{Route, Router};
use serde_json::{Value, json};

use super::{Attempt, Executor, Raw, Scope};

/// The route that takes what no other does.
const DEFAULT: &str = "default";

impl Executor {
    /// Chooses the route and renders what follows.
    pub(super) async fn route(&self, attempt: &Attempt<'_>, router: &Router, with: &Value) -> Result<Done, StepError> {
        let scope = Scope { with: Some(with), ..Scope::default() };
        let value = self.value_of(attempt, &router.condition, scope).await?;
        let printed = print(&value);
        let equal = router.routes.iter().find(|(key, _)| !value.is_null() && *key == printed);
        let chosen = equal.or_else(|| router.routes.iter().find(|(key, _)| key == DEFAULT));
        let Some((key, route)) = chosen else {
            let routes: Vec<&str> = router.routes.iter().map(|(key, _)| key.as_str()).collect();
            let id = &attempt.task.id;
            let message = format!("no route for '{printed}' in router '{id}'. Routes: {}", routes.join(", "));
            let mut error = StepError::new("CZ0312", ErrorKind::Template, message);
            error.help = Some("add the route or default".to_owned());
            return Err(error);
        };
        let output = Json::from(&json!({"condition": printed, "route_taken": key, "router_type": "conditional"}));
        let mut done = self.follow_up(attempt, with, Raw::new(output)).await?;
        // The route comes before `final` and `on_success.next`.
        (done.ends_list, done.transition.next) = match route {
            Route::Task(index) => (false, Some(Target::Task(*index))),
            Route::End => (true, None),
        };
        Ok(done)
    }
}

/// A value as templates print it (dialect §6.5).
fn print(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
            (Some(integer), ..) => integer.to_string(),
            (None, Some(integer), _) => integer.to_string(),
            // Rust prints the shortest digits that read back the same, without exponent and without `.0`.
            (None, None, Some(float)) => format!("{float}"),
            (None, None, None) => number.to_string(),
        },
        Value::Bool(value) => value.to_string(),
        Value::Array(_) | Value::Object(_) => sorted(value).to_string(),
    }
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
            Value::Object(members.into_iter().collect())
        }
        Value::Array(items) => items.iter().map(sorted).collect(),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::print;

    #[test]
    fn routes_are_printed_as_templates_print() {
        for (value, text) in [
            (json!("a"), "a"),
            (json!(true), "true"),
            (json!(3), "3"),
            (json!(20.0), "20"),
            (json!(1e21), "1000000000000000000000"),
            (json!(0.00001), "0.00001"),
            (json!({"b": 1, "a": [2, {"d": 1, "c": 2}]}), r#"{"a":[2,{"c":2,"d":1}],"b":1}"#),
        ] {
            assert_eq!(print(&value), text);
        }
    }
}
