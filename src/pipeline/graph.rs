//! Builds what a configuration names, runs it, changes it to another configuration, and stops it when it is told to.

mod outlet;
mod plan;
mod running;
mod worker;

use super::entry::Chain;
use super::journal::place::Place;
use super::journal::{Journal, Outbound};
use super::keeper::{Keeper, Kept};
use super::lane::Lane;
use super::tail::Tail;
use super::tap::Tap;
use crate::config::{Config, PipelineConfig};
use muxbridge_core::{BuildContext, BuildError, Clock, Counters, Signal, Sockets, Stop};
use muxbridge_seglog::Position;
use muxbridge_seglog::vfs::{Vfs, disk::Disk};
use outlet::Outlet;
use plan::Plan;
pub(crate) use running::Running;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::{mpsc, watch};
use worker::Worker;

/// What stays the same until the program ends.
struct Base {
    counters: Counters,
    clock: Clock,
    /// Sees all metrics.
    tap: Option<Arc<Tap>>,
    /// The logs, if there are any.
    journal: Option<Arc<Journal>>,
    sockets: Sockets,
    /// The runtimes of the workers.
    handles: Vec<Handle>,
    /// Receivers and ticks.
    intake: Stop,
    /// Deliveries that have not finished in time.
    abandon: Stop,
}

/// What runs now.
#[derive(Default)]
struct Current {
    outlets: BTreeMap<String, Outlet>,
    /// Queues on the disk of destinations that have left the configuration, by id and signal.
    retained: BTreeMap<(String, Signal), Arc<Lane>>,
    lines: BTreeMap<String, Line>,
    /// What was written for each receiver.
    receivers: BTreeMap<String, u64>,
}

/// One pipeline on all workers.
struct Line {
    config: PipelineConfig,
    /// What was written for its processors.
    processors: Vec<(String, u64)>,
    chains: Vec<Arc<Chain>>,
}

/// What is built and not yet running.
pub(crate) struct Graph {
    base: Base,
    runtimes: Vec<Runtime>,
    current: Current,
    plan: Plan,
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
        let disk: Arc<dyn Vfs> = Arc::new(Disk);
        let journal = place.map(|place| Journal::open(&disk, place, counters).map(Arc::new)).transpose()?;
        let base = Base {
            counters: counters.clone(),
            clock: clock.clone(),
            tap: tap.cloned(),
            journal,
            sockets: Sockets::new(),
            handles: runtimes.iter().map(|runtime| runtime.handle().clone()).collect(),
            intake: Stop::new(),
            abandon: Stop::new(),
        };
        let retained = base.retained(&config.pipelines)?;
        let current = Current { retained, ..Current::default() };
        let plan = Plan::new(&base, &current, config, &mut Vec::new())?;
        Ok(Graph { base, runtimes, current, plan })
    }

    /// Starts all threads.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub(crate) fn start(self) -> Result<Running, BuildError> {
        let Graph { base, runtimes, current, plan } = self;
        let chains = plan.chains();
        if let (Some(journal), Some(worker)) = (&base.journal, plan.workers.first()) {
            journal.replay(&worker.chains, &base.counters, std::time::Instant::now());
        }
        let kept = base.journal.as_ref().map(|journal| Kept::new(Arc::clone(journal), chains, Vec::new()));
        let keeper = kept.map(Keeper::start).transpose()?;
        let (flushed_in, flushed) = watch::channel(0);
        let (alive, _) = watch::channel(0);
        let (mut orders, mut threads) = (Vec::new(), Vec::new());
        for (number, runtime) in runtimes.into_iter().enumerate() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a reload waits for the workers, so that no more than its orders are under way"
            )]
            let (order, ordered) = mpsc::unbounded_channel();
            let (intake, abandon) = (base.intake.clone(), base.abandon.clone());
            let worker = Worker::new(ordered, intake, abandon, flushed_in.clone(), alive.clone());
            let thread = std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    muxbridge_kit::worker::enter(number + 1);
                    runtime.block_on(worker.run());
                })
                .map_err(|e| BuildError::new(format!("cannot start a thread: {e}")))?;
            threads.push(thread);
            orders.push(order);
        }
        let mut running = Running::new(base, current, threads, orders, flushed, alive, keeper);
        running.start(plan);
        Ok(running)
    }
}

impl Base {
    fn context(&self, id: &str, worker: usize) -> BuildContext {
        BuildContext {
            id: id.to_owned(),
            counters: self.counters.clone(),
            clock: self.clock.clone(),
            worker,
            sockets: self.sockets.clone(),
        }
    }

    /// What the logs hold for destinations that no pipeline brings that signal to.
    fn retained(
        &self,
        pipelines: &[PipelineConfig],
    ) -> Result<BTreeMap<(String, Signal), Arc<Lane>>, BuildError> {
        let mut retained = BTreeMap::new();
        for signal in Signal::ALL {
            let Some(outbound) = self.journal.as_ref().and_then(|journal| journal.outbound(signal)) else {
                continue;
            };
            let known = |id: &str| {
                pipelines.iter().any(|p| p.signal == signal && p.exporters.iter().any(|e| e == id))
            };
            for status in outbound.others(&known) {
                let id = status.name;
                let end = outbound.stored.log.end();
                let Some(lane) = self.retain(outbound, &id, signal, end)? else { continue };
                tracing::warn!(
                    component = id,
                    signal = signal.as_str(),
                    items = lane.counts.queued.get(),
                    "no destination of this name any more; what waits for it is kept until it is back, or until \
                     service.storage.forget names it"
                );
                retained.insert((id, signal), lane);
            }
        }
        Ok(retained)
    }
}

impl Base {
    /// Has a log keep what stands below a place for a destination that is not in the configuration; `None` if nothing does.
    fn retain(
        &self,
        outbound: &Arc<Outbound>,
        id: &str,
        signal: Signal,
        end: Position,
    ) -> Result<Option<Arc<Lane>>, BuildError> {
        let (mut tail, backlog) = Tail::open(outbound, id, BTreeSet::new())?;
        tail.limit(end);
        if backlog.is_none() && tail.is_finished() {
            tail.remove();
            return Ok(None);
        }
        Ok(Some(Arc::new(Lane::retained(id, (tail, backlog), signal, &self.counters))))
    }
}

fn runtime() -> Result<Runtime, BuildError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| BuildError::new(format!("cannot start a runtime: {e}")))
}
