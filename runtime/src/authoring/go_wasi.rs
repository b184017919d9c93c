//! Preview 1 of WASI as the runtime of Go calls it, on top of preview 2.
//!
//! The usual adapter takes pages of the module's memory by growing it, and Go's runtime, which takes every page after
//! its data for its own, would write over them. This one keeps nothing: what the host answers through memory goes through
//! the twelve kilobytes below Go's data that its linker leaves free (`wasmMinDataAddr` in cmd/link).
//! There are no arguments, variables and files; clocks, random numbers, sleeping and stderr work.

use std::collections::BTreeMap;

use wasm_encoder::{
    BlockType, CodeSection, EntityType, ExportKind, ExportSection, Function, FunctionSection, ImportSection,
    InstructionSink, MemArg, MemoryType, Module, TypeSection,
    ValType::{self, I32, I64},
};
use wit_component::{StringEncoding, embed_component_metadata};

use super::{Error, interfaces};

/// What the adapter is made of, as WIT names it.
const WORLD: &str = "
    package compozy:go;
    world wasi {
        import wasi:cli/stderr@0.2.12;
        import wasi:clocks/monotonic-clock@0.2.12;
        import wasi:clocks/wall-clock@0.2.12;
        import wasi:io/poll@0.2.12;
        import wasi:io/streams@0.2.12;
        import wasi:random/random@0.2.12;
    }
";

/// 16 bytes for what the host answers.
const SCRATCH: i32 = 8192;

/// `badf` and `success` of preview 1's errno.
const BAD_FILE: i32 = 8;
const SUCCESS: i32 = 0;

/// Bytes that a stream takes at once.
const PIECE: i32 = 4096;

/// Bytes of preview 1's subscription and event, and where in them the parts are.
const SUBSCRIPTION: i32 = 48;
const EVENT: u64 = 32;

/// What is imported, in order: its index is that of the function.
const IMPORTS: &[(&str, &str, &[ValType], &[ValType])] = &[
    ("wasi:clocks/monotonic-clock@0.2.12", "now", &[], &[I64]),
    ("wasi:clocks/monotonic-clock@0.2.12", "subscribe-duration", &[I64], &[I32]),
    ("wasi:clocks/wall-clock@0.2.12", "now", &[I32], &[]),
    ("wasi:random/random@0.2.12", "get-random-u64", &[], &[I64]),
    ("wasi:cli/stderr@0.2.12", "get-stderr", &[], &[I32]),
    ("wasi:io/streams@0.2.12", "[method]output-stream.blocking-write-and-flush", &[I32, I32, I32, I32], &[]),
    ("wasi:io/streams@0.2.12", "[resource-drop]output-stream", &[I32], &[]),
    ("wasi:io/poll@0.2.12", "[method]pollable.block", &[I32], &[]),
    ("wasi:io/poll@0.2.12", "[resource-drop]pollable", &[I32], &[]),
];

const MONOTONIC: u32 = 0;
const SUBSCRIBE: u32 = 1;
const WALL: u32 = 2;
const RANDOM: u32 = 3;
const STDERR: u32 = 4;
const WRITE: u32 = 5;
const DROP_STREAM: u32 = 6;
const BLOCK: u32 = 7;
const DROP_POLLABLE: u32 = 8;

/// A function of preview 1: name, parameters, its own variables, body. All but `proc_exit` answer an errno.
type Written = (&'static str, &'static [ValType], &'static [(u32, ValType)], fn(&mut InstructionSink<'_>));

const FUNCTIONS: &[Written] = &[
    ("args_get", &[I32, I32], &[], done),
    ("args_sizes_get", &[I32, I32], &[], nothing_there),
    ("environ_get", &[I32, I32], &[], done),
    ("environ_sizes_get", &[I32, I32], &[], nothing_there),
    ("clock_time_get", &[I32, I64, I32], &[], clock_time_get),
    ("random_get", &[I32, I32], &[(1, I64), (1, I32)], random_get),
    ("fd_write", &[I32, I32, I32, I32], &[(5, I32)], fd_write),
    ("poll_oneoff", &[I32, I32, I32, I32], &[(1, I32), (2, I64)], poll_oneoff),
    ("sched_yield", &[], &[], done),
    ("proc_exit", &[I32], &[], ended),
];

/// Functions of files, which are not there: they answer `badf`, which Go reads as the end of what is open.
const FILES: &[(&str, &[ValType])] = &[
    ("fd_advise", &[I32, I64, I64, I32]),
    ("fd_allocate", &[I32, I64, I64]),
    ("fd_close", &[I32]),
    ("fd_datasync", &[I32]),
    ("fd_fdstat_get", &[I32, I32]),
    ("fd_fdstat_set_flags", &[I32, I32]),
    ("fd_fdstat_set_rights", &[I32, I64, I64]),
    ("fd_filestat_get", &[I32, I32]),
    ("fd_filestat_set_size", &[I32, I64]),
    ("fd_filestat_set_times", &[I32, I64, I64, I32]),
    ("fd_pread", &[I32, I32, I32, I64, I32]),
    ("fd_prestat_dir_name", &[I32, I32, I32]),
    ("fd_prestat_get", &[I32, I32]),
    ("fd_pwrite", &[I32, I32, I32, I64, I32]),
    ("fd_read", &[I32, I32, I32, I32]),
    ("fd_readdir", &[I32, I32, I32, I64, I32]),
    ("fd_renumber", &[I32, I32]),
    ("fd_seek", &[I32, I64, I32, I32]),
    ("fd_sync", &[I32]),
    ("fd_tell", &[I32, I32]),
    ("path_create_directory", &[I32, I32, I32]),
    ("path_filestat_get", &[I32, I32, I32, I32, I32]),
    ("path_filestat_set_times", &[I32, I32, I32, I32, I64, I64, I32]),
    ("path_link", &[I32, I32, I32, I32, I32, I32, I32]),
    ("path_open", &[I32, I32, I32, I32, I32, I64, I64, I32, I32]),
    ("path_readlink", &[I32, I32, I32, I32, I32, I32]),
    ("path_remove_directory", &[I32, I32, I32]),
    ("path_rename", &[I32, I32, I32, I32, I32, I32]),
    ("path_symlink", &[I32, I32, I32, I32, I32]),
    ("path_unlink_file", &[I32, I32, I32]),
    ("sock_accept", &[I32, I32, I32]),
    ("sock_recv", &[I32, I32, I32, I32, I32, I32]),
    ("sock_send", &[I32, I32, I32, I32, I32]),
    ("sock_shutdown", &[I32, I32]),
];

fn at(offset: u64, align: u32) -> MemArg {
    MemArg { offset, align, memory_index: 0 }
}

fn done(body: &mut InstructionSink<'_>) {
    body.i32_const(SUCCESS);
}

fn ended(body: &mut InstructionSink<'_>) {
    body.unreachable();
}

fn no_file(body: &mut InstructionSink<'_>) {
    body.i32_const(BAD_FILE);
}

/// Two counts, both 0.
fn nothing_there(body: &mut InstructionSink<'_>) {
    body.local_get(0).i32_const(0).i32_store(at(0, 2));
    body.local_get(1).i32_const(0).i32_store(at(0, 2));
    body.i32_const(SUCCESS);
}

/// (clock, precision, answer): nanoseconds, of the wall clock since 1970 for clock 0.
fn clock_time_get(body: &mut InstructionSink<'_>) {
    body.local_get(2).local_get(0).i32_eqz().if_(BlockType::Result(I64));
    body.i32_const(SCRATCH).call(WALL);
    body.i32_const(SCRATCH).i64_load(at(0, 3)).i64_const(1_000_000_000).i64_mul();
    body.i32_const(SCRATCH).i64_load32_u(at(8, 2)).i64_add();
    body.else_().call(MONOTONIC).end();
    body.i64_store(at(0, 3)).i32_const(SUCCESS);
}

/// (buffer, length): one byte after the other; every eighth asks for eight more.
fn random_get(body: &mut InstructionSink<'_>) {
    let (buffer, length, random, done) = (0, 1, 2, 3);
    body.block(BlockType::Empty).loop_(BlockType::Empty);
    body.local_get(done).local_get(length).i32_ge_u().br_if(1);
    body.local_get(done).i32_const(7).i32_and().i32_eqz().if_(BlockType::Empty).call(RANDOM).local_set(random).end();
    body.local_get(buffer).local_get(done).i32_add().local_get(random).i64_store8(at(0, 0));
    body.local_get(random).i64_const(8).i64_shr_u().local_set(random);
    body.local_get(done).i32_const(1).i32_add().local_set(done);
    body.br(0).end().end().i32_const(SUCCESS);
}

/// (file, pieces, count, written): everything goes to stderr, which the host shows with a trap.
fn fd_write(body: &mut InstructionSink<'_>) {
    let (file, pieces, count, written) = (0, 1, 2, 3);
    let (stream, from, left, piece, total) = (4, 5, 6, 7, 8);
    // Only 1 and 2 are open.
    body.local_get(file).i32_const(1).i32_sub().i32_const(2).i32_ge_u();
    body.if_(BlockType::Empty).i32_const(BAD_FILE).return_().end();
    body.call(STDERR).local_set(stream);
    body.block(BlockType::Empty).loop_(BlockType::Empty);
    body.local_get(count).i32_eqz().br_if(1);
    body.local_get(pieces).i32_load(at(0, 2)).local_set(from);
    body.local_get(pieces).i32_load(at(4, 2)).local_tee(left).local_get(total).i32_add().local_set(total);
    body.block(BlockType::Empty).loop_(BlockType::Empty);
    body.local_get(left).i32_eqz().br_if(1);
    body.local_get(left).i32_const(PIECE).local_get(left).i32_const(PIECE).i32_lt_u().select().local_set(piece);
    body.local_get(stream).local_get(from).local_get(piece).i32_const(SCRATCH).call(WRITE);
    body.local_get(from).local_get(piece).i32_add().local_set(from);
    body.local_get(left).local_get(piece).i32_sub().local_set(left);
    body.br(0).end().end();
    body.local_get(pieces).i32_const(8).i32_add().local_set(pieces);
    body.local_get(count).i32_const(1).i32_sub().local_set(count);
    body.br(0).end().end();
    body.local_get(stream).call(DROP_STREAM);
    body.local_get(written).local_get(total).i32_store(at(0, 2)).i32_const(SUCCESS);
}

/// (subscriptions, events, count, answered): sleeps until the first clock among them, and reports that one alone.
/// Files cannot be waited for: a call without a clock answers `badf`.
fn poll_oneoff(body: &mut InstructionSink<'_>) {
    let (subscriptions, events, count, answered) = (0, 1, 2, 3);
    let (handle, shortest, time) = (4, 5, 6);
    body.i64_const(-1).local_set(shortest);
    body.block(BlockType::Empty).loop_(BlockType::Empty);
    body.local_get(count).i32_eqz().br_if(1);
    // Kind 0 is a clock: its id at 16, timeout at 24, flags at 40, of which 1 means a point in time.
    body.local_get(subscriptions).i32_load8_u(at(8, 0)).i32_eqz().if_(BlockType::Empty);
    body.local_get(subscriptions).i64_load(at(24, 3)).local_set(time);
    body.local_get(subscriptions).i32_load16_u(at(40, 1)).i32_const(1).i32_and().if_(BlockType::Empty);
    body.local_get(time).call(MONOTONIC).i64_sub().local_set(time);
    body.local_get(time).i64_const(0).i64_lt_s().if_(BlockType::Empty).i64_const(0).local_set(time).end();
    body.end();
    body.local_get(time).local_get(shortest).i64_lt_u().if_(BlockType::Empty);
    body.local_get(time).local_set(shortest);
    body.local_get(events).local_get(subscriptions).i64_load(at(0, 3)).i64_store(at(0, 3));
    body.end().end();
    body.local_get(subscriptions).i32_const(SUBSCRIPTION).i32_add().local_set(subscriptions);
    body.local_get(count).i32_const(1).i32_sub().local_set(count);
    body.br(0).end().end();
    body.local_get(shortest).i64_const(-1).i64_eq().if_(BlockType::Empty).i32_const(BAD_FILE).return_().end();
    body.local_get(shortest).call(SUBSCRIBE).local_tee(handle).call(BLOCK).local_get(handle).call(DROP_POLLABLE);
    // The rest of the event: no error, a clock, nothing of files.
    for offset in (8..EVENT).step_by(8) {
        body.local_get(events).i64_const(0).i64_store(at(offset, 3));
    }
    body.local_get(answered).i32_const(1).i32_store(at(0, 2)).i32_const(SUCCESS);
}

/// The adapter, for the encoder.
///
/// # Errors
/// Never; a test makes it.
pub(super) fn adapter() -> Result<Vec<u8>, Error> {
    let defect =
        |error: &dyn std::fmt::Display| Error::NotAPlugin(format!("the adapter for Go is not valid: {error:#}"));
    let (mut resolve, _) = interfaces::world("tool-plugin")?;
    let package = resolve.push_str("go.wit", WORLD).map_err(|error| defect(&error))?;
    let world = resolve.select_world(&[package], None).map_err(|error| defect(&error))?;
    let mut module = module();
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).map_err(|error| defect(&error))?;
    Ok(module)
}

/// The adapter without the description of its world.
fn module() -> Vec<u8> {
    let mut parts = Parts::default();
    parts.imports.import(
        "env",
        "memory",
        EntityType::Memory(MemoryType {
            minimum: 0,
            maximum: None,
            memory64: false,
            shared: false,
            page_size_log2: None,
        }),
    );
    for (interface, name, takes, gives) in IMPORTS {
        let signature = parts.signature(takes, gives);
        parts.imports.import(interface, name, EntityType::Function(signature));
    }
    for (name, takes, variables, write) in FUNCTIONS {
        let gives: &[ValType] = if *name == "proc_exit" { &[] } else { &[I32] };
        parts.function(name, takes, gives, variables, write);
    }
    for (name, takes) in FILES {
        parts.function(name, takes, &[I32], &[], &no_file);
    }
    parts.finish()
}

/// The sections of a module that is being written.
#[derive(Default)]
struct Parts {
    signatures: BTreeMap<(Vec<String>, Vec<String>), u32>,
    types: TypeSection,
    imports: ImportSection,
    functions: FunctionSection,
    exports: ExportSection,
    code: CodeSection,
}

impl Parts {
    /// The index of a signature, the same for equal ones.
    fn signature(&mut self, takes: &[ValType], gives: &[ValType]) -> u32 {
        let key = |types: &[ValType]| types.iter().map(|one| format!("{one:?}")).collect::<Vec<_>>();
        let next = self.types.len();
        *self.signatures.entry((key(takes), key(gives))).or_insert_with(|| {
            self.types.ty().function(takes.iter().copied(), gives.iter().copied());
            next
        })
    }

    fn function(
        &mut self,
        name: &str,
        takes: &[ValType],
        gives: &[ValType],
        variables: &[(u32, ValType)],
        write: &dyn Fn(&mut InstructionSink<'_>),
    ) {
        let signature = self.signature(takes, gives);
        self.exports.export(name, ExportKind::Func, self.imports.len() - 1 + self.functions.len());
        self.functions.function(signature);
        let mut function = Function::new(variables.iter().copied());
        write(&mut function.instructions());
        function.instructions().end();
        self.code.function(&function);
    }

    fn finish(self) -> Vec<u8> {
        let mut module = Module::new();
        module.section(&self.types).section(&self.imports).section(&self.functions);
        module.section(&self.exports).section(&self.code);
        module.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::encode;

    #[test]
    fn it_is_valid_and_has_all_of_preview_1_that_go_calls() {
        let adapter = adapter().unwrap();
        encode::validate(&adapter).unwrap();
        let mut names = Vec::new();
        for payload in wasmparser::Parser::new(0).parse_all(&adapter) {
            if let wasmparser::Payload::ExportSection(exports) = payload.unwrap() {
                names.extend(exports.into_iter().map(|export| export.unwrap().name.to_owned()));
            }
        }
        assert_eq!(names.len(), FUNCTIONS.len() + FILES.len());
        for name in ["args_sizes_get", "clock_time_get", "fd_prestat_get", "fd_write", "poll_oneoff", "random_get"] {
            assert!(names.iter().any(|known| known == name), "{name}");
        }
    }
}
