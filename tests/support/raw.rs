//! Components made of hand-written core modules: what no compiler would emit.
//!
//! A [`Raw`] is a module with an export for each function of its world; tests replace bodies by what must not be.
//! Its memory holds a valid description at 128 and a valid answer (`null`) at 256, and no other allocator than a number.

#![allow(dead_code, reason = "the tests of the host and those of the server each use a part of it")]

use std::fmt::Write as _;
use std::path::Path;

use wit_component::{ComponentEncoder, StringEncoding};
use wit_parser::abi::{AbiVariant, WasmType};
use wit_parser::{
    Function, LiftLowerAbi, ManglingAndAbi, Resolve, WasmExport, WasmExportKind, WasmImport, WorldId, WorldItem,
    WorldKey,
};

const SYNC: ManglingAndAbi = ManglingAndAbi::Legacy(LiftLowerAbi::Sync);

/// Where constant data lies: words, a function, a description, an answer.
const DATA: &str = r#"
  (data (i32.const 16) "null")
  (data (i32.const 32) "raw")
  (data (i32.const 64) "\20\00\00\00\03\00\00\00\20\00\00\00\03\00\00\00")
  (data (i32.const 128) "\20\00\00\00\03\00\00\00\20\00\00\00\03\00\00\00\00\00\00\00\40\00\00\00\01\00\00\00")
  (data (i32.const 256) "\00\00\00\00\00\00\00\00\10\00\00\00\04\00\00\00")
"#;

/// An allocator that never frees and does not look where it is.
const REALLOC: &str = "
    (global.set $heap (i32.and (i32.add (global.get $heap) (i32.const 15)) (i32.const -16)))
    (global.get $heap)
    (global.set $heap (i32.add (global.get $heap) (local.get 3)))";

/// A loop that never ends.
pub(crate) const LOOP: &str = "(loop $on (br $on)) unreachable";

/// A core module to be.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    world: &'static str,
    memory: String,
    head: String,
    extra: String,
    realloc: String,
    bodies: Vec<(String, String)>,
}

impl Raw {
    fn of(world: &'static str) -> Self {
        Self {
            world,
            memory: "2".into(),
            head: String::new(),
            extra: String::new(),
            realloc: REALLOC.into(),
            bodies: Vec::new(),
        }
    }

    /// A tool with one function `raw` that answers null.
    pub(crate) fn tool() -> Self {
        Self::of("tool-plugin").body("describe", "(i32.const 128)").body("run", "(i32.const 256)")
    }

    /// An LLM provider whose streams can be made; everything else traps.
    pub(crate) fn llm() -> Self {
        let new = r#"(import "[export]compozy:plugin/llm-provider@0.1.0" "[resource-new]chat-stream" (func $new (param i32) (result i32)))"#;
        let stream = "(i32.store (i32.const 776) (call $new (i32.const 1))) (i32.const 768)";
        Self::of("llm-provider-plugin").head(new).body("stream", stream)
    }

    /// An embedder that traps.
    pub(crate) fn embedder() -> Self {
        Self::of("embedder-plugin")
    }

    /// A template language that traps.
    pub(crate) fn template() -> Self {
        Self::of("template-plugin")
    }

    /// Replaces the body of the export `name`: a function of the world, `[method]…`, `[dtor]…`, or `post NAME`.
    pub(crate) fn body(mut self, name: &str, body: &str) -> Self {
        self.bodies.retain(|(known, _)| known != name);
        self.bodies.push((name.to_owned(), body.to_owned()));
        self
    }

    /// Adds imports.
    pub(crate) fn head(mut self, text: &str) -> Self {
        self.head.push_str(text);
        self
    }

    /// Adds further definitions.
    pub(crate) fn extra(mut self, text: &str) -> Self {
        self.extra.push_str(text);
        self
    }

    /// Replaces the limits of the memory, in pages.
    pub(crate) fn memory(mut self, limits: &str) -> Self {
        limits.clone_into(&mut self.memory);
        self
    }

    /// Replaces the body of `cabi_realloc`.
    pub(crate) fn realloc(mut self, body: &str) -> Self {
        body.clone_into(&mut self.realloc);
        self
    }

    /// Text of the module.
    fn text(&self, resolve: &Resolve, world: WorldId) -> String {
        let Self { head, memory, realloc, extra, .. } = self;
        let mut text = format!(
            "(module {head}\n  (memory (export \"memory\") {memory})\n  (global $heap (mut i32) (i32.const 32768))\n{DATA}{extra}
  (func $realloc (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) {realloc})\n"
        );
        for (key, item) in &resolve.worlds[world].exports {
            let WorldItem::Interface { id, .. } = item else { continue };
            for (name, function) in &resolve.interfaces[*id].functions {
                self.export(&mut text, resolve, key, name, function);
            }
            let dtors = self.bodies.iter().filter_map(|(name, body)| Some((name.strip_prefix("[dtor]")?, body)));
            for (resource, body) in dtors {
                let interface = resolve.name_world_key(key);
                let _ = writeln!(text, "  (func (export \"{interface}#[dtor]{resource}\") (param i32) {body})");
            }
        }
        text.push(')');
        text
    }

    fn export(&self, text: &mut String, resolve: &Resolve, key: &WorldKey, name: &str, function: &Function) {
        let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
        let (params, results) = (types("param", &signature.params), types("result", &signature.results));
        let exported =
            |kind| resolve.wasm_export_name(SYNC, WasmExport::Func { interface: Some(key), func: function, kind });
        let body = |name: &str| self.bodies.iter().find(|(known, _)| known == name).map(|(_, body)| body.as_str());
        let _ = writeln!(
            text,
            "  (func (export \"{}\") {params} {results} {})",
            exported(WasmExportKind::Normal),
            body(name).unwrap_or("unreachable")
        );
        if let Some(body) = body(&format!("post {name}")) {
            let _ = writeln!(text, "  (func (export \"{}\") (param i32) {body})", exported(WasmExportKind::PostReturn));
        }
    }

    /// The component.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (resolve, world) = world(self.world);
        let text = self.text(&resolve, world);
        let mut module = wat::parse_str(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
        wit_component::embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embed");
        let encoder = ComponentEncoder::default().module(&module);
        let mut encoder = encoder.unwrap_or_else(|error| panic!("{error:?}\n{text}"));
        encoder.encode().unwrap_or_else(|error| panic!("{error:?}\n{text}"))
    }
}

fn world(name: &str) -> (Resolve, WorldId) {
    let mut resolve = Resolve::default();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("wit");
    let (package, _) = resolve.push_path(folder).expect("the WIT is valid");
    let world = resolve.select_world(&[package], Some(name)).expect("the world is there");
    (resolve, world)
}

/// A function that tools may import.
#[derive(Debug)]
pub(crate) struct Import {
    /// Interface and function, `compozy:host/kv@0.1.0` and `get`.
    pub(crate) interface: String,
    pub(crate) function: String,
    params: Vec<WasmType>,
    results: Vec<WasmType>,
}

/// Every function that the world `tool-plugin` imports.
pub(crate) fn imports() -> Vec<Import> {
    let (resolve, world) = world("tool-plugin");
    let mut found = Vec::new();
    for (key, item) in &resolve.worlds[world].imports {
        let WorldItem::Interface { id, .. } = item else { continue };
        for function in resolve.interfaces[*id].functions.values() {
            let signature = resolve.wasm_signature(AbiVariant::GuestImport, function);
            let import = WasmImport::Func { interface: Some(key), func: function };
            let (interface, name) = resolve.wasm_import_name(SYNC, import);
            found.push(Import { interface, function: name, params: signature.params, results: signature.results });
        }
    }
    found
}

/// What [`Import::misused`] calls a function with, by the length of its input: 32-bit words in turn, and the number that
/// 64-bit and floating-point parameters get.
pub(crate) const MISUSES: [(&str, [&str; 2], &str); 9] = [
    ("zeros", ["0", "0"], "0"),
    ("all bits", ["-1", "-1"], "-1"),
    ("largest", ["0x7fffffff", "0x7fffffff"], "0x7fffffff"),
    ("ones", ["1", "1"], "1"),
    ("endless at 0", ["0", "-1"], "1"),
    ("beyond memory", ["-1", "0"], "0"),
    ("overlong", ["16", "0x10000000"], "-1"),
    ("no text", ["1024", "8"], "2"),
    ("some text", ["32", "3"], "0"),
];

impl Import {
    /// A tool that calls this function in the way that the length of its input says ([`MISUSES`]).
    pub(crate) fn misused(&self) -> Raw {
        let import = format!(
            "(import \"{}\" \"{}\" (func $it {} {}))",
            self.interface,
            self.function,
            types("param", &self.params),
            types("result", &self.results)
        );
        let mut body = String::new();
        for (index, (_, words, number)) in MISUSES.iter().enumerate() {
            let mut word = words.iter().cycle();
            let arguments: Vec<String> = self.params.iter().map(|kind| argument(*kind, &mut word, number)).collect();
            let drops = "drop ".repeat(self.results.len());
            let _ = writeln!(
                body,
                "    (if (i32.eq (local.get 3) (i32.const {index})) (then {} call $it {drops}))",
                arguments.join(" ")
            );
        }
        body.push_str("    (i32.const 256)");
        let bytes = r#"(data (i32.const 1024) "\ff\fe\ff\ff\ff\ff\ff\ff\ff\ff\ff\ff")"#;
        Raw::tool().head(&import).extra(bytes).body("run", &body)
    }
}

fn argument<'w>(kind: WasmType, words: &mut impl Iterator<Item = &'w &'w str>, number: &str) -> String {
    match kind {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => {
            format!("(i32.const {})", words.next().copied().unwrap_or("0"))
        }
        WasmType::I64 | WasmType::PointerOrI64 => format!("(i64.const {number})"),
        WasmType::F32 => "(f32.const nan)".into(),
        WasmType::F64 => "(f64.const nan)".into(),
    }
}

fn types(word: &str, types: &[WasmType]) -> String {
    if types.is_empty() {
        return String::new();
    }
    let names: Vec<&str> = types.iter().map(|kind| name(*kind)).collect();
    format!("({word} {})", names.join(" "))
}

fn name(kind: WasmType) -> &'static str {
    match kind {
        WasmType::I32 | WasmType::Pointer | WasmType::Length => "i32",
        WasmType::I64 | WasmType::PointerOrI64 => "i64",
        WasmType::F32 => "f32",
        WasmType::F64 => "f64",
    }
}
