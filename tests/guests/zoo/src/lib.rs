//! A tool that does everything a host must survive, one function per deed, and a few well-behaved ones beside them.
//!
//! `harm` uses up what it is given, `answer` returns what it should not, `lend` asks for what the host lends,
//! `behave` does as it is told.

mod answer;
mod behave;
mod harm;
mod lend;

use answer::{error, giant_output, huge_error, huge_message_log, panic_now, unreachable_now};
use behave::{add, context, count_down, echo, fail, sleep, visits};
use compozy_plugin::export_tool;
use harm::{
    big_frames, call_storm, deep_recursion, endless_loop, handle_storm, leak, log, log_flood, memory_bomb, storm,
    wait_forever,
};
use lend::{ask, effect, embed, env, fetch, kv, query, secret, settings};

export_tool! {
    summary: "Deeds a host must survive";

    echo { description: "Returns its input", input: r#"{}"#, output: r#"{}"#, read_only: true, idempotent: true }
    add {
        description: "Adds two numbers",
        input: r#"{"type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer"}, "b": {"type": "integer"}}}"#,
        output: r#"{"type": "object", "required": ["sum"], "properties": {"sum": {"type": "integer"}}}"#,
        read_only: true,
        idempotent: true,
    }
    fail { description: "Fails on the first `times` attempts with `code` and `retryable`, then returns the attempt" }
    context { description: "Returns what the host says about the run", read_only: true }
    count_down { description: "Keeps the processor busy for `turns` turns", read_only: true }
    sleep { description: "Waits in the host for `milliseconds`", read_only: true }
    visits { description: "Returns how often this instance was called", read_only: true }

    endless_loop { description: "Never returns and never calls the host" }
    memory_bomb { description: "Takes memory until it is refused, touching it all" }
    deep_recursion { description: "Calls itself without end, with nothing on the guest's own stack" }
    big_frames { description: "Calls itself without end, with much on the guest's own stack" }
    call_storm { description: "Calls the key-value space without end" }
    log_flood { description: "Logs `records` records of `bytes` bytes, without end when `records` is 0" }
    log { description: "Logs `message` with `fields` at `level`" }
    storm { description: "Calls one function of `interface` without end" }
    leak { description: "Takes `what` until it is refused, and gives nothing back" }
    handle_storm { description: "Opens the database `label` without end and drops no handle" }
    wait_forever { description: "Requests `url` and waits for an answer that never comes" }

    giant_output { description: "Returns a string of `bytes` bytes, 64 MiB by default" }
    error { description: "Returns the error it is given" }
    huge_error { description: "Returns an error with a message of `bytes` bytes, 16 MiB by default" }
    huge_message_log { description: "Logs one message of `bytes` bytes, 16 MiB by default" }
    panic_now { description: "Panics with `message`" }
    unreachable_now { description: "Runs the instruction `unreachable`" }

    fetch { description: "Makes an HTTP request and returns status, headers and body" }
    effect { description: "Posts its idempotency key and attempt to `url`, so that effects are counted outside", idempotent: false }
    kv { description: "One operation of the key-value space" }
    query { description: "Runs `statement` on the database `label`" }
    ask { description: "Asks a model `prompt`, or `messages`, `times` times" }
    embed { description: "Embeds `texts`" }
    secret { description: "Returns the placeholder of the secret `name`" }
    env { description: "Returns the environment variable `name`", read_only: true }
    settings { description: "Returns the plugin's configuration", read_only: true }
}
