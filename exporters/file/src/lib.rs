//! Writes OTLP/JSON to a file, one request a line, as the Collector's file exporter does.

mod config;
pub mod encode;
mod rotation;
mod writer;

pub use config::{Config, Format, Rotation};
use muxbridge_core::config::Problems;
use muxbridge_core::{
    Batch, BuildContext, BuildError, Delivered, ExportError, Exporter, ExporterFactory, ExporterKind,
    Preview, Signal,
};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;
use writer::Writer;

/// What the registry lists.
pub const FACTORY: ExporterFactory = ExporterFactory::of::<File>();

/// The kind `file`.
pub struct File;

impl ExporterKind for File {
    const NAME: &'static str = "file";
    const SUMMARY: &'static str = "writes OTLP/JSON lines to a file that rotates";
    const SIGNALS: &'static [Signal] = &Signal::ALL;
    type Config = Config;
    type Exporter = FileExporter;

    fn check(config: &Config, problems: &mut Problems) {
        config.check(problems);
    }

    fn preview(_config: &Config, batches: &[Batch]) -> Option<Preview> {
        let mut preview = Preview::default();
        batches.iter().for_each(|batch| preview.text.push_str(&encode::line(batch)));
        Some(preview)
    }

    fn build(config: Config, cx: &BuildContext) -> Result<FileExporter, BuildError> {
        let interval = config.flush_interval.0;
        let writer = Writer::open(config, cx.clock.clone()).map_err(|e| BuildError::new(e.to_string()))?;
        let writer = Arc::new(Mutex::new(writer));
        if !interval.is_zero() {
            tokio::spawn(sync_regularly(Arc::downgrade(&writer), interval, cx.id.clone()));
        }
        Ok(FileExporter { writer })
    }
}

/// Writes one batch at a time.
pub struct FileExporter {
    writer: Arc<Mutex<Writer>>,
}

impl FileExporter {
    /// File I/O can block for long, and the runtime has other work to do.
    async fn with_writer<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Writer) -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        let writer = self.writer.clone();
        tokio::task::spawn_blocking(move || work(&mut writer.lock().unwrap_or_else(PoisonError::into_inner)))
            .await
    }
}

impl Exporter for FileExporter {
    async fn export(&self, batch: &Batch) -> Result<Delivered, ExportError> {
        let line = encode::line(batch);
        let written = self.with_writer(move |writer| writer.write(line.as_bytes())).await;
        written.map_err(ExportError::retryable)?.map_err(ExportError::retryable)?;
        Ok(Delivered::default())
    }

    async fn shutdown(&self) {
        if let Ok(Err(error)) = self.with_writer(Writer::sync).await {
            tracing::error!(%error, "what was written last may not be on the disk");
        }
    }
}

/// Until the exporter is gone.
async fn sync_regularly(writer: Weak<Mutex<Writer>>, interval: Duration, component: String) {
    let mut tick = tokio::time::interval(interval);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(writer) = writer.upgrade() else { return };
        let synced =
            tokio::task::spawn_blocking(move || writer.lock().unwrap_or_else(PoisonError::into_inner).sync());
        if let Ok(Err(error)) = synced.await {
            tracing::error!(component, %error, "cannot sync");
        }
    }
}
