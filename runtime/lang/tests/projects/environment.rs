//! What lies over the file: `.env`, `COMPOZY_<PATH>`, short names, `--set`, `mode`; and where each value came from.

use compozy_lang::load::Checked;
use compozy_lang::settings::{Driver, Mode};

use crate::support::{Options, load_files, plan, variables};

fn origin(checked: &Checked, path: &str) -> (String, String) {
    let setting = checked.origins.iter().find(|setting| setting.path == path).unwrap_or_else(|| panic!("{path}"));
    (setting.value.clone(), setting.origin.clone())
}

#[test]
fn flags_win_over_the_environment_over_the_file_over_defaults() {
    let files = [
        ("compozy.yaml", "server: {port: 1000, timeout: 5s}\ndatabase:\n  path: ${DIR}/x.db\n"),
        (".env", "DIR=/data\nCOMPOZY_SERVER_TIMEOUT=7s\n"),
    ];
    let options = Options {
        environment: variables(&[
            ("COMPOZY_SERVER_PORT", "2000"),
            ("COMPOZY_SERVER_HOST", "0.0.0.0"),
            ("SERVER_PORT", "9"),
            ("COMPOZY_SERVER_AUTH_ENABLED", "true"),
            ("COMPOZY_SERVER_ALLOWED_HOSTS", "a, b"),
        ]),
        overrides: vec![
            ("server.host".into(), "127.0.0.2".into()),
            ("database.durability".into(), "normal".into()),
            ("server.cors.allowed_origins".into(), "[http://a]".into()),
        ],
        ..Options::default()
    };
    let checked = load_files(&files, &options);
    for (path, value, from) in [
        ("server.port", "2000", "env COMPOZY_SERVER_PORT"),
        ("server.host", "127.0.0.2", "flag"),
        ("server.timeout", "7s", ".env:2"),
        ("server.auth.enabled", "true", "env COMPOZY_SERVER_AUTH_ENABLED"),
        ("server.allowed_hosts", "[a, b]", "env COMPOZY_SERVER_ALLOWED_HOSTS"),
        ("server.cors.allowed_origins", "[http://a]", "flag"),
        ("database.path", "/data/x.db", "compozy.yaml:3:9"),
        ("database.driver", "sqlite", "default"),
        ("database.durability", "normal", "flag"),
        ("engine.max_concurrent_runs", "256", "default"),
    ] {
        assert_eq!(origin(&checked, path), (value.to_owned(), from.to_owned()), "{path}");
    }
    let settings = checked.project.unwrap().settings;
    assert_eq!((settings.server.port, settings.server.allowed_hosts.len()), (2000, 2));
    assert!(settings.server.cors.is_none());
}

#[test]
fn short_names_fill_only_what_is_unset() {
    let environment = variables(&[
        ("DB_PATH", "env.db"),
        ("DB_HOST", "h"),
        ("SERVER_PORT", "9000"),
        ("MODE", "memory"),
        ("FOO_BAR", "1"),
    ]);
    let project = plan(
        &[("compozy.yaml", "database: {path: file.db, driver: sqlite}")],
        &Options { environment, ..Options::default() },
    );
    assert_eq!(project.settings.database.path, "file.db");
    assert_eq!(project.settings.server.port, 9000);
    assert_eq!(project.settings.mode, Mode::Persistent);
}

#[test]
fn entries_of_lists_are_addressed_by_id() {
    let environment = variables(&[
        ("COMPOZY_LLM_PROVIDERS_MY_LAB_BASE_URL", "http://env"),
        ("COMPOZY_DATABASES_SHOP_PATH", "env.db"),
    ]);
    let config = "llm: {providers: [{id: my-lab, type: openai_compatible, base_url: \"http://file\", model: m}]}\ndatabases: [{id: shop, path: a.db}]";
    let overrides = vec![("llm.providers.my-lab.model".into(), "big".into())];
    let project = plan(&[("compozy.yaml", config)], &Options { environment, overrides, ..Options::default() });
    assert_eq!(project.providers[0].base_url.as_ref().unwrap().fixed_text().as_deref(), Some("http://env"));
    assert_eq!(project.providers[0].model.as_ref().unwrap().fixed_text().as_deref(), Some("big"));
    assert_eq!(project.databases[0].database.path, "env.db");
}

#[test]
fn what_is_given_is_never_scanned_for_variables() {
    let environment = variables(&[("COMPOZY_DATABASE_PATH", "${HOME}/x.db")]);
    let project = plan(&[("compozy.yaml", "")], &Options { environment, ..Options::default() });
    assert_eq!(project.settings.database.path, "${HOME}/x.db");
}

#[test]
fn mode_chooses_the_database_when_nothing_else_does() {
    for (config, mode, driver, path) in [
        ("mode: memory", Mode::Memory, Driver::Sqlite, ":memory:"),
        ("mode: standalone", Mode::Persistent, Driver::Sqlite, "./.compozy/compozy.db"),
        ("mode: distributed", Mode::Distributed, Driver::Postgres, "./.compozy/compozy.db"),
        ("", Mode::Persistent, Driver::Sqlite, "./.compozy/compozy.db"),
        ("database: {path: \":memory:\"}", Mode::Memory, Driver::Sqlite, ":memory:"),
        ("database: {host: db}", Mode::Distributed, Driver::Postgres, "./.compozy/compozy.db"),
    ] {
        let settings = plan(&[("compozy.yaml", config)], &Options::default()).settings;
        assert_eq!(
            (settings.mode, settings.database.driver, settings.database.path.as_str()),
            (mode, driver, path),
            "{config}"
        );
    }
    let overrides = vec![("mode".into(), "memory".into())];
    let checked = load_files(&[("compozy.yaml", "")], &Options { overrides, ..Options::default() });
    assert_eq!(origin(&checked, "database.path"), (":memory:".into(), "mode".into()));
}

#[test]
fn secrets_are_marked() {
    let files = [
        ("compozy.yaml", "database: {driver: postgres, password: \"${PW}\"}"),
        (".env", "PW=hunter22\nMY_TOKEN=tok-123\nPLAIN=visible\n"),
    ];
    let checked = load_files(&files, &Options::default());
    let password = checked.origins.iter().find(|setting| setting.path == "database.password").unwrap();
    assert!(password.secret);
    assert_eq!(checked.environment.masks(), ["hunter22", "tok-123"]);
}

#[test]
fn files_are_found_where_the_request_says() {
    let files = [("sub/other.yaml", "name: other"), ("sub/.env", "A=1"), ("my.env", "A=2")];
    let options = |config: &str, env_file: Option<&str>| Options {
        config: Some(config.into()),
        env_file: env_file.map(Into::into),
        ..Options::default()
    };
    let project = plan(&files, &options("sub/other.yaml", None));
    assert_eq!((project.name.as_str(), project.root.to_str()), ("other", Some("/project/sub")));
    let by_variable = Options { environment: variables(&[("COMPOZY_CONFIG", "sub/other.yaml")]), ..Options::default() };
    assert_eq!(plan(&files, &by_variable).name, "other");
    let checked = load_files(&files, &options("sub/other.yaml", Some("missing.env")));
    assert_eq!(checked.diagnostics[0].code, "CZ0102");
    assert_eq!(load_files(&[], &Options::default()).diagnostics[0].code, "CZ0101");
}

/// Dialect §1.5, and what a template or a scalar may hand on.
#[test]
fn secret_variables_that_the_files_name_are_masked() {
    let files = [
        ("compozy.yaml", "llm: {providers: [{id: m, type: openai, api_key: \"${PLAIN}\"}]}\n"),
        ("workflows/w.yaml", "id: w\ntasks:\n  - {id: a, prompt: \"${A_TOKEN:-x} ${NAME} $${B_TOKEN}\"}\n"),
        (".env", "C_PASSWORD=from-file\nOTHER=plain-text\n"),
    ];
    let environment = variables(&[
        ("PLAIN", "key-of-model"),
        ("A_TOKEN", "token-a"),
        ("NAME", "no-secret"),
        ("B_TOKEN", "token-b"),
        ("UNUSED_TOKEN", "unused"),
    ]);
    let checked = load_files(&files, &Options { environment, ..Options::default() });
    assert_eq!(checked.environment.masks(), ["from-file", "key-of-model", "token-a", "token-b"]);
}
