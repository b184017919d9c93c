//! Rust types and traits generated from `wit/`: what we lend (imports) and what components offer (exports).
//!
//! Documentation of every item is in the WIT files. Each plugin kind is bound by a small world of its own that holds
//! only its export, since components may import any subset of what the host links.

#![expect(missing_docs, reason = "generated; the WIT files document each item")]

/// `compozy:host`, as traits the host implements.
pub(crate) mod lent {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "
            package compozy:bindings;
            world lent {
                import compozy:host/log@0.1.0;
                import compozy:host/config@0.1.0;
                import compozy:host/secrets@0.1.0;
                import compozy:host/kv@0.1.0;
                import compozy:host/sql@0.1.0;
                import compozy:host/vector@0.1.0;
                import compozy:host/llm@0.1.0;
                import compozy:host/run@0.1.0;
            }
        ",
        imports: {
            "compozy:host/log.log": trappable,
            "compozy:host/config.get": trappable,
            "compozy:host/config.env": trappable,
            "compozy:host/secrets.get": trappable,
            "compozy:host/run.current": trappable,
            default: async | trappable,
        },
        with: {
            "compozy:host/sql.connection": crate::plugin::host::sql::ConnectionHandle,
            "compozy:host/sql.transaction": crate::plugin::host::sql::TransactionHandle,
            "compozy:host/sql.cursor": crate::plugin::host::sql::CursorHandle,
        },
        additional_derives: [PartialEq],
        require_store_data_send: true,
    });
}

/// `compozy:plugin/tool`.
pub(crate) mod tool {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package compozy:bindings; world tool { export compozy:plugin/tool@0.1.0; }",
        exports: { default: async },
        require_store_data_send: true,
    });
}

/// `compozy:plugin/llm-provider`.
pub(crate) mod llm {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package compozy:bindings; world llm { export compozy:plugin/llm-provider@0.1.0; }",
        exports: { default: async },
        with: { "compozy:plugin/types": crate::plugin::bindings::tool::compozy::plugin::types },
        require_store_data_send: true,
    });
}

/// `compozy:plugin/embedder`.
pub(crate) mod embedder {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package compozy:bindings; world embedder { export compozy:plugin/embedder@0.1.0; }",
        exports: { default: async },
        with: { "compozy:plugin/types": crate::plugin::bindings::tool::compozy::plugin::types },
        require_store_data_send: true,
    });
}

/// `compozy:plugin/template`.
pub(crate) mod template {
    wasmtime::component::bindgen!({
        path: "wit",
        inline: "package compozy:bindings; world template { export compozy:plugin/template@0.1.0; }",
        exports: { default: async },
        require_store_data_send: true,
    });
}
