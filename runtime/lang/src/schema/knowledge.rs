//! Keys of the knowledge sections.

use super::{COUNT, Kind, SPAN, TEMPLATE_MAP, Table, idle, key};

/// `knowledge` as a map.
pub static KNOWLEDGE: Table = Table {
    name: "knowledge",
    is_settings: false,
    keys: &[
        key("vector_dbs", Kind::List(&Kind::Map(&VECTOR_DB)), "Vector databases."),
        key("embedders", Kind::List(&Kind::Map(&EMBEDDER)), "Embedders."),
        key("knowledge_bases", Kind::List(&Kind::Map(&KNOWLEDGE_BASE)), "Knowledge bases."),
        key("bindings", super::project::BINDINGS, "Bindings of every prompt task."),
        key("chunk_size", COUNT, "Characters of a chunk.").default("800"),
        key("chunk_overlap", COUNT, "Characters shared by neighbours.").default("120"),
        key("retrieval_top_k", COUNT, "Chunks found.").default("5"),
        key("retrieval_min_score", Kind::Float, "Least score.").default("0"),
        key("embedder_batch_size", COUNT, "Texts per call.").default("512"),
        key("max_markdown_file_size_bytes", Kind::Size, "Largest document.").default("4MiB"),
        key("vector_http_timeout", SPAN, "Limit of one call.").default("10s"),
    ],
};

/// A vector database.
pub static VECTOR_DB: Table = Table {
    name: "vector_db",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("provider", Kind::Text, "filesystem, qdrant, pgvector or redis.").alias(&["type"]),
        key("url", Kind::Template, "Address.").alias(&["dsn", "conn_string"]),
        key("path", Kind::Text, "Folder of a filesystem database."),
        key("collection", Kind::Text, "Collection or table.").alias(&["table", "index"]),
        key("dimension", COUNT, "Dimension of the vectors.").alias(&["dimensions"]),
        key("metric", Kind::Text, "cosine, l2 or ip."),
        // Literal keys are fine here (dialect §11.1), so it is no `secret`.
        key("api_key", Kind::Template, "Key.").alias(&["auth"]),
        key("ensure_index", Kind::Bool, "Whether an index is made."),
        key("max_top_k", COUNT, "Most hits."),
        key("pgvector", Kind::Any, "Index, search and pool."),
        key("config", Kind::Any, "The same keys, one level down."),
        idle("consistency"),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
        idle("description"),
    ],
};

/// An embedder.
pub static EMBEDDER: Table = Table {
    name: "embedder",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("provider", Kind::Text, "Which service it is.").alias(&["type"]),
        key("model", Kind::Template, "Model."),
        key("api_key", Kind::Template, "Key."),
        key("base_url", Kind::Template, "Address."),
        key("dimension", COUNT, "Dimension of the vectors.").alias(&["dimensions"]),
        key("batch_size", COUNT, "Texts per call."),
        key("max_concurrent_workers", COUNT, "Calls at once."),
        key("strip_newlines", Kind::Bool, "Whether line breaks become spaces."),
        key("default", Kind::Bool, "Whether it is the default embedder."),
        key("retry", Kind::Any, "How failures are tried again."),
        key("cache", Kind::Any, "What is remembered."),
        key("plugin", Kind::Text, "Plugin of kind embedder."),
        key("headers", TEMPLATE_MAP, "Further request headers."),
        key("config", Kind::Any, "The same keys, one level down."),
        idle("project_id"),
        idle("location"),
        idle("models_dir"),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
        idle("description"),
    ],
};

/// A knowledge base.
pub static KNOWLEDGE_BASE: Table = Table {
    name: "knowledge_base",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id."),
        key("description", Kind::Text, "Free text."),
        key("embedder", Kind::Text, "Id of an embedder."),
        key("vector_db", Kind::Text, "Id of a vector database."),
        key("ingest", Kind::Text, "manual or on_start."),
        key("sources", Kind::List(&Kind::Any), "Where documents come from."),
        key("chunking", Kind::Any, "How documents are cut."),
        key("preprocess", Kind::Any, "What is done before."),
        key("retrieval", Kind::Any, "How chunks are found."),
        key("metadata", Kind::Any, "Tags and owners."),
        key("resource", Kind::Text, "What the file defines."),
        idle("name"),
    ],
};

/// A binding to a knowledge base.
pub static BINDING: Table = Table {
    name: "binding",
    is_settings: false,
    keys: &[
        key("id", Kind::Text, "Id of the knowledge base.").alias(&["knowledge_base_id", "knowledge_base"]),
        key("query", Kind::Template, "What is searched; absent: the prompt."),
        key("top_k", Kind::Typed(&Kind::Int(1, 50)), "Most hits."),
        key("min_score", Kind::Typed(&Kind::Float), "Least score."),
        key("max_tokens", COUNT, "Most tokens of all hits."),
        key("min_results", COUNT, "Least hits."),
        key("inject_as", Kind::Template, "Heading of the block."),
        key("fallback", Kind::Template, "Text when nothing is found."),
        key("filters", Kind::MapOf(&Kind::Any), "Metadata that hits must have."),
        key("tool_fallback", Kind::Text, "never, escalate or auto."),
        key("retrieval", Kind::Any, "The same keys, one level down."),
    ],
};
