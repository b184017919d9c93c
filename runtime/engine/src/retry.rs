//! Whether and when a failed attempt is followed by another (dialect §4.4).

use std::time::Duration;

use compozy_lang::plan::RetryPolicy;

use crate::error::StepError;

/// How long to wait before the attempt after `attempt`; `None`: there is none.
#[must_use]
pub fn delay(policy: &RetryPolicy, attempt: u32, error: &StepError) -> Option<Duration> {
    let excluded =
        policy.non_retryable_error_types.iter().any(|name| *name == error.code || *name == error.kind.word());
    if !error.retryable || excluded || attempt >= policy.maximum_attempts {
        return None;
    }
    Some(backoff(policy, attempt).max(error.retry_after.unwrap_or_default()))
}

/// `initial_interval * backoff_coefficient ^ (attempt - 1)`, at most `maximum_interval`.
fn backoff(policy: &RetryPolicy, attempt: u32) -> Duration {
    let exponent = i32::try_from(attempt.saturating_sub(1)).unwrap_or(i32::MAX);
    let seconds = policy.initial_interval.as_secs_f64() * policy.backoff_coefficient.max(0.0).powi(exponent);
    let longest = policy.maximum_interval.as_secs_f64();
    // A product that is infinite or no number is over every limit.
    if seconds < longest { Duration::from_secs_f64(seconds) } else { policy.maximum_interval }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    fn policy() -> RetryPolicy {
        RetryPolicy { maximum_attempts: 5, non_retryable_error_types: vec!["CZ0507".into()], ..RetryPolicy::default() }
    }

    fn error(code: &str) -> StepError {
        StepError::new(code, ErrorKind::Tool, "it broke").retryable()
    }

    #[test]
    fn waits_grow_to_the_limit() {
        let policy = RetryPolicy { maximum_attempts: 100, ..policy() };
        let seconds = |attempt| delay(&policy, attempt, &error("x")).unwrap().as_secs();
        assert_eq!([1, 2, 3, 7, 50, 99].map(seconds), [1, 2, 4, 60, 60, 60]);
    }

    #[test]
    fn ends_at_the_last_attempt_and_for_permanent_errors() {
        assert!(delay(&policy(), 5, &error("x")).is_none());
        assert!(delay(&policy(), 1, &error("CZ0507")).is_none());
        assert!(delay(&policy(), 1, &StepError::new("x", ErrorKind::Template, "no")).is_none());
    }

    #[test]
    fn a_peer_may_ask_for_more_time() {
        let asked = StepError { retry_after: Some(Duration::from_secs(90)), ..error("x") };
        assert_eq!(delay(&policy(), 1, &asked), Some(Duration::from_secs(90)));
    }
}
