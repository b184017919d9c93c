//! Times of schedules (dialect §13.2): five, six or seven fields, names of days, macros and `@every`.

use std::time::Duration;

use jiff::civil::{Date, DateTime, Time};
pub use jiff::tz::TimeZone;
use jiff::tz::{AmbiguousOffset, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

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

/// Most times looked at for one that counts: those of one night in which clocks change.
const MOST_SKIPPED: usize = 100_000;

impl Timing {
    /// The first time after `after` at which it fires in `zone`, both in microseconds since 1970 UTC. Local times that
    /// do not exist are skipped, those that are repeated count once; `@every` fires at whole multiples since 1970, so a
    /// restart changes nothing. `None`: never again.
    #[must_use]
    pub fn next(&self, after: i64, zone: &TimeZone) -> Option<i64> {
        let cron = match self {
            Timing::Every(every) => {
                let every = i64::try_from(every.as_micros()).ok()?.max(1);
                return after.div_euclid(every).checked_add(1)?.checked_mul(every);
            }
            Timing::Pattern(cron) => cron,
        };
        let mut time = Timestamp::from_microsecond(after).ok()?.to_zoned(zone.clone());
        for _ in 0..MOST_SKIPPED {
            time = cron.find_next_occurrence(&time, false).ok()?;
            let is_first = earliest(time.datetime(), zone).is_none_or(|first| first >= time.timestamp());
            if is_first && cron.is_time_matching(&time).unwrap_or(false) {
                return Some(time.timestamp().as_microsecond());
            }
        }
        None
    }
}

/// The first moment at which clocks of `zone` show `local`; `None`: they skip it.
fn earliest(local: DateTime, zone: &TimeZone) -> Option<Timestamp> {
    let ambiguous = zone.to_ambiguous_timestamp(local);
    match ambiguous.offset() {
        AmbiguousOffset::Gap { .. } => None,
        AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => ambiguous.earlier().ok(),
    }
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
        // The search ends after so many years that only impossible days are left.
        Ok(cron) if cron.find_next_occurrence(&Zoned::new(Timestamp::UNIX_EPOCH, TimeZone::UTC), true).is_err() => {
            Err("it never fires: there is no such day".into())
        }
        Ok(cron) => Ok(Timing::Pattern(Box::new(cron))),
        Err(error) => {
            let reason = error.to_string();
            let reason = reason.split_once(": ").map_or(reason.as_str(), |(_, reason)| reason);
            Err(reason.trim_end_matches('.').to_owned())
        }
    }
}

/// The time zone of an IANA name, from the table in this program: a machine's own may be older, or missing.
///
/// # Errors
/// What is wrong with it, in words.
pub fn zone(name: &str) -> Result<TimeZone, String> {
    let zones = TimeZoneDatabase::bundled();
    zones.get(name).map_err(|_| {
        let names: Vec<String> = zones.available().map(|zone| zone.to_string()).collect();
        match crate::suggest::nearest(name, names.iter().map(String::as_str)) {
            Some(near) => format!("time zone '{name}' does not exist. Did you mean '{near}'?"),
            None => format!("time zone '{name}' does not exist; write an IANA name such as Europe/Lisbon"),
        }
    })
}

/// A date or a time, of `zone` where it names none itself; microseconds since 1970 UTC.
///
/// # Errors
/// What is wrong with it, in words.
pub fn instant(text: &str, zone: &TimeZone) -> Result<i64, String> {
    let text = text.trim();
    if let Ok(time) = text.parse::<Timestamp>() {
        return Ok(time.as_microsecond());
    }
    let local = Date::strptime("%Y-%m-%d", text).map(|date| date.to_datetime(Time::midnight())).or_else(|_| {
        ["%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%d %H:%M"]
            .iter()
            .find_map(|format| DateTime::strptime(format, text).ok())
            .ok_or_else(|| format!("'{text}' is no date; write 2026-12-31 or 2026-12-31T18:00:00Z"))
    })?;
    match earliest(local, zone) {
        Some(time) => Ok(time.as_microsecond()),
        None => {
            let name = zone.iana_name().unwrap_or("its zone");
            Err(format!("'{text}' does not exist in {name}: clocks were put forward"))
        }
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
    fn days_that_never_come_are_refused() {
        assert_eq!(parse("0 0 30 2 *").unwrap_err(), "it never fires: there is no such day");
        assert!(parse("0 0 29 2 *").is_ok() && parse("0 0 30 2 MON").is_ok());
    }

    #[test]
    fn the_next_time_is_found_across_changes_of_the_clock() {
        let times = |text: &str, zone: &TimeZone, after: &str, count: usize| -> Vec<String> {
            let timing = parse(text).unwrap();
            let mut at = after.parse::<Timestamp>().unwrap().as_microsecond();
            let mut found = Vec::new();
            for _ in 0..count {
                at = timing.next(at, zone).unwrap();
                found.push(Timestamp::from_microsecond(at).unwrap().strftime("%m-%dT%H:%M:%S").to_string());
            }
            found
        };
        let berlin = &zone("Europe/Berlin").unwrap();
        // Clocks go from 02:00 to 03:00 on 2026-03-29 and from 03:00 back to 02:00 on 2026-10-25.
        assert_eq!(times("30 2 * * *", berlin, "2026-03-28T00:00:00Z", 2), ["03-28T01:30:00", "03-30T00:30:00"]);
        assert_eq!(times("30 2 * * *", berlin, "2026-10-24T12:00:00Z", 2), ["10-25T00:30:00", "10-26T01:30:00"]);
        assert_eq!(
            times("*/30 * * * *", berlin, "2026-10-25T00:00:00Z", 3),
            ["10-25T00:30:00", "10-25T02:00:00", "10-25T02:30:00"]
        );
        assert_eq!(times("*/30 * * * *", berlin, "2026-03-29T00:30:00Z", 2), ["03-29T01:00:00", "03-29T01:30:00"]);
        assert_eq!(
            times("15 0 8 * * MON", &TimeZone::UTC, "2026-01-01T00:00:00Z", 2),
            ["01-05T08:00:15", "01-12T08:00:15"]
        );
        assert_eq!(
            times("0 0 13 * FRI", &TimeZone::UTC, "2026-01-01T00:00:00Z", 3),
            ["01-02T00:00:00", "01-09T00:00:00", "01-13T00:00:00"]
        );
        assert_eq!(times("@every 90s", berlin, "2026-01-01T00:00:01Z", 2), ["01-01T00:01:30", "01-01T00:03:00"]);
        assert_eq!(parse("0 0 0 1 1 * 2000").unwrap().next(1_767_225_600_000_000, &TimeZone::UTC), None);
        assert_eq!(parse("@daily").unwrap().next(i64::MAX, &TimeZone::UTC), None);
    }

    #[test]
    fn zones_and_dates_are_read() {
        let lisbon = &zone("Europe/Lisbon").unwrap();
        assert_eq!(
            zone("Europe/Lisbo").unwrap_err(),
            "time zone 'Europe/Lisbo' does not exist. Did you mean 'Europe/Lisbon'?"
        );
        assert_eq!(instant("2026-07-01", lisbon), Ok(1_782_860_400_000_000));
        assert_eq!(instant("2026-07-01T00:00:00+01:00", &TimeZone::UTC), Ok(1_782_860_400_000_000));
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
