//! Compiled JSON Schemas of the definitions in use.

use std::sync::Arc;

use compozy_lang::schema_check::{self, Schema, Violation};
use serde_json::Value;

use super::kept::Kept;

/// Schemas by the digest of their workflow and their place in it. Compiling costs more than a step.
#[derive(Debug, Default)]
pub(crate) struct Schemas {
    compiled: Kept<(String, String), Compiled>,
}

/// A schema, or why it is none.
type Compiled = Result<Schema, String>;

impl Schemas {
    /// Fills in the schema's defaults and checks `value`. `digest` and `site` name the schema.
    pub(crate) fn accept(
        &self,
        digest: &str,
        site: &str,
        schema: &Value,
        value: &mut Value,
    ) -> Result<(), Vec<Violation>> {
        let compiled = self.compiled(digest, site, schema);
        match compiled.as_ref() {
            Ok(schema) => {
                schema.fill_defaults(value);
                schema.check(value)
            }
            Err(reason) => Err(vec![unusable(reason)]),
        }
    }

    /// Checks `value`.
    pub(crate) fn check(&self, digest: &str, site: &str, schema: &Value, value: &Value) -> Result<(), Vec<Violation>> {
        let compiled = self.compiled(digest, site, schema);
        match compiled.as_ref() {
            Ok(schema) => schema.check(value),
            Err(reason) => Err(vec![unusable(reason)]),
        }
    }

    fn compiled(&self, digest: &str, site: &str, schema: &Value) -> Arc<Compiled> {
        let key = (digest.to_owned(), site.to_owned());
        self.compiled.get(&key, || schema_check::compile(schema))
    }
}

/// A schema that was checked at load and still cannot be used: the value is refused, never waved through.
fn unusable(reason: &str) -> Violation {
    Violation { pointer: String::new(), message: format!("the schema is not valid: {reason}") }
}
