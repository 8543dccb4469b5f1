//! What an exporter is.

use crate::config::Problems;
use crate::{
    Batch, BoxFuture, BuildError, Clock, Counter, Counters, Delivered, ExportError, Preview, Signal, Sockets,
};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

/// Delivers batches to one destination.
///
/// Queueing, batching, retry, timeout, splitting and temporality are the pipeline's: an exporter encodes and sends once,
/// and says what happened. The batch stays the pipeline's, so that a retry costs nothing.
pub trait Exporter: Send + Sync + 'static {
    /// Sends one batch. The result is the acknowledgement.
    fn export(&self, batch: &Batch) -> impl Future<Output = Result<Delivered, ExportError>> + Send;

    /// Finishes what `export` left unfinished (buffers, files). Called once, after the last `export`.
    fn shutdown(&self) -> impl Future<Output = ()> + Send {
        async {}
    }
}

/// [`Exporter`] behind a pointer. Implemented for every exporter; not for implementing.
pub trait DynExporter: Send + Sync + 'static {
    /// As [`Exporter::export`].
    fn export_dyn<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Delivered, ExportError>>;
    /// As [`Exporter::shutdown`].
    fn shutdown_dyn(&self) -> BoxFuture<'_, ()>;
}

impl<E: Exporter> DynExporter for E {
    fn export_dyn<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Delivered, ExportError>> {
        Box::pin(self.export(batch))
    }
    fn shutdown_dyn(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.shutdown())
    }
}

/// One kind of exporter: its name, its configuration, and how to build it.
pub trait ExporterKind: 'static {
    /// The type in a configuration file: `lower_snake_case`.
    const NAME: &'static str;
    /// One sentence for `muxbridge components`.
    const SUMMARY: &'static str;
    /// What it can send.
    const SIGNALS: &'static [Signal];
    /// What the user writes. Give it `#[serde(default, deny_unknown_fields)]`, documented defaults in `Default`, and a
    /// doc comment for each field: they become the JSON Schema.
    type Config: DeserializeOwned + JsonSchema + Default + Send + 'static;
    /// What delivers.
    type Exporter: Exporter;

    /// Reports every mistake in the configuration. Pure: no files, no network, no clock.
    fn check(config: &Self::Config, problems: &mut Problems);

    /// What the pipeline must do to batches before this exporter sees them.
    fn needs(config: &Self::Config) -> Needs {
        let _ = config;
        Needs::default()
    }

    /// Shows what [`Exporter::export`] would send for these batches, one after the other, for `muxbridge translate`; they
    /// meet [`needs`](Self::needs) already. Pure. `None`, unless a kind says otherwise: it cannot be shown.
    fn preview(config: &Self::Config, batches: &[Batch]) -> Option<Preview> {
        let _ = (config, batches);
        None
    }

    /// Builds the exporter, inside the runtime. May read files and open sockets; a destination that is down is no
    /// error here.
    ///
    /// # Errors
    /// What the operator must change.
    fn build(config: Self::Config, cx: &BuildContext) -> Result<Self::Exporter, BuildError>;
}

/// What an exporter requires of the batches it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The temporality of metrics.
    pub temporality: TemporalityNeed,
    /// The largest request before compression, in bytes of OTLP; batches are split at items to fit.
    pub max_request_bytes: Option<usize>,
    /// The most items in one request.
    pub max_request_items: Option<usize>,
}

/// What temporality an exporter requires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TemporalityNeed {
    /// Whatever comes in.
    #[default]
    AsIs,
    /// Monotonic sums and histograms as deltas. Sums that also fall stay cumulative: they are gauges to such backends.
    Delta,
}

/// What the program gives to a component that it builds.
#[derive(Clone, Debug)]
pub struct BuildContext {
    /// The component's id: `type` or `type/name`.
    pub id: String,
    /// Our own counters.
    pub counters: Counters,
    /// The wall clock.
    pub clock: Clock,
    /// Which worker this instance is for, from 0. Exporters are built once, receivers and processors for each worker.
    pub worker: usize,
    /// Who listens asks here for its sockets, so that they outlive a change of the configuration.
    pub sockets: Sockets,
}

impl BuildContext {
    /// A context for tests and for `translate`.
    pub fn new(id: &str, counters: Counters, clock: Clock) -> Self {
        BuildContext { id: id.to_owned(), counters, clock, worker: 0, sockets: Sockets::new() }
    }

    /// A counter with the label `component` and these others.
    pub fn counter(&self, name: &'static str, labels: &[(&'static str, &str)]) -> Counter {
        let mut all = vec![("component", self.id.as_str())];
        all.extend_from_slice(labels);
        self.counters.get(name, &all)
    }
}
