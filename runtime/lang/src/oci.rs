//! References to components in registries: `oci:ghcr.io/acme/shop:1.2@sha256:…`.
//!
//! Source of the form: the OCI distribution specification,
//! <https://github.com/opencontainers/distribution-spec/blob/main/spec.md#pulling-manifests>.

use std::fmt;

/// What sources in registries begin with.
pub const SCHEME: &str = "oci:";

/// Most bytes of registry and name together (distribution specification).
const MOST_NAME_BYTES: usize = 255;

/// Most bytes of a tag (distribution specification).
const MOST_TAG_BYTES: usize = 128;

/// Where a component is in a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reference {
    /// Host, with its port if it is written.
    pub registry: String,
    /// Name in the registry, `acme/shop`.
    pub repository: String,
    /// A name for one of its versions; it may move.
    pub tag: Option<String>,
    /// SHA-256 of the manifest, in 64 hexadecimal digits.
    pub digest: Option<String>,
}

impl Reference {
    /// Reads a source; it begins with [`SCHEME`].
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(source: &str) -> Result<Self, String> {
        let text = source.strip_prefix(SCHEME).ok_or_else(|| format!("it does not begin with {SCHEME}"))?;
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(hex_of(digest)?)),
            None => (text, None),
        };
        let (registry, rest) = name.split_once('/').ok_or("it names no registry; write oci:HOST/NAME:TAG")?;
        check_registry(registry)?;
        let (repository, tag) = match rest.rsplit_once(':') {
            Some((repository, tag)) => (repository, Some(tag)),
            None => (rest, None),
        };
        if name.len() > MOST_NAME_BYTES + MOST_TAG_BYTES || repository.len() > MOST_NAME_BYTES {
            return Err(format!("its name is longer than {MOST_NAME_BYTES} characters"));
        }
        if !repository.split('/').all(is_name) {
            return Err(format!("'{repository}' is not a name: lower-case letters, digits, and . _ - between them"));
        }
        if let Some(tag) = tag.filter(|tag| !is_tag(tag)) {
            return Err(format!("'{tag}' is not a tag: letters, digits, and . _ - behind them"));
        }
        if tag.is_none() && digest.is_none() {
            return Err("it names neither tag nor digest".to_owned());
        }
        let tag = tag.map(str::to_owned);
        Ok(Self { registry: registry.to_owned(), repository: repository.to_owned(), tag, digest })
    }

    /// Whether the registry is this machine, which may be spoken to without TLS.
    #[must_use]
    pub fn is_local(&self) -> bool {
        let host = self.registry.strip_prefix('[').and_then(|rest| rest.split_once(']')).map(|(host, _)| host);
        let host = host.unwrap_or_else(|| self.registry.split(':').next().unwrap_or_default());
        host == "localhost" || host.parse::<core::net::IpAddr>().is_ok_and(|address| address.is_loopback())
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{SCHEME}{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        match &self.digest {
            Some(digest) => write!(formatter, "@sha256:{digest}"),
            None => Ok(()),
        }
    }
}

/// The digits of `sha256:…`.
///
/// # Errors
/// It is none.
pub fn hex_of(digest: &str) -> Result<String, String> {
    let digits = digest.strip_prefix("sha256:").unwrap_or_default();
    let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    if digits.len() == 64 && digits.bytes().all(is_hex) {
        return Ok(digits.to_owned());
    }
    Err(format!("'{digest}' is not a digest: sha256: and 64 hex digits in lower case"))
}

/// A host is told from the first part of a name by its dot or port.
fn check_registry(registry: &str) -> Result<(), String> {
    if !(registry == "localhost" || registry.contains(['.', ':'])) {
        return Err(format!("'{registry}' is not the host of a registry; write oci:HOST/NAME:TAG"));
    }
    let (host, port) = match registry.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host.parse::<core::net::Ipv6Addr>().is_ok(), port),
        None => {
            let (host, port) = registry.split_at(registry.find(':').unwrap_or(registry.len()));
            let is_label = |label: &str| {
                !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            };
            (host.split('.').all(is_label), port)
        }
    };
    let port = port.is_empty() || port.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok());
    if host && port { Ok(()) } else { Err(format!("'{registry}' is not the host of a registry")) }
}

fn is_name(part: &str) -> bool {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let ends = |byte: Option<u8>| byte.is_some_and(is_plain);
    ends(part.bytes().next())
        && ends(part.bytes().next_back())
        && part.bytes().all(|byte| is_plain(byte) || b"._-".contains(&byte))
        && !part.contains("..")
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= MOST_TAG_BYTES
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || b".-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_are_read_and_written() {
        let digest = "ab".repeat(32);
        for (source, registry, repository, tag, has_digest) in [
            ("oci:ghcr.io/acme/shop:1.2".to_owned(), "ghcr.io", "acme/shop", Some("1.2"), false),
            (format!("oci:ghcr.io/acme/shop:1.2@sha256:{digest}"), "ghcr.io", "acme/shop", Some("1.2"), true),
            (format!("oci:localhost:5000/shop@sha256:{digest}"), "localhost:5000", "shop", None, true),
            ("oci:localhost/a/b/c_d.e-f:_x".to_owned(), "localhost", "a/b/c_d.e-f", Some("_x"), false),
            ("oci:[::1]:80/a:1".to_owned(), "[::1]:80", "a", Some("1"), false),
        ] {
            let reference = Reference::parse(&source).expect(&source);
            assert_eq!(
                (reference.registry.as_str(), reference.repository.as_str(), reference.tag.as_deref()),
                (registry, repository, tag)
            );
            assert_eq!((reference.digest.is_some(), reference.to_string()), (has_digest, source));
        }
    }

    #[test]
    fn what_is_wrong_is_said() {
        let long = format!("oci:ghcr.io/{}:1", "a".repeat(256));
        for (source, part) in [
            ("shop.wasm", "it does not begin with oci:"),
            ("oci:shop:1", "names no registry"),
            ("oci:acme/shop:1", "'acme' is not the host of a registry"),
            ("oci://ghcr.io/shop:1", "'' is not the host of a registry"),
            ("oci:user@ghcr.io/shop:1", "is not a digest"),
            ("oci:gh cr.io/shop:1", "'gh cr.io' is not the host"),
            ("oci:ghcr.io:x/shop:1", "'ghcr.io:x' is not the host"),
            ("oci:[::g]/shop:1", "is not the host"),
            ("oci:ghcr.io/Shop:1", "'Shop' is not a name"),
            ("oci:ghcr.io/a//b:1", "'a//b' is not a name"),
            ("oci:ghcr.io/../b:1", "'../b' is not a name"),
            ("oci:ghcr.io/a..b:1", "'a..b' is not a name"),
            ("oci:ghcr.io/a:", "'' is not a tag"),
            ("oci:ghcr.io/a:-x", "'-x' is not a tag"),
            ("oci:ghcr.io/a:1/b", "is not a tag"),
            ("oci:ghcr.io/a", "neither tag nor digest"),
            ("oci:ghcr.io/a@sha256:00", "'sha256:00' is not a digest"),
            ("oci:ghcr.io/a@md5:00", "'md5:00' is not a digest"),
            (&long, "longer than 255 characters"),
        ] {
            let reason = Reference::parse(source).expect_err(source);
            assert!(reason.contains(part), "{source}: {reason}");
        }
    }

    #[test]
    fn this_machine_is_known() {
        for (registry, local) in [
            ("localhost", true),
            ("localhost:5000", true),
            ("127.0.0.1:5000", true),
            ("[::1]:5000", true),
            ("ghcr.io", false),
            ("localhost.example.com", false),
            ("127.0.0.1.nip.io", false),
            ("10.0.0.1:5000", false),
        ] {
            assert_eq!(
                Reference::parse(&format!("oci:{registry}/a:1")).expect(registry).is_local(),
                local,
                "{registry}"
            );
        }
    }
}
