//! Ids of calls.
//!
//! A call may come without an id, and with a signature of the thoughts behind it that has to be sent back with it
//! (<https://ai.google.dev/gemini-api/docs/thought-signatures>). The interface carries one text: both go into it.

/// Between id and signature; base64 has no such character.
const SEPARATOR: char = '~';

/// Begins the ids that are ours.
const OURS: &str = "call-";

/// Bytes of a signature that is kept.
const SIGNATURE_LIMIT: usize = 64 << 10;

/// The id of the call with this number, counted from 0.
pub(crate) fn id(number: u64, given: Option<&str>, signature: Option<&str>) -> String {
    let own = match given.filter(|id| !id.is_empty()) {
        Some(id) => id.to_owned(),
        None => format!("{OURS}{}", number.saturating_add(1)),
    };
    match signature.filter(|signature| !signature.is_empty() && signature.len() <= SIGNATURE_LIMIT) {
        Some(signature) => format!("{own}{SEPARATOR}{signature}"),
        None => own,
    }
}

/// The id that the provider gave, and the signature.
pub(crate) fn parts(id: &str) -> (Option<&str>, Option<&str>) {
    let (own, signature) = match id.rsplit_once(SEPARATOR) {
        Some((own, signature)) => (own, Some(signature)),
        None => (id, None),
    };
    ((!own.starts_with(OURS) && !own.is_empty()).then_some(own), signature)
}

#[cfg(test)]
mod tests {
    use super::{id, parts};

    #[test]
    fn ids_carry_what_has_to_go_back() {
        for (given, signature, expected, back) in [
            (None, None, "call-1", (None, None)),
            (Some("f1"), None, "f1", (Some("f1"), None)),
            (None, Some("c2ln+/="), "call-1~c2ln+/=", (None, Some("c2ln+/="))),
            (Some("f1"), Some("c2ln"), "f1~c2ln", (Some("f1"), Some("c2ln"))),
            (Some(""), Some(""), "call-1", (None, None)),
        ] {
            let made = id(0, given, signature);
            assert_eq!((made.as_str(), parts(&made)), (expected, back));
        }
    }
}
