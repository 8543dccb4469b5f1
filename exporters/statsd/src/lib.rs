//! StatsD lines in the DogStatsD, etsy, Graphite and Influx dialects, over UDP and unix sockets.

mod config;
pub mod encode;
mod telemetry;
pub mod transport;

pub use config::{Config, HistogramsConfig, MetricsConfig, check_transport};
use encode::events::{Event, ServiceCheck};
use encode::{Counts, Dialect, Options, Written};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Preview, Signal, TemporalityNeed, names,
};
use std::sync::Mutex;
use std::time::Duration;
use telemetry::Telemetry;
use transport::{Endpoint, Transport};

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<Statsd>();

/// How long shutdown waits for packets that are still queued.
const DRAIN: Duration = Duration::from_secs(2);

/// The kind `statsd`.
pub struct Statsd;

impl ExporterKind for Statsd {
    const NAME: &'static str = "statsd";
    const SUMMARY: &'static str = "sends metrics as StatsD lines over UDP or a unix socket";
    const SIGNALS: &'static [Signal] = &[Signal::Metrics];
    type Config = Config;
    type Exporter = StatsdExporter;

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn needs(_config: &Config) -> Needs {
        Needs { temporality: TemporalityNeed::Delta, ..Needs::default() }
    }

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        let mut preview = Preview::default();
        preview_lines(&options(config, String::new).ok()?, batches, &mut preview);
        Some(preview)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<StatsdExporter, BuildError> {
        let endpoint = Endpoint::parse(&config.endpoint).map_err(BuildError::new)?;
        let transport = Transport::connect(&endpoint, config.queue_size, config.resolve_interval.0, cx)?;
        let options = options(&config, own_cgroup).map_err(BuildError::new)?;
        let telemetry = config.metrics.client_telemetry && config.dialect == Dialect::Dogstatsd;
        Ok(StatsdExporter::new(options, transport, telemetry, cx))
    }
}

/// What the kernel says about the group of processes that this one is in; empty where there is nothing to read.
pub fn own_cgroup() -> String {
    std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default()
}

fn options(config: &Config, cgroup: impl FnOnce() -> String) -> Result<Options, String> {
    let endpoint = Endpoint::parse(&config.endpoint)?;
    let max_packet = config.max_packet_size.unwrap_or(endpoint.default_packet_size());
    let container = config.metrics.container(cgroup);
    Ok(config.metrics.options(config.dialect, max_packet, &container))
}

/// Shows the lines of batches of metrics, as they are sent but for how they are packed.
pub fn preview_lines(options: &Options, batches: &[Batch], preview: &mut Preview) {
    let mut written = Written::default();
    for batch in batches {
        let mut counts = Counts::default();
        encode::encode_again(&mut written, batch, options, &mut counts)
            .iter()
            .for_each(|message| preview.line(message));
        preview.dropped(counts.dropped());
        preview.adjusted(counts.adjusted());
    }
}

/// Encodes metrics and hands the packets to the socket's queue.
pub struct StatsdExporter {
    options: Options,
    /// Held for as long as it takes to encode a batch. A second batch that comes meanwhile does without.
    written: Mutex<Written>,
    transport: Transport,
    telemetry: Option<Telemetry>,
    cx: BuildContext,
}

impl StatsdExporter {
    /// An exporter that encodes with `options` and sends with `transport`; with `telemetry` it tells the Agent every ten
    /// seconds what it sent.
    pub fn new(options: Options, transport: Transport, telemetry: bool, cx: &BuildContext) -> Self {
        let telemetry = telemetry.then(|| Telemetry::new(&transport, &options, cx));
        StatsdExporter { options, written: Mutex::default(), transport, telemetry, cx: cx.clone() }
    }

    /// Sends events and service checks. One that is longer than a packet is left out and counted; how many were.
    ///
    /// # Errors
    /// As [`Transport::send`].
    pub fn send_marked(&self, events: &[Event], checks: &[ServiceCheck]) -> Result<u64, ExportError> {
        let lines = events.iter().map(|e| e.line(&self.options.origin));
        let lines = lines.chain(checks.iter().map(|c| c.line(&self.options.origin)));
        let (packets, long): (Vec<_>, Vec<_>) =
            lines.map(|line| line + "\n").partition(|packet| packet.len() <= self.options.max_packet);
        self.transport.send(&packets)?;
        let long = long.len() as u64;
        if long > 0 {
            self.cx.counter(names::DROPPED, &[("signal", "logs"), ("reason", "too_large")]).add(long);
        }
        if let Some(telemetry) = &self.telemetry {
            telemetry.sent(0, events.len() as u64, checks.len() as u64);
        }
        Ok(long)
    }

    /// Counts what the encoder left out and changed; how many points it left out.
    fn count(&self, counts: &Counts) -> u64 {
        for (reason, n) in counts.dropped() {
            if n > 0 {
                self.cx.counter(names::DROPPED, &[("signal", "metrics"), ("reason", reason)]).add(n);
            }
        }
        for (reason, n) in counts.adjusted() {
            if n > 0 {
                self.cx.counter(names::ADJUSTED, &[("reason", reason)]).add(n);
            }
        }
        counts.dropped().iter().map(|(_, n)| n).sum()
    }
}

impl Exporter for StatsdExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let mut counts = Counts::default();
        let messages = match self.written.try_lock() {
            Ok(mut written) => encode::encode_again(&mut written, batch, &self.options, &mut counts),
            Err(_) => encode::encode(batch, &self.options, &mut counts),
        };
        self.transport.send_with_room(&encode::pack(&messages, self.options.max_packet)).await?;
        if let Some(telemetry) = &self.telemetry {
            telemetry.sent(messages.len() as u64, 0, 0);
            if let Some(lines) = telemetry.due(self.cx.clock.unix_nanos(), self.transport.totals()) {
                // Lost counts are of no consequence: the metrics themselves are in the queue.
                let _ = self.transport.send(&encode::pack(&lines, self.options.max_packet));
            }
        }
        // Counted only now: a batch that is tried again must not count twice.
        Ok(Delivered { omitted: self.count(&counts), ..Delivered::default() })
    }

    async fn shutdown(&self) {
        self.transport.drain(DRAIN).await;
    }
}
