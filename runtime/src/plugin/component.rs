//! A loaded component: compiled, linked and checked against its kind.

use std::fmt;
use std::sync::Arc;

use compozy_lang::plan::PluginKind;
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{InstancePre, Linker};

use super::bindings::embedder::EmbedderPre;
use super::bindings::llm::LlmPre;
use super::bindings::template::TemplatePre;
use super::bindings::tool::ToolPre;
use super::call::Admission;
use super::error::Error;
use super::state::State;

/// A component ready to be instantiated.
pub struct Component {
    digest: String,
    slots: u32,
    admission: Admission,
    pub(crate) export: Export,
}

/// The export of a component's kind, with its functions looked up.
pub(crate) enum Export {
    Tool(ToolPre<State>),
    Llm(LlmPre<State>),
    Embedder(EmbedderPre<State>),
    Template(TemplatePre<State>),
}

/// Namespaces the host links.
const LINKED: [&str; 2] = ["wasi:", "compozy:host/"];

impl Component {
    /// Links a compiled component and checks that it exports what `kind` demands.
    pub(crate) fn link(
        compiled: &wasmtime::component::Component,
        digest: String,
        kind: PluginKind,
        linker: &Linker<State>,
        admission: Admission,
    ) -> Result<Self, Error> {
        if kind == PluginKind::Template {
            refuse_imports(compiled)?;
        }
        let pre = linker
            .instantiate_pre(compiled)
            .map_err(|error| wrong(kind, format!("{error:#}{}", foreign_imports(compiled))))?;
        let slots = compiled.resources_required().map_or(1, |required| required.num_memories).max(1);
        Ok(Self { digest, slots, admission, export: export(pre, kind)? })
    }

    /// SHA-256 (hex) of the component's bytes.
    #[must_use]
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// What it was loaded as.
    #[must_use]
    pub fn kind(&self) -> PluginKind {
        match self.export {
            Export::Tool(_) => PluginKind::Tool,
            Export::Llm(_) => PluginKind::Llm,
            Export::Embedder(_) => PluginKind::Embedder,
            Export::Template(_) => PluginKind::Template,
        }
    }

    /// Linear memories of one instance: the slots it takes.
    pub(crate) fn slots(&self) -> u32 {
        self.slots
    }

    pub(crate) fn admission(&self) -> &Admission {
        &self.admission
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Component({} {})", word(self.kind()), self.digest.get(..12).unwrap_or_default())
    }
}

/// A kind as YAML writes it.
pub(crate) fn word(kind: PluginKind) -> &'static str {
    match kind {
        PluginKind::Tool => "tool",
        PluginKind::Llm => "llm",
        PluginKind::Embedder => "embedder",
        PluginKind::Template => "template",
    }
}

pub(crate) fn wrong(kind: PluginKind, reason: String) -> Error {
    Error::NotAComponent { kind: word(kind), reason }
}

fn export(pre: InstancePre<State>, kind: PluginKind) -> Result<Export, Error> {
    let export = match kind {
        PluginKind::Tool => ToolPre::new(pre).map(Export::Tool),
        PluginKind::Llm => LlmPre::new(pre).map(Export::Llm),
        PluginKind::Embedder => EmbedderPre::new(pre).map(Export::Embedder),
        PluginKind::Template => TemplatePre::new(pre).map(Export::Template),
    };
    export.map_err(|error| wrong(kind, format!("{error:#}")))
}

/// A template component imports nothing but shapes of values: only then do equal arguments give equal results.
fn refuse_imports(compiled: &wasmtime::component::Component) -> Result<(), Error> {
    let engine = compiled.engine();
    let component = compiled.component_type();
    let acting = component.imports(engine).filter(|(_, item)| acts(&item.ty, engine)).map(|(name, _)| name);
    let names: Vec<&str> = acting.collect();
    if names.is_empty() {
        return Ok(());
    }
    Err(wrong(
        PluginKind::Template,
        format!("a template component imports nothing, this one imports {}", names.join(", ")),
    ))
}

/// Whether an import lets the component do something, rather than only name types.
fn acts(item: &ComponentItem, engine: &wasmtime::Engine) -> bool {
    match item {
        ComponentItem::ComponentInstance(instance) => instance.exports(engine).any(|(_, item)| acts(&item.ty, engine)),
        ComponentItem::Type(_) => false,
        _ => true,
    }
}

/// Imports from outside what the host links, for the message.
fn foreign_imports(compiled: &wasmtime::component::Component) -> String {
    let component = compiled.component_type();
    let foreign: Vec<&str> = component
        .imports(compiled.engine())
        .map(|(name, _)| name)
        .filter(|name| !LINKED.iter().any(|namespace| name.starts_with(namespace)))
        .collect();
    if foreign.is_empty() { String::new() } else { format!("; unknown imports: {}", foreign.join(", ")) }
}

/// What [`Host::load`](super::Host::load) reads.
#[derive(Debug, Clone)]
pub enum Source {
    /// The component itself.
    Bytes(Arc<[u8]>),
    /// A file.
    Path(std::path::PathBuf),
    /// A file of compiled code, and the digest that the project has written down for it.
    Precompiled {
        /// The file.
        path: std::path::PathBuf,
        /// `sha256:` and 64 hex digits.
        digest: String,
    },
    /// One that this binary carries.
    Bundled(&'static super::bundled::Bundled),
}
