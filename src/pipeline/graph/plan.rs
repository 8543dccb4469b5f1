//! What must be built and changed so that a configuration runs: everything that can fail is done here, and nothing that
//! runs is touched.

use super::worker::Share;
use super::{Base, Current, Line};
use crate::config::{Config, ExporterConfig, PipelineConfig};
use crate::pipeline::entry::{Chain, Durable};
use crate::pipeline::journal::Outbound;
use crate::pipeline::journal::ledger::Ledger;
use crate::pipeline::lane::{Destination, Lane};
use crate::pipeline::settings::{RetryOnFailure, SendingQueue};
use muxbridge_core::{
    BuildError, DynExporter, ErasedProcessor, ErasedReceiver, Needs, Signal, TemporalityNeed,
};
use muxbridge_kit::delta::{DeltaState, InitialValue};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// See the module.
pub(super) struct Plan {
    /// All destinations; those without something built stay as they are.
    pub(super) outlets: BTreeMap<String, Option<Built>>,
    pub(super) lines: BTreeMap<String, Line>,
    /// What was written for each receiver.
    pub(super) receivers: BTreeMap<String, u64>,
    pub(super) workers: Vec<Share>,
    pub(super) shutdown_timeout: Duration,
    /// Removed destinations whose queues are given up.
    pub(super) forget: Vec<String>,
}

/// An exporter that is new or was changed.
pub(super) struct Built {
    pub(super) destination: Arc<Destination>,
    pub(super) exporter: Arc<dyn DynExporter>,
    pub(super) needs: Needs,
    pub(super) retry: RetryOnFailure,
    pub(super) queue: SendingQueue,
    pub(super) fingerprint: u64,
}

/// A configuration with what was written for each of its components.
struct Written<'c> {
    pipelines: &'c [PipelineConfig],
    fingerprints: &'c BTreeMap<String, u64>,
}

impl Written<'_> {
    fn of(&self, section: &str, id: &str) -> u64 {
        self.fingerprints.get(&format!("{section}.{id}")).copied().unwrap_or_default()
    }

    fn uses(&self, pick: fn(&PipelineConfig) -> &Vec<String>, id: &str) -> bool {
        self.pipelines.iter().any(|p| pick(p).iter().any(|x| x == id))
    }
}

impl Plan {
    /// Builds all that is new or changed.
    ///
    /// # Errors
    /// The first component that cannot be built, with its id. The exporters in `built` are then to be shut down.
    pub(super) fn new(
        base: &Base,
        current: &Current,
        config: Config,
        built: &mut Vec<Arc<dyn DynExporter>>,
    ) -> Result<Self, BuildError> {
        let Config { receivers, processors, exporters, pipelines, service, fingerprints, .. } = config;
        let written = Written { pipelines: &pipelines, fingerprints: &fingerprints };
        let receivers: Vec<_> =
            receivers.into_iter().filter(|(id, _)| written.uses(|p| &p.receivers, id)).collect();
        let exporters: Vec<_> =
            exporters.into_iter().filter(|(id, _)| written.uses(|p| &p.exporters, id)).collect();
        let same_receiver = |id: &str| current.receivers.get(id) == Some(&written.of("receivers", id));
        let same_exporter = |id: &str, queue: &SendingQueue| {
            let outlet = current.outlets.get(id);
            outlet.is_some_and(|o| o.fingerprint == written.of("exporters", id) && o.queue == *queue)
        };
        let staying = receivers.iter().map(|(id, _)| id).filter(|id| same_receiver(id));
        let staying =
            staying.chain(exporters.iter().filter(|(id, e)| same_exporter(id, &e.queue)).map(|(id, _)| id));
        base.sockets.begin(staying.cloned().collect());

        let mut outlets = BTreeMap::new();
        for (id, exporter) in exporters {
            let outlet = if same_exporter(&id, &exporter.queue) {
                None
            } else {
                Some(build_exporter(base, current, &id, exporter, written.of("exporters", &id))?)
            };
            built.extend(outlet.iter().map(|outlet| outlet.exporter.clone()));
            outlets.insert(id, outlet);
        }
        let stop = current
            .receivers
            .keys()
            .filter(|id| !receivers.iter().any(|(new, _)| new == *id) || !same_receiver(id));
        let stop: Vec<String> = stop.cloned().collect();
        let mut workers: Vec<Share> =
            base.handles.iter().map(|_| Share { stop: stop.clone(), ..Share::default() }).collect();
        let lines = lines(base, current, &written, &processors, &outlets, &mut workers);
        for (id, receiver) in receivers.iter().filter(|(id, _)| !same_receiver(id)) {
            build_receiver(base, id, &**receiver, &mut workers)?;
        }
        join(base, current, &outlets, &pipelines)?;
        let receivers =
            receivers.into_iter().map(|(id, _)| (id.clone(), written.of("receivers", &id))).collect();
        let shutdown_timeout = service.shutdown_timeout.0;
        Ok(Plan { outlets, lines, receivers, workers, shutdown_timeout, forget: service.storage.forget })
    }

    /// The chains of all workers.
    pub(super) fn chains(&self) -> Vec<Arc<Chain>> {
        self.workers.iter().flat_map(|worker| worker.chains.iter().cloned()).collect()
    }

    /// The pipelines that bring a signal to a destination.
    pub(super) fn pipelines(&self, signal: Signal, exporter: &str) -> BTreeSet<String> {
        bringing(self.lines.values().map(|line| &line.config), signal, exporter)
    }
}

fn bringing<'p>(
    pipelines: impl Iterator<Item = &'p PipelineConfig>,
    signal: Signal,
    exporter: &str,
) -> BTreeSet<String> {
    let own = pipelines.filter(|p| p.signal == signal && p.exporters.iter().any(|id| id == exporter));
    own.map(|p| p.id.clone()).collect()
}

fn build_exporter(
    base: &Base,
    current: &Current,
    id: &str,
    config: ExporterConfig,
    fingerprint: u64,
) -> Result<Built, BuildError> {
    let ExporterConfig { kind, signals, queue, retry } = config;
    let _runtime = base.handles[0].enter();
    let needs = kind.needs();
    let exporter =
        kind.build(&base.context(id, 0)).map_err(|e| BuildError::new(format!("exporters.{id}: {e}")))?;
    let destination = match current.outlets.get(id) {
        Some(outlet) => outlet.destination.clone(),
        None => {
            let lane = |signal: &Signal| {
                let delta = delta(base, needs);
                Arc::new(Lane::new(id, *signal, needs, queue.clone(), &base.counters, delta))
            };
            let lanes = signals.iter().map(lane).collect();
            Arc::new(Destination { id: id.to_owned(), lanes, health: Arc::default() })
        }
    };
    Ok(Built { destination, exporter, needs, retry, queue, fingerprint })
}

/// For a destination that needs deltas.
pub(super) fn delta(base: &Base, needs: Needs) -> Option<DeltaState> {
    (needs.temporality == TemporalityNeed::Delta)
        .then(|| DeltaState::new(InitialValue::Auto, base.clock.unix_nanos()))
}

/// The pipelines, and the chains of each worker: with the processors that run already where nothing of them was changed.
fn lines(
    base: &Base,
    current: &Current,
    written: &Written<'_>,
    processors: &BTreeMap<String, Box<dyn ErasedProcessor>>,
    outlets: &BTreeMap<String, Option<Built>>,
    workers: &mut [Share],
) -> BTreeMap<String, Line> {
    let destination = |id: &String| match outlets.get(id)? {
        Some(built) => Some(built.destination.clone()),
        None => current.outlets.get(id).map(|outlet| outlet.destination.clone()),
    };
    let mut lines = BTreeMap::new();
    for pipeline in written.pipelines {
        let own: Vec<(String, u64)> =
            pipeline.processors.iter().map(|id| (id.clone(), written.of("processors", id))).collect();
        let before = current.lines.get(&pipeline.id).filter(|line| line.processors == own);
        let mut chains = Vec::new();
        for (number, share) in workers.iter_mut().enumerate() {
            let old = before.and_then(|line| line.chains.get(number));
            let build = |id: &String| {
                let _runtime = base.handles[number].enter();
                processors.get(id).map(|p| p.build(pipeline.signal, &base.context(id, number)))
            };
            let chain = Arc::new(Chain {
                id: pipeline.id.clone(),
                signal: pipeline.signal,
                receivers: pipeline.receivers.clone(),
                processors: match old {
                    Some(old) => old.processors.clone(),
                    None => Arc::new(Mutex::new(pipeline.processors.iter().filter_map(build).collect())),
                },
                destinations: pipeline.exporters.iter().filter_map(destination).collect(),
                tap: base.tap.clone(),
                durable: old.map_or_else(
                    || {
                        base.journal.as_ref().map(|journal| Durable {
                            journal: Arc::clone(journal),
                            ledger: Ledger::new(&base.counters, &pipeline.id, number),
                        })
                    },
                    |old| old.durable.clone(),
                ),
            });
            let stays = |d: &Arc<Destination>| chain.destinations.iter().any(|new| Arc::ptr_eq(new, d));
            share.flush.extend(old.filter(|old| !old.destinations.iter().all(stays)).cloned());
            share.chains.push(chain.clone());
            chains.push(chain);
        }
        lines.insert(pipeline.id.clone(), Line { config: pipeline.clone(), processors: own, chains });
    }
    for (id, old) in &current.lines {
        if lines.get(id).is_none_or(|new| new.processors != old.processors) {
            for (share, chain) in workers.iter_mut().zip(&old.chains) {
                share.retire.push(chain.clone());
            }
        }
    }
    lines
}

fn build_receiver(
    base: &Base,
    id: &str,
    receiver: &dyn ErasedReceiver,
    workers: &mut [Share],
) -> Result<(), BuildError> {
    for (number, share) in workers.iter_mut().enumerate() {
        if number == 0 || receiver.every_worker() {
            let _runtime = base.handles[number].enter();
            let built = receiver.build(&base.context(id, number));
            let built = built.map_err(|e| BuildError::new(format!("receivers.{id}: {e}")))?;
            share.start.push((id.to_owned(), built));
        }
    }
    Ok(())
}

/// Has the queue of every signal that a pipeline brings to a destination follow its log, from before the first batch that
/// can come. If one cannot, the others let go again.
fn join(
    base: &Base,
    current: &Current,
    outlets: &BTreeMap<String, Option<Built>>,
    pipelines: &[PipelineConfig],
) -> Result<(), BuildError> {
    let Some(journal) = &base.journal else { return Ok(()) };
    let mut joined: Vec<(&Arc<Outbound>, &Arc<Lane>)> = Vec::new();
    for (id, built) in outlets {
        let running = current.outlets.get(id);
        let destination = built.as_ref().map(|b| &b.destination).or(running.map(|o| &o.destination));
        for lane in destination.into_iter().flat_map(|d| &d.lanes) {
            let own = bringing(pipelines.iter(), lane.signal, id);
            let Some(outbound) = journal.outbound(lane.signal).filter(|_| !own.is_empty()) else { continue };
            if running.is_some() && lane.is_stored() {
                // Until all workers have changed, batches can come from pipelines of before and of after.
                lane.set_pipelines(&own, true);
                continue;
            }
            // What an earlier one of this id left is taken up.
            if let Some(lane) = current.retained.get(&(id.clone(), lane.signal)) {
                lane.release();
            }
            if let Err(error) = journal.join(lane, id, own) {
                for (outbound, lane) in joined {
                    outbound.leave(lane);
                    lane.release();
                }
                return Err(BuildError::new(format!("exporters.{id}: {error}")));
            }
            joined.push((outbound, lane));
        }
    }
    Ok(())
}
