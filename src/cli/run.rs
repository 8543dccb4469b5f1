//! `muxbridge run`: from a configuration to a running bridge, and back to nothing after a signal.

mod reload;
mod signals;

use super::{ConfigArgument, Failure, exit, say, variables};
use crate::config::{Config, Service, environment};
use crate::pipeline::graph::Graph;
use crate::pipeline::journal::place::{Choice, writable};
use crate::pipeline::tap::Tap;
use crate::registry::Registry;
use crate::telemetry::admin::{self, Admin, Status};
use crate::telemetry::logs::LogSettings;
use crate::telemetry::spans::Spans;
use muxbridge_core::config::Problems;
use muxbridge_core::{BuildError, Clock, Counters, Stop, names};
use reload::{Reloader, Source};
use signals::Signals;
use std::net::SocketAddr;
use std::sync::Arc;

#[derive(clap::Args, Default)]
pub(crate) struct Arguments {
    #[command(flatten)]
    config: ConfigArgument,
    /// Reload the file when it changes, not only at SIGHUP.
    #[arg(long, requires = "config")]
    watch: bool,
}

pub(crate) fn run(arguments: Arguments, registry: &Registry) -> Result<(), Failure> {
    let nothing = |_| std::future::pending();
    if let Some(file) = &arguments.config.config {
        let config = super::load(file, registry)?;
        return bridge(config, Some(Source { file, registry, watch: arguments.watch }), nothing);
    }
    let found = environment::configuration(&variables);
    let config = crate::config::from_tree(found.tree, registry, Problems::new())
        .map_err(|problems| super::failure("the configuration from the environment", problems))?;
    if !found.chosen.is_empty() {
        say("no configuration file; this is what the environment says:");
        found.chosen.iter().for_each(|line| say(&format!("  {line}")));
    }
    bridge(config, None, nothing)
}

/// Lets the allocator of glibc keep up to 32 MiB that are freed, for the next requests: what it gives back to the system after
/// each of them costs page faults, a quarter of the CPU time and more (`docs/performance.md`). Freeing a block that was mapped
/// on its own raises the threshold for mapping to its size, and that for giving back to twice as much. None of it is
/// touched, so that it takes no memory.
fn keep_freed_memory() {
    drop(std::hint::black_box(Vec::<u8>::with_capacity(16 << 20)));
}

/// Runs a checked configuration until SIGTERM or SIGINT, or until what runs beside it ends; SIGHUP reloads the file, if
/// there is one. `beside` is given the address of the admin port.
pub(super) fn bridge<F: Future<Output = ()>>(
    config: Config,
    source: Option<Source<'_>>,
    beside: impl FnOnce(Option<SocketAddr>) -> F,
) -> Result<(), Failure> {
    let unavailable = |e: BuildError| Failure::new(exit::UNAVAILABLE, e);
    keep_freed_memory();
    let main = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::new(exit::UNAVAILABLE, e))?;
    // Before any port answers: who sees it answer may send a signal.
    let entered = main.enter();
    let mut signals = Signals::new(source.is_some())?;
    drop(entered);
    let logs = LogSettings::new(&config.service, &variables).map_err(|e| Failure::new(exit::CONFIG, e))?;
    let (layer, spans) = Spans::new(&config.service).map_err(unavailable)?.unzip();
    logs.install(layer).map_err(unavailable)?;
    tell(&config);
    let (counters, clock, stopping) = (Counters::new(), Clock::system(), Stop::new());
    let settings = config.service.admin.clone();
    let address = admin::address(&settings, &variables).map_err(|e| Failure::new(exit::CONFIG, e))?;
    let listener = address.map(Admin::bind).transpose().map_err(unavailable)?;
    let address = listener.as_ref().and_then(|listener| listener.local_addr().ok());
    let shown = listener.is_some() && settings.pipeline_metrics;
    let tap = shown.then(|| Arc::new(Tap::new(&counters, &clock)));
    let choice = durability(&config.service, &counters)?;
    let place = choice.place.as_ref();
    let status = Arc::new(Status::default());
    let reloader = source.map(|source| Reloader::new(source, &config, &counters, &status));
    let graph = Graph::build(config, &counters, &clock, tap.as_ref(), place).map_err(unavailable)?;
    let admin = listener.map(|listener| {
        if let Some(address) = address {
            tracing::info!(%address, "admin port: /health /ready /metrics");
        }
        let pages = tap.as_ref().map(|tap| tap.pages().clone());
        Admin::new(listener, &settings, counters.clone(), clock, pages, status.clone(), stopping.clone())
    });
    let hurried = main.block_on(async {
        let serve = async move {
            match admin {
                Some(admin) => admin.serve().await,
                None => std::future::pending().await,
            }
        };
        // On the main thread and not on a worker: it must answer while the workers drain.
        tokio::spawn(serve);
        let mut running = graph.start().map_err(unavailable)?;
        status.set_exporters(running.health());
        tracing::info!(version = env!("CARGO_PKG_VERSION"), "running");
        let beside = beside(address);
        tokio::select! {
            () = signals.reload_until_end(&mut running, reloader) => {}
            () = beside => {}
        }
        tracing::info!("stopping: delivering what is queued");
        stopping.stop();
        Ok(running.shutdown(signals.end()).await)
    })?;
    if hurried {
        return Err(Failure::new(exit::CUT_SHORT, "stopped before all was delivered, at a second signal"));
    }
    if let Some(spans) = spans {
        spans.shutdown();
    }
    tracing::info!("stopped");
    Ok(())
}

/// Logs what is odd, and the pipelines.
fn tell(config: &Config) {
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
}

/// What is done with accepted data; for the log, and for `/metrics`.
fn durability(service: &Service, counters: &Counters) -> Result<Choice, Failure> {
    let choice = Choice::new(service, &variables, &writable).map_err(|e| Failure::new(exit::CONFIG, e))?;
    counters.get(names::DURABILITY, &[("durability", choice.durability())]).set(1);
    tracing::info!(
        durability = choice.durability(),
        directory = choice.place.as_ref().map(|place| place.directory.display().to_string()),
        why = choice.why,
        "what an acknowledgement means"
    );
    Ok(choice)
}
