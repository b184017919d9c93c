//! The parts of an absolute `http` or `https` URL that a request is made of.

/// A URL in the parts `wasi:http` asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Url {
    /// `https`.
    pub(super) secure: bool,
    /// `host[:port]`.
    pub(super) authority: String,
    /// Path and query, at least `/`.
    pub(super) path: String,
}

impl Url {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.split_once("://").ok_or("the URL has no scheme")?;
        let secure = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err("the URL's scheme is neither http nor https"),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        if authority.is_empty() {
            return Err("the URL has no host");
        }
        if authority.contains('@') {
            return Err("the URL holds a user name; use a header instead");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        Ok(Self { secure, authority: authority.to_owned(), path })
    }
}

#[cfg(test)]
mod tests {
    use super::Url;

    #[test]
    fn splits_urls() {
        let url = |secure, authority: &str, path: &str| {
            Ok(Url { secure, authority: authority.to_owned(), path: path.to_owned() })
        };
        for (text, expected) in [
            ("https://a.example/b?c=d", url(true, "a.example", "/b?c=d")),
            ("HTTP://[::1]:80", url(false, "[::1]:80", "/")),
            ("http://a?b=/c", url(false, "a", "/?b=/c")),
            ("http://a/b#c", url(false, "a", "/b")),
            ("ftp://a", Err("the URL's scheme is neither http nor https")),
            ("a/b", Err("the URL has no scheme")),
            ("http:///b", Err("the URL has no host")),
            ("http://u:p@a/", Err("the URL holds a user name; use a header instead")),
        ] {
            assert_eq!(Url::parse(text), expected, "{text}");
        }
    }
}
