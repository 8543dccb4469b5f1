//! Holds a signal back after New Relic has said that more would be useless for now.
//!
//! The pipeline sends several batches of a signal at the same time, and each would ask again by itself. A rate limit is
//! one of the account, and a key that was refused stays refused: one answer counts for all.

use muxbridge_core::{Delivered, ExportError};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How long nothing is sent after a refused key: then one request finds out whether it still is.
const PROBE_NANOS: u64 = 60_000_000_000;

/// The longest wait that anybody asks for. A time further ahead was set before the clock went back.
const LONGEST_NANOS: u64 = 600_000_000_000;

/// Whether `until` is still to come at `now` (both in nanoseconds since 1970).
pub(crate) fn is_ahead(until: u64, now: u64) -> bool {
    until > now && until - now <= LONGEST_NANOS
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// 429, or another answer that said when to come back.
    Paused,
    /// 401 or 403.
    Refused,
}

/// Whether one signal may be sent.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    closed: Mutex<Option<(u64, Why)>>,
}

impl Gate {
    /// Whether a request may be made at `now` (nanoseconds since 1970).
    ///
    /// # Errors
    /// What a request would be answered: `Retryable` with the rest of the wait, or `Permanent`.
    pub(crate) fn check(&self, now: u64) -> Result<(), ExportError> {
        let closed = *self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((until, why)) = closed.filter(|(until, _)| is_ahead(*until, now)) else { return Ok(()) };
        let left = Duration::from_nanos(until - now);
        Err(match why {
            Why::Paused => ExportError::Retryable {
                after: Some(left),
                source: "New Relic has asked to wait; nothing was sent".into(),
            },
            Why::Refused => ExportError::permanent(
                "unauthorized",
                "New Relic has refused the key less than a minute ago; nothing was sent; check license_key and region",
            ),
        })
    }

    /// Takes note of an answer that came at `now`.
    pub(crate) fn note(&self, result: &Result<Delivered, ExportError>, now: u64) {
        let (wait, why) = match result {
            Err(ExportError::Retryable { after: Some(after), .. }) => {
                (u64::try_from(after.as_nanos()).unwrap_or(u64::MAX), Why::Paused)
            }
            Err(ExportError::Permanent { reason: "unauthorized", .. }) => (PROBE_NANOS, Why::Refused),
            _ => return,
        };
        let until = now.saturating_add(wait.min(LONGEST_NANOS));
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        // Of two answers the one that asks for more counts.
        if closed.is_none_or(|(known, _)| known < until || !is_ahead(known, now)) {
            *closed = Some((until, why));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn limited(seconds: u64) -> Result<Delivered, ExportError> {
        Err(ExportError::Retryable { after: Some(Duration::from_secs(seconds)), source: "429".into() })
    }

    #[test]
    fn after_a_rate_limit_nothing_passes_until_the_time_is_over_and_the_longest_wait_counts() {
        let gate = Gate::default();
        gate.note(&limited(29), 0);
        gate.note(&limited(3), SECOND);
        let Err(ExportError::Retryable { after, .. }) = gate.check(9 * SECOND) else { panic!("closed") };
        assert_eq!(after, Some(Duration::from_secs(20)));
        assert!(gate.check(29 * SECOND - 1).is_err());
        assert!(gate.check(29 * SECOND).is_ok());
    }

    #[test]
    fn after_a_refused_key_one_request_a_minute_passes() {
        let gate = Gate::default();
        gate.note(&Err(ExportError::permanent("unauthorized", "403")), 0);
        assert!(matches!(
            gate.check(59 * SECOND),
            Err(ExportError::Permanent { reason: "unauthorized", .. })
        ));
        assert!(gate.check(60 * SECOND).is_ok());
    }

    #[test]
    fn a_clock_that_goes_back_does_not_close_the_gate_for_longer() {
        let gate = Gate::default();
        gate.note(&limited(29), 90_000 * SECOND);
        assert!(gate.check(10 * SECOND).is_ok());
        gate.note(&limited(29), 10 * SECOND);
        assert!(gate.check(38 * SECOND).is_err());
        assert!(gate.check(39 * SECOND).is_ok());
    }

    #[test]
    fn other_answers_hold_nothing_back() {
        let gate = Gate::default();
        for result in [
            Ok(Delivered::default()),
            Err(ExportError::retryable("500")),
            Err(ExportError::too_large("413")),
            Err(ExportError::permanent("invalid", "400")),
        ] {
            gate.note(&result, 0);
            assert!(gate.check(0).is_ok());
        }
    }
}
