//! Prometheus pages as the successive scrapes of one target, with times that depend on nothing but the pages.

use crate::prometheus::{PageError, PageLimits, Scraper, TargetInfo};
use muxbridge_core::{Batch, Origin, Signal};
use muxbridge_pdata::view::{Metric, MetricData};
use std::sync::Arc;
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

/// The time of a page that names no start: 2026-01-01 00:00:00 UTC.
const SOME_TIME: u64 = 1_767_225_600 * SECOND;

/// Reads pages one after the other.
pub(super) struct Pages {
    scraper: Scraper,
    interval: u64,
    /// When the last page was read.
    last: Option<u64>,
}

impl Pages {
    /// Pages that lie `interval` apart, or more if a start time on one of them says so.
    pub(super) fn new(interval: Duration) -> Self {
        let scraper = Scraper::new(target(), PageLimits::default());
        Pages { scraper, interval: u64::try_from(interval.as_nanos()).unwrap_or(u64::MAX), last: None }
    }

    /// A page says when its counters began, but not when it was read. The first page is taken to be read at the full
    /// second after the youngest start on it, the next ones an interval later each.
    pub(super) fn read(&mut self, page: &[u8]) -> Result<Batch, PageError> {
        let youngest = youngest_start(page)?.map(|start| (start / SECOND + 1) * SECOND);
        let next = self.last.map(|last| last.saturating_add(self.interval));
        let time = youngest.max(next).unwrap_or(SOME_TIME);
        self.last = Some(time);
        Ok(batch(self.scraper.page(page, None, time)?))
    }
}

fn target() -> TargetInfo {
    TargetInfo {
        identity: "translate".to_owned(),
        attributes: vec![("service.name".to_owned(), "modelmuxer".to_owned())],
    }
}

fn batch(otlp: bytes::Bytes) -> Batch {
    Batch::from_valid(Signal::Metrics, otlp, Arc::new(Origin { receiver: "translate".to_owned() }))
}

/// The latest time at which a series of the page began.
fn youngest_start(page: &[u8]) -> Result<Option<u64>, PageError> {
    // Starts are never later than the page, and a series that has none gets the time of the page.
    let end = u64::MAX;
    let batch = batch(Scraper::new(target(), PageLimits::default()).page(page, None, end)?);
    let metrics = batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics());
    Ok(metrics.flat_map(|m| starts(&m)).filter(|start| (1..end).contains(start)).max())
}

fn starts(metric: &Metric<'_>) -> Vec<u64> {
    match &metric.data {
        Some(MetricData::Sum { points, .. } | MetricData::Gauge { points, .. }) => {
            points.map(|p| p.start).collect()
        }
        Some(MetricData::Histogram { points, .. }) => points.map(|p| p.start).collect(),
        Some(MetricData::ExponentialHistogram { points, .. }) => points.map(|p| p.start).collect(),
        Some(MetricData::Summary { points, .. }) => points.map(|p| p.start).collect(),
        None => Vec::new(),
    }
}
