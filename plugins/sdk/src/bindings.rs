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

/// The world `tool-plugin`.
pub mod tool {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "compozy:plugin/tool-plugin",
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
        default_bindings_module: "compozy_plugin::tool_world",
        export_macro_name: "export",
    });
}

/// The world `llm-provider-plugin`.
pub mod llm_provider {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "compozy:plugin/llm-provider-plugin",
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
        default_bindings_module: "compozy_plugin::llm_provider_world",
        export_macro_name: "export",
    });
}

/// The world `embedder-plugin`.
pub mod embedder {
    wit_bindgen::generate!({
        path: "../../wit",
        world: "compozy:plugin/embedder-plugin",
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
        default_bindings_module: "compozy_plugin::embedder_world",
        export_macro_name: "export",
    });
}
