//! Query parameters, and the words and times that lists are filtered by.
//!
//! Every route names the parameters it reads; another one is an error with the nearest name, never ignored.

use compozy_engine::status::Status;
use compozy_engine::time::Timestamp;
use http::Uri;

use super::code;
use super::error::Problem;

/// Most items of a page.
pub const MAX_LIMIT: u32 = 500;
/// Items of a page when nothing is said.
pub const DEFAULT_LIMIT: u32 = 50;

/// The decoded query of a request.
#[derive(Debug, Default)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of `uri`, which may only hold parameters of `allowed`.
    pub(super) fn parse(uri: &Uri, allowed: &[&str]) -> Result<Self, Problem> {
        if uri.query().is_none_or(str::is_empty) {
            return Ok(Self::default());
        }
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(code::INVALID_REQUEST, "the query is not form-encoded UTF-8"))?
            .0;
        for (name, _) in &pairs {
            if !allowed.contains(&name.as_str()) {
                return Err(unknown_parameter(name, allowed));
            }
        }
        Ok(Self(pairs))
    }

    /// The last value of a parameter.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().rev().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// All values of parameters `names`, each split at commas; empty pieces are dropped.
    pub(super) fn list<'q>(&'q self, names: &'q [&str]) -> impl Iterator<Item = &'q str> {
        self.0
            .iter()
            .filter(|(key, _)| names.contains(&key.as_str()))
            .flat_map(|(_, value)| value.split(','))
            .map(str::trim)
            .filter(|piece| !piece.is_empty())
    }

    /// A boolean parameter; absent is false, present without value is true.
    pub(super) fn flag(&self, name: &str) -> Result<bool, Problem> {
        match self.get(name) {
            None | Some("false" | "0") => Ok(false),
            Some("true" | "1" | "") => Ok(true),
            Some(_) => Err(invalid(name, "must be true or false")),
        }
    }

    /// `limit`.
    pub(super) fn limit(&self) -> Result<u32, Problem> {
        self.number("limit", DEFAULT_LIMIT, 1, MAX_LIMIT)
    }

    /// A whole number within bounds.
    pub(super) fn number<N>(&self, name: &str, default: N, least: N, most: N) -> Result<N, Problem>
    where
        N: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
    {
        let Some(text) = self.get(name) else { return Ok(default) };
        match text.parse::<N>() {
            Ok(number) if number >= least && number <= most => Ok(number),
            _ => Err(invalid(name, &format!("must be a whole number from {least} to {most}"))),
        }
    }

    /// `order`: true for ascending.
    pub(super) fn ascending(&self, default: bool) -> Result<bool, Problem> {
        match self.get("order").map(str::to_ascii_lowercase).as_deref() {
            None => Ok(default),
            Some("asc") => Ok(true),
            Some("desc") => Ok(false),
            Some(_) => Err(invalid("order", "must be asc or desc")),
        }
    }

    /// A point in time, see [`time`].
    pub(super) fn time(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let Some(text) = self.get(name) else { return Ok(None) };
        let time = time(text, now)
            .ok_or_else(|| invalid(name, "must be a time like 2026-01-31T09:30:00Z, or an age like 90m, 24h or 7d"))?;
        Ok(Some(time))
    }
}

/// A problem with the value of one query parameter.
pub(super) fn invalid(name: &str, rule: &str) -> Problem {
    Problem::new(code::INVALID_REQUEST, format!("query parameter '{name}' {rule}"))
}

fn unknown_parameter(name: &str, allowed: &[&str]) -> Problem {
    let shown: String = name.chars().take(64).collect();
    let hint = match nearest(name, allowed.iter().copied()) {
        Some(near) => format!("did you mean '{near}'?"),
        None if allowed.is_empty() => "this route takes no query parameters".to_owned(),
        None => format!("this route takes: {}", allowed.join(", ")),
    };
    Problem::new(code::UNKNOWN_PARAMETER, format!("unknown query parameter '{shown}'")).hint(hint)
}

/// The nearest of `names` to a misspelt one.
pub(super) fn nearest<'n>(name: &str, names: impl IntoIterator<Item = &'n str>) -> Option<&'n str> {
    compozy_lang::suggest::nearest(name, names)
}

/// The status words that filter words mean, in any case; each word may be a status, `completed`, `succeeded`,
/// `cancelled`, `queued` or `active`.
///
/// # Errors
/// `invalid_request` names the first word that is none.
pub fn statuses<'w>(words: impl IntoIterator<Item = &'w str>) -> Result<Vec<String>, Problem> {
    let mut found: Vec<String> = Vec::new();
    for word in words {
        let upper = word.to_ascii_uppercase();
        let meant: &[&str] = match upper.as_str() {
            "COMPLETED" | "SUCCEEDED" => &["SUCCESS"],
            "CANCELLED" => &["CANCELED"],
            "QUEUED" => &["PENDING"],
            "ACTIVE" => &["PENDING", "RUNNING", "WAITING", "PAUSED"],
            other => match other.parse::<Status>() {
                Ok(status) => &[status.word()],
                Err(_) => return Err(unknown_status(word)),
            },
        };
        for status in meant {
            if !found.iter().any(|known| known == status) {
                found.push((*status).to_owned());
            }
        }
    }
    Ok(found)
}

fn unknown_status(word: &str) -> Problem {
    let words: Vec<String> = Status::ALL.iter().map(|status| status.word().to_ascii_lowercase()).collect();
    let aliases = ["completed", "succeeded", "cancelled", "queued", "active"];
    let names = || words.iter().map(String::as_str).chain(aliases);
    let hint = match nearest(word, names()) {
        Some(near) => format!("did you mean '{near}'?"),
        None => format!("statuses are: {}", names().collect::<Vec<_>>().join(", ")),
    };
    let shown: String = word.chars().take(64).collect();
    Problem::new(code::INVALID_REQUEST, format!("unknown status '{shown}'")).hint(hint)
}

/// Reads `2026-01-31`, `2026-01-31T09:30:00.250Z`, `…+02:00`, or an age before `now`: `90s`, `15m`, `24h`, `7d`.
#[must_use]
pub fn time(text: &str, now: Timestamp) -> Option<Timestamp> {
    age(text).map(|micros| Timestamp(now.0.saturating_sub(micros))).or_else(|| rfc3339(text))
}

fn age(text: &str) -> Option<i64> {
    let unit = match text.bytes().last()? {
        b's' => 1,
        b'm' => 60,
        b'h' => 3_600,
        b'd' => 86_400,
        _ => return None,
    };
    let number = text.get(..text.len() - 1)?;
    if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number.parse::<i64>().ok()?.checked_mul(unit)?.checked_mul(1_000_000)
}

/// RFC 3339; a date alone is its first moment in UTC.
fn rfc3339(text: &str) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| -> Option<i64> {
        let digits = text.get(range)?;
        digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| digits.parse().ok())?
    };
    let is = |index: usize, set: &[u8]| text.as_bytes().get(index).is_some_and(|byte| set.contains(byte));
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    if !is(4, b"-") || !is(7, b"-") || !(1..=12).contains(&month) || !(1..=days_of(year, month)).contains(&day) {
        return None;
    }
    let midnight = days_from_civil(year, month, day) * 86_400;
    if text.len() == 10 {
        return Some(Timestamp(midnight * 1_000_000));
    }
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    if !is(10, b"Tt ") || !is(13, b":") || !is(16, b":") || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = text.get(19..)?;
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix('.') {
        let end = fraction.bytes().position(|byte| !byte.is_ascii_digit())?;
        let digits = fraction.get(..end.min(6))?;
        micros = format!("{digits:0<6}").parse().ok()?;
        rest = fraction.get(end..)?;
        if end == 0 {
            return None;
        }
    }
    let offset = match rest.as_bytes() {
        b"Z" | b"z" => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] if [h1, h2, m1, m2].iter().all(|byte| byte.is_ascii_digit()) => {
            let value = |tens: &u8, ones: &u8| i64::from(tens - b'0') * 10 + i64::from(ones - b'0');
            let seconds = value(h1, h2) * 3_600 + value(m1, m2) * 60;
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = midnight + hour * 3_600 + minute * 60 + second - offset;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

fn days_of(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read() {
        let now = Timestamp(1_767_225_600_000_000);
        for (text, printed) in [
            ("2026-01-31", Some("2026-01-31T00:00:00.000Z")),
            ("2024-02-29T23:59:59Z", Some("2024-02-29T23:59:59.000Z")),
            ("2026-01-31T09:30:00.25Z", Some("2026-01-31T09:30:00.250Z")),
            ("2026-01-31T09:30:00.123456789+02:00", Some("2026-01-31T07:30:00.123Z")),
            ("1969-12-31 23:59:59-01:00", Some("1970-01-01T00:59:59.000Z")),
            ("24h", Some("2025-12-31T00:00:00.000Z")),
            ("7d", Some("2025-12-25T00:00:00.000Z")),
            ("2026-02-29", None),
            ("2026-13-01", None),
            ("2026-01-31T25:00:00Z", None),
            ("2026-01-31T09:30:00", None),
            ("2026-01-31T09:30:00.Z", None),
            ("99999999999999999999d", None),
            ("-1h", None),
            ("h", None),
            ("yesterday", None),
            ("", None),
            ("２026-01-31", None),
        ] {
            assert_eq!(time(text, now).map(Timestamp::to_rfc3339).as_deref(), printed, "{text}");
        }
    }

    #[test]
    fn status_words_and_aliases() {
        for (words, expected) in [
            (&["success"][..], Some(&["SUCCESS"][..])),
            (&["Completed", "succeeded"], Some(&["SUCCESS"])),
            (&["cancelled", "QUEUED"], Some(&["CANCELED", "PENDING"])),
            (&["active", "timed_out"], Some(&["PENDING", "RUNNING", "WAITING", "PAUSED", "TIMED_OUT"])),
            (&["sucess"], None),
        ] {
            assert_eq!(statuses(words.iter().copied()).ok().as_deref(), expected.map(|e| e.map_owned()).as_deref());
        }
        assert_eq!(statuses(["sucess"]).unwrap_err().advice(), Some("did you mean 'success'?"));
    }

    trait Owned {
        fn map_owned(&self) -> Vec<String>;
    }

    impl Owned for &[&str] {
        fn map_owned(&self) -> Vec<String> {
            self.iter().map(|word| (*word).to_owned()).collect()
        }
    }

    #[test]
    fn parameters_are_checked() {
        let parse = |query: &str| Query::parse(&format!("/x?{query}").parse().unwrap(), &["limit", "order", "status"]);
        assert_eq!(parse("limt=3").unwrap_err().advice(), Some("did you mean 'limit'?"));
        assert_eq!(parse("a=%FF").unwrap_err().code().word, "unknown_parameter");
        let query = parse("limit=500&order=ASC&status=a,b&status=,c%2Cd").unwrap();
        assert_eq!(query.limit().unwrap(), 500);
        assert!(query.ascending(false).unwrap());
        assert_eq!(query.list(&["status"]).collect::<Vec<_>>(), ["a", "b", "c", "d"]);
        for bad in ["limit=0", "limit=501", "limit=x", "limit=-1", "limit="] {
            assert_eq!(parse(bad).unwrap().limit().unwrap_err().code().word, "invalid_request", "{bad}");
        }
    }
}
