//! What a component says of itself without being run: its kind, its interfaces and the permissions they point at.

use compozy_lang::plan::PluginKind;
use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};
use wit_component::{DecodedWasm, WitPrinter};
use wit_parser::{Resolve, WorldId};

use super::{Error, encode};
use crate::plugin::{entry, shape};

/// Size of a page of memory, in bytes (WebAssembly 2.0 §4.2.8).
const PAGE: u64 = 64 << 10;

/// What was found in a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Findings {
    /// Kinds it can be used as, by the interfaces it exports.
    pub kinds: Vec<PluginKind>,
    /// Interfaces it needs, `compozy:host/kv@0.1.0`.
    pub imports: Vec<String>,
    /// Interfaces it offers.
    pub exports: Vec<String>,
    /// Lines of `permissions` that its imports are of no use without.
    pub grants: Vec<&'static str>,
    /// Lines of `permissions` for imports that most standard libraries have whether they are used or not.
    pub possible_grants: Vec<&'static str>,
    /// Bytes of the component.
    pub size_bytes: u64,
    /// SHA-256 of the component, in hex.
    pub digest: String,
    /// Bytes of linear memory that an instance begins with.
    pub memory_bytes: u64,
}

/// Interfaces and the line of `permissions` that lets them do something.
const GRANTS: &[(&str, &str)] = &[
    ("wasi:http/outgoing-handler@", "http: [HOST]"),
    ("compozy:host/kv@", "kv: read-write"),
    ("compozy:host/sql@", "sql: [DATABASE]"),
    ("compozy:host/vector@", "vector: [VECTOR_DB]"),
    ("compozy:host/llm@", "llm: true"),
    ("compozy:host/secrets@", "secrets: [NAME]"),
];

/// The same for what standard libraries import.
const POSSIBLE_GRANTS: &[(&str, &str)] =
    &[("wasi:cli/environment@", "env: [NAME]"), ("wasi:filesystem/preopens@", "fs: [{path: FOLDER}]")];

/// Kinds in the order they are told.
const KINDS: [PluginKind; 4] = [PluginKind::Tool, PluginKind::Llm, PluginKind::Embedder, PluginKind::Template];

/// Looks into a component.
///
/// # Errors
/// [`Error::NotAPlugin`]: the bytes are no valid component.
pub fn findings(wasm: &[u8]) -> Result<Findings, Error> {
    let (resolve, world) = decode(wasm)?;
    let names = |keys: &mut dyn Iterator<Item = &wit_parser::WorldKey>| {
        keys.map(|key| resolve.name_world_key(key)).collect::<Vec<_>>()
    };
    let found = resolve.worlds.get(world);
    let imports = found.map(|world| names(&mut world.imports.keys())).unwrap_or_default();
    let exports = found.map(|world| names(&mut world.exports.keys())).unwrap_or_default();
    Ok(Findings {
        kinds: KINDS.into_iter().filter(|kind| exports.iter().any(|name| entry::is_interface(name, *kind))).collect(),
        grants: matching(GRANTS, &imports),
        possible_grants: matching(POSSIBLE_GRANTS, &imports),
        imports,
        exports,
        size_bytes: wasm.len() as u64,
        digest: crate::plugin::hex(&Sha256::digest(wasm)),
        memory_bytes: memory(wasm),
    })
}

/// The interfaces of a component as WIT.
///
/// # Errors
/// As [`findings`].
pub fn wit(wasm: &[u8]) -> Result<String, Error> {
    let (resolve, world) = decode(wasm)?;
    let main = resolve.worlds.get(world).and_then(|world| world.package);
    let main = main.ok_or_else(|| Error::NotAPlugin("its world belongs to no package".to_owned()))?;
    let others: Vec<_> = resolve.packages.iter().map(|(id, _)| id).filter(|id| *id != main).collect();
    let mut printer = WitPrinter::default();
    printer.print(&resolve, main, &others).map_err(|error| Error::NotAPlugin(format!("{error:#}")))?;
    Ok(printer.output.to_string())
}

fn matching<T: Copy>(table: &[(&str, T)], interfaces: &[String]) -> Vec<T> {
    let is_there = |prefix: &str| interfaces.iter().any(|interface| interface.starts_with(prefix));
    table.iter().filter(|(prefix, _)| is_there(prefix)).map(|(_, value)| *value).collect()
}

fn decode(wasm: &[u8]) -> Result<(Resolve, WorldId), Error> {
    if encode::encoding(wasm)? == Encoding::Module {
        let message = "it is a core module; `compozy plugin build FILE` makes a component of it";
        return Err(Error::NotAPlugin(message.to_owned()));
    }
    shape::check(wasm).map_err(Error::NotAPlugin)?;
    encode::validate(wasm)?;
    // The decoder was written for files of a compiler. Whatever is in this one, it must not end the process.
    let decoding = std::panic::catch_unwind(|| wit_component::decode(wasm));
    let unreadable = |reason: String| Error::NotAPlugin(format!("its interfaces cannot be read: {reason}"));
    match decoding {
        Ok(Ok(DecodedWasm::Component(resolve, world))) => Ok((resolve, world)),
        Ok(Ok(DecodedWasm::WitPackage(..))) => {
            Err(Error::NotAPlugin("it is a package of interfaces, without code".to_owned()))
        }
        Ok(Err(error)) => Err(unreadable(format!("{error:#}"))),
        Err(_) => Err(unreadable("they are of an unusual shape".to_owned())),
    }
}

/// Memories of all modules inside, at their beginning.
fn memory(wasm: &[u8]) -> u64 {
    let payloads = Parser::new(0).parse_all(wasm).filter_map(Result::ok);
    let memories = payloads.filter_map(|payload| match payload {
        Payload::MemorySection(memories) => Some(memories),
        _ => None,
    });
    let pages = memories.flat_map(|memories| memories.into_iter().filter_map(Result::ok)).map(|memory| memory.initial);
    pages.fold(0_u64, u64::saturating_add).saturating_mul(PAGE)
}
