//! Every default, pinned: a change here is a change of the contract with users.

use std::time::Duration;

use compozy_lang::settings::{Driver, Durability, Settings};

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn defaults_are_those_of_the_reference() {
    let settings = Settings::default();
    let database = &settings.database;
    assert_eq!((database.driver, database.path.as_str()), (Driver::Sqlite, "./.compozy/compozy.db"));
    assert_eq!((database.host.as_str(), database.port, database.user.as_str()), ("localhost", 5432, "postgres"));
    assert_eq!(
        (database.name.as_str(), database.ssl_mode.as_str(), database.durability),
        ("compozy", "disable", Durability::Full)
    );
    assert_eq!(
        (database.busy_timeout, database.connect_timeout, database.ping_timeout),
        (SECOND * 5, SECOND * 5, SECOND * 3)
    );
    assert_eq!((database.health_check_timeout, database.migration_timeout), (SECOND, SECOND * 120));
    assert_eq!((database.max_open_conns, database.max_idle_conns, database.auto_migrate), (25, 5, true));
    assert_eq!(
        (database.conn_max_lifetime, database.conn_max_idle_time, database.health_check_period),
        (SECOND * 300, SECOND * 60, SECOND * 30)
    );
    assert!(database.pragmas.is_empty() && database.password.is_none());

    let server = &settings.server;
    assert_eq!((server.host.as_str(), server.port, server.timeout), ("127.0.0.1", 8080, SECOND * 30));
    assert!(!server.allow_unauthenticated && server.cors.is_none() && server.tls.is_none() && !server.auth.enabled);
    assert_eq!(
        (server.sync_timeout, server.sync_timeout_max, server.idempotency_ttl),
        (SECOND * 60, SECOND * 3600, DAY)
    );
    let limits = &server.limits;
    assert_eq!((limits.body_bytes, limits.start_body_bytes, limits.upload_bytes), (1 << 20, 10 << 20, 32 << 20));
    assert_eq!((limits.header_bytes, limits.uri_bytes, limits.json_depth), (32 << 10, 8 << 10, 64));
    assert_eq!((limits.connections, limits.sse, limits.sse_per_key, limits.sync_waiters), (4096, 1024, 32, 256));
    let rate = |rate: compozy_lang::settings::Rate| (rate.limit, rate.period, rate.burst);
    assert_eq!(rate(server.ratelimit.ip), (50, SECOND, 200));
    assert_eq!(rate(server.ratelimit.key), (100, SECOND, 200));
    assert_eq!(rate(server.ratelimit.auth_failures), (10, SECOND * 60, 10));
    let timeouts = &server.timeouts;
    assert_eq!(
        (timeouts.http_read_header, timeouts.body_idle, timeouts.http_idle),
        (SECOND * 10, SECOND * 30, SECOND * 60)
    );
    assert_eq!((timeouts.drain, timeouts.shutdown), (SECOND * 20, SECOND * 25));

    assert_eq!(
        (settings.monitoring.enabled, settings.monitoring.path.as_str(), settings.monitoring.is_public),
        (true, "/metrics", false)
    );
    assert_eq!((settings.engine.max_concurrent_runs, settings.engine.max_pending), (256, 100_000));
    assert_eq!((settings.engine.max_depth, settings.engine.max_fanout), (16, 10_000));
    assert_eq!(
        (settings.cluster.lease, settings.cluster.claim_batch, settings.cluster.notify),
        (SECOND * 10, 64, true)
    );
    let retention = &settings.retention;
    assert_eq!((retention.success, retention.failed, retention.journal), (DAY * 30, DAY * 90, DAY * 7));
    assert_eq!((retention.keep_last, retention.audit), (10, DAY * 365));

    let llm = &settings.llm;
    assert_eq!((llm.provider_timeout, llm.retry_attempts), (SECOND * 300, 3));
    assert_eq!((llm.retry_backoff_base, llm.retry_backoff_max), (Duration::from_millis(100), SECOND * 10));
    assert_eq!((llm.tools.max_iterations, llm.structured_output_retries, llm.default_concurrency), (25, 2, Some(10)));
    assert_eq!((settings.runtime.tool_execution_timeout, settings.runtime.log_level.as_str()), (SECOND * 60, "info"));

    let limits = &settings.limits;
    assert_eq!((limits.max_config_file_bytes, limits.max_config_file_nesting_depth), (10 << 20, 100));
    assert_eq!(
        (limits.engine.max_task_executions, limits.engine.max_input_bytes, limits.engine.max_output_bytes),
        (10_000, 1 << 20, 10 << 20)
    );
    let template = &limits.engine.template;
    assert_eq!((template.max_source_bytes, template.max_depth), (256 << 10, 64));
    assert_eq!((template.max_steps, template.max_output_bytes), (1_000_000, 4 << 20));
    assert_eq!(
        serde_json::to_value(&limits.engine).unwrap(),
        serde_json::to_value(compozy_lang::plan::Limits::default()).unwrap()
    );

    assert_eq!((settings.webhooks.default_max_body_bytes, settings.webhooks.stripe_skew), (1 << 20, SECOND * 300));
    assert_eq!((settings.attachments.max_download_bytes, settings.attachments.max_redirects), (10_000_000, 3));
    assert!(!settings.autoload.enabled && settings.autoload.strict);
}

#[test]
fn spellings_of_go_compozy_are_folded() {
    let config = "
database: {driver: postgresql, username: u, db_name: d, dsn: 'postgres://x', pool_size: 7, busy_timeout: 250}
server: {max_body: 2MiB, cors_enabled: true, cors: {allowed_origins: 'http://a'}}
ratelimit: {global_rate: {limit: 5, period: 1m}}
";
    let checked = crate::support::load_files(&[("compozy.yaml", config)], &crate::support::Options::default());
    let settings = checked.project.unwrap().settings;
    let database = &settings.database;
    assert_eq!(
        (database.driver, database.user.as_str(), database.name.as_str(), database.max_open_conns),
        (Driver::Postgres, "u", "d", 7)
    );
    assert_eq!(database.busy_timeout, Duration::from_millis(250));
    assert_eq!(database.written, ["driver", "user", "name", "conn_string", "max_open_conns", "busy_timeout"]);
    assert_eq!(settings.server.limits.start_body_bytes, 2 << 20);
    assert_eq!(settings.server.cors.unwrap().allowed_origins, ["http://a"]);
    assert_eq!(
        (settings.server.ratelimit.ip.limit, settings.server.ratelimit.ip.burst, settings.server.ratelimit.ip.period),
        (5, 5, SECOND * 60)
    );
}
