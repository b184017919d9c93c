//! Components compiled into this binary, packed: what is in the code cache already is never unpacked.

use std::fmt;

use super::Source;
use super::error::Error;

include!(concat!(env!("OUT_DIR"), "/bundled.rs"));

/// One of them.
pub struct Bundled {
    /// Its name in `builtin:NAME`.
    pub name: &'static str,
    /// SHA-256 (hex) of the component.
    pub digest: &'static str,
    /// Its size, in bytes.
    pub bytes: usize,
    /// The component in zlib's format (RFC 1950).
    packed: &'static [u8],
}

impl Bundled {
    /// The component itself.
    ///
    /// # Errors
    /// The binary is damaged.
    pub fn unpack(&self) -> Result<Vec<u8>, Error> {
        miniz_oxide::inflate::decompress_to_vec_zlib_with_limit(self.packed, self.bytes)
            .map_err(|error| Error::Unusable(format!("builtin:{} cannot be unpacked: {error}", self.name)))
    }
}

impl fmt::Debug for Bundled {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bundled({})", self.name)
    }
}

/// The component behind `builtin:NAME`.
#[must_use]
pub fn source(name: &str) -> Option<Source> {
    find(name).map(Source::Bundled)
}

/// What is known of the component behind `builtin:NAME` without unpacking it.
#[must_use]
pub fn find(name: &str) -> Option<&'static Bundled> {
    BUNDLED.iter().find(|bundled| bundled.name == name)
}

/// Names of the bundled components.
#[must_use]
pub fn names() -> Vec<&'static str> {
    BUNDLED.iter().map(|bundled| bundled.name).collect()
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::BUNDLED;
    use crate::plugin::cache::hex;

    #[test]
    fn each_is_what_its_digest_says() {
        assert!(!BUNDLED.is_empty());
        for bundled in BUNDLED {
            let bytes = bundled.unpack().unwrap();
            assert_eq!(
                (hex(&Sha256::digest(&bytes)).as_str(), bytes.len()),
                (bundled.digest, bundled.bytes),
                "{bundled:?}"
            );
        }
    }
}
