//! Times of schedules (dialect §13.2): five, six or seven fields, names of days, macros and `@every`.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime, NaiveTime, TimeZone};
use chrono_tz::Tz;

/// Longest text that is read.
const MAX_LENGTH: usize = 256;

/// Shortest `@every`.
const SHORTEST: Duration = Duration::from_secs(1);

/// Macros and what they stand for.
const MACROS: &[(&str, &str)] = &[
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];

/// When a schedule fires.
#[derive(Debug, Clone)]
pub enum Timing {
    /// `@every`: again after this time.
    Every(Duration),
    /// At the times of a pattern.
    Pattern(Box<croner::Cron>),
}

/// Reads the text of a `cron` key.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &str) -> Result<Timing, String> {
    let text = text.trim();
    if text.len() > MAX_LENGTH {
        return Err(format!("it is longer than {MAX_LENGTH} characters"));
    }
    if let Some(rest) = text.strip_prefix('@') {
        if let Some(every) = rest.strip_prefix("every").filter(|rest| rest.starts_with(char::is_whitespace)) {
            return match crate::duration::parse(every, crate::duration::Bare::Refused) {
                Some(every) if every >= SHORTEST => Ok(Timing::Every(every)),
                Some(_) => Err("the shortest time of @every is 1s".into()),
                None => Err(format!("'{}' is not a duration; write a unit, for example @every 90s", every.trim())),
            };
        }
        let names = || MACROS.iter().map(|(name, _)| *name).chain(["@every"]);
        return match MACROS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text)) {
            Some((_, pattern)) => fields(pattern),
            None => Err(match crate::suggest::nearest(text, names()) {
                Some(near) => format!("there is no '{text}'. Did you mean '{near}'?"),
                None => format!("there is no '{text}'; use {}", names().collect::<Vec<_>>().join(", ")),
            }),
        };
    }
    fields(text)
}

/// A pattern of fields.
fn fields(text: &str) -> Result<Timing, String> {
    let count = text.split_whitespace().count();
    if !(5..=7).contains(&count) {
        return Err(format!("it has {count} fields; write 5 (minute first), 6 (second first) or 7 (year last)"));
    }
    if !text.is_ascii() {
        return Err("it holds letters that mean nothing here".into());
    }
    match croner::parser::CronParser::new().parse(text) {
        Ok(cron) => Ok(Timing::Pattern(Box::new(cron))),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
            Err(reason.trim_end_matches('.').to_owned())
        }
    }
}

/// The time zone of an IANA name.
///
/// # Errors
/// What is wrong with it, in words.
pub fn zone(name: &str) -> Result<Tz, String> {
    name.parse::<Tz>().map_err(|_| {
        let names: Vec<&str> = chrono_tz::TZ_VARIANTS.iter().map(|zone| zone.name()).collect();
        match crate::suggest::nearest(name, names.iter().copied()) {
            Some(near) => format!("time zone '{name}' does not exist. Did you mean '{near}'?"),
            None => format!("time zone '{name}' does not exist; write an IANA name such as Europe/Lisbon"),
        }
    })
}

/// A date or a time, of `zone` where it names none itself; microseconds since 1970 UTC.
///
/// # Errors
/// What is wrong with it, in words.
pub fn instant(text: &str, zone: Tz) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.timestamp_micros());
    }
    let local =
        NaiveDate::parse_from_str(text, "%Y-%m-%d").map(|date| date.and_time(NaiveTime::MIN)).or_else(|_| {
            ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
                .iter()
                .find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())
                .ok_or_else(|| format!("'{text}' is no date; write 2026-12-31 or 2026-12-31T18:00:00Z"))
        })?;
    match zone.from_local_datetime(&local).earliest() {
        Some(time) => Ok(time.timestamp_micros()),
        None => Err(format!("'{text}' does not exist in {}: clocks were put forward", zone.name())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read() {
        for text in [
            "*/15 8-18 * * MON-FRI",
            "*/15 8-18 * * mon-fri",
            "0 0 * * 0",
            "0 0 * * 7",
            "30 0 0 1 JAN *",
            "0 0 12 1 1 * 2030",
            "@yearly",
            "@Annually",
            "@monthly",
            "@weekly",
            "@daily",
            "@midnight",
            "@hourly",
            "@every 90s",
            "@every 1h30m",
        ] {
            assert!(parse(text).is_ok(), "{text}: {:?}", parse(text).err());
        }
        assert!(matches!(parse("@every 90s"), Ok(Timing::Every(every)) if every.as_secs() == 90));
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, expected) in [
            ("", "it has 0 fields; write 5 (minute first), 6 (second first) or 7 (year last)"),
            ("* * *", "it has 3 fields; write 5 (minute first), 6 (second first) or 7 (year last)"),
            ("@dayly", "there is no '@dayly'. Did you mean '@daily'?"),
            (
                "@sometimes",
                "there is no '@sometimes'; use @yearly, @annually, @monthly, @weekly, @daily, @midnight, @hourly, @every",
            ),
            ("@every soon", "'soon' is not a duration; write a unit, for example @every 90s"),
            ("@every 10ms", "the shortest time of @every is 1s"),
        ] {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
        for text in [
            "61 * * * *",
            "* 25 * * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "a b c d e",
            "*/0 * * * *",
            "5-1 * * * *",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse(&"1,".repeat(10_000)).is_err());
    }

    #[test]
    fn zones_and_dates_are_read() {
        let lisbon = zone("Europe/Lisbon").unwrap();
        assert_eq!(
            zone("Europe/Lisbo").unwrap_err(),
            "time zone 'Europe/Lisbo' does not exist. Did you mean 'Europe/Lisbon'?"
        );
        assert_eq!(instant("2026-07-01", lisbon), Ok(1_782_860_400_000_000));
        assert_eq!(instant("2026-07-01T00:00:00+01:00", Tz::UTC), Ok(1_782_860_400_000_000));
        assert_eq!(instant("2026-07-01 00:00", lisbon), Ok(1_782_860_400_000_000));
        assert!(instant("2026-13-01", lisbon).is_err());
        assert_eq!(
            instant("2026-03-29T01:30:00", lisbon).unwrap_err(),
            "'2026-03-29T01:30:00' does not exist in Europe/Lisbon: clocks were put forward"
        );
    }

    #[test]
    fn garbage_never_panics() {
        let pieces = ["*", "/", "-", ",", "L", "W", "#", "?", "+", "1", "60", "99999", " ", "MON", "JAN", "@", "é"];
        let mut seed = 7u64;
        for _ in 0..20_000 {
            let mut text = String::new();
            for _ in 0..14 {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                text.push_str(pieces[usize::try_from(seed >> 33).unwrap() % pieces.len()]);
            }
            let _ = parse(&text);
        }
    }
}
