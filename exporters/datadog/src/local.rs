//! Everything that goes to an Agent: traces with what belongs to them, metrics, events and service checks.

use crate::agent::{Agent, Info, Origin, Traces};
use crate::config::{Config, Sampling};
use crate::delivery::{deliver, outcome};
use crate::encode::llmobs::{Application, Format, LlmOptions, llm_spans};
use crate::encode::marked::marked;
use crate::encode::parts::{Frame, Limit, Parts};
use crate::encode::stats::{Context, client_stats};
use crate::encode::{Counts, Options, trace_chunks};
use crate::progress::{Kinds, Progress};
use crate::tally::Tally;
use muxbridge_core::{Batch, BuildContext, BuildError, Delivered, ExportError, Exporter};
use muxbridge_exporter_statsd::transport::{Endpoint, Transport};
use muxbridge_exporter_statsd::{StatsdExporter, encode, own_cgroup};
use std::collections::BTreeMap;

/// One payload of statistics in a request.
const STATS: Limit = Limit { bytes: usize::MAX, pieces: 1 };
const LLM: Limit = Limit { bytes: 1_000_000, pieces: 500 };

/// Sends to an Agent.
pub(crate) struct Local {
    metrics: StatsdExporter,
    lines: encode::Options,
    agent: Agent,
    options: Options,
    client_stats: bool,
    obey_rates: bool,
    llm: Option<LlmOptions>,
    progress: Progress,
    tally: Tally,
}

impl Local {
    pub(crate) fn new(config: Config, cx: &BuildContext) -> Result<Self, BuildError> {
        let endpoint = Endpoint::parse(&config.dogstatsd_url).map_err(BuildError::new)?;
        let transport = Transport::connect(&endpoint, config.queue_size, config.resolve_interval.0, cx)?;
        let entity = config.metrics.container(own_cgroup);
        let lines = config.line_options(own_cgroup).map_err(BuildError::new)?;
        let origin = Origin { entity, external_data: config.metrics.external_data.clone() };
        let llm = config.llm_observability.enabled.then(|| config.llm_options(Format::Library));
        Ok(Local {
            metrics: StatsdExporter::new(lines.clone(), transport, config.metrics.client_telemetry, cx),
            lines,
            agent: Agent::new(&config.trace_agent_url, config.timeout.0, config.discovery, &origin, cx)?,
            options: config.span_options(),
            client_stats: config.client_stats,
            obey_rates: config.sampling == Sampling::AgentRates,
            llm,
            progress: Progress::default(),
            tally: Tally::new(cx),
        })
    }

    pub(crate) fn rates(&self) -> BTreeMap<String, f64> {
        self.agent.rates()
    }

    /// How to encode for this Agent, now.
    fn options_for(&self, info: &Info) -> Options {
        Options {
            max_resource: info.max_resource(),
            native_events: info.span_events,
            rates: if self.obey_rates { self.agent.rates() } else { BTreeMap::new() },
            ..self.options.clone()
        }
    }

    pub(crate) async fn traces(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let info = self.agent.info().await;
        let mut counts = Counts::default();
        let chunks = trace_chunks(batch, &self.options_for(&info), &mut counts);
        let computed_stats = self.client_stats && info.serves("/v0.6/stats");
        let context = Context {
            hostname: &self.options.hostname,
            version: env!("CARGO_PKG_VERSION"),
            peer_tags: &info.peer_tags,
        };
        let stats = if computed_stats { client_stats(&chunks, &context) } else { Parts::default() };
        let applications = self.llm.as_ref().map(|options| llm_spans(batch, options)).unwrap_or_default();
        let mut reached = self.progress.take(batch.otlp(), 2 + applications.len());
        let traces = Traces { agent: &self.agent, computed_stats, container: container(batch) };
        let sent = self.send(&traces, &chunks, &stats, &applications, &mut reached).await;
        if let Err(error) = sent {
            // What the Agent has already must not be sent again with the rest.
            if matches!(error, ExportError::Retryable { .. }) {
                self.progress.remember(batch.otlp(), reached);
            }
            return Err(error);
        }
        let delivered = outcome(&reached[..1], chunks.items(0..chunks.len()), counts.omitted())?;
        // Counted only now: a batch that is tried again must not count twice.
        self.tally.spans(&counts, &reached[..1]);
        Ok(delivered)
    }

    async fn send(
        &self,
        traces: &Traces<'_>,
        chunks: &Parts,
        stats: &Parts,
        applications: &[Application],
        reached: &mut Kinds,
    ) -> Result<(), ExportError> {
        let limit = Limit { bytes: self.options.max_payload, pieces: usize::MAX };
        deliver(traces, chunks, &Frame::Msgpack, limit, &mut reached[0]).await?;
        // A payload of statistics is a body without anything around it.
        let alone = Frame::fields();
        self.tally.beside("stats", &self.agent.stats, stats, &alone, STATS, &mut reached[1]).await?;
        for (application, reached) in applications.iter().zip(&mut reached[2..]) {
            let frame = application.frame(Format::Library);
            self.tally.beside("llmobs", &self.agent.llmobs, &application.spans, &frame, LLM, reached).await?;
        }
        Ok(())
    }

    pub(crate) async fn metrics(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        self.metrics.export(batch).await
    }

    /// Events and service checks; an Agent takes no other records over these ports.
    pub(crate) fn logs(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let found = marked(batch, &self.lines);
        if found.events.is_empty() && found.checks.is_empty() {
            let text =
                "an Agent takes no logs over these ports; use mode: agentless, or the Agent's OTLP port";
            return Err(ExportError::permanent("unsupported", text));
        }
        let long = self.metrics.send_marked(&found.events, &found.checks)?;
        self.tally.dropped("logs", [("unsupported", found.others)]);
        Ok(Delivered { omitted: found.others + long, ..Delivered::default() })
    }

    pub(crate) async fn shutdown(&self) {
        self.metrics.shutdown().await;
    }
}

/// The one container that all of a batch comes from.
fn container(batch: &Batch) -> Option<String> {
    let mut ids = batch.resources().map(|r| r.resource.attribute(b"container.id"));
    let first = ids.next()??;
    let first = first.as_str().filter(|id| !id.is_empty())?;
    ids.all(|id| id.is_some_and(|id| id.as_str() == Some(first))).then(|| first.to_owned())
}
