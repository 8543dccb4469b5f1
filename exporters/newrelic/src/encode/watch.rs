//! What is found out about the spans of a request while they are encoded, so that nobody has to walk over them again.

use super::apm::Tally;
use super::look::Look;
use muxbridge_core::Signal;
use std::ops::RangeInclusive;

/// The times of what New Relic stores: 48 hours back, and of metrics 24 hours ahead.
pub(super) fn kept(signal: Signal, now: u64) -> RangeInclusive<u64> {
    const HOUR: u64 = 3_600_000_000_000;
    let ahead = if signal == Signal::Metrics { 24 } else { 48 };
    now.saturating_sub(48 * HOUR)..=now.saturating_add(ahead * HOUR)
}

/// Whether New Relic will not store something of that time. An unknown time becomes that of the arrival.
pub(super) fn is_stale(kept: &RangeInclusive<u64>, time: u64) -> bool {
    time > 0 && !kept.contains(&time)
}

/// What the spans of one request are watched for; by default nothing.
#[derive(Debug, Default)]
pub(crate) struct Watch<'a> {
    wanted: Option<Wanted<'a>>,
}

#[derive(Debug)]
struct Wanted<'a> {
    kept: RangeInclusive<u64>,
    stale: u64,
    tally: Option<Tally<'a>>,
}

/// What was found.
#[derive(Debug)]
pub(crate) struct Watched<'a> {
    /// Spans that New Relic will not store because of their time, as [`super::stale`] counts them.
    pub(crate) stale: u64,
    /// What they add to the metrics of the APM pages, if that was wanted.
    pub(crate) tally: Option<Tally<'a>>,
}

impl<'a> Watch<'a> {
    /// For spans that are sent at `now`; `metrics` says whether they are measured for metrics.
    pub(crate) fn spans(now: u64, metrics: bool) -> Self {
        let tally = metrics.then(Tally::default);
        Watch { wanted: Some(Wanted { kept: kept(Signal::Traces, now), stale: 0, tally }) }
    }

    pub(super) fn wants(&self) -> bool {
        self.wanted.is_some()
    }

    /// Whose spans follow.
    pub(super) fn resource(&mut self, raw: &'a [u8]) {
        if let Some(tally) = self.wanted.as_mut().and_then(|wanted| wanted.tally.as_mut()) {
            tally.resource(raw);
        }
    }

    #[inline]
    pub(super) fn span(&mut self, look: &Look<'a>) {
        if let Some(wanted) = &mut self.wanted {
            wanted.stale += u64::from(is_stale(&wanted.kept, look.start));
            if let Some(tally) = &mut wanted.tally {
                tally.span(look);
            }
        }
    }

    /// What was found; `None` if nothing was wanted.
    pub(crate) fn found(self) -> Option<Watched<'a>> {
        self.wanted.map(|wanted| Watched { stale: wanted.stale, tally: wanted.tally })
    }
}
