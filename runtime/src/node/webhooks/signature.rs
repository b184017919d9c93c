//! Signatures of deliveries: HMAC-SHA-256 over the raw body in the three spellings of dialect §13.2, compared in constant
//! time.
//!
//! Stripe: <https://docs.stripe.com/webhooks#verify-manually>.
//! GitHub: <https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries>.

use compozy_engine::time::Timestamp;
use compozy_lang::plan::{Verify, VerifyStrategy};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Most signatures looked at in one Stripe header: one per secret that is being rolled over.
const MOST_SIGNATURES: usize = 16;

/// Why a delivery is not believed; for the log only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Forged {
    #[error("there is no signature header, or more than one")]
    Missing,
    #[error("the signature header cannot be read")]
    Unreadable,
    #[error("the signed time is too far from now")]
    Stale,
    #[error("the signature is not that of the body")]
    Wrong,
}

/// The header that holds the signature.
pub(super) fn header(verify: &Verify) -> &str {
    verify.header.as_deref().unwrap_or(match verify.strategy {
        VerifyStrategy::Hmac => "X-Signature",
        VerifyStrategy::Stripe => "Stripe-Signature",
        VerifyStrategy::Github => "X-Hub-Signature-256",
    })
}

/// Checks what stands in the signature header, the only one of its name.
pub(super) fn check(verify: &Verify, secret: &str, signature: &str, body: &[u8], now: Timestamp) -> Result<(), Forged> {
    let signature = signature.trim();
    match verify.strategy {
        VerifyStrategy::Hmac => {
            let hex = signature.strip_prefix("sha256=").unwrap_or(signature);
            is_of(secret, &[body], hex)
        }
        VerifyStrategy::Github => {
            let hex = signature.strip_prefix("sha256=").ok_or(Forged::Unreadable)?;
            is_of(secret, &[body], hex)
        }
        VerifyStrategy::Stripe => stripe(verify, secret, signature, body, now),
    }
}

/// `t=SECONDS,v1=HEX[,v1=HEX]…` over `SECONDS.BODY`; other members are passed over.
fn stripe(verify: &Verify, secret: &str, signature: &str, body: &[u8], now: Timestamp) -> Result<(), Forged> {
    let members = || signature.split(',').filter_map(|member| member.trim().split_once('='));
    let mut times = members().filter(|(name, _)| *name == "t").map(|(_, time)| time);
    let (Some(time), None) = (times.next(), times.next()) else { return Err(Forged::Unreadable) };
    let seconds: i64 = time.parse().map_err(|_| Forged::Unreadable)?;
    let signed = Timestamp(seconds.checked_mul(1_000_000).ok_or(Forged::Unreadable)?);
    let distance = u128::from(signed.0.abs_diff(now.0));
    let mut outcome = Err(Forged::Unreadable);
    for (_, hex) in members().filter(|(name, _)| *name == "v1").take(MOST_SIGNATURES) {
        outcome = is_of(secret, &[time.as_bytes(), b".", body], hex);
        if outcome.is_ok() {
            break;
        }
    }
    outcome?;
    if distance > verify.skew.as_micros() { Err(Forged::Stale) } else { Ok(()) }
}

fn is_of(secret: &str, parts: &[&[u8]], hex: &str) -> Result<(), Forged> {
    let given = unhex(hex).ok_or(Forged::Unreadable)?;
    // A key of any length fits.
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| Forged::Wrong)?;
    parts.iter().for_each(|part| mac.update(part));
    mac.verify_slice(&given).map_err(|_| Forged::Wrong)
}

/// The 32 bytes of 64 hexadecimal digits.
fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use compozy_lang::plan::Template;
    use sha2::Digest as _;

    use super::*;

    /// HMAC by its definition (RFC 2104), so that the vectors come from elsewhere than what is tested.
    fn hmac(key: &[u8], message: &[u8]) -> String {
        let mut block = [0_u8; 64];
        match key.len() {
            0..=64 => block[..key.len()].copy_from_slice(key),
            _ => block[..32].copy_from_slice(&Sha256::digest(key)),
        }
        let pad = |with: u8| block.map(|byte| byte ^ with);
        let inner = Sha256::digest([&pad(0x36)[..], message].concat());
        let outer = Sha256::digest([&pad(0x5c)[..], &inner[..]].concat());
        outer.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn verify(strategy: VerifyStrategy) -> Verify {
        Verify { strategy, secret: Template::default(), header: None, skew: Duration::from_secs(300) }
    }

    const NOW: Timestamp = Timestamp(1_700_000_000_000_000);

    fn outcome(strategy: VerifyStrategy, secret: &str, signature: &str, body: &str) -> Result<(), Forged> {
        check(&verify(strategy), secret, signature, body.as_bytes(), NOW)
    }

    /// RFC 4231, test case 2.
    #[test]
    fn the_vector_of_the_standard_holds() {
        let known = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(hmac(b"Jefe", b"what do ya want for nothing?"), known);
        assert_eq!(outcome(VerifyStrategy::Hmac, "Jefe", known, "what do ya want for nothing?"), Ok(()));
    }

    /// The example of GitHub's own page.
    #[test]
    fn the_vector_of_github_holds() {
        let known = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        assert_eq!(outcome(VerifyStrategy::Github, "It's a Secret to Everybody", known, "Hello, World!"), Ok(()));
    }

    #[test]
    fn each_scheme_has_its_spelling() {
        use VerifyStrategy::{Github, Hmac};
        let long = "k".repeat(100);
        for secret in ["s3cret", long.as_str()] {
            let hex = hmac(secret.as_bytes(), b"{}");
            for (strategy, signature, expected) in [
                (Hmac, hex.clone(), Ok(())),
                (Hmac, format!("sha256={hex}"), Ok(())),
                (Hmac, hex.to_uppercase(), Ok(())),
                (Hmac, format!("sha1={hex}"), Err(Forged::Unreadable)),
                (Hmac, hex[2..].to_owned(), Err(Forged::Unreadable)),
                (Hmac, format!("{hex}00"), Err(Forged::Unreadable)),
                (Hmac, String::new(), Err(Forged::Unreadable)),
                (Hmac, format!("+{}", &hex[1..]), Err(Forged::Unreadable)),
                (Github, format!("sha256={hex}"), Ok(())),
                (Github, hex.clone(), Err(Forged::Unreadable)),
            ] {
                assert_eq!(outcome(strategy, secret, &signature, "{}"), expected, "{signature}");
            }
            assert_eq!(outcome(Hmac, "other", &hex, "{}"), Err(Forged::Wrong));
        }
    }

    #[test]
    fn one_flipped_bit_is_one_too_many() {
        let (secret, body) = ("s3cret", b"{\"id\": 7}".to_vec());
        let signature = hmac(secret.as_bytes(), &body);
        let right =
            |signature: &str, body: &[u8]| check(&verify(VerifyStrategy::Hmac), secret, signature, body, NOW).is_ok();
        assert!(right(&signature, &body));
        for bit in 0..body.len() * 8 {
            let mut body = body.clone();
            body[bit / 8] ^= 1 << (bit % 8);
            assert!(!right(&signature, &body), "bit {bit} of the body");
        }
        let bytes = unhex(&signature).unwrap();
        for bit in 0..256 {
            let mut bytes = bytes;
            bytes[bit / 8] ^= 1 << (bit % 8);
            let flipped: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            assert!(!right(&flipped, &body), "bit {bit} of the signature");
        }
    }

    #[test]
    fn stripe_signs_its_time() {
        let now = NOW.0 / 1_000_000;
        let signed = |time: i64| hmac(b"whsec", format!("{time}.{{}}").as_bytes());
        let at = |time: i64| format!("t={time},v1={}", signed(time));
        let other = "0".repeat(64);
        for (signature, expected) in [
            (at(now), Ok(())),
            (at(now - 300), Ok(())),
            (at(now + 300), Ok(())),
            (at(now - 301), Err(Forged::Stale)),
            (at(now + 301), Err(Forged::Stale)),
            (at(0), Err(Forged::Stale)),
            (format!("t={now}, v0=1,v1={other},v1={}", signed(now)), Ok(())),
            // A fresh time over an old signature is another message.
            (format!("t={now},v1={}", signed(now - 301)), Err(Forged::Wrong)),
            (format!("t={now},t={},v1={}", now - 1, signed(now)), Err(Forged::Unreadable)),
            (format!("v1={}", signed(now)), Err(Forged::Unreadable)),
            (format!("t={now}"), Err(Forged::Unreadable)),
            (format!("t={now},v0={}", signed(now)), Err(Forged::Unreadable)),
            (format!("t={},v1={}", i64::MAX, signed(now)), Err(Forged::Unreadable)),
            (format!("t=now,v1={}", signed(now)), Err(Forged::Unreadable)),
        ] {
            assert_eq!(outcome(VerifyStrategy::Stripe, "whsec", &signature, "{}"), expected, "{signature}");
        }
        let crowd = format!("t={now},{}v1={}", format!("v1={other},").repeat(16), signed(now));
        assert_eq!(outcome(VerifyStrategy::Stripe, "whsec", &crowd, "{}"), Err(Forged::Wrong));
    }
}
