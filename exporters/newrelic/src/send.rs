//! One API of New Relic: encodes a batch, sends it once, says what happened.

use crate::config::{Config, Target};
use crate::encode::apm::Tally;
use crate::encode::watch::Watch;
use crate::encode::{self, Counts, split_events};
use crate::request::{AGENT, Api, Route, check_size};
use crate::status;
use http::{HeaderMap, HeaderValue, Uri};
use muxbridge_core::config::Secret;
use muxbridge_core::{Batch, BuildContext, BuildError, Delivered, ExportError, Signal, names};
use muxbridge_kit::grpc::{GrpcClient, GrpcOptions};
use muxbridge_kit::headers::secret_value;
use muxbridge_kit::http::{ClientOptions, Compression, HttpClient};
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How many half-sent batches are remembered; see [`logs_and_events`].
const MAX_HALF_SENT: usize = 1_024;

/// Larger requests, counted on the wire, get three times the `timeout`. New Relic's own clients wait 10 seconds, and 30 from
/// here on.
const LARGE_BYTES: usize = 500_000;

/// Where one signal is sent to.
pub(crate) struct Door {
    route: Route,
    transport: Transport,
    /// Batches of which this door has taken its part, and another one has not yet.
    half_sent: Mutex<BTreeSet<u64>>,
    key: Secret,
    timeout: Duration,
    cx: BuildContext,
}

enum Transport {
    Http(Box<HttpClient>),
    Grpc(Box<GrpcClient>),
}

impl Door {
    pub(crate) fn new(
        config: &Config,
        target: Target,
        client: &HttpClient,
        cx: &BuildContext,
    ) -> Result<Door, BuildError> {
        let uri =
            config.uri(target).map_err(|(key, problem)| BuildError::new(format!("{key}: {problem}")))?;
        let key = secret_value(&config.license_key)
            .map_err(|problem| BuildError::new(format!("license_key: {problem}")))?;
        let api = config.api(target);
        let compression = match (config.compression, api) {
            (Compression::None, _) => Compression::None,
            (chosen, Api::Otlp | Api::Grpc) => chosen,
            _ => Compression::Gzip,
        };
        let transport = if api == Api::Grpc {
            let mut headers = HeaderMap::new();
            headers.insert("api-key", key.clone());
            let client = GrpcClient::new(GrpcOptions {
                endpoint: uri.clone(),
                client: ClientOptions {
                    timeout: config.timeout.0,
                    tls: config.tls.clone(),
                    cx: Some(cx.clone()),
                },
                compression,
                headers,
                user_agent: HeaderValue::from_static(AGENT),
            })?;
            Transport::Grpc(Box::new(client.with_errors(status::grpc)))
        } else {
            Transport::Http(Box::new(client.clone()))
        };
        let route = Route { uri, api, compression, options: config.options(), key };
        Ok(Door {
            route,
            transport,
            half_sent: Mutex::default(),
            key: config.license_key.clone(),
            timeout: config.timeout.0,
            cx: cx.clone(),
        })
    }

    pub(crate) fn uri(&self) -> &Uri {
        &self.route.uri
    }

    /// Sends a batch. When to ask again after a rate limit or a refused key is up to the circuit of the pipeline's lane.
    pub(crate) async fn send(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        self.send_measured(batch, false).await.map(|(delivered, _)| delivered)
    }

    /// The same; if spans are to be measured, also what was found about them while they were encoded, where they were
    /// looked at.
    pub(crate) async fn send_measured<'b>(
        &self,
        batch: &'b Batch,
        measured: bool,
    ) -> Result<(Delivered, Option<Tally<'b>>), ExportError> {
        let (now, mut counts) = (self.cx.clock.unix_nanos(), Counts::default());
        let looked_at = batch.signal() == Signal::Traces && self.route.api.is_otlp();
        let mut watch = if looked_at { Watch::spans(now, measured) } else { Watch::default() };
        let sent = match &self.transport {
            Transport::Http(client) => self.send_http(client, batch, &mut watch, &mut counts).await,
            Transport::Grpc(client) => self.send_grpc(client, batch, &mut watch, &mut counts).await,
        };
        let mut delivered = sent?;
        self.count(batch.signal(), &counts);
        let (stale, tally) = match watch.found() {
            Some(found) => (found.stale, found.tally),
            None => (encode::stale(batch, now), None),
        };
        if stale > 0 {
            self.cx.counter(names::ADJUSTED, &[("reason", encode::reason::STALE)]).add(stale);
        }
        delivered.omitted = counts.dropped_total();
        Ok((delivered, tally))
    }

    async fn send_http<'b>(
        &self,
        client: &HttpClient,
        batch: &'b Batch,
        watch: &mut Watch<'b>,
        counts: &mut Counts,
    ) -> Result<Delivered, ExportError> {
        let Some(request) = self.route.request(batch, watch, counts)? else {
            return Ok(Delivered::default());
        };
        let response = client.with_timeout(self.patience(request.body().len())).send(request).await?;
        let now = self.cx.clock.unix_nanos();
        let delivered = status::outcome(&response, self.route.api == Api::Otlp, self.key.expose(), now)?;
        if let Some(request_id) = status::request_id(response.status(), response.body()) {
            tracing::debug!(component = %self.cx.id, request_id, "new relic took a request");
        }
        Ok(delivered)
    }

    /// How long a request with a body of this size may take.
    fn patience(&self, bytes: usize) -> Duration {
        if bytes > LARGE_BYTES { self.timeout.saturating_mul(3) } else { self.timeout }
    }

    async fn send_grpc<'b>(
        &self,
        client: &GrpcClient,
        batch: &'b Batch,
        watch: &mut Watch<'b>,
        counts: &mut Counts,
    ) -> Result<Delivered, ExportError> {
        let Some(body) = self.route.body(batch, watch, counts) else { return Ok(Delivered::default()) };
        // The client compresses; before that it is larger, so this is on the safe side.
        check_size(body.len())?;
        let path = match batch.signal() {
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
        };
        let answer = client.unary(path, &body).await;
        answer
            .map(|message| status::from_proto(&message))
            .map_err(|error| status::without_key(error, self.key.expose()))
    }

    /// Counts what was changed and left out, when the batch has left: a retry encodes again and must not count twice.
    fn count(&self, signal: Signal, counts: &Counts) {
        for (reason, n) in counts.adjusted() {
            self.cx.counter(names::ADJUSTED, &[("reason", reason)]).add(n);
        }
        for (reason, n) in counts.dropped() {
            self.cx.counter(names::DROPPED, &[("signal", signal.as_str()), ("reason", reason)]).add(n);
        }
    }

    fn half_sent<T>(&self, f: impl FnOnce(&mut BTreeSet<u64>) -> T) -> T {
        f(&mut self.half_sent.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Sends the log records of a batch to the Log API and those that are custom events to the Event API.
///
/// If only the first took its part, the retry of the batch must not send that part again, so it is remembered.
pub(crate) async fn logs_and_events(
    logs: &Door,
    events: &Door,
    batch: &Batch,
) -> Result<Delivered, ExportError> {
    let [plain, custom] = split_events(batch);
    let (Some(plain), Some(custom)) = (&plain, &custom) else {
        return match (&plain, &custom) {
            (_, Some(custom)) => events.send(custom).await,
            (Some(plain), None) => logs.send(plain).await,
            (None, None) => Ok(Delivered::default()),
        };
    };
    let id = crate::request::digest(batch.otlp());
    let mut delivered = Delivered::default();
    if !logs.half_sent(|known| known.contains(&id)) {
        // Before the first part leaves: a batch that is split has other parts.
        events.route.request(custom, &mut Watch::default(), &mut Counts::default())?;
        delivered = logs.send(plain).await?;
    }
    match events.send(custom).await {
        Ok(of_events) => {
            logs.half_sent(|known| known.remove(&id));
            delivered.omitted += of_events.omitted;
            delivered.rejected += of_events.rejected;
            Ok(delivered)
        }
        // The records have arrived; only the events are refused.
        Err(error @ (ExportError::Permanent { .. } | ExportError::TooLarge { .. })) => {
            logs.half_sent(|known| known.remove(&id));
            delivered.rejected += custom.items() as u64;
            delivered.message = format!("events: {error}");
            Ok(delivered)
        }
        Err(error) => {
            logs.half_sent(|known| {
                // Batches that the pipeline gave up would stay; forgetting one costs a doubled part at worst.
                if known.len() >= MAX_HALF_SENT {
                    known.pop_first();
                }
                known.insert(id)
            });
            Err(error)
        }
    }
}
