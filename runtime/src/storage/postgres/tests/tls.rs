//! A server with a certificate, and everything that `database.ssl_mode` may say about it.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};

use super::server::Postgres;
use super::*;

/// An authority, and what it calls itself.
fn authority() -> (Issuer<'static, KeyPair>, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    (Issuer::new(params, key), certificate)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_checks_what_it_says() {
    let (ours, root) = authority();
    let (_, stranger) = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["localhost".into()]).unwrap().signed_by(&key, &ours).unwrap();
    let server = Postgres::start();
    server.install("server.crt", &certificate.pem());
    server.install("server.key", &key.serialize_pem());
    server::execute(&server.url("postgres"), "ALTER SYSTEM SET ssl = on".into());
    server.restart("fast");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (file("right.pem", &root), file("wrong.pem", &stranger));
    // Whether it connects, and then whether it is encrypted.
    for (mode, host, root, expected) in [
        ("disable", "localhost", None, Some(false)),
        ("prefer", "localhost", None, Some(true)),
        ("require", "localhost", None, Some(true)),
        ("verify-ca", "localhost", Some(&right), Some(true)),
        ("verify-ca", "127.0.0.1", Some(&right), Some(true)),
        ("verify-full", "localhost", Some(&right), Some(true)),
        ("verify-ca", "localhost", Some(&wrong), None),
        ("verify-ca", "localhost", None, None),
        ("verify-full", "localhost", Some(&wrong), None),
        ("verify-full", "127.0.0.1", Some(&right), None),
    ] {
        let root = root.map(|path| format!("&sslrootcert={path}")).unwrap_or_default();
        let url = format!("postgres://postgres:hunter2@{host}:{}/postgres?sslmode={mode}{root}", server.port);
        let opened = try_open(&url, Role::Embedded).await;
        let Some(encrypted) = expected else {
            let error = opened.map(|_| ()).unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, Error::Unavailable(_)), "{mode} {host}: {text}");
            assert!(text.contains("TLS, as database.ssl_mode asks for it: ") && text.contains("certificate"), "{text}");
            assert!(!text.contains("hunter2"), "{text}");
            continue;
        };
        let storage = opened.unwrap_or_else(|error| panic!("{mode} {host}: {error}"));
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'compozy'";
        storage.ping().await.unwrap();
        let of_server = server.url("postgres");
        let seen = tokio::task::spawn_blocking(move || server::asks(&of_server, sql)).await.unwrap();
        assert_eq!(seen, encrypted, "{mode} {host}");
        storage.close().await;
    }
}
