//! Secret values: the placeholders that stand for them in guest memory, and their removal from what we log.

use std::borrow::Cow;
use std::fmt;
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use hmac::Mac;

use super::cache::{hex, mac};
use crate::clock::random_bytes;

/// Shortest value that is masked in logs, in bytes: shorter ones would strike out ordinary words.
const SHORTEST_MASKED: usize = 4;

/// Shortest part of a base64 text that is masked, in characters: a few letters stand in many texts.
const SHORTEST_CODED: usize = 8;

/// A value that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Takes a value.
    #[must_use]
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that sends it.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What the guest sees instead of the secret `name`: the same within one run (`scope`) and plugin, unforeseeable from
/// outside, since it is derived under a key that lives as long as this process.
pub(crate) fn placeholder(scope: &str, plugin_id: &str, name: &str) -> String {
    static KEY: OnceLock<[u8; 32]> = OnceLock::new();
    let mut mac = mac(KEY.get_or_init(random_bytes));
    for part in [scope, plugin_id, name] {
        // The length in front keeps ("ab", "c") and ("a", "bc") apart.
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    let tag = mac.finalize().into_bytes();
    format!("placeholder-{}", hex(tag.get(..16).unwrap_or(&tag)))
}

/// Strikes out values, and their base64, hexadecimal, URL and JSON forms.
#[derive(Default)]
pub(crate) struct Mask {
    forms: Vec<String>,
}

impl Mask {
    /// A mask of `values`.
    pub(crate) fn new<'a>(values: impl IntoIterator<Item = &'a str>) -> Self {
        let mut forms = Vec::new();
        for value in values.into_iter().filter(|value| value.len() >= SHORTEST_MASKED) {
            forms.push(value.to_owned());
            forms.push(STANDARD_NO_PAD.encode(value));
            forms.push(URL_SAFE_NO_PAD.encode(value));
            forms.extend(inside_base64(value));
            forms.push(hex(value.as_bytes()));
            forms.push(hex(value.as_bytes()).to_ascii_uppercase());
            forms.push(percent_encoded(value));
            forms.push(lower_percents(&percent_encoded(value)));
            let json = serde_json::Value::from(value).to_string();
            forms.push(json.trim_matches('"').to_owned());
        }
        // Longer forms first, so that a part of one does not leave the rest behind; equal ones side by side: a value of
        // letters and digits is spelled alike in most forms, and every form is looked for in every text.
        forms.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        forms.dedup();
        Self { forms }
    }

    /// Whether there is nothing to strike out.
    pub(crate) fn is_empty(&self) -> bool {
        self.forms.is_empty()
    }

    /// Whether `text` holds a known form.
    pub(crate) fn is_in(&self, text: &str) -> bool {
        self.forms.iter().any(|form| text.contains(form.as_str()))
    }

    /// Bytes at the end of `text` in which a known form may have begun.
    pub(crate) fn begun_in(&self, text: &str) -> usize {
        let begun = |form: &String| {
            let ends = form.char_indices().map(|(at, _)| at).skip(1);
            ends.filter(|end| form.get(..*end).is_some_and(|start| text.ends_with(start))).max().unwrap_or(0)
        };
        self.forms.iter().map(begun).max().unwrap_or(0)
    }

    /// `text` with every known form replaced by `***`.
    pub(crate) fn apply<'a>(&self, text: &'a str) -> Cow<'a, str> {
        self.forms.iter().fold(Cow::Borrowed(text), |text, form| {
            if text.contains(form.as_str()) { Cow::Owned(text.replace(form.as_str(), "***")) } else { text }
        })
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Mask({} forms)", self.forms.len())
    }
}

/// What a value looks like in the base64 of a longer text, such as `user:value` of basic authentication: the characters
/// that no neighbour has a part in, for each of the three places where it may begin.
fn inside_base64(value: &str) -> impl Iterator<Item = String> {
    [(1, 2), (2, 3), (0, 0)].into_iter().flat_map(move |(before, unsure)| {
        let bytes: Vec<u8> = std::iter::repeat_n(0, before).chain(value.bytes()).collect();
        let is_whole = bytes.len().is_multiple_of(3);
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].into_iter().filter_map(move |text| {
            let end = text.len() - usize::from(!is_whole);
            text.get(unsure..end).filter(|sure| sure.len() >= SHORTEST_CODED).map(str::to_owned)
        })
    })
}

/// `%2f` for `%2F`, as some encoders write it; what stands between stays.
fn lower_percents(text: &str) -> String {
    let mut digits = 0;
    let lower = |character: char| {
        digits = if character == '%' { 3_u8 } else { digits.saturating_sub(1) };
        if digits > 0 { character.to_ascii_lowercase() } else { character }
    };
    text.chars().map(lower).collect()
}

/// RFC 3986 percent-encoding of everything but unreserved characters.
fn percent_encoded(value: &str) -> String {
    use std::fmt::Write as _;
    value.bytes().fold(String::with_capacity(value.len()), |mut text, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            text.push(char::from(byte));
        } else {
            // Writing into a string does not fail.
            let _ = write!(text, "%{byte:02X}");
        }
        text
    })
}

#[cfg(test)]
mod tests {
    use super::{Mask, Secret, placeholder};

    #[test]
    fn placeholders_are_stable_within_a_run_and_differ_elsewhere() {
        let one = placeholder("run", "shop", "TOKEN");
        assert_eq!(one, placeholder("run", "shop", "TOKEN"));
        assert!(one.starts_with("placeholder-") && one.len() == 44, "{one}");
        for other in
            [("run2", "shop", "TOKEN"), ("run", "shop2", "TOKEN"), ("run", "shop", "TOKEN2"), ("ru", "nshop", "TOKEN")]
        {
            assert_ne!(one, placeholder(other.0, other.1, other.2));
        }
    }

    #[test]
    fn every_form_is_struck_out() {
        let mask = Mask::new(["s3cr3t/+ä", "abc"]);
        for (text, expected) in [
            ("key=s3cr3t/+ä.", "key=***."),
            ("Basic czNjcjN0LyvDpA==", "Basic ***=="),
            ("czNjcjN0LyvDpA", "***"),
            ("czNjcjN0LyvDpA s3cr3t%2F%2B%C3%A4", "*** ***"),
            ("Basic dXNlcjpzM2NyM3QvK8Okz", "Basic dXNlcjp***z"),
            ("7333637233742f2bc3a4 7333637233742F2BC3A4", "*** ***"),
            ("s3cr3t%2f%2b%c3%a4", "***"),
            ("abc is too short to be struck out", "abc is too short to be struck out"),
        ] {
            assert_eq!(mask.apply(text), expected);
        }
        assert_eq!(format!("{:?}", Secret::new("s3cr3t")), "***");
        // The value, its base64, what two other places leave of that, and its digits, none of which is a letter.
        assert_eq!(format!("{:?}", Mask::new(["s3cr3ts3cr3t"])), "Mask(5 forms)");
    }
}
