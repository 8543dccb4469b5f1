//! Datadog's own intakes: which body goes where, with which limits.

use crate::config::{AgentlessConfig, BodyCompression, Config, TraceIntake};
use crate::config::{Host, Mode};
use crate::delivery::{Post, TakenSize, deliver, outcome};
use crate::encode::agent_payload::{self, Sender};
use crate::encode::llmobs::{Format, LlmOptions, llm_spans};
use crate::encode::logs::{LogCounts, LogOptions, logs};
use crate::encode::marked::{check_items, event_bodies, marked};
use crate::encode::metrics::{Distributions, intake};
use crate::encode::otlp::otlp_traces;
use crate::encode::parts::{Body, Frame, Limit, Parts};
use crate::encode::stats::{Context, client_stats, stats_payload};
use crate::encode::{Counts, Options, trace_chunks};
use crate::endpoint::{Encoding, Endpoint, Whose};
use crate::progress::{Kinds, Progress};
use crate::tally::Tally;
use http::{HeaderName, HeaderValue, Request};
use muxbridge_core::{Batch, BuildContext, BuildError, Delivered, ExportError};
use muxbridge_exporter_statsd::encode as lines;
use muxbridge_kit::headers::secret_value;
use muxbridge_kit::http::{ClientOptions, HttpClient};

const API_KEY: HeaderName = HeaderName::from_static("dd-api-key");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// 5242880 bytes and 512000 compressed are the limits of series; metrics shrink to less than a tenth. What does not is
/// answered with 413 and halved.
const SERIES: Limit = Limit { bytes: 4_000_000, pieces: 10_000 };
/// 3200000 compressed.
const DISTRIBUTIONS: Limit = Limit { bytes: 6_000_000, pieces: 10_000 };
/// 5 MB and 1000 items.
const LOGS: Limit = Limit { bytes: 4_500_000, pieces: 1000 };
/// One at a time.
const EVENTS: Limit = Limit { bytes: 400_000, pieces: 1 };
const CHECKS: Limit = Limit { bytes: 1_000_000, pieces: 1000 };
/// 3200000 before compression.
const TRACES: Limit = Limit { bytes: 3_000_000, pieces: usize::MAX };
const STATS: Limit = Limit { bytes: 3_000_000, pieces: usize::MAX };
const LLM: Limit = Limit { bytes: 1_000_000, pieces: 500 };
/// A body that is one piece.
const WHOLE: Limit = Limit { bytes: usize::MAX, pieces: 1 };

/// What every batch needs, of whatever signal.
pub(crate) struct Intakes {
    series: Endpoint,
    distributions: Endpoint,
    logs: Endpoint,
    events: Endpoint,
    checks: Endpoint,
    otlp: Endpoint,
    traces: Endpoint,
    stats: Endpoint,
    llm: Endpoint,
    to: Distributions,
    trace_intake: TraceIntake,
    llm_enabled: bool,
    spans: Options,
    llm_options: LlmOptions,
    lines: lines::Options,
    log_options: LogOptions,
    progress: Progress,
    tally: Tally,
    cx: BuildContext,
}

impl Intakes {
    pub(crate) fn new(config: &Config, cx: &BuildContext) -> Result<Self, BuildError> {
        debug_assert!(config.mode == Mode::Agentless);
        let agentless = &config.agentless;
        let client = HttpClient::new(&ClientOptions {
            timeout: config.timeout.0,
            tls: config.tls.clone(),
            cx: Some(cx.clone()),
        })?;
        let key = secret_value(&config.api_key).map_err(|p| BuildError::new(format!("api_key: {p}")))?;
        let endpoint = |host, path, signal| -> Result<Endpoint, BuildError> {
            let uri = agentless.uri(host, &config.site, path).map_err(BuildError::new)?;
            Ok(Endpoint::new(&client, uri, Whose::Intake, signal, cx).header(API_KEY, key.clone()))
        };
        let encoding = |wanted| match agentless.compression {
            BodyCompression::Gzip => wanted,
            BodyCompression::None => Encoding::Identity,
        };
        let (gzip, deflate) = (encoding(Encoding::Gzip), encoding(Encoding::Deflate));
        let (protobuf, json) = ("application/x-protobuf", "application/json");
        let distributions = match agentless.distributions {
            Distributions::Points => {
                endpoint(Host::Api, "/api/v1/distribution_points", "metrics")?.content(json, deflate)
            }
            Distributions::Sketches => endpoint(Host::Api, "/api/beta/sketches", "metrics")?
                .content(protobuf, deflate)
                .header(HeaderName::from_static("dd-agent-payload"), HeaderValue::from_static("4.87.0")),
        };
        let reported = HeaderName::from_static("x-datadog-reported-languages");
        let intakes = Intakes {
            series: endpoint(Host::Api, "/api/v2/series", "metrics")?.content(protobuf, gzip),
            distributions,
            logs: endpoint(Host::Logs, "/api/v2/logs", "logs")?.content(json, gzip),
            events: endpoint(Host::Api, "/api/v1/events", "logs")?.content(json, Encoding::Identity),
            checks: endpoint(Host::Api, "/api/v1/check_run", "logs")?.content(json, Encoding::Identity),
            otlp: otlp_endpoint(endpoint(Host::Otlp, "/v1/traces", "traces")?, config, agentless)?
                .content(protobuf, gzip),
            traces: endpoint(Host::Traces, "/api/v0.2/traces", "traces")?
                .content(protobuf, gzip)
                .header(reported, HeaderValue::from_static("rust")),
            stats: endpoint(Host::Traces, "/api/v0.2/stats", "stats")?.content("application/msgpack", gzip),
            llm: endpoint(Host::Api, "/api/intake/llm-obs/v1/trace/spans", "llmobs")?
                .content(json, Encoding::Identity),
            to: agentless.distributions,
            trace_intake: agentless.traces,
            llm_enabled: config.llm_observability.enabled,
            llm_options: config.llm_options(Format::Api),
            log_options: config.log_options(),
            lines: config.series_options(),
            spans: config.span_options(),
            progress: Progress::default(),
            tally: Tally::new(cx),
            cx: cx.clone(),
        };
        if agentless.validate_key {
            let uri = agentless.uri(Host::Api, &config.site, "/api/v1/validate").map_err(BuildError::new)?;
            validate(client, uri, key);
        }
        Ok(intakes)
    }

    pub(crate) async fn traces(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        match self.trace_intake {
            TraceIntake::Otlp => return self.otlp(batch).await,
            TraceIntake::LlmObservability => return self.models(batch).await,
            TraceIntake::AgentPayload => {}
        }
        let mut counts = Counts::default();
        let chunks = trace_chunks(batch, &self.spans, &mut counts);
        let sender =
            Sender { hostname: self.spans.hostname.clone(), env: self.spans.env.clone(), version: VERSION };
        let payloads = agent_payload::tracer_payloads(&chunks, &sender);
        let context = Context { hostname: &self.spans.hostname, version: VERSION, peer_tags: &[] };
        // Nobody else makes statistics of these.
        let stats = client_stats(&chunks, &context);
        let applications = if self.llm_enabled { llm_spans(batch, &self.llm_options) } else { Vec::new() };
        let mut reached = self.progress.take(batch.otlp(), 2 + applications.len());
        let sent = async {
            let frame = agent_payload::frame(&sender);
            deliver(&self.traces, &payloads, &frame, TRACES, &mut reached[0]).await?;
            let wrapped = Stats { endpoint: &self.stats, context: &context, env: &self.spans.env };
            self.tally.beside("stats", &wrapped, &stats, &Frame::Msgpack, STATS, &mut reached[1]).await?;
            for (application, reached) in applications.iter().zip(&mut reached[2..]) {
                let frame = application.frame(Format::Api);
                self.tally.beside("llmobs", &self.llm, &application.spans, &frame, LLM, reached).await?;
            }
            Ok(())
        }
        .await;
        self.remember(batch, sent, &reached)?;
        let delivered = outcome(&reached[..1], payloads.items(0..payloads.len()), counts.omitted())?;
        self.tally.spans(&counts, &reached[..1]);
        Ok(delivered)
    }

    async fn otlp(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let mut body = Parts::default();
        let items = u32::try_from(batch.items()).unwrap_or(u32::MAX);
        body.push(&otlp_traces(batch, self.llm_enabled, self.llm_options.content), items);
        let mut reached = Kinds::from([Default::default()]);
        deliver(&self.otlp, &body, &Frame::fields(), WHOLE, &mut reached[0]).await?;
        outcome(&reached, u64::from(items), 0)
    }

    /// Spans of models only.
    async fn models(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let applications = llm_spans(batch, &self.llm_options);
        let all: u64 = applications.iter().map(|a| a.spans.items(0..a.spans.len())).sum();
        let others = batch.items() as u64 - all;
        let mut reached = self.progress.take(batch.otlp(), applications.len());
        let sent = async {
            for (application, reached) in applications.iter().zip(&mut reached[..]) {
                let frame = application.frame(Format::Api);
                deliver_all(&self.llm, &application.spans, &frame, LLM, reached).await?;
            }
            Ok(())
        }
        .await;
        self.remember(batch, sent, &reached)?;
        let delivered = outcome(&reached, all, others)?;
        self.tally.dropped("traces", [("not_of_a_model", others)]);
        self.tally.too_large("traces", &reached);
        Ok(delivered)
    }

    pub(crate) async fn metrics(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let mut counts = lines::Counts::default();
        let now = self.cx.clock.unix_nanos();
        let bodies = intake(batch, &self.lines, self.to, &self.spans.hostname, now, &mut counts);
        let mut reached = self.progress.take(batch.otlp(), 2);
        let frame = match self.to {
            Distributions::Points => Frame::distribution_points(),
            Distributions::Sketches => Frame::fields(),
        };
        let sent = async {
            deliver_all(&self.series, &bodies.series, &Frame::fields(), SERIES, &mut reached[0]).await?;
            deliver_all(&self.distributions, &bodies.distributions, &frame, DISTRIBUTIONS, &mut reached[1])
                .await
        }
        .await;
        self.remember(batch, sent, &reached)?;
        let all = |parts: &Parts| parts.items(0..parts.len());
        let omitted = counts.dropped().iter().map(|(_, n)| n).sum();
        let delivered = outcome(&reached, all(&bodies.series) + all(&bodies.distributions), omitted)?;
        self.tally.dropped("metrics", counts.dropped());
        self.tally.adjusted(counts.adjusted());
        self.tally.adjusted([("scaled_distribution", bodies.scaled)]);
        self.tally.too_large("metrics", &reached);
        Ok(delivered)
    }

    pub(crate) async fn logs(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let mut counts = LogCounts::default();
        let now = self.cx.clock.unix_nanos();
        let items = logs(batch, &self.log_options, now, &mut counts);
        let marked = marked(batch, &self.lines);
        let events = event_bodies(&marked.events);
        let checks = check_items(&marked.checks, &self.spans.hostname);
        let mut reached = self.progress.take(batch.otlp(), 3);
        let sent = async {
            deliver_all(&self.logs, &items, &Frame::json_list(), LOGS, &mut reached[0]).await?;
            deliver_all(&self.events, &events, &Frame::fields(), EVENTS, &mut reached[1]).await?;
            deliver_all(&self.checks, &checks, &Frame::json_list(), CHECKS, &mut reached[2]).await
        }
        .await;
        self.remember(batch, sent, &reached)?;
        let all = [&items, &events, &checks].map(|p| p.items(0..p.len())).iter().sum();
        let delivered = outcome(&reached, all, counts.too_large)?;
        self.tally.dropped("logs", [("too_large", counts.too_large)]);
        self.tally.adjusted([("log_message", counts.cut)]);
        self.tally.too_large("logs", &reached);
        Ok(delivered)
    }

    /// Remembers how far the batch got if it must be tried again.
    fn remember(
        &self,
        batch: &Batch,
        sent: Result<(), ExportError>,
        reached: &Kinds,
    ) -> Result<(), ExportError> {
        if let Err(ExportError::Retryable { .. }) = &sent {
            self.progress.remember(batch.otlp(), reached.clone());
        }
        sent
    }
}

/// As [`deliver`], but a single piece that is too large is left out and counted: other kinds of pieces of the batch may
/// have arrived, so that the batch cannot be split any more.
async fn deliver_all(
    endpoint: &Endpoint,
    parts: &Parts,
    frame: &Frame,
    limit: Limit,
    reached: &mut crate::delivery::Reached,
) -> Result<(), ExportError> {
    match deliver(endpoint, parts, frame, limit, reached).await {
        Err(ExportError::TooLarge { source }) => {
            tracing::warn!(error = %source, "piece is too large for the destination");
            reached.too_large += parts.items(0..parts.len());
            reached.pieces = parts.len();
            Ok(())
        }
        other => other,
    }
}

fn otlp_endpoint(
    mut endpoint: Endpoint,
    config: &Config,
    agentless: &AgentlessConfig,
) -> Result<Endpoint, BuildError> {
    let text = |value: &str| {
        HeaderValue::from_str(value).map_err(|e| BuildError::new(format!("header {value:?}: {e}")))
    };
    if agentless.compute_stats {
        endpoint =
            endpoint.header(HeaderName::from_static("compute_stats"), HeaderValue::from_static("true"));
    }
    if config.llm_observability.enabled {
        endpoint = endpoint.header(HeaderName::from_static("dd-otlp-source"), text(&agentless.otlp_source)?);
        let ml_app = &config.llm_observability.ml_app;
        if !ml_app.is_empty() {
            let ml_app = text(&crate::encode::llmobs::ml_app_name(ml_app))?;
            endpoint = endpoint.header(HeaderName::from_static("dd-ml-app"), ml_app);
        }
    }
    Ok(endpoint)
}

/// Payloads of statistics, in what Agents put around them.
struct Stats<'a> {
    endpoint: &'a Endpoint,
    context: &'a Context<'a>,
    env: &'a str,
}

impl Post for Stats<'_> {
    async fn post(&self, body: Body, pieces: usize) -> Result<(), ExportError> {
        self.endpoint.post(stats_payload(&body.joined(), self.context, self.env).into(), pieces).await
    }

    fn size(&self) -> &TakenSize {
        self.endpoint.size()
    }
}

/// Asks once whether the key is right. A wrong one is no reason to stop: it may become right.
fn validate(client: HttpClient, uri: http::Uri, key: HeaderValue) {
    let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
    runtime.spawn(async move {
        let mut request = Request::new(bytes::Bytes::new());
        *request.uri_mut() = uri;
        request.headers_mut().insert(API_KEY, key);
        match client.send(request).await {
            Ok(response) if response.status().is_success() => tracing::info!("api key is valid"),
            Ok(response) => {
                let status = response.status().as_u16();
                tracing::warn!(status, "api key is not accepted; check api_key and site");
            }
            Err(error) => tracing::warn!(%error, "api key cannot be checked"),
        }
    });
}
