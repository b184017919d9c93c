//! From a core module to a component, and what a component imports and exports.

use anyhow::{Context, Result, bail};
use wit_component::{ComponentEncoder, DecodedWasm};

/// Bytes 4 to 8 of a component; a core module has `01 00 00 00` there (component-model binary format, preamble).
const COMPONENT_LAYER: [u8; 4] = [0x0d, 0x00, 0x01, 0x00];

/// A component's interfaces by name.
pub(crate) struct Interfaces {
    /// What it needs from its host.
    pub(crate) imports: Vec<String>,
    /// What it offers.
    pub(crate) exports: Vec<String>,
}

/// Encodes a core module that carries its WIT as custom sections; a component is passed through.
///
/// # Errors
/// The module does not match its WIT, or the component is not valid.
pub(crate) fn encode(wasm: &[u8]) -> Result<Vec<u8>> {
    if wasm.get(4..8) == Some(COMPONENT_LAYER.as_slice()) {
        return Ok(wasm.to_vec());
    }
    let mut encoder = ComponentEncoder::default().validate(true).module(wasm).context("read the module's WIT")?;
    encoder.encode().context("turn the module into a component")
}

/// Lists the interfaces of a component.
///
/// # Errors
/// The bytes are not a valid component.
pub(crate) fn interfaces(component: &[u8]) -> Result<Interfaces> {
    let DecodedWasm::Component(resolve, world) = wit_component::decode(component).context("decode the component")?
    else {
        bail!("decode the component: it is a WIT package");
    };
    let Some(world) = resolve.worlds.get(world) else {
        bail!("decode the component: it has no world");
    };
    Ok(Interfaces {
        imports: world.imports.keys().map(|key| resolve.name_world_key(key)).collect(),
        exports: world.exports.keys().map(|key| resolve.name_world_key(key)).collect(),
    })
}
