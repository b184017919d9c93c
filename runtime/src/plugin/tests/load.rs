//! What loads, what does not and why, and the code cache.

use std::sync::Arc;

use compozy_lang::plan::PluginKind;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::{bind, call, host, path};
use crate::plugin::{Binding, Host, HostOptions, Source, precompiled, tool};

#[tokio::test]
async fn what_is_no_such_component_is_refused_with_the_reason() {
    let file = |name: &str| std::fs::read(path(name)).unwrap();
    // Imports the function `f` of the instance `my:own/thing` (component-model Binary.md: a type and an import section).
    let foreign =
        b"\0asm\x0d\0\x01\0\x07\x0e\x01\x42\x02\x01\x40\0\x01\0\x04\0\x01f\x01\0\x0a\x11\x01\0\x0cmy:own/thing\x05\0";
    for (what, bytes, kind, code, reason) in [
        ("empty", Vec::new(), PluginKind::Tool, "CZ0702", "not a tool component: it is not WebAssembly"),
        ("text", b"(component)".to_vec(), PluginKind::Tool, "CZ0702", "not a tool component: it is not WebAssembly"),
        (
            "module",
            b"\0asm\x01\0\0\0".to_vec(),
            PluginKind::Tool,
            "CZ0702",
            "not a tool component: it is a core module",
        ),
        ("cut", file("guests/zoo")[..5_000].to_vec(), PluginKind::Tool, "CZ0702", "not a tool component: "),
        (
            "no export",
            b"\0asm\x0d\0\x01\0".to_vec(),
            PluginKind::Tool,
            "CZ0702",
            "not a tool component: no exported instance named `compozy:plugin/tool@0.1.0`",
        ),
        (
            "tool as llm",
            file("guests/zoo"),
            PluginKind::Llm,
            "CZ0702",
            "not a llm component: no exported instance named `compozy:plugin/llm-provider@0.1.0`",
        ),
        (
            "tool as template",
            file("guests/zoo"),
            PluginKind::Template,
            "CZ0702",
            "not a template component: a template component imports nothing, this one imports ",
        ),
        ("not a tool", file("guests/not-a-tool"), PluginKind::Tool, "CZ0702", "not a tool component: "),
    ] {
        let error = host().load(Source::Bytes(bytes.into()), kind).await.expect_err(what);
        assert_eq!(error.code(), code, "{what}");
        assert!(error.to_string().starts_with(reason), "{what}: {error}");
    }
    let error = host().load(Source::Bytes(foreign.to_vec().into()), PluginKind::Tool).await.unwrap_err();
    assert!(error.to_string().ends_with("; unknown imports: my:own/thing"), "{error}");
    let error = host().load(Source::Path("none.wasm".into()), PluginKind::Tool).await.unwrap_err();
    assert_eq!((error.code(), error.to_string().as_str()), ("CZ0701", "cannot read none.wasm"));
}

#[tokio::test]
async fn compiled_code_of_any_engine_is_refused() {
    let engine = wasmtime::Engine::default();
    let compiled =
        wasmtime::component::Component::from_binary(&engine, b"\0asm\x0d\0\x01\0").unwrap().serialize().unwrap();
    let error = host().load(Source::Bytes(compiled.into()), PluginKind::Tool).await.unwrap_err();
    assert_eq!(error.code(), "CZ0710");
}

#[tokio::test]
async fn describe_names_the_functions() {
    let description = tool::describe(&bind("guests/zoo").await).await.unwrap();
    let add = description.functions.iter().find(|function| function.name == "add").unwrap();
    assert!(add.read_only && add.idempotent && !add.destructive);
    assert!(add.input_schema.as_deref().unwrap().contains("\"required\""));
}

#[tokio::test]
async fn the_same_component_is_loaded_once() {
    let (one, two) = tokio::join!(bind("text-stats"), bind("text-stats"));
    assert!(Arc::ptr_eq(&one.component, &two.component));
}

#[tokio::test]
async fn a_second_process_takes_the_code_from_the_cache() {
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    for _ in 0..2 {
        let host = Host::new(HostOptions { cache_dir: Some(cache.clone()), pooling: false, max_instances: 4 }).unwrap();
        let component = host.load(Source::Path(path("guests/zoo")), PluginKind::Tool).await.unwrap();
        let zoo = Binding { component, ..bind("guests/zoo").await };
        assert_eq!(call(&zoo, "add", json!({"a": 1, "b": 1})).await.unwrap(), json!({"sum": 2}));
        let files = std::fs::read_dir(&cache).unwrap().count();
        assert_eq!(files, 2, "the key and one component");
    }
    // Damaged on disk: compiled anew, and mended.
    let file = std::fs::read_dir(&cache)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some())
        .unwrap();
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0xff;
    std::fs::write(&file, &bytes).unwrap();
    let host = Host::new(HostOptions { cache_dir: Some(cache), pooling: false, max_instances: 4 }).unwrap();
    host.load(Source::Path(path("guests/zoo")), PluginKind::Tool).await.unwrap();
    assert_ne!(std::fs::read(&file).unwrap(), bytes);
}

#[tokio::test]
async fn compiled_code_is_loaded_only_with_its_digest() {
    let folder = tempfile::tempdir().unwrap();
    let compiled = precompiled::compile(&std::fs::read(path("text-stats")).unwrap(), None).unwrap();
    let other = precompiled::compile(&std::fs::read(path("guests/bad-json")).unwrap(), None).unwrap();
    let digest = |bytes: &[u8]| format!("sha256:{}", crate::plugin::hex(&Sha256::digest(bytes)));
    let load = async |name: &str, bytes: &[u8], pin: Option<String>| {
        let file = folder.path().join(name);
        std::fs::write(&file, bytes).unwrap();
        let source = match pin {
            Some(digest) => Source::Precompiled { path: file, digest },
            None => Source::Path(file),
        };
        host().load(source, PluginKind::Tool).await
    };
    let binding = Binding {
        component: load("a.cwasm", &compiled, Some(digest(&compiled))).await.unwrap(),
        ..bind("guests/zoo").await
    };
    let answer = call(&binding, "stats", json!({"text": "two words"})).await.unwrap();
    assert_eq!(answer["words"], 2);
    let wasm = std::fs::read(path("text-stats")).unwrap();
    let module = wasmtime::Engine::default().precompile_module(b"\0asm\x01\0\0\0").unwrap();
    // Another version's: its number stands in a section of the file, after its length.
    let mut foreign = compiled.clone();
    let version = b"\x0248";
    let at = foreign.windows(version.len()).position(|window| window == version).expect("the version") + 1;
    foreign[at] = b'3';
    for (what, bytes, pin, code) in [
        // It was loaded before, and is refused all the same.
        ("no digest", &compiled, None, "CZ0710"),
        ("another's digest", &compiled, Some(digest(&other)), "CZ0711"),
        ("another file", &other, Some(digest(&compiled)), "CZ0711"),
        ("no hash", &compiled, Some("sha256:".to_owned()), "CZ0711"),
        ("a component", &wasm, Some(digest(&wasm)), "CZ0710"),
        ("a module", &module, Some(digest(&module)), "CZ0710"),
        ("cut", &compiled[..4_096].to_vec(), Some(digest(&compiled[..4_096])), "CZ0710"),
        ("another version", &foreign, Some(digest(&foreign)), "CZ0710"),
    ] {
        let error = load("b.cwasm", bytes, pin).await.expect_err(what);
        assert_eq!(error.code(), code, "{what}: {error}");
    }
    let source = Source::Precompiled { path: folder.path().join("a.cwasm"), digest: digest(&compiled) };
    assert_eq!(host().load(source, PluginKind::Llm).await.unwrap_err().code(), "CZ0702");
}
