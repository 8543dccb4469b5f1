//! `muxbridge run`: from a configuration to a running bridge, and back to nothing after a signal.

use super::{ConfigArgument, Failure, exit, say, variables};
use crate::config::{Config, environment};
use crate::pipeline::graph::Graph;
use crate::pipeline::tap::Tap;
use crate::registry::Registry;
use crate::telemetry::admin::{self, Admin};
use crate::telemetry::logs::LogSettings;
use crate::telemetry::spans::Spans;
use muxbridge_core::config::Problems;
use muxbridge_core::{BuildError, Clock, Counters, Stop};
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
}

pub(crate) fn run(arguments: Arguments, registry: &Registry) -> Result<(), Failure> {
    let (config, chosen) = match &arguments.config.config {
        Some(path) => (super::load(path, registry)?, Vec::new()),
        None => {
            let found = environment::configuration(&variables);
            let config = crate::config::from_tree(found.tree, registry, Problems::new())
                .map_err(|problems| super::failure("the configuration from the environment", problems))?;
            (config, found.chosen)
        }
    };
    if !chosen.is_empty() {
        say("no configuration file; this is what the environment says:");
        chosen.iter().for_each(|line| say(&format!("  {line}")));
    }
    bridge(config, |_| std::future::pending())
}

/// Runs a checked configuration until SIGTERM or SIGINT, or until what runs beside it ends. `beside` is given the
/// address of the admin port.
pub(super) fn bridge<F: Future<Output = ()>>(
    config: Config,
    beside: impl FnOnce(Option<SocketAddr>) -> F,
) -> Result<(), Failure> {
    let unavailable = |e: BuildError| Failure::new(exit::UNAVAILABLE, e);
    let logs = LogSettings::new(&config.service, &variables).map_err(|e| Failure::new(exit::CONFIG, e))?;
    let (layer, spans) = Spans::new(&config.service).map_err(unavailable)?.unzip();
    logs.install(layer).map_err(unavailable)?;
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    for pipeline in &config.pipelines {
        tracing::info!(
            pipeline = pipeline.id,
            receivers = pipeline.receivers.join(","),
            processors = pipeline.processors.join(","),
            exporters = pipeline.exporters.join(","),
            "pipeline"
        );
    }

    let (counters, clock, stopping) = (Counters::new(), Clock::system(), Stop::new());
    let settings = config.service.admin.clone();
    let address = admin::address(&settings, &variables).map_err(|e| Failure::new(exit::CONFIG, e))?;
    let listener = address.map(Admin::bind).transpose().map_err(unavailable)?;
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let shown = listener.is_some() && settings.pipeline_metrics;
    let tap = shown.then(|| Arc::new(Tap::new(&counters, &clock)));
    let graph = Graph::build(config, &counters, &clock, tap.as_ref()).map_err(unavailable)?;
    let admin = listener.map(|listener| {
        if let Ok(address) = listener.local_addr() {
            tracing::info!(%address, "admin port: /health /ready /metrics");
        }
        let pages = tap.as_ref().map(|tap| tap.pages().clone());
        Admin::new(listener, &settings, counters.clone(), clock, pages, graph.health(), stopping.clone())
    });
    let main = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
    main.block_on(async {
        let mut terminate =
            signal(SignalKind::terminate()).map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
        let mut interrupt =
            signal(SignalKind::interrupt()).map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
        let serve = async move {
            match admin {
                Some(admin) => admin.serve().await,
                None => std::future::pending().await,
            }
        };
        // On the main thread and not on a worker: it must answer while the workers drain.
        tokio::spawn(serve);
        let running = graph.start().map_err(unavailable)?;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "running");
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = beside(address) => {}
        }
        tracing::info!("stopping: delivering what is queued");
        stopping.stop();
        let hurry = async {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        };
        running.shutdown(hurry).await;
        Ok(())
    })?;
    if let Some(spans) = spans {
        spans.shutdown();
    }
    tracing::info!("stopped");
    Ok(())
}
