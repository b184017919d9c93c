//! Sizes in bytes as people write them (dialect §2).

/// Reads a number of bytes, or `64KiB`, `10MiB`, `1GiB` (1024-based), `KB`, `MB`, `GB` (1000-based).
pub fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at_checked(end)?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    if let Ok(count) = number.parse::<u64>() {
        return count.checked_mul(factor);
    }
    let count: f64 = number.parse().ok()?;
    let bytes = count * (factor as f64);
    // 2^53 keeps the product exact enough to be called a size.
    (factor > 1 && (0.0..=9_007_199_254_740_992.0).contains(&bytes)).then_some(bytes as u64)
}

/// Writes a size in the largest 1024-based unit that divides it.
pub fn format(bytes: u64) -> String {
    for (shift, unit) in [(30, "GiB"), (20, "MiB"), (10, "KiB")] {
        if bytes >= 1 << shift && bytes.is_multiple_of(1 << shift) {
            return format!("{}{unit}", bytes >> shift);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, bytes) in [
            ("0", Some(0)),
            ("4096", Some(4096)),
            ("64KiB", Some(65_536)),
            ("10MiB", Some(10 << 20)),
            ("1GiB", Some(1 << 30)),
            ("10 MB", Some(10_000_000)),
            ("1.5KiB", Some(1536)),
            ("1.5", None),
            ("-1", None),
            ("10 potatoes", None),
            ("99999999999GiB", None),
        ] {
            assert_eq!(parse(text), bytes, "{text}");
        }
        assert_eq!(format(65_536), "64KiB");
        assert_eq!(format(1000), "1000");
    }
}
