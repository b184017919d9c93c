//! SQL on the project's databases. Handles are numbers on this side, and never leave the prelude.

use boa_engine::object::JsObject;
use boa_engine::object::builtins::JsArray;
use boa_engine::{Context, JsArgs, JsBigInt, JsNativeError, JsResult, JsString, JsValue, js_string};
use compozy_plugin::sql::{self, Error, RowSet, Value};

use super::{Native, bytes, gone, list, string, text};
use crate::events::Events;
use crate::failure;

pub(super) const NATIVES: &[Native] = &[
    ("sqlOpen", open),
    ("sqlQuery", query),
    ("sqlExecute", execute),
    ("sqlBegin", begin),
    ("sqlCommit", commit),
    ("sqlRollback", rollback),
];

/// Largest whole number that a JavaScript number holds exactly.
const SAFE: i64 = 9_007_199_254_740_991;

/// `sqlOpen(label)`: a connection.
fn open(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let label = text(arguments, 0, context)?;
    let connection = told(sql::open(&label), context)?;
    let events = Events::of(context)?;
    let id = events.next_id();
    events.kept.connections.borrow_mut().insert(id, connection);
    Ok(id.into())
}

/// `sqlQuery(connection, transaction | undefined, statement, parameters)`: a list of objects.
fn query(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let (statement, parameters) = statement(arguments, context)?;
    let events = Events::of(context)?;
    let found = match handles(arguments, context)? {
        (_, Some(id)) => {
            let open = events.kept.transactions.borrow();
            open.get(&id).ok_or_else(|| gone("transaction"))?.query(&statement, &parameters)
        }
        (id, None) => {
            let open = events.kept.connections.borrow();
            open.get(&id).ok_or_else(|| gone("connection"))?.query(&statement, &parameters)
        }
    };
    let found = told(found, context)?;
    rows(&found, context)
}

/// `sqlExecute(connection, transaction | undefined, statement, parameters)`: how many rows it changed.
fn execute(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let (statement, parameters) = statement(arguments, context)?;
    let events = Events::of(context)?;
    let changed = match handles(arguments, context)? {
        (_, Some(id)) => {
            let open = events.kept.transactions.borrow();
            open.get(&id).ok_or_else(|| gone("transaction"))?.execute(&statement, &parameters)
        }
        (id, None) => {
            let open = events.kept.connections.borrow();
            open.get(&id).ok_or_else(|| gone("connection"))?.execute(&statement, &parameters)
        }
    };
    Ok((told(changed, context)? as f64).into())
}

/// `sqlBegin(connection)`: a transaction.
fn begin(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let connection = arguments.get_or_undefined(0).to_u32(context)?;
    let events = Events::of(context)?;
    let begun = {
        let open = events.kept.connections.borrow();
        open.get(&connection).ok_or_else(|| gone("connection"))?.begin()
    };
    let transaction = told(begun, context)?;
    let id = events.next_id();
    events.kept.transactions.borrow_mut().insert(id, transaction);
    Ok(id.into())
}

/// `sqlCommit(transaction)`.
fn commit(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let transaction = taken(arguments, context)?;
    told(transaction.commit(), context)?;
    Ok(JsValue::undefined())
}

/// `sqlRollback(transaction)`.
fn rollback(_: &JsValue, arguments: &[JsValue], context: &mut Context) -> JsResult<JsValue> {
    let transaction = taken(arguments, context)?;
    told(transaction.rollback(), context)?;
    Ok(JsValue::undefined())
}

fn taken(arguments: &[JsValue], context: &mut Context) -> JsResult<sql::Transaction> {
    let id = arguments.get_or_undefined(0).to_u32(context)?;
    Events::of(context)?.kept.transactions.borrow_mut().remove(&id).ok_or_else(|| gone("transaction"))
}

fn handles(arguments: &[JsValue], context: &mut Context) -> JsResult<(u32, Option<u32>)> {
    let connection = arguments.get_or_undefined(0).to_u32(context)?;
    let transaction = arguments.get_or_undefined(1);
    let transaction = if transaction.is_undefined() { None } else { Some(transaction.to_u32(context)?) };
    Ok((connection, transaction))
}

fn statement(arguments: &[JsValue], context: &mut Context) -> JsResult<(String, Vec<Value>)> {
    let statement = text(arguments, 2, context)?;
    let parameters = list(arguments.get_or_undefined(3), context)?;
    let parameters = parameters.iter().enumerate().map(|(index, value)| parameter(index, value, context));
    Ok((statement, parameters.collect::<JsResult<_>>()?))
}

fn parameter(index: usize, value: &JsValue, context: &mut Context) -> JsResult<Value> {
    if value.is_null_or_undefined() {
        return Ok(Value::Null);
    }
    if let Some(boolean) = value.as_boolean() {
        return Ok(Value::Boolean(boolean));
    }
    if let Some(number) = value.as_number() {
        let is_whole = number.fract() == 0.0 && number.abs() <= SAFE as f64;
        return Ok(if is_whole { Value::Integer(number as i64) } else { Value::Real(number) });
    }
    if let Some(text) = value.as_string() {
        return Ok(Value::Text(text.to_std_string_lossy()));
    }
    if let Some(number) = value.as_bigint() {
        let whole = number.to_string().parse().map_err(|_| {
            JsNativeError::range().with_message(format!("parameter {}: the bigint has more than 64 bits", index + 1))
        })?;
        return Ok(Value::Integer(whole));
    }
    if let Ok(bytes) = bytes::view(value, context) {
        return Ok(Value::Blob(bytes));
    }
    let message = format!("parameter {}: a value is null, a boolean, a number, a text or a Uint8Array", index + 1);
    Err(JsNativeError::typ().with_message(message).into())
}

fn rows(found: &RowSet, context: &mut Context) -> JsResult<JsValue> {
    let columns: Vec<JsString> = found.columns.iter().map(|name| JsString::from(name.as_str())).collect();
    let rows = JsArray::new(context)?;
    for row in &found.rows {
        let object = JsObject::with_object_proto(context.intrinsics());
        for (column, value) in columns.iter().zip(row) {
            let value = column_value(value, context)?;
            object.create_data_property_or_throw(column.clone(), value, context)?;
        }
        rows.push(object, context)?;
    }
    Ok(rows.into())
}

fn column_value(value: &Value, context: &mut Context) -> JsResult<JsValue> {
    Ok(match value {
        Value::Null => JsValue::null(),
        Value::Boolean(boolean) => (*boolean).into(),
        Value::Integer(number) if number.abs() <= SAFE => (*number as f64).into(),
        Value::Integer(number) => JsBigInt::from(*number).into(),
        Value::Real(number) => (*number).into(),
        Value::Text(text) => string(text),
        Value::Blob(blob) => bytes::array(blob, context)?,
    })
}

/// What the database said becomes an error with `code` and, where there is one, `sqlstate`.
fn told<T>(result: Result<T, Error>, context: &mut Context) -> JsResult<T> {
    result.map_err(|error| {
        let sqlstate = error.sqlstate.clone();
        let thrown = failure::from_host(error.into(), context);
        if let (Some(object), Some(sqlstate)) = (thrown.as_opaque().and_then(JsValue::as_object), sqlstate) {
            drop(object.set(js_string!("sqlstate"), string(&sqlstate), false, context));
        }
        thrown
    })
}
