//! The explicit list of built-in receivers, processors and exporters, and where others are added.

use muxbridge_core::{ExporterFactory, ProcessorFactory, ReceiverFactory};

/// What a configuration file can name.
#[derive(Clone, Debug)]
pub struct Registry {
    receivers: Vec<ReceiverFactory>,
    processors: Vec<ProcessorFactory>,
    exporters: Vec<ExporterFactory>,
}

impl Registry {
    /// All built-in components. A new exporter is one line here and one in `Cargo.toml`.
    pub fn builtin() -> Self {
        Registry {
            receivers: vec![crate::receivers::otlp::FACTORY, crate::receivers::prometheus::FACTORY],
            processors: vec![crate::processors::modelmuxer::FACTORY],
            exporters: vec![
                muxbridge_exporter_otlp::OTLP,
                muxbridge_exporter_otlp::OTLP_HTTP,
                muxbridge_exporter_datadog::FACTORY,
                muxbridge_exporter_newrelic::FACTORY,
                muxbridge_exporter_statsd::FACTORY,
                muxbridge_exporter_prometheus::FACTORY,
                muxbridge_exporter_file::FACTORY,
                muxbridge_exporter_debug::FACTORY,
            ],
        }
    }

    /// Adds an exporter from outside the tree. One with the name of another takes its place.
    #[must_use]
    pub fn exporter(mut self, factory: ExporterFactory) -> Self {
        self.exporters.retain(|f| f.name != factory.name);
        self.exporters.push(factory);
        self
    }

    /// Adds a receiver from outside the tree.
    #[must_use]
    pub fn receiver(mut self, factory: ReceiverFactory) -> Self {
        self.receivers.retain(|f| f.name != factory.name);
        self.receivers.push(factory);
        self
    }

    /// Adds a processor from outside the tree.
    #[must_use]
    pub fn processor(mut self, factory: ProcessorFactory) -> Self {
        self.processors.retain(|f| f.name != factory.name);
        self.processors.push(factory);
        self
    }

    /// All receivers.
    pub fn receivers(&self) -> &[ReceiverFactory] {
        &self.receivers
    }

    /// All processors.
    pub fn processors(&self) -> &[ProcessorFactory] {
        &self.processors
    }

    /// All exporters.
    pub fn exporters(&self) -> &[ExporterFactory] {
        &self.exporters
    }
}
