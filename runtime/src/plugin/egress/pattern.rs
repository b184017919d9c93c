//! Targets of requests, and the patterns of `permissions.http` that allow them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::address::is_public;

/// Where a request goes, in canonical form: whatever spelling was used, equal targets compare equal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// TLS or not.
    pub tls: bool,
    /// Name or address.
    pub host: Host,
    /// TCP port.
    pub port: u16,
}

/// A host by name or by address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A DNS name in lower case, in its ASCII form, without trailing dot.
    Name(String),
    /// An address.
    Address(IpAddr),
}

impl Target {
    /// Reads scheme and authority of a request.
    ///
    /// Spelling is left to the URL standard (<https://url.spec.whatwg.org/#host-parsing>): `0x7f.1`, `2130706433`,
    /// `%31`, full-width digits and the like all become the address they mean, names become their ASCII form.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(scheme: &str, authority: &str) -> Result<Self, String> {
        if authority.contains(['/', '?', '#']) {
            return Err("a host is given without a path".into());
        }
        if authority.contains(['@', '\\', '/', '?', '#', ' ', '\t', '\r', '\n']) {
            return Err("user names and odd characters are not allowed in the host".into());
        }
        let url = reqwest::Url::parse(&format!("{scheme}://{authority}/")).map_err(|error| error.to_string())?;
        let tls = match url.scheme() {
            "https" => true,
            "http" => false,
            other => return Err(format!("scheme '{other}' is not http or https")),
        };
        let host = url.host_str().ok_or("no host")?;
        let port = url.port_or_known_default().filter(|port| *port != 0).ok_or("no port")?;
        Ok(Self { tls, host: canonical_host(host)?, port })
    }

    /// `host` or `host:port` when the port is not the scheme's own: the `Host` header.
    #[must_use]
    pub fn authority(&self) -> String {
        let host = match &self.host {
            Host::Name(name) => name.clone(),
            Host::Address(IpAddr::V4(address)) => address.to_string(),
            Host::Address(IpAddr::V6(address)) => format!("[{address}]"),
        };
        if self.port == default_port(self.tls) { host } else { format!("{host}:{}", self.port) }
    }

    /// The pattern that grants exactly this target, as one writes it in YAML.
    #[must_use]
    pub fn as_pattern(&self) -> String {
        let scheme = if self.tls { "" } else { "http://" };
        let text = format!("{scheme}{}", self.authority());
        // `[` begins a list in YAML's flow style and `: ` a map; quotes are needed for the former.
        if text.contains('[') { format!("\"{text}\"") } else { text }
    }
}

fn default_port(tls: bool) -> u16 {
    if tls { 443 } else { 80 }
}

/// Folds what `Url` left: brackets, the trailing dot.
fn canonical_host(host: &str) -> Result<Host, String> {
    if let Some(address) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return address
            .parse::<Ipv6Addr>()
            .map(|address| Host::Address(address.into()))
            .map_err(|error| error.to_string());
    }
    if let Ok(address) = host.parse::<Ipv4Addr>() {
        return Ok(Host::Address(address.into()));
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    if name.is_empty() || name.starts_with('.') || name.ends_with('.') || name.contains("..") || name.len() > 253 {
        return Err(format!("'{host}' is not a host name"));
    }
    Ok(Host::Name(name.to_ascii_lowercase()))
}

/// One entry of `permissions.http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    tls: bool,
    host: HostPattern,
    port: u16,
    /// Written by the operator as an endpoint: its addresses are not checked.
    trusted: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum HostPattern {
    /// `*`
    Any,
    /// `*.suffix`: the suffix with its leading dot.
    Suffix(String),
    /// One host.
    Exactly(Host),
}

impl Pattern {
    /// Reads `[scheme://]host[:port]`; host is a name, an address, `*.suffix` or `*`. https and its port 443 unless
    /// written.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (scheme, authority) = text.split_once("://").unwrap_or(("https", text));
        let wrong = |reason: &str| format!("'{text}' is not a pattern [scheme://]host[:port]: {reason}");
        if authority == "*" || authority.starts_with("*:") || authority.starts_with("*.") {
            // A name in place of the star lets scheme, suffix and port be read by the same rules as a target.
            let target = Target::parse(scheme, &authority.replacen('*', "x", 1)).map_err(|reason| wrong(&reason))?;
            let host = match target.host {
                Host::Name(name) if name == "x" => HostPattern::Any,
                Host::Name(name) => HostPattern::Suffix(name.trim_start_matches('x').to_owned()),
                Host::Address(_) => return Err(wrong("an address has no suffix")),
            };
            return Ok(Self { tls: target.tls, host, port: target.port, trusted: false });
        }
        if authority.contains('*') {
            return Err(wrong("a star stands alone or as the first label"));
        }
        let target = Target::parse(scheme, authority).map_err(|reason| wrong(&reason))?;
        Ok(Self { tls: target.tls, host: HostPattern::Exactly(target.host), port: target.port, trusted: false })
    }

    /// The endpoint the operator wrote literally (a provider's base URL): this very origin, at whatever address.
    #[must_use]
    pub fn trusted(target: Target) -> Self {
        Self { tls: target.tls, host: HostPattern::Exactly(target.host), port: target.port, trusted: true }
    }

    /// Whether the pattern covers `target`, before anything is resolved.
    #[must_use]
    pub fn matches(&self, target: &Target) -> bool {
        self.tls == target.tls
            && self.port == target.port
            && match (&self.host, &target.host) {
                (HostPattern::Any, _) => true,
                (HostPattern::Suffix(suffix), Host::Name(name)) => {
                    name.len() > suffix.len() && name.ends_with(suffix.as_str())
                }
                (HostPattern::Suffix(_), Host::Address(_)) => false,
                (HostPattern::Exactly(host), target) => host == target,
            }
    }

    /// Whether a connection to `address`, to which a matching target resolved, is allowed.
    #[must_use]
    pub fn allows_address(&self, address: IpAddr) -> bool {
        match &self.host {
            _ if self.trusted => true,
            HostPattern::Exactly(Host::Address(written)) => *written == address,
            HostPattern::Exactly(Host::Name(name)) if name == "localhost" => address.is_loopback(),
            _ => is_public(address),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Pattern, Target};

    fn covers(pattern: &str, scheme: &str, authority: &str) -> bool {
        let pattern = Pattern::parse(pattern).unwrap();
        Target::parse(scheme, authority).is_ok_and(|target| pattern.matches(&target))
    }

    #[test]
    fn patterns_cover_what_they_say() {
        for (pattern, scheme, authority, expected) in [
            ("api.example.com", "https", "api.example.com", true),
            ("api.example.com", "https", "API.Example.COM", true),
            ("api.example.com", "https", "api.example.com.", true),
            ("api.example.com", "https", "api.example.com:443", true),
            ("api.example.com", "https", "api.example.com:8443", false),
            ("api.example.com", "http", "api.example.com", false),
            ("api.example.com", "https", "evil.api.example.com", false),
            ("api.example.com", "https", "api.example.com.evil.com", false),
            ("api.example.com:8443", "https", "api.example.com:8443", true),
            ("api.example.com:8443", "https", "api.example.com", false),
            ("http://api.example.com", "http", "api.example.com", true),
            ("http://api.example.com", "http", "api.example.com:80", true),
            ("http://api.example.com", "https", "api.example.com", false),
            ("*.example.com", "https", "a.example.com", true),
            ("*.example.com", "https", "a.b.example.com", true),
            ("*.example.com", "https", "example.com", false),
            ("*.example.com", "https", "aexample.com", false),
            ("*.xample.com", "https", "a.xample.com", true),
            ("*.xample.com", "https", "ample.com", false),
            ("*", "https", "anything.test", true),
            ("*", "https", "8.8.8.8", true),
            ("*", "http", "anything.test", false),
            ("*:8443", "https", "anything.test:8443", true),
            ("http://*", "http", "anything.test", true),
            ("bücher.example", "https", "xn--bcher-kva.example", true),
            ("BÜCHER.example", "https", "bücher.example", true),
            ("http://localhost:9000", "http", "localhost:9000", true),
            ("http://localhost:9000", "http", "127.0.0.1:9000", false),
            ("http://127.0.0.1:9000", "http", "127.1:9000", true),
            ("http://[::1]:9000", "http", "[0:0::1]:9000", true),
            ("10.0.0.7", "https", "10.0.0.7", true),
            ("10.0.0.7", "https", "10.0.0.8", false),
        ] {
            assert_eq!(covers(pattern, scheme, authority), expected, "{pattern} {scheme}://{authority}");
        }
    }

    #[test]
    fn odd_spellings_become_the_address_they_mean() {
        for spelling in [
            "127.0.0.1",
            "127.1",
            "2130706433",
            "0x7f000001",
            "0x7f.1",
            "0177.0.0.1",
            "127.0.0.1.",
            "１２７.0.0.1",
            "%31%32%37.0.0.1",
        ] {
            let target = Target::parse("http", spelling).unwrap();
            assert_eq!(target.authority(), "127.0.0.1", "{spelling}");
        }
        assert_eq!(Target::parse("https", "[::FFFF:127.0.0.1]").unwrap().authority(), "[::ffff:127.0.0.1]");
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for (scheme, authority) in [
            ("https", ""),
            ("https", "."),
            ("https", "a..b"),
            ("https", "user@host"),
            ("https", "user:pass@host"),
            ("https", "host\\@evil"),
            ("https", "host/path"),
            ("https", "host#x"),
            ("https", "ho st"),
            ("https", "host:0"),
            ("https", "host:99999"),
            ("https", "[::1"),
            ("https", "1.2.3.256"),
            ("ftp", "host"),
            ("file", "host"),
            ("javascript", "x"),
            ("https", "*.example.com:x"),
        ] {
            assert!(Target::parse(scheme, authority).is_err(), "{scheme}://{authority}");
        }
        for pattern in
            ["", "*x.example.com", "a.*.com", "ftp://host", "host/path", "user@host", "https://", "*.1.2.3.4:70000"]
        {
            assert!(Pattern::parse(pattern).is_err(), "{pattern}");
        }
    }

    #[test]
    fn addresses_are_allowed_by_the_pattern_that_matched() {
        for (pattern, address, expected) in [
            ("*", "93.184.216.34", true),
            ("*", "127.0.0.1", false),
            ("*", "10.0.0.7", false),
            ("db.internal", "10.0.0.7", false),
            ("10.0.0.7", "10.0.0.7", true),
            ("10.0.0.7", "10.0.0.8", false),
            ("localhost", "127.0.0.1", true),
            ("localhost", "::1", true),
            ("localhost", "10.0.0.7", false),
            ("localhost", "93.184.216.34", false),
            ("127.0.0.1", "::1", false),
        ] {
            assert_eq!(
                Pattern::parse(pattern).unwrap().allows_address(address.parse().unwrap()),
                expected,
                "{pattern} {address}"
            );
        }
        let trusted = Pattern::trusted(Target::parse("http", "gpu.lan:8000").unwrap());
        assert!(trusted.allows_address("192.168.1.2".parse().unwrap()));
    }

    #[test]
    fn the_pattern_named_in_a_refusal_grants_the_target() {
        for (scheme, authority) in
            [("https", "a.example"), ("http", "a.example:8080"), ("https", "[::1]:8443"), ("http", "127.1")]
        {
            let target = Target::parse(scheme, authority).unwrap();
            let pattern = Pattern::parse(target.as_pattern().trim_matches('"')).unwrap();
            assert!(pattern.matches(&target), "{scheme}://{authority}");
        }
    }
}
