//! The sections that configure the process.
//!
//! They are read with missing variables kept for later: a command that does not use a section is not stopped by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::dotenv::DotEnv;
use crate::environment::ProjectEnvironment;
use crate::plan;
use crate::schema::project::PROJECT;
use crate::script::ScriptRef;
use crate::settings::{
    Attachments, Auth, Autoload, Cluster, Cors, Engine, Limits, Llm, Mode, Monitoring, Rate, RateLimits, Retention,
    Runtime, Server, ServerLimits, Settings, Timeouts, Tls, Webhooks,
};
use crate::source::{Origin, Source};
use crate::yaml::Node;

use super::fields::Fields;
use super::reader::Reader;

/// What an empty project file gives.
pub(crate) fn defaults() -> Settings {
    let environment = ProjectEnvironment::new(Arc::new(BTreeMap::<String, String>::new()), DotEnv::default());
    let mut reader = Reader::new(&environment, false);
    let node = Node::empty(Arc::new(Source::new("", Origin::File, String::new())));
    let fields = Fields::empty(&node, &PROJECT);
    reader.settings(&fields)
}

impl Reader<'_> {
    /// Reads every section.
    pub(crate) fn settings(&mut self, fields: &Fields<'_>) -> Settings {
        self.lazily(|reader| {
            let database = reader.section(fields, "database");
            Settings {
                mode: reader.mode(fields),
                database: reader.database(&database),
                server: reader.server(fields),
                monitoring: reader.monitoring(fields),
                runtime: reader.runtime(fields),
                limits: reader.limits(fields),
                llm: reader.llm_settings(fields),
                engine: reader.engine(fields),
                cluster: reader.cluster(fields),
                retention: reader.retention(fields),
                webhooks: reader.webhooks(fields),
                attachments: reader.attachments(fields),
                autoload: reader.autoload(fields),
                deferred: Vec::new(),
            }
        })
    }

    fn mode(&mut self, fields: &Fields<'_>) -> Mode {
        match self.choice(fields, "mode") {
            Some("memory") => Mode::Memory,
            Some("distributed") => Mode::Distributed,
            _ => Mode::Persistent,
        }
    }

    fn span(&mut self, fields: &Fields<'_>, name: &str) -> Duration {
        self.duration(fields, name).unwrap_or_default()
    }

    fn flag(&mut self, fields: &Fields<'_>, name: &str) -> bool {
        self.bool(fields, name).unwrap_or_default()
    }

    fn bytes(&mut self, fields: &Fields<'_>, name: &str) -> u64 {
        self.size(fields, name).unwrap_or_default()
    }

    fn amount(&mut self, fields: &Fields<'_>, name: &str) -> u32 {
        self.number(fields, name).unwrap_or_default()
    }

    fn word(&mut self, fields: &Fields<'_>, name: &str) -> String {
        self.text(fields, name).unwrap_or_default()
    }

    fn server(&mut self, project: &Fields<'_>) -> Server {
        let fields = &self.section(project, "server");
        let mut limits = self.server_limits(fields);
        if let Some(bytes) = self.size(fields, "max_body") {
            limits.start_body_bytes = bytes;
        }
        Server {
            host: self.word(fields, "host"),
            port: self.int(fields, "port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            timeout: self.span(fields, "timeout"),
            allow_unauthenticated: self.flag(fields, "allow_unauthenticated"),
            allowed_hosts: self.texts(fields, "allowed_hosts"),
            trusted_proxies: self.texts(fields, "trusted_proxies"),
            cors: self.cors(fields),
            auth: self.auth(fields),
            sync_timeout: self.span(fields, "sync_timeout"),
            sync_timeout_max: self.span(fields, "sync_timeout_max"),
            idempotency_ttl: self.span(fields, "idempotency_ttl"),
            limits,
            ratelimit: self.rate_limits(project, fields),
            timeouts: self.timeouts(fields),
            tls: self.tls(fields),
        }
    }

    fn cors(&mut self, server: &Fields<'_>) -> Option<Cors> {
        let fields = self.section(server, "cors");
        let cors = Cors {
            allowed_origins: self.texts(&fields, "allowed_origins"),
            allow_credentials: self.flag(&fields, "allow_credentials"),
            max_age: self.span(&fields, "max_age"),
        };
        if cors.allow_credentials && cors.allowed_origins.iter().any(|origin| origin == "*") {
            let message = "server.cors: expected exact origins beside allow_credentials, got '*'";
            self.report(fields.diagnostic("allowed_origins", "CZ0110", message));
        }
        self.flag(server, "cors_enabled").then_some(cors)
    }

    fn auth(&mut self, server: &Fields<'_>) -> Auth {
        let fields = &self.section(server, "auth");
        let admin_key = self.text(fields, "admin_key").filter(|key| !key.is_empty());
        if admin_key.as_ref().is_some_and(|key| key.chars().count() < 32) {
            let message = "server.auth.admin_key: expected at least 32 characters, got fewer";
            self.report(fields.diagnostic("admin_key", "CZ0110", message));
        }
        Auth {
            enabled: self.flag(fields, "enabled"),
            admin_key,
            workflow_exceptions: self.texts(fields, "workflow_exceptions"),
        }
    }

    fn server_limits(&mut self, server: &Fields<'_>) -> ServerLimits {
        let fields = &self.section(server, "limits");
        ServerLimits {
            body_bytes: self.bytes(fields, "body_bytes"),
            start_body_bytes: self.bytes(fields, "start_body_bytes"),
            upload_bytes: self.bytes(fields, "upload_bytes"),
            header_bytes: self.bytes(fields, "header_bytes"),
            uri_bytes: self.bytes(fields, "uri_bytes"),
            json_depth: self.amount(fields, "json_depth"),
            connections: self.amount(fields, "connections"),
            sse: self.amount(fields, "sse"),
            sse_per_key: self.amount(fields, "sse_per_key"),
            sync_waiters: self.amount(fields, "sync_waiters"),
        }
    }

    /// `server.ratelimit`, else the top-level `ratelimit` of Go Compozy.
    fn rate_limits(&mut self, project: &Fields<'_>, server: &Fields<'_>) -> RateLimits {
        let fields = &self.section(server, "ratelimit");
        let outer = &self.section(project, "ratelimit");
        let mut choose = |name: &str, other: &str| {
            let inner_is_written = fields.get(name).is_some();
            let section = if !inner_is_written && outer.get(other).is_some() {
                self.section(outer, other)
            } else {
                self.section(fields, name)
            };
            self.rate(&section)
        };
        let ip = choose("ip", "global_rate");
        let key = choose("key", "api_key_rate");
        let auth_failures = self.section(fields, "auth_failures");
        RateLimits { ip, key, auth_failures: self.rate(&auth_failures) }
    }

    fn rate(&mut self, fields: &Fields<'_>) -> Rate {
        let limit = self.amount(fields, "limit");
        // A limit without a burst means no more than the limit at once.
        let burst_is_default = fields.get("limit").is_some() && fields.get("burst").is_none();
        let burst = if burst_is_default { limit } else { self.amount(fields, "burst") };
        Rate { limit, period: self.span(fields, "period").max(Duration::from_millis(1)), burst }
    }

    fn timeouts(&mut self, server: &Fields<'_>) -> Timeouts {
        let fields = &self.section(server, "timeouts");
        Timeouts {
            http_read_header: self.span(fields, "http_read_header"),
            body_idle: self.span(fields, "body_idle"),
            http_idle: self.span(fields, "http_idle"),
            drain: self.span(fields, "drain"),
            shutdown: self.span(fields, "shutdown"),
        }
    }

    fn tls(&mut self, server: &Fields<'_>) -> Option<Tls> {
        let fields = &self.section(server, "tls");
        match (self.text(fields, "cert_file"), self.text(fields, "key_file")) {
            (Some(cert_file), Some(key_file)) => Some(Tls { cert_file, key_file }),
            (None, None) => None,
            _ => {
                let message = "server.tls: expected cert_file and key_file together, got one of them";
                self.report(server.diagnostic("tls", "CZ0110", message));
                None
            }
        }
    }

    fn monitoring(&mut self, project: &Fields<'_>) -> Monitoring {
        let fields = &self.section(project, "monitoring");
        let path = self.word(fields, "path");
        let reason = match path.as_str() {
            path if !path.starts_with('/') => Some("it must begin with /"),
            path if path.contains('?') => Some("it must not contain ?"),
            path if path == "/api" || path.starts_with("/api/") => Some("it must not lie under /api/"),
            _ => None,
        };
        if let Some(reason) = reason {
            self.report(fields.diagnostic("path", "CZ0909", format!("monitoring.path: {reason}")));
        }
        Monitoring {
            enabled: self.flag(fields, "enabled"),
            path,
            is_public: self.choice(fields, "auth") == Some("none"),
        }
    }

    fn runtime(&mut self, project: &Fields<'_>) -> Runtime {
        let fields = &self.section(project, "runtime");
        let tools = &self.section(fields, "native_tools");
        if let Some(path) = self.name(fields, "entrypoint") {
            self.scripts.push(ScriptRef { owner: "runtime.entrypoint".to_owned(), path: path.clone() });
            self.entrypoint = Some(path);
        }
        Runtime {
            log_level: self.word(fields, "log_level"),
            environment: self.word(fields, "environment"),
            tool_execution_timeout: self.span(fields, "tool_execution_timeout"),
            task_execution_timeout_default: self.duration(fields, "task_execution_timeout_default"),
            task_execution_timeout_max: self.duration(fields, "task_execution_timeout_max"),
            native_tools_allow: self.texts(tools, "allow"),
        }
    }

    fn limits(&mut self, project: &Fields<'_>) -> Limits {
        let fields = &self.section(project, "limits");
        let template = &self.section(fields, "template");
        let narrow = |value: u64| u32::try_from(value).unwrap_or(u32::MAX);
        Limits {
            max_config_file_bytes: self.bytes(fields, "max_config_file_size"),
            max_config_file_nesting_depth: self.amount(fields, "max_config_file_nesting_depth"),
            max_nesting_depth: self.amount(fields, "max_nesting_depth"),
            max_sub_workflow_depth: self.amount(fields, "max_sub_workflow_depth"),
            max_string_bytes: self.bytes(fields, "max_string_length"),
            max_message_bytes: self.bytes(fields, "max_message_content"),
            max_memory_bytes: self.bytes(fields, "max_total_content_size"),
            engine: plan::Limits {
                max_task_executions: self.count(fields, "max_task_executions").unwrap_or_default(),
                max_input_bytes: self.bytes(fields, "max_input_size"),
                max_output_bytes: self.bytes(fields, "max_output_size"),
                max_collection_items: self.count(fields, "max_collection_items").unwrap_or_default(),
                max_parallel: self.amount(fields, "max_parallel"),
                max_cel_cost: self.count(fields, "max_cel_cost").unwrap_or_default(),
                template: plan::TemplateLimits {
                    max_source_bytes: narrow(self.bytes(template, "max_source")),
                    max_depth: self.amount(template, "max_depth"),
                    max_steps: self.count(template, "max_steps").unwrap_or_default(),
                    max_output_bytes: self.bytes(template, "max_output"),
                },
            },
        }
    }

    fn llm_settings(&mut self, project: &Fields<'_>) -> Llm {
        let fields = &self.section(project, "llm");
        let rate = &self.section(fields, "rate_limiting");
        let concurrency = self.number(rate, "default_concurrency");
        Llm {
            provider_timeout: self.span(fields, "provider_timeout"),
            retry_attempts: self.amount(fields, "retry_attempts"),
            retry_backoff_base: self.span(fields, "retry_backoff_base"),
            retry_backoff_max: self.span(fields, "retry_backoff_max"),
            tools: self.tool_guards(fields),
            structured_output_retries: self.amount(fields, "structured_output_retries"),
            default_concurrency: if self.flag(rate, "enabled") { concurrency } else { None },
            default_queue_size: self.amount(rate, "default_queue_size"),
        }
    }

    fn tool_guards(&mut self, fields: &Fields<'_>) -> plan::ToolGuards {
        let caps = &self.section(fields, "tool_call_caps");
        plan::ToolGuards {
            max_iterations: self.amount(fields, "max_tool_iterations"),
            max_concurrent: self.amount(fields, "max_concurrent_tools"),
            max_sequential_errors: self.amount(fields, "max_sequential_tool_errors"),
            max_consecutive_successes: self.amount(fields, "max_consecutive_successes"),
            default_cap: self.amount(caps, "default"),
            caps: self.caps_by_tool(caps),
        }
    }

    /// `tool_call_caps.overrides`; 0 means no cap.
    fn caps_by_tool(&mut self, caps: &Fields<'_>) -> BTreeMap<String, u32> {
        let mut found = BTreeMap::new();
        let entries = caps.get("overrides").and_then(Node::entries).unwrap_or_default();
        for entry in entries {
            let path = format!("{}.{}", caps.at("overrides"), entry.key);
            let cap = self.int_of(&entry.value, &path, 0, i64::from(u32::MAX));
            found.extend(cap.and_then(|cap| Some((entry.key.to_string(), u32::try_from(cap).ok()?))));
        }
        found
    }

    fn engine(&mut self, project: &Fields<'_>) -> Engine {
        let fields = &self.section(project, "engine");
        Engine {
            max_concurrent_runs: self.amount(fields, "max_concurrent_runs"),
            max_pending: self.count(fields, "max_pending").unwrap_or_default(),
            max_depth: self.amount(fields, "max_depth"),
            max_fanout: self.amount(fields, "max_fanout"),
        }
    }

    fn cluster(&mut self, project: &Fields<'_>) -> Cluster {
        let fields = &self.section(project, "cluster");
        Cluster {
            lease: self.span(fields, "lease"),
            claim_batch: self.amount(fields, "claim_batch"),
            notify: self.flag(fields, "notify"),
        }
    }

    fn retention(&mut self, project: &Fields<'_>) -> Retention {
        let fields = &self.section(project, "retention");
        Retention {
            success: self.span(fields, "success"),
            failed: self.span(fields, "failed"),
            journal: self.span(fields, "journal"),
            keep_last: self.amount(fields, "keep_last"),
            audit: self.span(fields, "audit"),
        }
    }

    fn webhooks(&mut self, project: &Fields<'_>) -> Webhooks {
        let fields = &self.section(project, "webhooks");
        Webhooks {
            default_method: self.choice(fields, "default_method").unwrap_or_default().to_owned(),
            default_max_body_bytes: self.bytes(fields, "default_max_body"),
            default_dedupe_ttl: self.span(fields, "default_dedupe_ttl"),
            stripe_skew: self.span(fields, "stripe_skew"),
        }
    }

    fn attachments(&mut self, project: &Fields<'_>) -> Attachments {
        let fields = &self.section(project, "attachments");
        Attachments {
            max_download_bytes: self.bytes(fields, "max_download_size_bytes"),
            download_timeout: self.span(fields, "download_timeout"),
            max_redirects: self.amount(fields, "max_redirects"),
            text_part_max_bytes: self.bytes(fields, "text_part_max_bytes"),
            pdf_extract_max_chars: self.count(fields, "pdf_extract_max_chars").unwrap_or_default(),
            ssrf_strict: self.flag(fields, "ssrf_strict"),
        }
    }

    fn autoload(&mut self, project: &Fields<'_>) -> Autoload {
        let fields = &self.section(project, "autoload");
        Autoload {
            enabled: self.flag(fields, "enabled"),
            strict: self.flag(fields, "strict"),
            include: self.texts(fields, "include"),
            exclude: self.texts(fields, "exclude"),
        }
    }
}
