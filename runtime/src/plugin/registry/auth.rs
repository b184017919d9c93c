//! Access to registries: what they ask for, and the credentials that tools like docker and oras keep.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Most bytes of a configuration file that is read.
const MOST_BYTES: u64 = 1 << 20;

/// What an answer 401 asks for (`WWW-Authenticate`, RFC 9110, 11.6.1).
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User and password.
    Basic,
    /// A token, to be had at `realm` (<https://distribution.github.io/distribution/spec/auth/token/>).
    Bearer { realm: String, service: Option<String>, scope: Option<String> },
}

/// Reads the header; the scheme that comes first counts.
pub(super) fn challenge(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let parameters = parameters(rest);
    let value = |name: &str| {
        let found = parameters.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.clone())
    };
    Some(Challenge::Bearer { realm: value("realm")?, service: value("service"), scope: value("scope") })
}

/// `key="value", key=value`; a quoted value may hold commas.
fn parameters(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while let Some((key, rest)) = text.split_once('=') {
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => rest.split_at(rest.find(',').unwrap_or(rest.len())),
        };
        found.push((key.trim().to_owned(), value.to_owned()));
        text = rest.trim_start().trim_start_matches(',');
    }
    found
}

/// User and password for a registry, as a `Basic` credential, from `$DOCKER_CONFIG/config.json`, else
/// `~/.docker/config.json`. Programs that the file names are not started.
pub(super) fn credentials(registry: &str) -> Option<String> {
    let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let file = folder.or_else(|| Some(std::env::home_dir()?.join(".docker")))?.join("config.json");
    stored(&file, registry)
}

fn stored(file: &Path, registry: &str) -> Option<String> {
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > MOST_BYTES {
        return None;
    }
    let config: Value = serde_json::from_slice(&std::fs::read(file).ok()?).ok()?;
    let entries = config.get("auths")?.as_object()?;
    // Docker's own registry is kept under an address of its first protocol.
    let is_docker = registry == "docker.io";
    let fits = |key: &str| {
        let host = key.trim_start_matches("https://").trim_start_matches("http://");
        let host = host.split('/').next().unwrap_or_default();
        host == registry || (is_docker && host == "index.docker.io")
    };
    let entry = entries.iter().find(|(key, _)| fits(key)).map(|(_, entry)| entry)?;
    if let Some(auth) = entry.get("auth").and_then(Value::as_str).filter(|auth| !auth.is_empty()) {
        let decoded = STANDARD.decode(auth).ok()?;
        return decoded.contains(&b':').then(|| auth.to_owned());
    }
    let text = |name: &str| entry.get(name).and_then(Value::as_str);
    Some(STANDARD.encode(format!("{}:{}", text("username")?, text("password")?)))
}

#[cfg(test)]
mod tests {
    use super::{Challenge, challenge, stored};

    #[test]
    fn challenges() {
        let bearer = |realm: &str, service: Option<&str>, scope: Option<&str>| {
            Some(Challenge::Bearer {
                realm: realm.into(),
                service: service.map(str::to_owned),
                scope: scope.map(str::to_owned),
            })
        };
        for (header, expected) in [
            (
                r#"Bearer realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
                bearer("https://auth.example/token", Some("registry.example"), Some("repository:a/b:pull,push")),
            ),
            (r#"bearer realm=https://a/t, service=s"#, bearer("https://a/t", Some("s"), None)),
            (r#"Bearer realm="https://a/t"#, bearer("https://a/t", None, None)),
            (r#"Basic realm="x""#, Some(Challenge::Basic)),
            ("Basic", Some(Challenge::Basic)),
            ("Bearer service=s", None),
            ("Negotiate", None),
            ("", None),
        ] {
            assert_eq!(challenge(header), expected, "{header}");
        }
    }

    #[test]
    fn credentials_that_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.json");
        assert_eq!(stored(&file, "ghcr.io"), None);
        std::fs::write(
            &file,
            r#"{"auths": {"ghcr.io": {"auth": "dTpw"}, "https://index.docker.io/v1/": {"auth": "ZDpw"},
                "localhost:5000": {"username": "u", "password": "p"}, "helper.example": {}, "odd.example": {"auth": "??"}}}"#,
        )
        .unwrap();
        for (registry, expected) in [
            ("ghcr.io", Some("dTpw")),
            ("docker.io", Some("ZDpw")),
            ("localhost:5000", Some("dTpw")),
            ("localhost:5001", None),
            ("helper.example", None),
            ("odd.example", None),
            ("other.example", None),
        ] {
            assert_eq!(stored(&file, registry).as_deref(), expected, "{registry}");
        }
        std::fs::write(&file, "{").unwrap();
        assert_eq!(stored(&file, "ghcr.io"), None);
    }
}
