//! Prints batches on standard error: the smallest exporter, and the template for a new one.

mod config;
mod encode;

pub use config::{Config, Verbosity};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind,
    Preview, Signal,
};
use std::io::Write;

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<Debug>();

/// The kind `debug`.
pub struct Debug;

impl ExporterKind for Debug {
    const NAME: &'static str = "debug";
    const SUMMARY: &'static str = "prints what would be sent, on standard error";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = Config;
    type Exporter = DebugExporter;

    fn check(_config: &Config, _problems: &mut Problems) {}

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        let text = batches.iter().map(|batch| encode::encode(batch, config.verbosity)).collect();
        Some(Preview { text, ..Preview::default() })
    }

    fn build(config: Config, _cx: &BuildContext) -> Result<DebugExporter, BuildError> {
        Ok(DebugExporter { config })
    }
}

/// Prints one batch at a time.
pub struct DebugExporter {
    config: Config,
}

impl Exporter for DebugExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let text = encode::encode(batch, self.config.verbosity);
        std::io::stderr().lock().write_all(text.as_bytes()).map_err(ExportError::retryable)?;
        Ok(Delivered::default())
    }
}
