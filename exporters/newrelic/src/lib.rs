//! New Relic: OTLP, and the Trace, Metric, Log and Event APIs.

mod config;
mod derived;
pub mod encode;
mod preview;
mod request;
mod send;
mod status;

use config::Target;
pub use config::{ApmMetrics, Config, Mode, Protocol, Region, TraceFormat};
use derived::{Derivation, Derived, Taken};
use encode::apm::Tally;
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Preview, Signal, TemporalityNeed, names,
};
use muxbridge_kit::http::{ClientOptions, HttpClient};
use send::Door;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<NewRelic>();

/// The kind `newrelic`.
pub struct NewRelic;

impl ExporterKind for NewRelic {
    const NAME: &'static str = "newrelic";
    const SUMMARY: &'static str =
        "sends to New Relic over OTLP, or over its Trace, Metric, Log and Event APIs";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = Config;
    type Exporter = NewRelicExporter;

    fn check(config: &Config, problems: &mut Problems) {
        config::check(config, problems);
    }

    fn needs(_config: &Config) -> Needs {
        Needs {
            temporality: TemporalityNeed::Delta,
            max_request_bytes: Some(request::PACK_BYTES),
            max_request_items: None,
        }
    }

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        Some(preview::preview(config, batches))
    }

    fn build(config: Config, cx: &BuildContext) -> Result<NewRelicExporter, BuildError> {
        let client = HttpClient::new(&ClientOptions {
            timeout: config.timeout.0,
            tls: config.tls.clone(),
            cx: Some(cx.clone()),
        })?;
        let door = |target| Door::new(&config, target, &client, cx);
        let doors =
            [Signal::Traces, Signal::Metrics, Signal::Logs].map(|signal| door(Target::Signal(signal)));
        let [traces, metrics, logs] = doors;
        let (traces, metrics, logs) = (traces?, metrics?, logs?);
        let events = (config.mode == Mode::Native).then(|| door(Target::Events)).transpose()?;
        tracing::info!(
            component = %cx.id,
            region = ?config.region(),
            traces = %traces.uri(),
            metrics = %metrics.uri(),
            logs = %logs.uri(),
            "sending to new relic"
        );
        let inner = Inner {
            traces,
            metrics,
            logs,
            events,
            derived: Derived::default(),
            apm_metrics: config.apm_metrics,
            llm_events: config.llm_events,
            sending: tokio::sync::Mutex::default(),
            scheduled: AtomicBool::default(),
            cx: cx.clone(),
        };
        Ok(NewRelicExporter { inner: Arc::new(inner) })
    }
}

/// Sends one batch at a time, and what is derived from spans after it.
pub struct NewRelicExporter {
    inner: Arc<Inner>,
}

struct Inner {
    traces: Door,
    metrics: Door,
    logs: Door,
    /// Only where custom events have an API of their own.
    events: Option<Door>,
    derived: Derived,
    apm_metrics: ApmMetrics,
    llm_events: bool,
    /// Held while derived data is sent.
    sending: tokio::sync::Mutex<()>,
    /// Whether a task waits to send what waits.
    scheduled: AtomicBool,
    cx: BuildContext,
}

/// Sends what was derived when its time has come, also if no batch follows; ends when nothing waits.
async fn send_when_due(exporter: Weak<Inner>, mut wait: Duration) {
    loop {
        tokio::time::sleep(wait).await;
        let Some(exporter) = exporter.upgrade() else { return };
        let sending = exporter.sending.lock().await;
        exporter.send_derived(false).await;
        drop(sending);
        exporter.scheduled.store(false, Ordering::Release);
        match exporter.next_derived() {
            Some(next) => wait = next,
            None => return,
        }
    }
}

impl Inner {
    async fn deliver(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        match (batch.signal(), &self.events) {
            (Signal::Traces, _) => {
                let measured = self.apm_metrics != ApmMetrics::Never;
                let (delivered, tally) = self.traces.send_measured(batch, measured).await?;
                self.derive(batch, tally);
                Ok(delivered)
            }
            (Signal::Metrics, _) => self.metrics.send(batch).await,
            (Signal::Logs, None) => self.logs.send(batch).await,
            (Signal::Logs, Some(events)) => send::logs_and_events(&self.logs, events, batch).await,
        }
    }

    /// Derives from spans that have arrived; `tally` is what was measured of them already.
    fn derive(&self, batch: &Batch, tally: Option<Tally<'_>>) {
        if self.apm_metrics != ApmMetrics::Never {
            let auto = self.apm_metrics == ApmMetrics::Auto;
            self.lost(
                derived::APM,
                match tally {
                    Some(tally) => self.derived.add_metrics(&tally, auto),
                    None => self.derived.record_metrics(batch, auto),
                },
            );
        }
        if self.llm_events {
            self.lost(derived::LLM, self.derived.record_events(batch));
        }
    }

    fn count(&self, signal: Signal, rule: &str, n: u64) {
        if n > 0 {
            self.cx.counter(names::DERIVED, &[("signal", signal.as_str()), ("rule", rule)]).add(n);
        }
    }

    /// Derived data that will not arrive. It never was in a queue of the pipeline, so it is not among the dropped items.
    fn lost(&self, what: Derivation, n: u64) {
        self.count(what.signal, what.lost, n);
        if n > 0 {
            tracing::warn!(component = %self.cx.id, rule = what.lost, items = n, "derived telemetry dropped");
        }
    }

    /// Sends what was derived, as far as New Relic takes it now.
    async fn send_derived(&self, last: bool) {
        for what in [derived::APM, derived::LLM] {
            while let Some(taken) = self.derived.take(what, self.cx.clock.unix_nanos(), last) {
                if !self.send_taken(what, taken).await {
                    break;
                }
            }
        }
    }

    /// Sends one request of derived data; says whether another one may follow.
    async fn send_taken(&self, what: Derivation, taken: Taken<'_>) -> bool {
        let Some(batch) = taken.batch() else { return false };
        let items = batch.items() as u64;
        let result = self.deliver(&batch).await;
        let now = self.cx.clock.unix_nanos();
        match result {
            Ok(delivered) => {
                taken.done(now);
                let sent = items.saturating_sub(delivered.omitted + delivered.rejected);
                self.count(what.signal, what.sent, sent);
                true
            }
            Err(ExportError::Retryable { after, source }) => {
                let rule = what.sent;
                tracing::debug!(component = %self.cx.id, rule, error = %source, "derived telemetry waits");
                taken.failed(now, after);
                false
            }
            Err(error) => {
                taken.refused(now);
                tracing::warn!(component = %self.cx.id, rule = what.sent, %error, "not delivering");
                self.lost(what, items);
                false
            }
        }
    }

    /// How long what was derived has to wait, if something does and no task is waiting for it yet.
    fn next_derived(&self) -> Option<Duration> {
        let wait = self.derived.next(self.cx.clock.unix_nanos())?;
        (!self.scheduled.swap(true, Ordering::AcqRel)).then_some(wait)
    }
}

impl Exporter for NewRelicExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let result = self.inner.deliver(batch).await;
        if result.is_ok() && batch.signal() == Signal::Metrics {
            self.inner.derived.see(batch);
        }
        // Where somebody else is sending, what was derived just now goes with the next.
        if let Ok(_sending) = self.inner.sending.try_lock() {
            self.inner.send_derived(false).await;
        }
        if let Some(wait) = self.inner.next_derived() {
            tokio::spawn(send_when_due(Arc::downgrade(&self.inner), wait));
        }
        result
    }

    async fn shutdown(&self) {
        let _sending = self.inner.sending.lock().await;
        self.inner.send_derived(true).await;
        let (points, events) = self.inner.derived.abandon();
        self.inner.lost(derived::APM, points);
        self.inner.lost(derived::LLM, events);
    }
}
