//! The bridge inside another Rust program: the same pipelines, fed through a receiver without a socket.
//!
//! A program that already uses the OpenTelemetry SDK hands its providers a [`SdkExporter`]; one that has OTLP requests
//! hands them to [`Input::send`]. `examples/embed` is such a program.

mod feed;
mod sdk;

use crate::cli::failure_text;
use crate::config;
use crate::pipeline::graph::{Graph, Running};
use crate::pipeline::journal::place::{Choice, writable};
use crate::registry::Registry;
use feed::{Feed, RECEIVER};
pub use feed::{Input, SendError};
use muxbridge_core::{Clock, Counters, ReceiverFactory};
pub use sdk::SdkExporter;

/// A running bridge. [`Bridge::shutdown`] delivers what is queued; one that is dropped without it does the same.
///
/// It opens no admin port and writes no log: its log lines and spans are `tracing` events of the program that holds it.
pub struct Bridge {
    input: Input,
    counters: Counters,
    running: Option<Running>,
}

/// Why a bridge does not start, for the person who wrote the configuration.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StartError(String);

impl Bridge {
    /// Starts what the configuration names: the YAML of `muxbridge run`, with the receiver `in_process` in at least one
    /// pipeline. `${env:...}` is substituted.
    ///
    /// # Errors
    /// All problems of the configuration, or the first component that cannot be built.
    pub fn start(yaml: &str, registry: Registry) -> Result<Self, StartError> {
        let variables = |name: &str| std::env::var(name).ok();
        let registry = registry.receiver(ReceiverFactory::of::<feed::InProcess>());
        let mut config = config::load(yaml, &variables, &registry)
            .map_err(|problems| StartError(failure_text("the configuration", problems)))?;
        if !config.pipelines.iter().any(|p| p.receivers.iter().any(|id| id == RECEIVER)) {
            return Err(StartError(format!(
                "service.pipelines: none has the receiver {RECEIVER}, so that nothing of this program would get in; add it to \
                 `receivers` and to a pipeline"
            )));
        }
        let (feed, input) = Feed::new();
        config.receivers.insert(RECEIVER.to_owned(), Box::new(feed));
        let counters = Counters::new();
        let choice = Choice::new(&config.service, &variables, &writable)
            .map_err(|error| StartError(error.to_string()))?;
        let running = Graph::build(config, &counters, &Clock::system(), None, choice.place.as_ref())
            .and_then(Graph::start)
            .map_err(|error| StartError(error.to_string()))?;
        Ok(Bridge { input, counters, running: Some(running) })
    }

    /// Where OTLP requests of this program go in.
    pub fn input(&self) -> Input {
        self.input.clone()
    }

    /// An exporter for a `TracerProvider`, a `MeterProvider` or a `LoggerProvider` of the OpenTelemetry SDK.
    pub fn exporter(&self) -> SdkExporter {
        SdkExporter::new(self.input.clone())
    }

    /// The counters of the bridge; [`muxbridge_core::names`] lists them.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Takes nothing more, delivers what is queued within `service.shutdown_timeout`, and counts what is left. Blocks.
    /// Shut down the providers of the SDK first: they still hold telemetry.
    pub fn shutdown(mut self) {
        self.stop();
    }

    fn stop(&mut self) {
        let Some(running) = self.running.take() else { return };
        // On a thread of its own: the caller may be inside a runtime, which must not be blocked by another one.
        let ended = std::thread::Builder::new().name("muxbridge-shutdown".to_owned()).spawn(move || {
            match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => drop(runtime.block_on(running.shutdown(std::future::pending()))),
                Err(error) => tracing::error!(%error, "cannot shut down in order"),
            }
        });
        match ended {
            Ok(thread) => drop(thread.join()),
            Err(error) => tracing::error!(%error, "cannot shut down in order"),
        }
    }
}

impl Drop for Bridge {
    fn drop(&mut self) {
        self.stop();
    }
}
