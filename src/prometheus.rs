//! Reads pages in the Prometheus text formats and OpenMetrics and writes them as OTLP metrics.
//!
//! Pure: the page, the time and the target are arguments. A [`Scraper`] remembers from page to page which process
//! answered, when each series began and which series were there, so that a restart is a new start time and a series
//! that vanishes says so once.

mod assemble;
mod line;
mod otlp;
mod page;
#[cfg(test)]
mod tests;
mod workers;

use assemble::{Metric, Metrics, Point, Shape, start_nanos};
use bytes::Bytes;
use muxbridge_pdata::Writer;
pub use page::{PageError, PageLimits};
use workers::{KnownMetric, KnownSeries, Worker, WorkerIndex};

/// What is scraped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TargetInfo {
    /// Names the target in instance ids: its URL.
    pub identity: String,
    /// Attributes of the resource. Unless `service.instance.id` is among them, each process that answers gets one.
    pub attributes: Vec<(String, String)>,
}

/// What the last page held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PageStats {
    /// Sample lines.
    pub samples: usize,
    /// Histograms and summaries that contradict themselves (no `+Inf` bucket, falling counts) and were left out.
    pub malformed: u64,
    /// Series that were on the page twice; the first one counts.
    pub duplicates: u64,
    /// Points that say that a series has no value any more.
    pub stale: u64,
}

/// What a scrape itself was like.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScrapeOutcome {
    /// Whether the page was fetched and read.
    pub up: bool,
    /// How long that took, in seconds.
    pub seconds: f64,
    /// Sample lines of the page.
    pub samples: usize,
}

/// Reads the pages of one target, one after the other.
#[derive(Debug)]
pub struct Scraper {
    target: TargetInfo,
    limits: PageLimits,
    index: WorkerIndex,
    stats: PageStats,
}

impl Scraper {
    /// A scraper that has seen nothing yet.
    pub fn new(target: TargetInfo, limits: PageLimits) -> Self {
        let index = WorkerIndex::new(target.identity.clone());
        Scraper { target, limits, index, stats: PageStats::default() }
    }

    /// What the last page held.
    pub fn stats(&self) -> PageStats {
        self.stats
    }

    /// Turns a page, read at `time` (nanoseconds since 1970), into an OTLP metrics request. `content_type` decides
    /// between the text format and OpenMetrics; without it the page is OpenMetrics if it ends in `# EOF`. A page that
    /// is a JSON string, as ModelMuxer's own `/metrics` is, is taken out of it first.
    ///
    /// # Errors
    /// The first line that cannot be read or exceeds a limit. Nothing is remembered of such a page.
    pub fn page(
        &mut self,
        body: &[u8],
        content_type: Option<&str>,
        time_unix_nanos: u64,
    ) -> Result<Bytes, PageError> {
        let unwrapped;
        let mut text = text(body, &self.limits)?;
        if text.starts_with('"') {
            unwrapped = serde_json::from_str::<String>(text).map_err(|e| {
                PageError::malformed(1, format!("starts with a quote but is no JSON string: {e}"))
            })?;
            text = &unwrapped;
        }
        let open_metrics = match content_type {
            Some(value) => value.trim_start().starts_with("application/openmetrics-text"),
            None => text.trim_end().ends_with("\n# EOF") || text.trim_end() == "# EOF",
        };
        let page = page::parse(text, open_metrics, &self.limits)?;
        let metrics = assemble::assemble(&page);
        self.stats =
            PageStats { samples: page.samples, malformed: metrics.malformed, ..PageStats::default() };
        Ok(self.write(&metrics, time_unix_nanos))
    }

    fn write(&mut self, metrics: &Metrics<'_>, time: u64) -> Bytes {
        let (at, mut gone) = self.index.identify(metrics);
        let page = self.index.page;
        let mut w = Writer::with_capacity(64 << 10);
        let worker = &mut self.index.workers[at];
        let restarted = worker.process_start != metrics.process_start;
        let attributes = resource(&self.target, &worker.id, &metrics.target);
        let stats = &mut self.stats;
        otlp::resource_metrics(&mut w, attributes, |w| {
            for metric in &metrics.list {
                live_points(w, metric, worker, Moment { page, time, restarted, metrics }, stats);
            }
            stats.stale += stale_points(w, worker, page, time);
        });
        let new = worker.last_time == 0;
        worker.process_start = metrics.process_start;
        worker.last_time = time;
        let started = metrics.process_start;
        // A process that started later has taken the place of older ones. If one of them answers once more after all,
        // it is known by its `_created` values and goes on.
        for older in self.index.workers.iter_mut().filter(|w| new && w.process_start < started) {
            gone.push(older.take_series());
        }
        for mut worker in gone {
            let attributes = resource(&self.target, &worker.id, &[]);
            otlp::resource_metrics(&mut w, attributes, |w| {
                stats.stale += stale_points(w, &mut worker, u64::MAX, time);
            });
        }
        w.into_bytes()
    }

    /// The gauges `up`, `scrape_duration_seconds` and `scrape_samples_scraped`, by the names that Prometheus gives
    /// them; only `up` after a failure. `service.instance.id` is that of the target, `instance`, as a page may come
    /// from any of its processes.
    pub fn outcome(&self, outcome: ScrapeOutcome, instance: &str, time_unix_nanos: u64) -> Bytes {
        let mut w = Writer::with_capacity(1024);
        let resource = resource(&self.target, instance, &[]);
        otlp::resource_metrics(&mut w, resource, |w| {
            let time = time_unix_nanos;
            let up = f64::from(u8::from(outcome.up));
            otlp::gauge(w, "up", "Whether the last scrape of the target succeeded.", "", up, time);
            if outcome.up {
                let help = "How long the scrape took.";
                otlp::gauge(w, "scrape_duration_seconds", help, "", outcome.seconds, time);
                let help = "How many samples the page held.";
                otlp::gauge(w, "scrape_samples_scraped", help, "", outcome.samples as f64, time);
            }
        });
        w.into_bytes()
    }
}

fn text<'a>(body: &'a [u8], limits: &PageLimits) -> Result<&'a str, PageError> {
    let line = |end: usize| 1 + body[..end].iter().filter(|b| **b == b'\n').count();
    if body.len() > limits.body {
        return Err(PageError::too_large(
            line(limits.body),
            format!("the page is longer than {} bytes", limits.body),
        ));
    }
    std::str::from_utf8(body).map_err(|e| PageError::malformed(line(e.valid_up_to()), "is not UTF-8"))
}

fn resource(
    target: &TargetInfo,
    instance: &str,
    info: &[(std::borrow::Cow<'_, str>, std::borrow::Cow<'_, str>)],
) -> Vec<(String, String)> {
    let mut all = target.attributes.clone();
    let own = ("service.instance.id".to_owned(), instance.to_owned());
    let others = info.iter().map(|(k, v)| (k.clone().into_owned(), v.clone().into_owned()));
    for (key, value) in std::iter::once(own).chain(others) {
        if all.iter().all(|(k, _)| *k != key) {
            all.push((key, value));
        }
    }
    all
}

/// The page that is being written.
#[derive(Clone, Copy)]
struct Moment<'a> {
    page: u64,
    time: u64,
    /// The process has another start time than on its last page.
    restarted: bool,
    metrics: &'a Metrics<'a>,
}

fn live_points(
    w: &mut Writer,
    metric: &Metric<'_>,
    worker: &mut Worker,
    now: Moment<'_>,
    stats: &mut PageStats,
) {
    let last_time = worker.last_time;
    let shape = metric.shape;
    if !worker.metrics.contains_key(&metric.name) {
        let known = KnownMetric { shape, series: Default::default() };
        worker.metrics.insert(metric.name.clone(), known);
    }
    let Some(known) = worker.metrics.get_mut(&metric.name) else { return };
    if known.shape != shape {
        known.shape = shape;
        known.series.clear();
    }
    otlp::metric(w, metric, |w| {
        for point in &metric.points {
            // One look-up for a known series: it also says whether the series was on this page before.
            let mut before = known.series.get_mut(&point.attributes);
            if before.as_ref().is_some_and(|series| series.page == now.page) {
                stats.duplicates += 1;
                continue;
            }
            let time = point.time.unwrap_or(now.time);
            let start = start_of(point, shape, before.as_deref().copied(), now, last_time);
            let progress = point.value.progress();
            let state = KnownSeries { start, progress, page: now.page };
            match &mut before {
                Some(series) => **series = state,
                None => drop(known.series.insert(point.attributes.clone(), state)),
            }
            otlp::point(w, shape, point, start.min(time), time);
        }
    });
}

/// When a series began: what the page says; else what is remembered; else when the process was scraped before; else when
/// it started; else now.
fn start_of(
    point: &Point<'_>,
    shape: Shape,
    before: Option<KnownSeries>,
    now: Moment<'_>,
    last_time: u64,
) -> u64 {
    if !matches!(shape, Shape::Counter | Shape::Histogram | Shape::Summary) {
        return 0;
    }
    if let Some(created) = point.created.and_then(|at| start_nanos(at, now.time)) {
        return created;
    }
    let process = now.metrics.process_start.and_then(|at| start_nanos(at, now.time));
    match before {
        Some(series) if !now.restarted && point.value.progress() >= series.progress => series.start,
        // It fell without a new process: it began anew some time after the last page.
        Some(_) => process.unwrap_or(0).max(last_time).min(now.time),
        // It was not on the last page of the process: it began after that, and all of its first value is new.
        None => {
            process.unwrap_or(if last_time > 0 { last_time } else { now.time }).max(last_time).min(now.time)
        }
    }
}

/// Writes points without a value for the series that are not on this page, and forgets them.
fn stale_points(w: &mut Writer, worker: &mut Worker, page: u64, time: u64) -> u64 {
    let mut written = 0;
    let mut names: Vec<_> = worker.metrics.keys().cloned().collect();
    names.sort_unstable();
    for name in names {
        let Some(known) = worker.metrics.get_mut(&name) else { continue };
        let mut missing: Vec<_> = known.series.extract_if(|_, series| series.page != page).collect();
        if missing.is_empty() {
            continue;
        }
        missing.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let shape = known.shape;
        let head = Metric { name, help: "", unit: "", shape, source_type: "", points: Vec::new() };
        otlp::metric(w, &head, |w| {
            for (attributes, series) in &missing {
                otlp::stale_point(w, shape, attributes, series.start.min(time), time);
            }
        });
        written += missing.len() as u64;
    }
    worker.metrics.retain(|_, known| !known.series.is_empty());
    written
}
