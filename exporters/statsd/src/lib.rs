//! StatsD lines in the DogStatsD, etsy, Graphite and Influx dialects, over UDP and unix sockets.

mod config;
pub mod encode;
pub mod transport;

pub use config::{Config, HistogramsConfig, MetricsConfig, check_transport};
use encode::{Counts, Options};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Preview, Signal, TemporalityNeed, names,
};
use std::time::Duration;
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
        preview_lines(&options(config).ok()?, batches, &mut preview);
        Some(preview)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<StatsdExporter, BuildError> {
        let endpoint = Endpoint::parse(&config.endpoint).map_err(BuildError::new)?;
        let transport = Transport::connect(&endpoint, config.queue_size, config.resolve_interval.0, cx)?;
        let options = options(&config).map_err(BuildError::new)?;
        Ok(StatsdExporter::new(options, transport, cx))
    }
}

fn options(config: &Config) -> Result<Options, String> {
    let endpoint = Endpoint::parse(&config.endpoint)?;
    let max_packet = config.max_packet_size.unwrap_or(endpoint.default_packet_size());
    Ok(config.metrics.options(config.dialect, max_packet))
}

/// Shows the lines of batches of metrics, as they are sent but for how they are packed.
pub fn preview_lines(options: &Options, batches: &[Batch], preview: &mut Preview) {
    for batch in batches {
        let mut counts = Counts::default();
        encode::encode(batch, options, &mut counts).iter().for_each(|message| preview.line(message));
        preview.dropped(counts.dropped());
        preview.adjusted(counts.adjusted());
    }
}

/// Encodes metrics and hands the packets to the socket's queue.
pub struct StatsdExporter {
    options: Options,
    transport: Transport,
    cx: BuildContext,
}

impl StatsdExporter {
    /// An exporter that encodes with `options` and sends with `transport`.
    pub fn new(options: Options, transport: Transport, cx: &BuildContext) -> Self {
        StatsdExporter { options, transport, cx: cx.clone() }
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
        let messages = encode::encode(batch, &self.options, &mut counts);
        self.transport.send(&encode::pack(&messages, self.options.max_packet))?;
        // Counted only now: a batch that is tried again must not count twice.
        Ok(Delivered { omitted: self.count(&counts), ..Delivered::default() })
    }

    async fn shutdown(&self) {
        self.transport.drain(DRAIN).await;
    }
}
