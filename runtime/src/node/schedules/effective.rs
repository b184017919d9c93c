//! A schedule as it counts: what the project says with what was set at run time laid over it, and its times.

use std::time::Duration;

use compozy_engine::time::Timestamp;
use compozy_lang::cron::{self, TimeZone, Timing};
use compozy_lang::plan::{Overlap, Schedule};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// What was set at run time; what is absent is as the project says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// Switched on or off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// Another expression.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cron: Option<String>,
    /// Another time zone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timezone: Option<String>,
}

/// A part of a schedule that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// `cron` or `timezone`.
    pub part: &'static str,
    /// CZ0901 or CZ0902.
    pub code: &'static str,
    /// One sentence.
    pub message: String,
}

/// A schedule as it counts.
#[derive(Debug, Clone)]
pub struct Effective {
    /// As written in the project, or set.
    pub cron: String,
    /// IANA name.
    pub timezone: String,
    /// Switched on.
    pub enabled: bool,
    /// What happens while the former run still runs.
    pub overlap: Overlap,
    /// How late the latest time that was missed may still run.
    pub catch_up: Duration,
    id: String,
    timing: Timing,
    zone: TimeZone,
    jitter: Duration,
    start_at: Option<i64>,
    end_at: Option<i64>,
}

impl Override {
    /// Reads the column of that name; one that is not ours counts as none.
    #[must_use]
    pub fn read(text: Option<&str>) -> Self {
        let Some(text) = text else { return Self::default() };
        serde_json::from_str(text).unwrap_or_else(|error| {
            tracing::warn!("what was set of a schedule cannot be read and does not count: {error}");
            Self::default()
        })
    }

    /// The column's text; `None` when nothing is set.
    #[must_use]
    pub fn text(&self) -> Option<String> {
        (*self != Self::default()).then(|| json!(self).to_string())
    }
}

/// What of a declared schedule decides about its times, JSON text; when it changes the schedule is planned anew.
pub(crate) fn declaration(declared: &Schedule) -> String {
    let time = |time: Option<i64>| time.map(|time| Timestamp(time).to_rfc3339());
    let jitter_ms = u64::try_from(declared.jitter.as_millis()).unwrap_or(u64::MAX);
    json!({
        "cron": declared.cron, "timezone": declared.timezone, "enabled": declared.enabled, "jitter_ms": jitter_ms,
        "start_at": time(declared.start_at), "end_at": time(declared.end_at),
    })
    .to_string()
}

impl Effective {
    /// Lays `set` over `declared`.
    ///
    /// # Errors
    /// Every part that cannot be used; the project's own parts were checked when it was loaded.
    pub fn new(declared: &Schedule, set: &Override) -> Result<Self, Vec<Invalid>> {
        let cron = set.cron.as_ref().unwrap_or(&declared.cron);
        let timezone = set.timezone.as_ref().unwrap_or(&declared.timezone);
        let timing = cron::parse(cron).map_err(|reason| {
            let shown: String = cron.chars().take(64).filter(|letter| !letter.is_control()).collect();
            Invalid { part: "cron", code: "CZ0901", message: format!("schedule '{shown}': {reason}") }
        });
        let zone = cron::zone(timezone.trim()).map_err(|reason| {
            let message = format!("schedule timezone: {reason}");
            Invalid { part: "timezone", code: "CZ0902", message }
        });
        let (timing, zone) = match (timing, zone) {
            (Ok(timing), Ok(zone)) => (timing, zone),
            (timing, zone) => return Err(timing.err().into_iter().chain(zone.err()).collect()),
        };
        Ok(Self {
            cron: cron.clone(),
            timezone: zone.iana_name().unwrap_or(timezone).to_owned(),
            enabled: set.enabled.unwrap_or(declared.enabled),
            overlap: declared.overlap,
            catch_up: declared.catch_up,
            id: declared.id.clone(),
            timing,
            zone,
            jitter: declared.jitter,
            start_at: declared.start_at,
            end_at: declared.end_at,
        })
    }

    /// Its first time after `after`, whether it is switched on or not.
    #[must_use]
    pub fn next(&self, after: Timestamp) -> Option<Timestamp> {
        let after = self.start_at.map_or(after.0, |start| after.0.max(start.saturating_sub(1)));
        let next = self.timing.next(after, &self.zone)?;
        self.end_at.is_none_or(|end| next <= end).then_some(Timestamp(next))
    }

    /// Its next time after `after` if it is switched on: what is planned for it.
    #[must_use]
    pub fn planned(&self, after: Timestamp) -> Option<Timestamp> {
        self.next(after).filter(|_| self.enabled)
    }

    /// Whether `time` is one of its times.
    #[must_use]
    pub fn has(&self, time: Timestamp) -> bool {
        self.next(before(time)) == Some(time)
    }

    /// Its latest time after `after` and not after `until`. Halves the span, so that a month of seconds costs little.
    pub(crate) fn latest(&self, after: Timestamp, until: Timestamp) -> Option<Timestamp> {
        let within = |after| self.next(after).filter(|time| *time <= until);
        let (mut found, mut none_after) = (within(after)?, until);
        while let Some(next) = within(found) {
            found = next;
            let middle = Timestamp(found.0.saturating_add(none_after.0.saturating_sub(found.0) / 2));
            match within(middle) {
                Some(later) => found = later,
                None => none_after = middle,
            }
        }
        Some(found)
    }

    /// When the run of `time` starts: up to `jitter` later, but before the time that follows. Drawn from id and time
    /// alone, so that every node and every restart says the same.
    #[must_use]
    pub fn due(&self, time: Timestamp) -> Timestamp {
        let gap = self.timing.next(time.0, &self.zone).map(|next| Timestamp(next).since(time));
        let span = self.jitter.min(gap.unwrap_or(self.jitter));
        let span = u64::try_from(span.as_micros()).unwrap_or(u64::MAX);
        if span == 0 {
            return time;
        }
        let digest = Sha256::digest(format!("{}\n{}", self.id, time.0).as_bytes());
        let drawn = digest.iter().take(8).fold(0, |number: u64, byte| (number << 8) | u64::from(*byte));
        time.after(Duration::from_micros(drawn % span))
    }
}

/// The moment before `time`.
pub(crate) fn before(time: Timestamp) -> Timestamp {
    Timestamp(time.0.saturating_sub(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str) -> Schedule {
        Schedule {
            id: "flow".into(),
            cron: cron.into(),
            timezone: "UTC".into(),
            enabled: true,
            jitter: Duration::ZERO,
            start_at: None,
            end_at: None,
            input: serde_json::Value::Null,
            overlap: Overlap::Skip,
            catch_up: Duration::ZERO,
        }
    }

    #[test]
    fn what_is_set_lies_over_what_is_declared() {
        let declared = schedule("0 8 * * *");
        let set = Override { enabled: Some(false), cron: None, timezone: Some("europe/lisbon".into()) };
        let effective = Effective::new(&declared, &set).unwrap();
        assert_eq!(
            (effective.cron.as_str(), effective.timezone.as_str(), effective.enabled),
            ("0 8 * * *", "Europe/Lisbon", false)
        );
        assert_eq!((effective.planned(Timestamp(0)), effective.next(Timestamp(0)).is_some()), (None, true));
        let set = Override { cron: Some("61 * * * *".into()), timezone: Some("Nowhere".into()), enabled: None };
        let codes: Vec<_> = Effective::new(&declared, &set).unwrap_err().into_iter().map(|bad| bad.code).collect();
        assert_eq!(codes, ["CZ0901", "CZ0902"]);
        for (text, expected) in [(None, None), (Some("{}"), None), (Some("no JSON"), None)] {
            assert_eq!(Override::read(text).text(), expected);
        }
        let kept = r#"{"enabled":false,"timezone":"europe/lisbon"}"#;
        assert_eq!(Override::read(Some(kept)).text().as_deref(), Some(kept));
    }

    #[test]
    fn the_latest_time_of_a_long_span_is_found_at_once() {
        let day = Duration::from_secs(86_400);
        let until = Timestamp(0).after(day * 365);
        for cron in ["@every 1s", "* * * * * *", "0 8 * * *", "* * 3 * * *", "0 0 1 1 *", "30 2 29 2 *"] {
            let effective = Effective::new(&schedule(cron), &Override::default()).unwrap();
            let found = effective.latest(Timestamp(-1), until);
            // Nothing lies between it and the end.
            let next = effective.next(found.unwrap_or(Timestamp(-1)));
            assert!(next.is_none_or(|next| next > until), "{cron}: {found:?}");
            assert!(found.is_none_or(|found| effective.has(found)), "{cron}");
        }
        let yearly = Effective::new(&schedule("0 0 1 1 *"), &Override::default()).unwrap();
        assert_eq!(yearly.latest(Timestamp(0), Timestamp(0).after(day * 300)), None);
        assert_eq!(yearly.latest(Timestamp(0), until), Some(until));
    }

    #[test]
    fn jitter_is_the_same_everywhere_and_stays_before_the_next_time() {
        let minutely = Schedule { jitter: Duration::from_secs(3_600), ..schedule("* * * * *") };
        let effective = Effective::new(&minutely, &Override::default()).unwrap();
        let other = Effective::new(&Schedule { id: "flow/2".into(), ..minutely }, &Override::default()).unwrap();
        let (mut time, mut differing, mut late) = (Timestamp(0), 0, 0);
        for _ in 0..200 {
            let due = effective.due(time);
            let next = effective.next(time).unwrap();
            assert!(due >= time && due < next);
            assert_eq!(due, effective.clone().due(time));
            differing += u32::from(due != other.due(time));
            late += u32::from(due.since(time) > Duration::from_secs(30));
            time = next;
        }
        assert!(differing > 190 && (50..150).contains(&late), "{differing} {late}");
        let plain = Effective::new(&schedule("* * * * *"), &Override::default()).unwrap();
        assert_eq!(plain.due(time), time);
    }

    #[test]
    fn only_times_between_start_and_end_count() {
        let minute = 60_000_000;
        let bounded = Schedule { start_at: Some(10 * minute), end_at: Some(12 * minute), ..schedule("* * * * *") };
        let effective = Effective::new(&bounded, &Override::default()).unwrap();
        let times: Vec<i64> = std::iter::successors(effective.next(Timestamp(0)), |time| effective.next(*time))
            .map(|time| time.0)
            .collect();
        assert_eq!(times, [10 * minute, 11 * minute, 12 * minute]);
    }
}
