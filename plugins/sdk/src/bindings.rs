//! What wit-bindgen makes of `wit/`: the host's imports once, and one module per plugin kind on top of them.
#![allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::todo
)]

/// The interfaces a plugin may import, and the types shared by the kinds.
pub mod host {
    wit_bindgen::generate!({
        path: "../../wit",
        inline: "
            package compozy:sdk;
            world imports {
                include compozy:plugin/host@0.1.0;
                import compozy:plugin/types@0.1.0;
            }
        ",
        generate_all,
    });
}

/// The bindings of one world: what it imports is that of [`host`], so that the SDK's modules serve every kind.
macro_rules! world {
    ($(#[$about:meta])* $name:ident, $world:literal, $bindings:literal) => {
        $(#[$about])*
        pub mod $name {
            wit_bindgen::generate!({
                path: "../../wit",
                world: $world,
                with: {
                    "compozy:plugin/types@0.1.0": super::host::compozy::plugin::types,
                    "compozy:host/types@0.1.0": super::host::compozy::host::types,
                    "compozy:host/log@0.1.0": super::host::compozy::host::log,
                    "compozy:host/config@0.1.0": super::host::compozy::host::config,
                    "compozy:host/secrets@0.1.0": super::host::compozy::host::secrets,
                    "compozy:host/kv@0.1.0": super::host::compozy::host::kv,
                    "compozy:host/sql@0.1.0": super::host::compozy::host::sql,
                    "compozy:host/vector@0.1.0": super::host::compozy::host::vector,
                    "compozy:host/llm@0.1.0": super::host::compozy::host::llm,
                    "compozy:host/run@0.1.0": super::host::compozy::host::run,
                    "wasi:io/error@0.2.12": super::host::wasi::io::error,
                    "wasi:io/poll@0.2.12": super::host::wasi::io::poll,
                    "wasi:io/streams@0.2.12": super::host::wasi::io::streams,
                    "wasi:clocks/monotonic-clock@0.2.12": super::host::wasi::clocks::monotonic_clock,
                    "wasi:http/types@0.2.12": super::host::wasi::http::types,
                    "wasi:http/outgoing-handler@0.2.12": super::host::wasi::http::outgoing_handler,
                },
                pub_export_macro: true,
                default_bindings_module: $bindings,
                export_macro_name: "export",
            });
        }
    };
}

world! {
    /// The world `tool-plugin`.
    tool, "compozy:plugin/tool-plugin", "compozy_plugin::tool_world"
}

world! {
    /// The world `llm-provider-plugin`.
    llm_provider, "compozy:plugin/llm-provider-plugin", "compozy_plugin::llm_provider_world"
}

world! {
    /// The world `embedder-plugin`.
    embedder, "compozy:plugin/embedder-plugin", "compozy_plugin::embedder_world"
}
