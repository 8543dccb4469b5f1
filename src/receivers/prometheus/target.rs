//! Scrapes one target on time, hands its pages on and says once when it fails.

use super::failure::{Failure, Reason};
use super::fetch::Fetcher;
use super::plan::Plan;
use super::ticks::Ticks;
use crate::prometheus::{PageLimits, ScrapeOutcome, Scraper, TargetInfo};
use bytes::Bytes;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Consumer, Counter, Origin, Refused, Signal, Stop, names,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// One target and what is remembered of it.
pub(super) struct Target {
    name: String,
    interval: Duration,
    optional: bool,
    fetcher: Fetcher,
    scraper: Scraper,
    cx: BuildContext,
    up: Counter,
    received: Counter,
    origin: Arc<Origin>,
    /// Scrapes that failed since the last one that did not, and why the last one of them did.
    failed: u64,
    reason: Option<Reason>,
    /// Whether it has answered at all, whatever it said.
    answered: bool,
}

impl Target {
    /// # Errors
    /// What cannot be used although its form is right, as a missing file.
    pub(super) fn new(plan: Plan, limits: PageLimits, cx: &BuildContext) -> Result<Target, BuildError> {
        let name = plan.endpoint.printable();
        if plan.credential.is_some() && !plan.endpoint.https && !plan.endpoint.is_loopback() {
            tracing::warn!(receiver = cx.id, target = name, "credentials are sent in plain text; use https");
        }
        let scraper = Scraper::new(target_info(&plan, &name), limits);
        Ok(Target {
            interval: plan.interval,
            optional: plan.optional,
            fetcher: Fetcher::new(plan, limits.body)?,
            scraper,
            up: cx.counter(names::SCRAPE_UP, &[("target", &name)]),
            received: cx.counter(names::RECEIVED, &[("signal", Signal::Metrics.as_str())]),
            cx: cx.clone(),
            origin: Arc::new(Origin { receiver: cx.id.clone() }),
            failed: 0,
            reason: None,
            answered: false,
            name,
        })
    }

    /// Scrapes until it is stopped. A scrape that is under way then is given up: nothing of it was taken in.
    pub(super) async fn run(mut self, next: Arc<dyn Consumer>, stop: Stop) {
        let mut ticks = Ticks::new(&self.name, self.interval);
        loop {
            let scrape = async {
                ticks.next().await;
                let began = Instant::now();
                (began, self.fetcher.fetch().await)
            };
            let (began, fetched) = tokio::select! {
                () = stop.wait() => return,
                fetched = scrape => fetched,
            };
            // After the answer, so that nothing on the page is younger than its time.
            let now = self.cx.clock.unix_nanos();
            let page = fetched
                .and_then(|page| Ok(self.scraper.page(&page.body, page.content_type.as_deref(), now)?));
            let seconds = began.elapsed().as_secs_f64();
            if let Some(otlp) = self.conclude(page, seconds, now) {
                self.hand_on(otlp, &*next).await;
            }
        }
    }

    /// Counts and logs what became of a scrape. The request to hand on, if there is anything to say.
    fn conclude(&mut self, page: Result<Bytes, Failure>, seconds: f64, now: u64) -> Option<Bytes> {
        let up = page.is_ok();
        self.up.set(up.into());
        let samples = match &page {
            Ok(_) => self.succeeded(),
            Err(failure) => {
                self.failed(failure);
                self.answered |= failure.reason != Reason::Refused;
                0
            }
        };
        if self.optional && !self.answered {
            return None;
        }
        let instance = self.fetcher.endpoint().instance();
        let outcome = self.scraper.outcome(ScrapeOutcome { up, seconds, samples }, &instance, now);
        // Two requests one after the other are one request.
        Some(match page {
            Ok(page) => [page, outcome].concat().into(),
            Err(_) => outcome,
        })
    }

    fn succeeded(&mut self) -> usize {
        let stats = self.scraper.stats();
        if self.reason.take().is_some() || !self.answered {
            let (receiver, target, failed) = (&self.cx.id, &self.name, self.failed);
            tracing::info!(receiver, target, samples = stats.samples, failed_before = failed, "scrape works");
        }
        self.failed = 0;
        self.answered = true;
        let dropped = |reason, count| {
            if count > 0 {
                let labels = [("signal", Signal::Metrics.as_str()), ("reason", reason)];
                self.cx.counter(names::REFUSED, &labels).add(count);
            }
        };
        dropped("malformed", stats.malformed);
        dropped("duplicate", stats.duplicates);
        stats.samples
    }

    fn failed(&mut self, failure: &Failure) {
        let reason = failure.reason.as_str();
        self.cx.counter(names::SCRAPE_FAILED, &[("target", &self.name), ("reason", reason)]).add(1);
        self.failed += 1;
        // One line for a series of failures, and another one if the cause changes.
        if self.reason.replace(failure.reason) == Some(failure.reason) {
            return;
        }
        let (receiver, target) = (&self.cx.id, &self.name);
        let advice = failure.advice(self.fetcher.endpoint());
        if self.optional && !self.answered && failure.reason == Reason::Refused {
            tracing::info!(receiver, target, error = %failure, advice, "nothing to scrape yet, still looking");
        } else {
            tracing::warn!(receiver, target, reason, error = %failure, advice, "scrape failed");
        }
    }

    async fn hand_on(&self, otlp: Bytes, next: &dyn Consumer) {
        let batch = Batch::from_valid(Signal::Metrics, otlp, self.origin.clone());
        let items = batch.items() as u64;
        let reason = match next.consume(batch).await {
            Ok(()) => return self.received.add(items),
            Err(Refused::Busy { .. }) => "busy",
            Err(Refused::NotConfigured) => "not_configured",
        };
        let labels = [("signal", Signal::Metrics.as_str()), ("reason", reason)];
        self.cx.counter(names::REFUSED, &labels).add(items);
        tracing::warn!(receiver = self.cx.id, target = self.name, reason, items, "scraped page not taken");
    }
}

/// The attributes that a Collector gives what it scraped. `service.instance.id` is left to the scraper, which tells the
/// processes behind the address apart. Labels of the user win.
fn target_info(plan: &Plan, name: &str) -> TargetInfo {
    let own = [
        ("service.name", plan.job.clone()),
        ("server.address", plan.endpoint.host.clone()),
        ("server.port", plan.endpoint.port.to_string()),
        ("url.scheme", plan.endpoint.scheme().to_owned()),
    ];
    let mut attributes: BTreeMap<String, String> = own.map(|(k, v)| (k.to_owned(), v)).into();
    attributes.extend(plan.labels.clone());
    TargetInfo { identity: name.to_owned(), attributes: attributes.into_iter().collect() }
}
