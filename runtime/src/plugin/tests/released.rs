//! Components built against any released version of the interfaces keep loading.

use std::path::Path;

use compozy_lang::plan::PluginKind;
use wit_component::{ComponentEncoder, DecodedWasm, StringEncoding, dummy_module, embed_component_metadata};
use wit_parser::ManglingAndAbi;

use super::host;
use crate::plugin::Source;

/// For every world of every released version a component that imports and exports all there is: it links, so each of
/// these functions is still there with the types it had.
#[tokio::test]
async fn components_of_every_released_version_load() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interfaces");
    let mut loaded = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let DecodedWasm::WitPackage(resolve, package) = wit_component::decode(&std::fs::read(&path).unwrap()).unwrap()
        else {
            panic!("{} is no WIT package", path.display());
        };
        for (name, world) in &resolve.packages[package].worlds {
            let Some(kind) = kind(name) else { continue };
            let mut module = dummy_module(&resolve, *world, ManglingAndAbi::Standard32);
            embed_component_metadata(&mut module, &resolve, *world, StringEncoding::UTF8).unwrap();
            let component = ComponentEncoder::default().validate(true).module(&module).unwrap().encode().unwrap();
            let result = host().load(Source::Bytes(component.into()), kind).await;
            assert!(result.is_ok(), "{} {name}: {:?}", path.display(), result.err());
            loaded.push(format!("{} {name}", path.file_stem().unwrap().display()));
        }
    }
    loaded.sort();
    let first = ["embedder", "llm-provider", "template", "tool"].map(|kind| format!("0.1.0 {kind}-plugin"));
    assert!(first.iter().all(|world| loaded.contains(world)), "{loaded:?}");
}

fn kind(world: &str) -> Option<PluginKind> {
    match world {
        "tool-plugin" => Some(PluginKind::Tool),
        "llm-provider-plugin" => Some(PluginKind::Llm),
        "embedder-plugin" => Some(PluginKind::Embedder),
        "template-plugin" => Some(PluginKind::Template),
        _ => None,
    }
}
