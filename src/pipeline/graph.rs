//! Builds what a configuration names and runs it until it is told to stop.

use super::delivery::{Delivery, Health};
use super::entry::{Chain, Durable, Entry, stored};
use super::journal::Journal;
use super::journal::ledger::Ledger;
use super::journal::place::Place;
use super::keeper::{Keeper, Kept};
use super::lane::{Destination, Lane};
use super::settings::{RetryOnFailure, SendingQueue};
use super::tail::Tail;
use super::tap::Tap;
use crate::config::{Config, ExporterConfig, PipelineConfig};
use muxbridge_core::{
    BuildContext, BuildError, Clock, Counters, DynExporter, Needs, RunReceiver, Signal, Stop, TemporalityNeed,
};
use muxbridge_kit::delta::{DeltaState, InitialValue};
use muxbridge_seglog::vfs::{Vfs, disk::Disk};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::watch;

struct Built {
    destination: Arc<Destination>,
    exporter: Arc<dyn DynExporter>,
    retry: RetryOnFailure,
}

struct Worker {
    runtime: Runtime,
    chains: Vec<Arc<Chain>>,
    receivers: Vec<(String, RunReceiver)>,
}

/// What is built and not yet running.
pub(crate) struct Graph {
    workers: Vec<Worker>,
    built: Vec<Built>,
    shutdown_timeout: Duration,
    /// The logs, if there are any.
    kept: Option<Kept>,
    counters: Counters,
}

/// What is running.
pub(crate) struct Running {
    threads: Vec<JoinHandle<()>>,
    /// Receivers and ticks.
    intake: Stop,
    /// Deliveries that have not finished in time.
    abandon: Stop,
    built: Vec<Built>,
    shutdown_timeout: Duration,
    /// How many workers have flushed their processors.
    flushed: watch::Receiver<usize>,
    delivered: watch::Receiver<usize>,
    deliveries: usize,
    keeper: Option<Keeper>,
}

impl Graph {
    /// Builds everything: opens sockets and files, starts nothing. All metrics go to `tap` too. With a `place` everything
    /// accepted is stored there.
    ///
    /// # Errors
    /// The first component that cannot be built, with its id.
    pub(crate) fn build(
        config: Config,
        counters: &Counters,
        clock: &Clock,
        tap: Option<&Arc<Tap>>,
        place: Option<&Place>,
    ) -> Result<Self, BuildError> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let count = if config.service.workers == 0 { cores } else { config.service.workers };
        let runtimes = (0..count).map(|_| runtime()).collect::<Result<Vec<_>, _>>()?;
        let Config { receivers, processors, exporters, pipelines, service, .. } = config;
        let started = clock.unix_nanos();

        let journal = place.map(|place| open(place, &pipelines, counters)).transpose()?;

        let mut built = BTreeMap::new();
        let used = |pick: fn(&PipelineConfig) -> &Vec<String>, id: &str| {
            pipelines.iter().any(|p| pick(p).iter().any(|x| x == id))
        };
        for (id, exporter) in exporters.into_iter().filter(|(id, _)| used(|p| &p.exporters, id)) {
            let _runtime = runtimes[0].enter();
            let cx =
                BuildContext { id: id.clone(), counters: counters.clone(), clock: clock.clone(), worker: 0 };
            built.insert(id.clone(), build_exporter(&id, exporter, &cx, started)?);
        }

        let lanes = match &journal {
            Some(journal) => follow(journal, built.values(), &pipelines)?,
            None => Vec::new(),
        };

        let mut workers = Vec::new();
        for (number, runtime) in runtimes.into_iter().enumerate() {
            let _entered = runtime.enter();
            let cx = |id: &str| BuildContext {
                id: id.to_owned(),
                counters: counters.clone(),
                clock: clock.clone(),
                worker: number,
            };
            let chains = pipelines
                .iter()
                .map(|pipeline| {
                    let processors = pipeline
                        .processors
                        .iter()
                        .filter_map(|id| processors.get(id).map(|p| p.build(pipeline.signal, &cx(id))));
                    let chosen = pipeline.exporters.iter().filter_map(|id| built.get(id));
                    let durable = journal.as_ref().map(|journal| Durable {
                        journal: Arc::clone(journal),
                        ledger: Ledger::new(counters, &pipeline.id, number),
                    });
                    Arc::new(Chain {
                        id: pipeline.id.clone(),
                        signal: pipeline.signal,
                        receivers: pipeline.receivers.clone(),
                        processors: Mutex::new(processors.collect()),
                        destinations: chosen.map(|b| b.destination.clone()).collect(),
                        tap: tap.cloned(),
                        durable,
                    })
                })
                .collect();
            let mut running = Vec::new();
            for (id, receiver) in receivers.iter().filter(|(id, _)| used(|p| &p.receivers, id)) {
                if number == 0 || receiver.every_worker() {
                    let receiver = receiver
                        .build(&cx(id))
                        .map_err(|e| BuildError::new(format!("receivers.{id}: {e}")))?;
                    running.push((id.clone(), receiver));
                }
            }
            drop(_entered);
            workers.push(Worker { runtime, chains, receivers: running });
        }
        let chains = |worker: &Worker| worker.chains.clone();
        let kept =
            journal.map(|journal| Kept { journal, chains: workers.iter().flat_map(chains).collect(), lanes });
        let (built, counters) = (built.into_values().collect(), counters.clone());
        Ok(Graph { workers, built, shutdown_timeout: service.shutdown_timeout.0, kept, counters })
    }

    /// The destinations with their health, in the order of their ids.
    pub(crate) fn health(&self) -> Vec<(String, Arc<Health>)> {
        self.built.iter().map(|b| (b.destination.id.clone(), b.destination.health.clone())).collect()
    }

    /// Starts all threads.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(self) -> Result<Running, BuildError> {
        let (intake, abandon) = (Stop::new(), Stop::new());
        let (flushed_in, flushed) = watch::channel(0);
        let (delivered_in, delivered) = watch::channel(0);
        let count = self.workers.len();
        let mut tasks: Vec<Vec<Delivery>> = (0..count).map(|_| Vec::new()).collect();
        let mut deliveries = 0;
        for built in &self.built {
            for lane in &built.destination.lanes {
                for _ in 0..lane.settings.num_consumers {
                    tasks[deliveries % count].push(built.delivery(lane, &abandon, deliveries as u64));
                    deliveries += 1;
                }
            }
        }
        let Graph { workers, built, shutdown_timeout, kept, counters } = self;
        if let (Some(kept), Some(first)) = (&kept, workers.first()) {
            let now = std::time::Instant::now();
            kept.journal.replay(&first.chains, &counters, now);
        }
        let keeper = kept.map(Keeper::start).transpose()?;
        let mut threads = Vec::new();
        for (number, (worker, tasks)) in workers.into_iter().zip(tasks).enumerate() {
            let (intake, flushed, delivered) = (intake.clone(), flushed_in.clone(), delivered_in.clone());
            let abandoned = abandon.clone();
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || worker.run(tasks, deliveries, intake, &abandoned, &flushed, &delivered))
                .map_err(|e| BuildError::new(format!("cannot start a thread: {e}")))?;
            threads.push(thread);
        }
        Ok(Running {
            threads,
            intake,
            abandon,
            built,
            shutdown_timeout,
            flushed,
            delivered,
            deliveries,
            keeper,
        })
    }
}

impl Worker {
    fn run(
        self,
        tasks: Vec<Delivery>,
        deliveries: usize,
        intake: Stop,
        abandon: &Stop,
        flushed: &watch::Sender<usize>,
        delivered: &watch::Sender<usize>,
    ) {
        let Worker { runtime, chains, receivers } = self;
        runtime.block_on(async move {
            let mut sending = tokio::task::JoinSet::new();
            for delivery in tasks {
                sending.spawn(delivery.run());
            }
            let mut receiving = tokio::task::JoinSet::new();
            for (id, receiver) in receivers {
                let chains = chains.iter().filter(|c| c.receivers.contains(&id)).cloned().collect();
                let run = receiver(Arc::new(Entry { chains }), intake.clone());
                receiving.spawn(async move {
                    if let Err(error) = run.await {
                        tracing::error!(receiver = id, error = %error, "receiver stopped");
                    }
                });
            }
            let mut tick = tokio::time::interval(Duration::from_millis(500));
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = tick.tick() => {
                        let now = tokio::time::Instant::now().into_std();
                        chains.iter().for_each(|chain| chain.tick(now));
                    }
                    () = intake.wait() => break,
                }
            }
            while receiving.join_next().await.is_some() {}
            let now = tokio::time::Instant::now().into_std();
            stored(chains.iter().flat_map(|chain| chain.flush(now)).collect()).await;
            flushed.send_modify(|n| *n += 1);
            while sending.join_next().await.is_some() {
                delivered.send_modify(|n| *n += 1);
            }
            // A connection lives on the runtime that opened it and serves the deliveries of all workers: one that ended
            // earlier would break requests of the others, which are then sent twice.
            let mut all = delivered.subscribe();
            tokio::select! {
                _ = all.wait_for(|n| *n >= deliveries) => {}
                () = abandon.wait() => {}
            }
        });
    }
}

impl Running {
    /// Stops intake, delivers what is queued until the time is over, closes the exporters.
    pub(crate) async fn shutdown(mut self, hurry: impl Future<Output = ()>) {
        let deadline = tokio::time::sleep(self.shutdown_timeout);
        self.intake.stop();
        let workers = self.threads.len();
        let lanes = || self.built.iter().flat_map(|b| &b.destination.lanes);
        let in_order = async {
            let _ = self.flushed.wait_for(|n| *n >= workers).await;
            lanes().for_each(|lane| lane.close());
            let deliveries = self.deliveries;
            let _ = self.delivered.wait_for(|n| *n >= deliveries).await;
        };
        tokio::select! {
            () = in_order => {}
            () = deadline => tracing::warn!("shutdown timeout is over"),
            () = hurry => tracing::warn!("second signal, not waiting"),
        }
        lanes().for_each(|lane| lane.close());
        for lane in lanes() {
            let left = lane.abandon();
            if left > 0 {
                lane.counts.drop_queued("shutdown", left);
            }
        }
        self.abandon.stop();
        for built in &self.built {
            built.exporter.shutdown_dyn().await;
        }
        let threads = std::mem::take(&mut self.threads);
        let keeper = self.keeper.take();
        let end = move || {
            threads.into_iter().for_each(|t| drop(t.join()));
            keeper.into_iter().for_each(Keeper::finish);
        };
        let _ = tokio::task::spawn_blocking(end).await;
    }
}

impl Built {
    fn delivery(&self, lane: &Arc<Lane>, abandon: &Stop, seed: u64) -> Delivery {
        Delivery {
            id: self.destination.id.clone(),
            lane: lane.clone(),
            exporter: self.exporter.clone(),
            retry: self.retry.clone(),
            health: self.destination.health.clone(),
            abandon: abandon.clone(),
            seed,
        }
    }
}

fn runtime() -> Result<Runtime, BuildError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| BuildError::new(format!("cannot start a runtime: {e}")))
}

fn open(
    place: &Place,
    pipelines: &[PipelineConfig],
    counters: &Counters,
) -> Result<Arc<Journal>, BuildError> {
    let disk: Arc<dyn Vfs> = Arc::new(Disk);
    let signals: BTreeSet<Signal> = pipelines.iter().map(|p| p.signal).collect();
    let signals: Vec<Signal> = signals.into_iter().collect();
    Journal::open(&disk, place, &signals, counters).map(Arc::new)
}

/// Has the queue of every signal that a pipeline brings to a destination follow the log.
fn follow<'b>(
    journal: &Journal,
    built: impl Iterator<Item = &'b Built>,
    pipelines: &[PipelineConfig],
) -> Result<Vec<Arc<Lane>>, BuildError> {
    let mut all = Vec::new();
    for built in built {
        let id = &built.destination.id;
        for lane in &built.destination.lanes {
            let own = pipelines.iter().filter(|p| p.signal == lane.signal && p.exporters.contains(id));
            let own: BTreeSet<String> = own.map(|p| p.id.clone()).collect();
            if let Some(outbound) = journal.outbound(lane.signal).filter(|_| !own.is_empty()) {
                let tail = Tail::new(outbound, id, own)
                    .map_err(|e| BuildError::new(format!("exporters.{id}: {e}")))?;
                lane.follow(id, tail, journal)
                    .map_err(|e| BuildError::new(format!("exporters.{id}: {e}")))?;
                all.push(lane.clone());
            }
        }
    }
    for signal in Signal::ALL {
        if let Some(outbound) = journal.outbound(signal) {
            let own: Vec<Arc<Lane>> = all.iter().filter(|lane| lane.signal == signal).cloned().collect();
            outbound.set_lanes(&own);
        }
    }
    Ok(all)
}

fn build_exporter(
    id: &str,
    config: ExporterConfig,
    cx: &BuildContext,
    started: u64,
) -> Result<Built, BuildError> {
    let ExporterConfig { kind, signals, queue, retry } = config;
    let needs = kind.needs();
    let exporter = kind.build(cx).map_err(|e| BuildError::new(format!("exporters.{id}: {e}")))?;
    let destination = destination(id, signals, needs, &queue, &cx.counters, started);
    Ok(Built { destination, exporter, retry })
}

fn destination(
    id: &str,
    signals: &[Signal],
    needs: Needs,
    queue: &SendingQueue,
    counters: &Counters,
    started: u64,
) -> Arc<Destination> {
    let lane = |signal: &Signal| {
        let delta = (needs.temporality == TemporalityNeed::Delta)
            .then(|| DeltaState::new(InitialValue::Auto, started));
        Arc::new(Lane::new(id, *signal, needs, queue.clone(), counters, delta))
    };
    let lanes = signals.iter().map(lane).collect();
    Arc::new(Destination { id: id.to_owned(), lanes, health: Arc::default() })
}
