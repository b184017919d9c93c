//! Every way to say which server.

use std::time::{Duration, Instant};

use super::server::Postgres;
use super::*;

/// Where `database` leads: the start line's words.
fn location(database: &Database) -> String {
    Options::new(database, Role::Server, Clock::system()).unwrap().location
}

fn keys(written: &[(&str, &str)], conn_string: Option<&str>) -> Database {
    let mut database = Database { driver: Driver::Postgres, ..Database::default() };
    database.conn_string = conn_string.map(str::to_owned);
    database.written = written.iter().map(|(key, _)| (*key).to_owned()).collect();
    for (key, value) in written {
        let value = (*value).to_owned();
        match *key {
            "host" => database.host = value,
            "port" => database.port = value.parse().unwrap(),
            "user" => database.user = value,
            "password" => database.password = Some(value),
            "name" => database.name = value,
            "ssl_mode" => database.ssl_mode = value,
            other => panic!("{other}"),
        }
    }
    database
}

#[test]
fn keys_and_urls_lead_to_the_same_places() {
    type Case = (&'static [(&'static str, &'static str)], Option<&'static str>, &'static str);
    let cases: [Case; 12] = [
        (&[], None, "host=localhost port=5432 dbname=compozy"),
        (&[("host", "db"), ("port", "6000"), ("name", "x")], None, "host=db port=6000 dbname=x"),
        (&[("host", "/var/run/postgresql")], None, "host=/var/run/postgresql port=5432 dbname=compozy"),
        (&[], Some("postgres://u:p@db:6000/x?sslmode=require"), "host=db port=6000 dbname=x"),
        (&[], Some("postgresql://db"), "host=db port=5432 dbname=compozy"),
        (&[], Some("postgres://u@/x"), "host=localhost port=5432 dbname=x"),
        (&[], Some("postgres:///x?host=/tmp/s&port=7000"), "host=/tmp/s port=7000 dbname=x"),
        (&[], Some("postgres://u@%2Ftmp%2Fs/x"), "host=/tmp/s port=5432 dbname=x"),
        (&[], Some("postgres://[::1]:6000/x"), "host=[::1] port=6000 dbname=x"),
        (&[("host", "other")], Some("postgres://u@db:6000/x"), "host=other port=6000 dbname=x"),
        (&[("port", "1"), ("name", "y")], Some("postgres://u@db:6000/x"), "host=db port=1 dbname=y"),
        (&[("host", "other")], Some("postgres:///x?host=/tmp/s"), "host=other port=5432 dbname=x"),
    ];
    for (written, url, expected) in cases {
        assert_eq!(location(&keys(written, url)), expected, "{written:?} {url:?}");
    }
    for mode in ["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] {
        location(&keys(&[("ssl_mode", mode)], None));
    }
    for wrong in ["mysql://h/x", "nonsense", "postgres://h:port/x"] {
        let error = Options::new(&keys(&[], Some(wrong)), Role::Server, Clock::system()).map(|_| ()).unwrap_err();
        assert!(!error.to_string().contains(wrong), "{error}");
    }
}

/// A server that is reached in each way, also one that is waited for, and one that has no TLS to offer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_are_reached_and_waited_for() {
    let server = Arc::new(Postgres::start());
    let (port, socket) = (server.port.to_string(), server.socket().display().to_string());
    let tcp: [(&str, &str); 4] = [("host", "127.0.0.1"), ("port", &port), ("name", "postgres"), ("user", "postgres")];
    let local: [(&str, &str); 3] = [("host", &socket), ("port", &port), ("name", "postgres")];
    let try_open =
        async |database: &Database, role: Role| open(Options::new(database, role, Clock::system()).unwrap()).await;
    for written in [&tcp[..], &local[..]] {
        for mode in ["disable", "allow", "prefer"] {
            let mut database = keys(written, None);
            database.ssl_mode = mode.into();
            try_open(&database, Role::Server).await.unwrap().close().await;
        }
    }
    for mode in ["require", "verify-ca", "verify-full"] {
        let mut database = keys(&tcp, None);
        (database.ssl_mode, database.password) = (mode.into(), Some("hunter2".into()));
        let error = try_open(&database, Role::Embedded).await.unwrap_err();
        let text = error.to_string();
        let expected = format!("PostgreSQL at host=127.0.0.1 port={port} dbname=postgres cannot be reached: ");
        assert!(matches!(error, Error::Unavailable(_)) && text.starts_with(&expected), "{text}");
        assert!(!text.contains("hunter2"), "{text}");
    }
    let mut missing = keys(&tcp, None);
    missing.name = "nowhere".into();
    let error = try_open(&missing, Role::Server).await.unwrap_err();
    assert!(error.to_string().ends_with("database \"nowhere\" does not exist"), "{error}");
    server.stop();
    let since = Instant::now();
    let error = try_open(&keys(&tcp, None), Role::Embedded).await.unwrap_err();
    assert!(matches!(&error, Error::Unavailable(_)) && since.elapsed() < Duration::from_secs(10), "{error}");
    let starting = Arc::clone(&server);
    let started = tokio::task::spawn_blocking(move || {
        std::thread::sleep(Duration::from_secs(1));
        starting.go_on();
    });
    try_open(&keys(&tcp, None), Role::Server).await.unwrap().close().await;
    started.await.unwrap();
}
