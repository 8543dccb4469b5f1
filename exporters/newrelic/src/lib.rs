//! New Relic: OTLP and the Trace API.

mod config;
pub mod encode;
mod request;
mod status;

pub use config::{Config, Mode, Region, TraceFormat};
use encode::{Counts, Options};
use muxbridge_core::config::{Problems, Secret};
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind, Needs,
    Preview, Signal, TemporalityNeed, names,
};
use muxbridge_kit::headers::secret_value;
use muxbridge_kit::http::{ClientOptions, Compression, HttpClient};
use request::Route;

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<NewRelic>();

/// The kind `newrelic`.
pub struct NewRelic;

impl ExporterKind for NewRelic {
    const NAME: &'static str = "newrelic";
    const SUMMARY: &'static str = "sends to New Relic over OTLP, traces also over the Trace API";
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
        let options = Options { ai_monitoring: config.ai_monitoring };
        let mut preview = Preview::default();
        for batch in batches {
            let mut counts = Counts::default();
            let body = match config.trace_api(batch.signal()) {
                None => {
                    let otlp = encode::otlp(batch, &options, &mut counts);
                    muxbridge_pdata::json::encode(batch.signal(), &otlp)
                }
                Some(TraceFormat::Newrelic) => text(encode::trace_api(batch, &options, &mut counts)),
                Some(TraceFormat::Zipkin) => text(encode::zipkin(batch, &options, &mut counts)),
            };
            if counts.dropped_total() < batch.items() as u64 {
                preview.line(&body);
            }
            preview.dropped(counts.dropped());
            preview.adjusted(counts.adjusted());
        }
        Some(preview)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<NewRelicExporter, BuildError> {
        let key = secret_value(&config.license_key)
            .map_err(|problem| BuildError::new(format!("license_key: {problem}")))?;
        let route = |signal| -> Result<Route, BuildError> {
            let uri =
                config.uri(signal).map_err(|(key, problem)| BuildError::new(format!("{key}: {problem}")))?;
            let trace_api = config.trace_api(signal);
            let compression = match config.compression {
                Compression::None => Compression::None,
                _ if trace_api.is_some() => Compression::Gzip,
                chosen => chosen,
            };
            let options = Options { ai_monitoring: config.ai_monitoring };
            Ok(Route { uri, trace_api, compression, options, key: key.clone() })
        };
        let routes = [route(Signal::Traces)?, route(Signal::Metrics)?, route(Signal::Logs)?];
        tracing::info!(
            component = %cx.id,
            region = ?config.region(),
            traces = %routes[0].uri,
            metrics = %routes[1].uri,
            logs = %routes[2].uri,
            "sending to new relic"
        );
        let client = HttpClient::new(&ClientOptions { timeout: config.timeout.0, tls: config.tls.clone() })?;
        Ok(NewRelicExporter { routes, client, key: config.license_key, cx: cx.clone() })
    }
}

fn text(json: Vec<u8>) -> String {
    String::from_utf8_lossy(&json).into_owned()
}

/// Sends one batch at a time.
pub struct NewRelicExporter {
    /// In the order of [`Signal::ALL`].
    routes: [Route; 3],
    client: HttpClient,
    key: Secret,
    cx: BuildContext,
}

impl NewRelicExporter {
    /// Counts what was changed and left out, when the batch has left: a retry encodes again and must not count twice.
    fn count(&self, signal: Signal, counts: &Counts) {
        for (reason, n) in counts.adjusted() {
            self.cx.counter(names::ADJUSTED, &[("reason", reason)]).add(n);
        }
        for (reason, n) in counts.dropped() {
            self.cx.counter(names::DROPPED, &[("signal", signal.as_str()), ("reason", reason)]).add(n);
        }
    }
}

impl Exporter for NewRelicExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let route = match batch.signal() {
            Signal::Traces => &self.routes[0],
            Signal::Metrics => &self.routes[1],
            Signal::Logs => &self.routes[2],
        };
        let mut counts = Counts::default();
        let mut delivered = Delivered::default();
        if let Some(request) = route.request(batch, &mut counts)? {
            let response = self.client.send(request).await?;
            let now = self.cx.clock.unix_nanos();
            delivered = status::outcome(&response, route.trace_api.is_none(), self.key.expose(), now)?;
            if let Some(request_id) = status::request_id(response.status(), response.body()) {
                tracing::debug!(component = %self.cx.id, request_id, "new relic took a request");
            }
        }
        self.count(batch.signal(), &counts);
        delivered.omitted = counts.dropped_total();
        Ok(delivered)
    }
}
