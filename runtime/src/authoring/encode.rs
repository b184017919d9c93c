//! From what a compiler makes to a component.
//!
//! A core module gets the world that its exports fit, unless its compiler has written one into it, and the adapter of
//! preview 1 of WASI if it calls that. What it does not import is not imported by the component.

use std::borrow::Cow;

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME as PREVIEW1, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER as REACTOR,
};
use wasmparser::{Encoding, Parser, Payload, Validator, WasmFeatures};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

use super::{Error, go_wasi, interfaces};

/// Worlds by the interface they export.
const WORLDS: &[(&str, &str)] = &[
    ("compozy:plugin/tool@", "tool-plugin"),
    ("compozy:plugin/llm-provider@", "llm-provider-plugin"),
    ("compozy:plugin/embedder@", "embedder-plugin"),
    ("compozy:plugin/template@", "template-plugin"),
];

/// What is known of a core module before it is encoded.
#[derive(Debug, Default, PartialEq, Eq)]
struct Module {
    /// It says itself which interfaces it means.
    has_world: bool,
    /// It calls preview 1 of WASI.
    wants_preview1: bool,
    /// It is made by Go's own compiler, whose runtime takes all memory for its own.
    is_go: bool,
    exports: Vec<String>,
}

/// Turns a core module into a component; a component is given back as it is. Both are validated.
///
/// # Errors
/// [`Error::NotAPlugin`]: it is neither, or its exports and imports are not those of an interface.
pub fn component(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    match encoding(wasm)? {
        Encoding::Component => validate(wasm).map(|()| wasm.to_vec()),
        Encoding::Module => {
            validate(wasm)?;
            encode(wasm)
        }
    }
}

/// Whether the bytes are a module or a component.
///
/// # Errors
/// They are no WebAssembly.
pub fn encoding(wasm: &[u8]) -> Result<Encoding, Error> {
    match wasm.first_chunk::<8>() {
        // Version and layer (component-model Binary.md); the layer of a core module is 0.
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => Ok(Encoding::Module),
        Some([0, b'a', b's', b'm', 0x0d, 0, 1, 0]) => Ok(Encoding::Component),
        Some([0, b'a', b's', b'm', ..]) => {
            Err(Error::NotAPlugin("it is WebAssembly of a version that is not known".to_owned()))
        }
        _ if wasm.is_empty() => Err(Error::NotAPlugin("it is empty".to_owned())),
        _ if crate::plugin::precompiled::is_compiled(wasm) => {
            Err(Error::NotAPlugin("it is compiled code; use the component it was made of".to_owned()))
        }
        _ => Err(Error::NotAPlugin("it is not WebAssembly".to_owned())),
    }
}

/// Checks the bytes by the rules of WebAssembly.
///
/// # Errors
/// Which rule they break, and where.
pub fn validate(wasm: &[u8]) -> Result<(), Error> {
    let checked = Validator::new_with_features(WasmFeatures::default()).validate_all(wasm);
    checked.map(drop).map_err(|error| Error::NotAPlugin(format!("it is not valid WebAssembly: {error}")))
}

fn encode(wasm: &[u8]) -> Result<Vec<u8>, Error> {
    let module = look(wasm)?;
    let mut bytes = wasm.to_vec();
    if !module.has_world {
        let (resolve, world) = interfaces::world(world_of(&module)?)?;
        embed_component_metadata(&mut bytes, &resolve, world, StringEncoding::UTF8)
            .map_err(|error| Error::NotAPlugin(format!("{error:#}")))?;
    }
    let failed = |error: &dyn std::fmt::Display| {
        Error::NotAPlugin(format!("the module does not fit the interfaces it names: {error:#}"))
    };
    let mut encoder =
        ComponentEncoder::default().validate(true).module(&bytes).map_err(|error| failed(&format!("{error:#}")))?;
    if module.wants_preview1 {
        let adapter = if module.is_go { go_wasi::adapter()?.into() } else { Cow::Borrowed(REACTOR) };
        encoder = encoder.adapter(PREVIEW1, &adapter).map_err(|error| failed(&format!("{error:#}")))?;
    }
    encoder.encode().map_err(|error| failed(&format!("{error:#}")))
}

fn look(wasm: &[u8]) -> Result<Module, Error> {
    let broken = |error: wasmparser::BinaryReaderError| Error::NotAPlugin(error.to_string());
    let mut module = Module::default();
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(broken)? {
            Payload::CustomSection(section) => {
                module.has_world |= section.name().starts_with("component-type");
                module.is_go |= section.name() == "go:buildid";
            }
            Payload::ImportSection(imports) => {
                for import in imports.into_imports() {
                    module.wants_preview1 |= import.map_err(broken)?.module == PREVIEW1;
                }
            }
            Payload::ExportSection(exports) => {
                for export in exports {
                    module.exports.push(export.map_err(broken)?.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(module)
}

fn world_of(module: &Module) -> Result<&'static str, Error> {
    let fits = |interface: &str| module.exports.iter().any(|export| export.starts_with(interface));
    let world = WORLDS.iter().find(|(interface, _)| fits(interface)).map(|(_, world)| *world);
    world.ok_or_else(|| {
        Error::NotAPlugin(
            "the module exports no interface of compozy:plugin, such as compozy:plugin/tool@0.1.0".to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authoring::inspect;
    use crate::plugin::tests::path;

    /// The core module of a bundled plugin, as its compiler made it.
    fn module() -> Vec<u8> {
        let file = "plugins/target/wasm32-unknown-unknown/release/text_stats.wasm";
        std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("run `cargo plugins`")
    }

    /// The same without what wit-bindgen has written into it.
    fn bare() -> Vec<u8> {
        let wasm = module();
        let mut left = wasm.get(..8).unwrap().to_vec();
        for payload in Parser::new(0).parse_all(&wasm) {
            let payload = payload.unwrap();
            let is_world =
                matches!(&payload, Payload::CustomSection(custom) if custom.name().starts_with("component-type"));
            if let Some((id, range)) = payload.as_section().filter(|_| !is_world) {
                left.push(id);
                let mut size = range.len();
                loop {
                    let more = size > 0x7f;
                    left.push(u8::try_from(size & 0x7f).unwrap() | if more { 0x80 } else { 0 });
                    size >>= 7;
                    if !more {
                        break;
                    }
                }
                left.extend_from_slice(&wasm[range]);
            }
        }
        left
    }

    #[test]
    fn a_module_becomes_the_component_that_it_names_or_exports() {
        let bare = bare();
        assert!(look(&module()).unwrap().has_world && !look(&bare).unwrap().has_world);
        for wasm in [module(), bare] {
            let component = component(&wasm).unwrap();
            let found = inspect::findings(&component).unwrap();
            assert_eq!(found.exports, ["compozy:plugin/tool@0.1.0"]);
            assert_eq!((found.kinds.len(), found.grants), (1, vec![]));
            assert_eq!(super::component(&component).unwrap(), component, "a component stays what it is");
        }
    }

    #[test]
    fn what_can_be_no_plugin_is_told() {
        let zoo = std::fs::read(path("guests/zoo")).unwrap();
        for (wasm, reason) in [
            (b"".to_vec(), "it is empty"),
            (b"(module)".to_vec(), "it is not WebAssembly"),
            (b"\0asm\x0f\0\0\0".to_vec(), "it is WebAssembly of a version that is not known"),
            (b"\0asm\x01\0\0\0".to_vec(), "the module exports no interface of compozy:plugin"),
            (b"\0asm\x01\0\0\0\x01\x05".to_vec(), "it is not valid WebAssembly: "),
            (zoo[..7_000].to_vec(), "it is not valid WebAssembly: "),
        ] {
            let error = component(&wasm).unwrap_err();
            assert_eq!(error.code(), "CZ0702");
            assert!(error.to_string().starts_with(reason), "{error}");
        }
    }

    /// Whatever the bytes are, looking at them ends with an answer.
    #[test]
    fn damaged_components_end_with_an_error() {
        let sound = std::fs::read(path("guests/bad-json")).unwrap();
        let mut seed = 7_u64;
        for _ in 0..150 {
            let mut wasm = sound.clone();
            for _ in 0..3 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let at = usize::try_from(seed >> 33).unwrap() % wasm.len();
                wasm[at] = u8::try_from(seed & 0xff).unwrap();
            }
            drop(component(&wasm));
            drop(inspect::findings(&wasm));
            drop(inspect::wit(&wasm));
        }
    }
}
