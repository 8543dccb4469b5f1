//! An exporter from outside the tree: counts items, and runs in a bridge with all built-in components.

use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind,
    Preview, Signal,
};
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::Write;
use std::process::ExitCode;

/// What the user writes under `exporters.acme`.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Config {
    /// What stands before each count.
    label: String,
}

struct Acme;

impl ExporterKind for Acme {
    const NAME: &'static str = "acme";
    const SUMMARY: &'static str = "counts items on standard error";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = Config;
    type Exporter = Counting;

    fn check(config: &Config, problems: &mut Problems) {
        if config.label.is_empty() {
            problems.add("label", "is required; write for example acme");
        }
    }

    fn preview(config: &Config, batches: &[Batch]) -> Option<Preview> {
        let mut preview = Preview::default();
        batches.iter().for_each(|batch| preview.line(&line(&config.label, batch)));
        Some(preview)
    }

    fn build(config: Config, _cx: &BuildContext) -> Result<Counting, BuildError> {
        Ok(Counting { label: config.label })
    }
}

struct Counting {
    label: String,
}

impl Exporter for Counting {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        writeln!(std::io::stderr(), "{}", line(&self.label, batch)).map_err(ExportError::retryable)?;
        Ok(Delivered::default())
    }
}

fn line(label: &str, batch: &Batch) -> String {
    format!("{label}: {} {}", batch.items(), batch.signal().items())
}

fn main() -> ExitCode {
    muxbridge::main(muxbridge::Registry::builtin().exporter(ExporterFactory::of::<Acme>()))
}
