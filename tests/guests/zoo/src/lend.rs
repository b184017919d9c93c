//! Functions that ask for what the host lends, granted or not.

use compozy_plugin::sql::Value as Cell;
use compozy_plugin::{Error, Result, config, http, kv as store, models, run, secrets, sql};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// Bytes of an answer that are read at most.
const BODY_LIMIT: usize = 1 << 20;

#[derive(Deserialize)]
pub(crate) struct Fetch {
    url: String,
    method: Option<String>,
    #[serde(default)]
    headers: Map<String, Value>,
    body: Option<String>,
    /// Sends the placeholder of this secret as `authorization: Bearer …`, and in place of `{secret}` in URL, headers and
    /// body.
    secret: Option<String>,
}

pub(crate) fn fetch(mut input: Fetch) -> Result<Value> {
    if let Some(secret) = &input.secret {
        let stand_in = secrets::get(secret)?;
        let put = |text: &str| text.replace("{secret}", &stand_in);
        input.url = put(&input.url);
        input.body = input.body.as_deref().map(put);
        for value in input.headers.values_mut() {
            *value = put(value.as_str().unwrap_or_default()).into();
        }
    }
    let mut request = http::Request::new(input.method.as_deref().unwrap_or("GET"), input.url);
    for (name, value) in &input.headers {
        request = request.header(name, value.as_str().unwrap_or_default());
    }
    if let Some(secret) = &input.secret {
        request = request.header("authorization", format!("Bearer {}", secrets::get(secret)?));
    }
    if let Some(body) = input.body {
        request = request.body(body);
    }
    let response = request.send()?;
    let status = response.status;
    let headers: Map<String, Value> =
        response.headers.iter().map(|(name, value)| (name.clone(), String::from_utf8_lossy(value).into())).collect();
    Ok(json!({"status": status, "headers": headers, "body": response.text(BODY_LIMIT)?}))
}

#[derive(Deserialize)]
pub(crate) struct Effect {
    url: String,
    /// Returned as it is, so that a chain of effects can compute something.
    value: Option<Value>,
}

pub(crate) fn effect(input: Effect) -> Result<Value> {
    let context = run::current().ok_or_else(|| Error::new("no_run", "called outside a run"))?;
    let response = http::Request::post(input.url)
        .header("idempotency-key", context.idempotency_key.clone())
        .json(&json!({
            "idempotency_key": context.idempotency_key,
            "exec_id": context.exec_id,
            "step_path": context.step_path,
            "attempt": context.attempt,
            "value": input.value,
        }))?
        .send()?
        .error_for_status()?;
    Ok(json!({"status": response.status, "value": input.value}))
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Operation {
    Get,
    Set,
    CompareAndSet,
    Delete,
    Keys,
}

#[derive(Deserialize)]
pub(crate) struct Kv {
    operation: Operation,
    /// The key, or the prefix of `keys`.
    key: String,
    value: Option<String>,
    expected: Option<String>,
    ttl_ms: Option<u64>,
    after: Option<String>,
    limit: Option<u32>,
}

pub(crate) fn kv(input: Kv) -> Result<Value> {
    let key = input.key.as_str();
    let value = input.value.unwrap_or_default().into_bytes();
    Ok(match input.operation {
        Operation::Get => store::get(key)?.map_or(Value::Null, |value| String::from_utf8_lossy(&value).into()),
        Operation::Set => {
            match input.ttl_ms {
                Some(milliseconds) => store::set_for(key, &value, std::time::Duration::from_millis(milliseconds))?,
                None => store::set(key, &value)?,
            }
            Value::Null
        }
        Operation::CompareAndSet => {
            store::compare_and_set(key, input.expected.as_deref().map(str::as_bytes), &value)?.into()
        }
        Operation::Delete => store::delete(key)?.into(),
        Operation::Keys => store::keys(key, input.after.as_deref(), input.limit.unwrap_or(1000))?.into(),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum End {
    Commit,
    Rollback,
    /// Dropped without either.
    Drop,
}

#[derive(Deserialize)]
pub(crate) struct Query {
    label: String,
    statement: String,
    #[serde(default)]
    parameters: Vec<Value>,
    /// Counts changed rows instead of returning rows.
    #[serde(default)]
    execute: bool,
    /// Rows per piece: reads through a cursor.
    cursor: Option<u32>,
    /// Runs inside a transaction and ends it so.
    transaction: Option<End>,
}

pub(crate) fn query(input: Query) -> Result<Value> {
    let parameters: Vec<Cell> = input.parameters.iter().map(to_cell).collect();
    let connection = sql::open(&input.label)?;
    if let Some(end) = input.transaction {
        let transaction = connection.begin()?;
        let result = if input.execute {
            json!({"changed": transaction.execute(&input.statement, &parameters)?})
        } else {
            rows(&transaction.query(&input.statement, &parameters)?.rows)
        };
        match end {
            End::Commit => transaction.commit()?,
            End::Rollback => transaction.rollback()?,
            End::Drop => drop(transaction),
        }
        return Ok(result);
    }
    if input.execute {
        return Ok(json!({"changed": connection.execute(&input.statement, &parameters)?}));
    }
    let Some(piece) = input.cursor else {
        let set = connection.query(&input.statement, &parameters)?;
        return Ok(json!({"columns": set.columns, "rows": rows(&set.rows)}));
    };
    let cursor = connection.cursor(&input.statement, &parameters)?;
    let mut pieces = Vec::new();
    loop {
        let piece = cursor.next(piece)?;
        if piece.is_empty() {
            return Ok(json!({"columns": cursor.columns(), "pieces": pieces}));
        }
        pieces.push(rows(&piece));
    }
}

fn to_cell(value: &Value) -> Cell {
    match value {
        Value::Null => Cell::Null,
        Value::Bool(value) => Cell::Boolean(*value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Cell::Integer(integer),
            None => Cell::Real(number.as_f64().unwrap_or(f64::NAN)),
        },
        Value::String(text) => Cell::Text(text.clone()),
        Value::Array(bytes) => Cell::Blob(bytes.iter().filter_map(Value::as_u64).map(|byte| byte as u8).collect()),
        Value::Object(_) => Cell::Text(value.to_string()),
    }
}

fn rows(rows: &[Vec<Cell>]) -> Value {
    let row = |row: &Vec<Cell>| row.iter().map(from_cell).collect::<Value>();
    rows.iter().map(row).collect()
}

fn from_cell(cell: &Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Boolean(value) => (*value).into(),
        Cell::Integer(value) => (*value).into(),
        Cell::Real(value) => (*value).into(),
        Cell::Text(value) => value.as_str().into(),
        Cell::Blob(value) => value.as_slice().into(),
    }
}

#[derive(Deserialize)]
pub(crate) struct Named {
    name: String,
}

pub(crate) fn secret(input: Named) -> Result<Value> {
    Ok(json!({"value": secrets::get(&input.name)?}))
}

pub(crate) fn env(input: Named) -> Result<Value> {
    Ok(json!({"value": config::env(&input.name)?}))
}

pub(crate) fn settings(_: Value) -> Result<Value> {
    config::get()
}

#[derive(Deserialize)]
pub(crate) struct Ask {
    prompt: Option<String>,
    system: Option<String>,
    /// Pairs of role and text, instead of `prompt`.
    messages: Option<Vec<(String, String)>>,
    provider: Option<String>,
    model: Option<String>,
    /// A number, or a text such as `nan`.
    temperature: Option<Value>,
    max_tokens: Option<u32>,
    schema: Option<Value>,
    extra: Option<Value>,
    /// How often it asks, once by default.
    times: Option<u32>,
    /// Appends the placeholder of this secret to the prompt.
    secret: Option<String>,
    /// Repeats the prompt until it has so many bytes.
    repeat: Option<usize>,
}

pub(crate) fn ask(input: Ask) -> Result<Value> {
    let mut prompt = input.prompt.unwrap_or_default();
    if let Some(secret) = &input.secret {
        prompt = format!("{prompt} {}", secrets::get(secret)?);
    }
    if let Some(bytes) = input.repeat {
        prompt = prompt.repeat(bytes / prompt.len().max(1));
    }
    let mut question = models::Question::new();
    if let Some(system) = input.system {
        question = question.system(system);
    }
    question = match input.messages {
        None => question.user(prompt),
        Some(messages) => messages.into_iter().fold(question, |question, (role, text)| match role.as_str() {
            "system" => question.system(text),
            "assistant" => question.assistant(text),
            _ => question.user(text),
        }),
    };
    if let Some(provider) = input.provider {
        question = question.provider(provider);
    }
    if let Some(model) = input.model {
        question = question.model(model);
    }
    match input.temperature {
        Some(Value::Number(number)) => question = question.temperature(number.as_f64().unwrap_or_default()),
        Some(Value::String(word)) => question = question.temperature(word.parse().unwrap_or(f64::NAN)),
        _ => {}
    }
    if let Some(most) = input.max_tokens {
        question = question.max_tokens(most);
    }
    if let Some(schema) = input.schema {
        question = question.output_schema(schema);
    }
    if let Some(extra) = input.extra {
        question = question.extra(extra);
    }
    let mut said = Value::Null;
    for _ in 0..input.times.unwrap_or(1) {
        let answer = question.clone().ask()?;
        said = json!({
            "text": answer.text,
            "provider": answer.provider,
            "model": answer.model,
            "prompt_tokens": answer.usage.prompt_tokens,
            "completion_tokens": answer.usage.completion_tokens,
        });
    }
    Ok(said)
}

#[derive(Deserialize)]
pub(crate) struct Embed {
    texts: Vec<String>,
    provider: Option<String>,
    model: Option<String>,
    dimension: Option<u32>,
}

pub(crate) fn embed(input: Embed) -> Result<Value> {
    let found = models::embed_with(input.provider.as_deref(), &input.texts, input.model.as_deref(), input.dimension)?;
    Ok(json!({"vectors": found.vectors, "prompt_tokens": found.prompt_tokens}))
}
