//! The component behind an entry of `plugins`: where it lies, and what can be known of it without compiling it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use compozy_lang::oci;
use compozy_lang::plan::{Plugin, PluginKind};
use sha2::{Digest, Sha256};
use wasmparser::{Encoding, Parser, Payload};

use super::cache::hex;
use super::component::{Source, wrong};
use super::error::Error;
use super::precompiled::Pinned;
use super::{MAX_COMPONENT_BYTES, bundled, registry, shape};

/// Prefix of the sources that are compiled into this binary.
const BUILTIN: &str = "builtin:";

/// Ending of files with compiled code.
const COMPILED: &str = ".cwasm";

/// The component that an entry of the project in `root` names. A file lies in the project folder, symlinks resolved;
/// what comes from a registry was pulled before.
///
/// # Errors
/// There is no such file or bundled component ([`Error::Unusable`]), it lies elsewhere ([`Error::Outside`]), or was not
/// pulled ([`Error::NotPulled`]).
pub fn source(root: &Path, entry: &Plugin) -> Result<Source, Error> {
    match entry.source.strip_prefix(BUILTIN) {
        Some(name) => bundled::source(name).ok_or_else(|| {
            let known = bundled::names().join(", ");
            Error::Unusable(format!("no plugin '{name}' is built in; there are {known}"))
        }),
        None if entry.source.starts_with(oci::SCHEME) => registry::component(root, entry),
        None => {
            let path = file(root, &entry.source)?;
            match (&entry.digest, entry.source.ends_with(COMPILED)) {
                (Some(digest), true) => Ok(Source::Precompiled { path, digest: digest.clone() }),
                (None, true) => Err(Error::Precompiled),
                (_, false) => Ok(Source::Path(path)),
            }
        }
    }
}

/// Whether a component with SHA-256 `found` (hex) is the one that the entry's `digest` names.
///
/// # Errors
/// [`Error::Digest`].
pub fn check_digest(entry: &Plugin, found: &str) -> Result<(), Error> {
    match &entry.digest {
        Some(expected) => compare(expected, found),
        None => Ok(()),
    }
}

/// Whether `found` (hex) is what `expected` (`sha256:` and hex) says.
pub(super) fn compare(expected: &str, found: &str) -> Result<(), Error> {
    if expected.strip_prefix("sha256:").is_some_and(|digits| digits == found) {
        return Ok(());
    }
    Err(Error::Digest { expected: expected.to_owned(), found: format!("sha256:{found}") })
}

/// Reads the component of an entry and checks all that can be known without compiling it: format, digest, exports.
///
/// # Errors
/// Why a run could not use it.
pub fn check(root: &Path, entry: &Plugin) -> Result<(), Error> {
    let bytes = match source(root, entry)? {
        Source::Bytes(bytes) => bytes,
        Source::Precompiled { path, digest } => {
            let bytes = fs::read(&path).map_err(|error| unreadable(&entry.source, &error))?;
            // Its exports show only when it is loaded.
            return Pinned::new(bytes.into(), &digest).map(drop);
        }
        Source::Path(path) => fs::read(&path).map_err(|error| unreadable(&entry.source, &error))?.into(),
        Source::Bundled(bundled) => bundled.unpack()?.into(),
    };
    inspect(&bytes, entry.kind)?;
    // Hashing a large component takes longer than all the rest.
    if entry.digest.is_none() { Ok(()) } else { check_digest(entry, &hex(&Sha256::digest(&bytes))) }
}

fn file(root: &Path, written: &str) -> Result<PathBuf, Error> {
    let real = |path: &Path| path.canonicalize().map_err(|error| unreadable(written, &error));
    let (root, path) = (real(root)?, real(&root.join(written))?);
    if !path.starts_with(&root) {
        return Err(Error::Outside(written.to_owned()));
    }
    let metadata = fs::metadata(&path).map_err(|error| unreadable(written, &error))?;
    // Reading a pipe or a device might never end.
    if !metadata.is_file() {
        return Err(Error::Unusable(format!("{written} is not a regular file")));
    }
    if metadata.len() > MAX_COMPONENT_BYTES {
        let size = metadata.len();
        return Err(Error::Unusable(format!("{written} has {size} bytes; the limit is {MAX_COMPONENT_BYTES}")));
    }
    Ok(path)
}

fn unreadable(written: &str, error: &io::Error) -> Error {
    Error::Unusable(format!("cannot read {written}: {}", error.kind()))
}

/// Walks over the sections of a component and looks for the interface of its kind. Code is not looked at.
pub(crate) fn inspect(bytes: &[u8], kind: PluginKind) -> Result<(), Error> {
    if wasmtime::Engine::detect_precompiled(bytes).is_some() {
        return Err(Error::Precompiled);
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(wrong(kind, "it is not WebAssembly".into()));
    }
    shape::outline(bytes).map_err(|reason| wrong(kind, reason))?;
    let mut depth = 0_u32;
    let mut found = false;
    for payload in Parser::new(0).parse_all(bytes) {
        match payload.map_err(|error| wrong(kind, error.to_string()))? {
            Payload::Version { encoding: Encoding::Module, .. } if depth == 0 => {
                return Err(wrong(kind, "it is a core module; wrap it with the component encoder".into()));
            }
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(exports) if depth == 1 => {
                for export in exports {
                    let export = export.map_err(|error| wrong(kind, error.to_string()))?;
                    found |= is_interface(export.name.name, kind);
                }
            }
            _ => {}
        }
    }
    if found { Ok(()) } else { Err(wrong(kind, format!("it does not export {}", interface(kind)))) }
}

/// The interface of a kind (wit/worlds.wit).
fn interface(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Tool => "compozy:plugin/tool@0.1.0",
        PluginKind::Llm => "compozy:plugin/llm-provider@0.1.0",
        PluginKind::Embedder => "compozy:plugin/embedder@0.1.0",
        PluginKind::Template => "compozy:plugin/template@0.1.0",
    }
}

/// Whether an export is the interface of a kind. Versions of one minor line are compatible.
pub(crate) fn is_interface(export: &str, kind: PluginKind) -> bool {
    let line = |name: &str| name.rsplit_once('.').map(|(line, _patch)| line.to_owned());
    line(export).is_some_and(|exported| Some(exported) == line(interface(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugin::tests::path;

    fn entry(source: &str, kind: PluginKind) -> Plugin {
        Plugin::builtin(source, kind, Default::default())
    }

    #[test]
    fn what_a_run_could_not_use_is_told_without_compiling() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let zoo = fs::read(path("guests/zoo")).unwrap();
        fs::write(at("zoo.wasm"), &zoo).unwrap();
        fs::write(at("cut.wasm"), &zoo[..5_000]).unwrap();
        fs::write(at("other.wasm"), fs::read(path("guests/not-a-tool")).unwrap()).unwrap();
        fs::write(at("text.wasm"), "(component)").unwrap();
        fs::write(at("module.wasm"), b"\0asm\x01\0\0\0").unwrap();
        fs::create_dir(at("folder.wasm")).unwrap();
        std::os::unix::fs::symlink("/etc/hostname", at("link.wasm")).unwrap();
        let (tool, llm) = (PluginKind::Tool, PluginKind::Llm);
        for (source, kind, code, reason) in [
            ("none.wasm", tool, "CZ0701", "no usable implementation: cannot read none.wasm: entity not found"),
            ("folder.wasm", tool, "CZ0701", "no usable implementation: folder.wasm is not a regular file"),
            ("link.wasm", tool, "CZ0206", "path 'link.wasm' leaves the project folder"),
            ("cut.wasm", tool, "CZ0702", "not a tool component: unexpected end-of-file"),
            ("text.wasm", tool, "CZ0702", "not a tool component: it is not WebAssembly"),
            (
                "module.wasm",
                tool,
                "CZ0702",
                "not a tool component: it is a core module; wrap it with the component encoder",
            ),
            ("other.wasm", tool, "CZ0702", "not a tool component: it does not export compozy:plugin/tool@0.1.0"),
            ("zoo.wasm", llm, "CZ0702", "not a llm component: it does not export compozy:plugin/llm-provider@0.1.0"),
            (
                "builtin:none",
                llm,
                "CZ0701",
                "no usable implementation: no plugin 'none' is built in; there are template-go, llm-openai, llm-anthropic, llm-google, llm-ollama, llm-mock, js",
            ),
        ] {
            let error = check(folder.path(), &entry(source, kind)).expect_err(source);
            let message = error.to_string();
            let message = message.split(" (at offset").next().unwrap();
            assert_eq!((error.code(), message), (code, reason), "{source}");
        }
        check(folder.path(), &entry("zoo.wasm", tool)).unwrap();
        check(folder.path(), &entry("builtin:llm-mock", llm)).unwrap();
        let digest = Some(format!("sha256:{}", "0".repeat(64)));
        let error = check(folder.path(), &Plugin { digest, ..entry("zoo.wasm", tool) }).unwrap_err();
        assert_eq!(error.code(), "CZ0711");
    }

    #[test]
    fn a_later_patch_of_the_interface_fits() {
        for (export, fits) in [
            ("compozy:plugin/tool@0.1.0", true),
            ("compozy:plugin/tool@0.1.7", true),
            ("compozy:plugin/tool@0.2.0", false),
            ("compozy:plugin/embedder@0.1.0", false),
            ("tool", false),
        ] {
            assert_eq!(is_interface(export, PluginKind::Tool), fits, "{export}");
        }
    }
}
