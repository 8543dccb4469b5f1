//! Our own log: level, format and file from the configuration, or from LOG_LEVEL, LOG_FORMAT and LOG_FILE.

use crate::config::{LogFormat, Service};
use muxbridge_core::BuildError;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use tracing_subscriber::filter::{FilterExt, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer};

/// What the log was asked to be.
pub(crate) struct LogSettings {
    filter: EnvFilter,
    format: LogFormat,
    file: Option<PathBuf>,
}

impl LogSettings {
    /// The configuration first, then the environment, then `info` as text on standard error.
    pub(crate) fn new(
        service: &Service,
        variables: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, BuildError> {
        let set = |name: &str| variables(name).filter(|v| !v.is_empty());
        let logs = &service.telemetry.logs;
        let level = logs.level.clone().or_else(|| set("LOG_LEVEL")).unwrap_or_else(|| "info".to_owned());
        // Python writes WARNING and CRITICAL, in capitals; the same variable often serves both programs.
        let level = match level.to_lowercase().as_str() {
            "warning" => "warn".to_owned(),
            "critical" | "fatal" => "error".to_owned(),
            _ if level.chars().all(|c| c.is_ascii_alphabetic()) => level.to_lowercase(),
            _ => level,
        };
        let filter = EnvFilter::builder().parse(&level).map_err(|e| {
            BuildError::new(format!("service.telemetry.logs.level (LOG_LEVEL): {level:?}: {e}"))
        })?;
        let format = match (logs.format, set("LOG_FORMAT").map(|f| f.to_lowercase())) {
            (Some(format), _) => format,
            (None, Some(text)) if text == "json" => LogFormat::Json,
            // Other programs know other formats, for example `console`: all of them are for people.
            (None, _) => LogFormat::Text,
        };
        let file = logs.file.clone().or_else(|| set("LOG_FILE")).map(PathBuf::from);
        Ok(LogSettings { filter, format, file })
    }

    /// Installs the log for the whole process, with the layer that makes our own spans.
    pub(crate) fn install(self, spans: Option<super::spans::SpanLayer>) -> Result<(), BuildError> {
        let output = match &self.file {
            None => Output::Stderr,
            Some(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path).map_err(|e| {
                    BuildError::new(format!(
                        "service.telemetry.logs.file (LOG_FILE): {}: {e}",
                        path.display()
                    ))
                })?;
                Output::File(Arc::new(Mutex::new(file)))
            }
        };
        let layer = tracing_subscriber::fmt::layer().with_writer(output).with_ansi(false).with_target(false);
        // Our own spans are for the span layer: in the log they would only repeat what its fields say.
        let filter = self.filter.and(filter_fn(|metadata| metadata.is_event()));
        let layer = match self.format {
            LogFormat::Text => layer.with_filter(filter).boxed(),
            LogFormat::Json => layer.json().flatten_event(true).with_filter(filter).boxed(),
        };
        // A second installation happens only in tests, where the first one may stay.
        let _ = tracing_subscriber::registry().with(spans).with(layer).try_init();
        Ok(())
    }
}

#[derive(Clone)]
enum Output {
    Stderr,
    File(Arc<Mutex<std::fs::File>>),
}

impl<'a> MakeWriter<'a> for Output {
    type Writer = Self;
    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Write for Output {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        match self {
            Output::Stderr => io::stderr().lock().write(line),
            Output::File(file) => file.lock().unwrap_or_else(PoisonError::into_inner).write(line),
        }
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
