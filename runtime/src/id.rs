//! Newtypes of ids.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Crockford's base 32, the alphabet of ULIDs (<https://github.com/ulid/spec>).
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                Self(text.into())
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text.into())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(&self.0)
            }
        }
    };
}

id! {
    /// Id of a run: a 26-character ULID, sortable by creation; imports keep foreign ids of `[0-9A-Za-z_-]{1,64}`.
    ExecId
}

id! {
    /// Id of a live process that may own runs.
    NodeId
}

impl ExecId {
    /// Reads an id from outside; `None` unless it is 1 to 64 of `[0-9A-Za-z_-]`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-');
        fits.then(|| text.into())
    }
}

/// A ULID of `unix_ms` (48 bits) and 80 random bits.
#[must_use]
pub fn ulid(unix_ms: u64, random: u128) -> String {
    let bits = (u128::from(unix_ms & ((1 << 48) - 1)) << 80) | (random & ((1 << 80) - 1));
    (0..26).rev().map(|place| char::from(ALPHABET[(bits >> (place * 5)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::{ExecId, ulid};

    #[test]
    fn ulids_sort_by_time_and_have_26_characters() {
        assert_eq!(ulid(0, 0), "00000000000000000000000000");
        assert_eq!(ulid((1 << 48) - 1, u128::MAX), "7ZZZZZZZZZZZZZZZZZZZZZZZZZ");
        assert!(ulid(1, u128::MAX) < ulid(2, 0));
    }

    #[test]
    fn foreign_ids_are_checked() {
        assert!(ExecId::parse("a_B-9").is_some());
        for bad in ["", "a b", "../x", &"x".repeat(65)] {
            assert!(ExecId::parse(bad).is_none(), "{bad}");
        }
    }
}
