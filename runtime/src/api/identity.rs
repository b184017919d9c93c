//! The proof that a server is of this project and this database (cli-and-api §4.2).

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::body::hex;

/// `HMAC-SHA256(identity_key, "compozy-identity" ‖ 0 ‖ nonce ‖ 0 ‖ port ‖ 0 ‖ project)` in lower-case hex; nonce as it
/// was sent, port in decimal.
///
/// The port is part of it so that a rogue server cannot relay the answer of the true one.
#[must_use]
pub fn proof(identity_key: &[u8; 32], nonce: &str, port: u16, project: &str) -> String {
    hex(&mac(identity_key, nonce, port, project).finalize().into_bytes())
}

/// Whether `proof` is right, in constant time.
#[must_use]
pub fn verify(identity_key: &[u8; 32], nonce: &str, port: u16, project: &str, proof: &str) -> bool {
    unhex(proof).is_some_and(|bytes| mac(identity_key, nonce, port, project).verify_slice(&bytes).is_ok())
}

/// Whether `nonce` is 32 bytes in hex.
#[must_use]
pub fn is_nonce(nonce: &str) -> bool {
    nonce.len() == 64 && nonce.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn mac(identity_key: &[u8; 32], nonce: &str, port: u16, project: &str) -> Hmac<Sha256> {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of every length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(identity_key).expect("a key of 32 bytes fits");
    for (index, part) in ["compozy-identity", nonce, &port.to_string(), project].into_iter().enumerate() {
        if index > 0 {
            mac.update(&[0]);
        }
        mac.update(part.as_bytes());
    }
    mac
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(text.get(at..at + 2)?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proof_holds_for_its_port_nonce_and_project_only() {
        let key = [7; 32];
        let nonce = "ab".repeat(32);
        let right = proof(&key, &nonce, 8080, "demo");
        assert_eq!(right, "d14765ba85d5eb1ffef91427ecf95e9b5ee2bbb3610113e17944dc1e1e089d24");
        assert!(verify(&key, &nonce, 8080, "demo", &right));
        assert!(!verify(&key, &nonce, 8081, "demo", &right));
        assert!(!verify(&key, &"ac".repeat(32), 8080, "demo", &right));
        assert!(!verify(&key, &nonce, 8080, "other", &right));
        assert!(!verify(&[8; 32], &nonce, 8080, "demo", &right));
        for broken in ["", "zz", "abc", "é1"] {
            assert!(!verify(&key, &nonce, 8080, "demo", broken));
        }
    }

    #[test]
    fn nonces_are_32_bytes_of_hex() {
        assert!(is_nonce(&"0A".repeat(32)));
        assert!(!is_nonce(&"0".repeat(63)) && !is_nonce(&"g".repeat(64)) && !is_nonce(""));
    }
}
