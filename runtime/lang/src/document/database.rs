//! `database` and the entries of `databases` (dialect §12).

use std::collections::BTreeMap;

use crate::diagnostic::Severity;
use crate::schema::settings::{POSTGRES_ONLY, PRAGMAS, SQLITE_ONLY};
use crate::settings::{Database, Driver};

use super::fields::Fields;
use super::reader::Reader;

/// Parameters of a `file:` URI that mean something here.
const URI_PARAMETERS: &[&str] = &["mode", "cache", "_pragma"];

impl Reader<'_> {
    /// Reads a database section.
    pub(crate) fn database(&mut self, fields: &Fields<'_>) -> Database {
        let driver = self.driver(fields);
        self.other_driver(fields, driver);
        let path = self.text(fields, "path").unwrap_or_default();
        if driver == Driver::Sqlite {
            self.sqlite_path(fields, &path);
        }
        Database {
            driver,
            path,
            host: self.text(fields, "host").unwrap_or_default(),
            port: self.int(fields, "port").and_then(|port| u16::try_from(port).ok()).unwrap_or_default(),
            user: self.text(fields, "user").unwrap_or_default(),
            password: self.text(fields, "password"),
            name: self.text(fields, "name").unwrap_or_default(),
            ssl_mode: self.choice(fields, "ssl_mode").unwrap_or_default().to_owned(),
            conn_string: self.text(fields, "conn_string"),
            written: fields.written().map(|(key, _)| key.name.to_owned()).collect(),
            durability: super::workflow::durability(self.choice(fields, "durability").unwrap_or_default()),
            busy_timeout: self.duration(fields, "busy_timeout").unwrap_or_default(),
            connect_timeout: self.duration(fields, "connect_timeout").unwrap_or_default(),
            ping_timeout: self.duration(fields, "ping_timeout").unwrap_or_default(),
            health_check_timeout: self.duration(fields, "health_check_timeout").unwrap_or_default(),
            migration_timeout: self.duration(fields, "migration_timeout").unwrap_or_default(),
            max_open_conns: self.number(fields, "max_open_conns").unwrap_or_default(),
            max_idle_conns: self.number(fields, "max_idle_conns").unwrap_or_default(),
            conn_max_lifetime: self.duration(fields, "conn_max_lifetime").unwrap_or_default(),
            conn_max_idle_time: self.duration(fields, "conn_max_idle_time").unwrap_or_default(),
            health_check_period: self.duration(fields, "health_check_period").unwrap_or_default(),
            auto_migrate: self.bool(fields, "auto_migrate").unwrap_or_default(),
            pragmas: self.pragmas(fields),
        }
    }

    /// The driver written, else the one the other keys imply.
    fn driver(&mut self, fields: &Fields<'_>) -> Driver {
        let implied = |names: &[&'static str]| names.iter().copied().find(|name| fields.get(name).is_some());
        if fields.get("driver").is_some() {
            let Some(name) = self.name(fields, "driver") else { return Driver::Sqlite };
            return match name.text.trim().to_ascii_lowercase().as_str() {
                "sqlite" | "sqlite3" => Driver::Sqlite,
                "postgres" | "postgresql" | "pg" => Driver::Postgres,
                _ => {
                    let message = format!("database driver '{}' is not supported. Known: sqlite, postgres", name.text);
                    self.report(name.diagnostic("CZ0801", message).path(fields.at("driver")).help("set driver"));
                    Driver::Sqlite
                }
            };
        }
        match (implied(&["path"]), implied(&["host", "name", "conn_string"])) {
            (Some(_), Some(other)) => {
                let problem = fields.diagnostic(other, "CZ0809", "settings of both drivers");
                self.report(problem.related(fields.place("path"), "'path' means sqlite").help("set driver"));
                Driver::Sqlite
            }
            (None, Some(_)) => Driver::Postgres,
            _ => Driver::Sqlite,
        }
    }

    /// Notes on keys that the chosen driver does not read.
    fn other_driver(&mut self, fields: &Fields<'_>, driver: Driver) {
        if fields.get("driver").is_none() {
            return;
        }
        let (others, name) = match driver {
            Driver::Sqlite => (POSTGRES_ONLY, "sqlite"),
            Driver::Postgres => (SQLITE_ONLY, "postgres"),
        };
        for key in others.iter().filter(|key| fields.get(key).is_some()) {
            let message = format!("'{}' is accepted and has no effect here: the driver is {name}", fields.at(key));
            self.report(fields.diagnostic(key, "CZ0109", message).severity(Severity::Note));
        }
    }

    fn sqlite_path(&mut self, fields: &Fields<'_>, path: &str) {
        let reason = if path.trim().is_empty()
            && fields.get("path").is_some()
            && self.deferred.iter().all(|(at, _)| *at != fields.at("path"))
        {
            Some("it is empty")
        } else if path.contains(['\0', '\n', '\r']) {
            Some("it holds a NUL or a line break")
        } else if path.ends_with('/') {
            Some("it is a folder")
        } else {
            None
        };
        if let Some(reason) = reason {
            self.report(fields.diagnostic("path", "CZ0803", format!("{}: {reason}", fields.at("path"))));
        }
        let Some((_, query)) = path.strip_prefix("file:").and_then(|rest| rest.split_once('?')) else { return };
        for parameter in query.split('&').filter_map(|pair| pair.split('=').next()) {
            if !URI_PARAMETERS.contains(&parameter) {
                let message = format!("SQLite parameter '{parameter}' is not allowed");
                let problem = fields.diagnostic("path", "CZ0807", message);
                self.report(problem.help(format!("known: {}", URI_PARAMETERS.join(", "))));
            }
        }
    }

    /// Pragmas, as keys and under `pragmas`.
    fn pragmas(&mut self, fields: &Fields<'_>) -> BTreeMap<String, String> {
        let mut found = BTreeMap::new();
        for name in PRAGMAS.iter().copied() {
            if let Some(value) = fields.get(name) {
                self.pragma(name, value, &fields.at(name), &mut found);
            }
        }
        let Some(node) = fields.get("pragmas") else { return found };
        let Some(entries) = node.entries() else {
            self.expected(node, &fields.at("pragmas"), "a map");
            return found;
        };
        for entry in entries {
            let name = entry.key.to_ascii_lowercase();
            let path = format!("{}.{}", fields.at("pragmas"), entry.key);
            if name == "foreign_keys" || PRAGMAS.contains(&name.as_str()) {
                self.pragma(&name, &entry.value, &path, &mut found);
            } else {
                let place = super::fields::key_place(entry);
                let problem = crate::diagnostic::Diagnostic::error(
                    "CZ0808",
                    format!("pragma '{}' is not allowed", entry.key),
                    place,
                );
                self.report(problem.path(path).help(format!("known: {}", PRAGMAS.join(", "))));
            }
        }
        found
    }

    fn pragma(&mut self, name: &str, node: &crate::yaml::Node, path: &str, found: &mut BTreeMap<String, String>) {
        let Some(value) = self.text_of(node, path) else { return };
        let digits = value.strip_prefix('-').unwrap_or(&value);
        let is_word = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_word {
            self.expected_text(node, path, "a word or a number", &value);
        } else if name != "foreign_keys" {
            found.insert(name.to_owned(), value);
        }
    }
}
