//! Manifests: which blob of an image is the component.
//!
//! Source of the layout: <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>.

use compozy_lang::oci;
use serde::Deserialize;

use crate::plugin::MAX_COMPONENT_BYTES;

/// Kinds of manifests that are asked for.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.manifest.v1+json, \
                                 application/vnd.docker.distribution.manifest.v2+json";

/// Most bytes of a manifest that a registry has to take (distribution specification).
pub(super) const MOST_BYTES: u64 = 4 << 20;

const WASM: &str = "application/wasm";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    #[serde(default)]
    layers: Vec<Descriptor>,
    manifests: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    media_type: String,
    digest: String,
    size: u64,
}

/// The blob that is the component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Layer {
    /// SHA-256 in 64 hexadecimal digits.
    pub(super) digest: String,
    /// In bytes.
    pub(super) size: u64,
}

/// The component's blob: the one layer of type `application/wasm`, else the only layer there is.
pub(super) fn layer(text: &[u8]) -> Result<Layer, String> {
    let manifest: Manifest = serde_json::from_slice(text).map_err(|error| format!("its manifest is none: {error}"))?;
    if manifest.manifests.is_some() {
        return Err("it is an index of several images; name one of them by its digest".to_owned());
    }
    let wasm: Vec<&Descriptor> = manifest.layers.iter().filter(|layer| layer.media_type == WASM).collect();
    let layer = match (wasm.as_slice(), manifest.layers.as_slice()) {
        ([layer], _) => *layer,
        // Older tools give the one layer a type of their own.
        ([], [layer]) => layer,
        ([], layers) => return Err(format!("none of its {} layers is of type {WASM}", layers.len())),
        (layers, _) => return Err(format!("{} of its layers are of type {WASM}", layers.len())),
    };
    if layer.media_type.ends_with("gzip") || layer.media_type.ends_with("zstd") || layer.media_type.ends_with(".tar") {
        return Err(format!("its layer is an archive ({}), not a component", shown(&layer.media_type)));
    }
    if layer.size > MAX_COMPONENT_BYTES {
        return Err(format!("its component has {} bytes; the limit is {MAX_COMPONENT_BYTES}", layer.size));
    }
    let digest = oci::hex_of(&layer.digest).map_err(|_| "the digest of its layer is not one of SHA-256".to_owned())?;
    Ok(Layer { digest, size: layer.size })
}

fn shown(text: &str) -> &str {
    text.get(..text.floor_char_boundary(100)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::layer;

    fn descriptor(kind: &str, size: u64) -> Value {
        json!({"mediaType": kind, "digest": format!("sha256:{}", "a".repeat(64)), "size": size})
    }

    #[test]
    fn the_component_is_found() {
        let config = descriptor("application/vnd.wasm.config.v0+json", 2);
        for layers in [
            json!([descriptor("application/wasm", 9)]),
            json!([descriptor("application/vnd.wasm.content.layer.v1+wasm", 9)]),
            json!([descriptor("text/plain", 1), descriptor("application/wasm", 9)]),
        ] {
            let manifest = json!({"schemaVersion": 2, "config": config, "layers": layers});
            let found = layer(manifest.to_string().as_bytes()).unwrap();
            assert_eq!((found.digest, found.size), ("a".repeat(64), 9));
        }
    }

    #[test]
    fn what_is_no_component_is_told() {
        let wasm = || descriptor("application/wasm", 9);
        let digest = json!({"mediaType": "application/wasm", "digest": "sha512:00", "size": 1});
        for (manifest, part) in [
            (json!([]), "its manifest is none"),
            (json!({}), "none of its 0 layers"),
            (json!({"layers": [{"mediaType": "a"}]}), "its manifest is none"),
            (json!({"manifests": [wasm()]}), "an index of several images"),
            (json!({"layers": [wasm(), wasm()]}), "2 of its layers are of type application/wasm"),
            (json!({"layers": [descriptor("a", 1), descriptor("b", 1)]}), "none of its 2 layers"),
            (json!({"layers": [descriptor("application/vnd.oci.image.layer.v1.tar+gzip", 1)]}), "is an archive"),
            (json!({"layers": [descriptor("application/wasm", 1 << 40)]}), "the limit is"),
            (json!({"layers": [digest]}), "not one of SHA-256"),
        ] {
            let reason = layer(manifest.to_string().as_bytes()).unwrap_err();
            assert!(reason.contains(part), "{manifest}: {reason}");
        }
    }
}
