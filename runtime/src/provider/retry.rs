//! Which failures are tried again, and after what wait.

use std::time::Duration;

use super::error::Error;
use super::settings::Settings;
use crate::clock::random_bytes;

/// The wait before request `attempt + 1`; `None` when the failure is final or requests are used up.
pub(crate) fn wait(settings: &Settings, error: &Error, attempt: u32) -> Option<Duration> {
    let again = match error {
        Error::RateLimited { .. } => true,
        Error::Unreachable { retryable, .. } => *retryable,
        _ => false,
    };
    if !again || attempt > settings.retry_attempts {
        return None;
    }
    let [chance] = random_bytes::<1>();
    Some(error.retry_after().unwrap_or_else(|| backoff(settings, attempt, chance)))
}

/// Doubles from attempt to attempt; up to a quarter less, so that calls that failed together do not return together.
fn backoff(settings: &Settings, attempt: u32, chance: u8) -> Duration {
    let factor = 1_u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
    let whole = settings.retry_backoff_base.saturating_mul(factor).min(settings.retry_backoff_max);
    whole.saturating_sub(whole / 4 * u32::from(chance) / 255)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Settings, backoff, wait};
    use crate::provider::Error;

    #[test]
    fn waits_double_up_to_the_longest() {
        let settings = Settings::default();
        for (attempt, millis) in [(1, 100), (2, 200), (3, 400), (7, 6_400), (8, 10_000), (40, 10_000)] {
            assert_eq!(backoff(&settings, attempt, 0), Duration::from_millis(millis), "{attempt}");
            assert_eq!(backoff(&settings, attempt, 255), Duration::from_millis(millis) * 3 / 4, "{attempt}");
        }
    }

    #[test]
    fn only_passing_failures_are_tried_again_and_not_for_ever() {
        let settings = Settings::default();
        let limited = |retry_after| Error::RateLimited { id: "a".into(), attempts: 1, reason: "r".into(), retry_after };
        let failed =
            |retryable| Error::Unreachable { id: "a".into(), reason: "r".into(), retryable, retry_after: None };
        assert_eq!(wait(&settings, &limited(Some(Duration::from_secs(7))), 3), Some(Duration::from_secs(7)));
        assert!(wait(&settings, &limited(None), 1).is_some());
        assert!(wait(&settings, &limited(None), 4).is_none());
        assert!(wait(&settings, &failed(true), 1).is_some());
        assert!(wait(&settings, &failed(false), 1).is_none());
        assert!(wait(&settings, &Error::Refused { id: "a".into(), reason: "r".into() }, 1).is_none());
    }
}
