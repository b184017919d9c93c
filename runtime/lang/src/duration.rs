//! Durations as people write them (dialect §2).

use std::time::Duration;

/// The longest duration accepted: ten years.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// How a bare integer is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bare {
    /// Refused: a unit is needed.
    Refused,
    /// Milliseconds (`database.*_timeout`, `*_ms`).
    Milliseconds,
    /// Seconds (`*_seconds`).
    Seconds,
}

/// Reads `500ms`, `1h30m`, `5 minutes`, `1 day 2 hours`, `0`. `None`: not a duration, negative, or over ten years.
pub fn parse(text: &str, bare: Bare) -> Option<Duration> {
    let text = text.trim();
    if text == "0" {
        return Some(Duration::ZERO);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty() {
        let count: u64 = text.parse().ok()?;
        let duration = match bare {
            Bare::Refused => return None,
            Bare::Milliseconds => Duration::from_millis(count),
            Bare::Seconds => Duration::from_secs(count),
        };
        return (duration <= LONGEST).then_some(duration);
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let number_end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(number_end)?;
        let tail = tail.trim_start();
        let unit_end = tail.find(|c: char| !c.is_alphabetic()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_end)?;
        total = total.checked_add(scale(number, unit)?)?;
        rest = tail.trim_start();
    }
    (total <= LONGEST && !text.is_empty()).then_some(total)
}

/// `number` units.
fn scale(number: &str, unit: &str) -> Option<Duration> {
    let nanoseconds: u64 = match unit.to_ascii_lowercase().as_str() {
        "ns" | "nanosecond" | "nanoseconds" => 1,
        "us" | "µs" | "μs" | "microsecond" | "microseconds" => 1_000,
        "ms" | "millisecond" | "milliseconds" => 1_000_000,
        "s" | "sec" | "secs" | "second" | "seconds" => 1_000_000_000,
        "m" | "min" | "mins" | "minute" | "minutes" => 60_000_000_000,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3_600_000_000_000,
        "d" | "day" | "days" => 86_400_000_000_000,
        "w" | "week" | "weeks" => 604_800_000_000_000,
        _ => return None,
    };
    if let Ok(count) = number.parse::<u64>() {
        return count.checked_mul(nanoseconds).map(Duration::from_nanos);
    }
    let count: f64 = number.parse().ok().filter(|count: &f64| count.is_finite())?;
    Duration::try_from_secs_f64(count * (nanoseconds as f64) / 1e9).ok()
}

/// Writes a duration the way [`parse`] reads it, largest units first.
pub fn format(duration: Duration) -> String {
    if duration.is_zero() {
        return "0".into();
    }
    let mut nanoseconds = duration.as_nanos();
    let mut text = String::new();
    for (size, unit) in [
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ] {
        let count = nanoseconds / size;
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
            nanoseconds %= size;
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_with_their_units() {
        for (text, milliseconds) in [
            ("500ms", 500),
            ("5s", 5_000),
            ("1h30m", 5_400_000),
            ("2d", 172_800_000),
            ("1.5h", 5_400_000),
            ("5 minutes", 300_000),
            ("1 day 2 hours", 93_600_000),
            ("0", 0),
            ("1w", 604_800_000),
        ] {
            assert_eq!(parse(text, Bare::Refused), Some(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("5000", Bare::Milliseconds), Some(Duration::from_secs(5)));
        assert_eq!(parse("5", Bare::Seconds), Some(Duration::from_secs(5)));
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in ["", "5", "-5s", "s", "5 parsecs", "1..5s", "11 years", "4000d", "999999999999999w", "1e5s", "5s x"]
        {
            assert_eq!(parse(text, Bare::Refused), None, "{text}");
        }
    }

    #[test]
    fn written_durations_read_back() {
        for text in ["500ms", "5s", "1h30m", "2d", "1m30s", "1ns"] {
            let duration = parse(text, Bare::Refused).unwrap();
            assert_eq!(format(duration), text);
        }
    }
}
