//! An exporter that runs, with the destination that it serves.

use super::Base;
use crate::pipeline::delivery::{Alive, Delivery};
use crate::pipeline::lane::{Destination, Lane};
use crate::pipeline::settings::{RetryOnFailure, SendingQueue};
use muxbridge_core::{DynExporter, Stop};
use std::convert::Infallible;
use std::sync::Arc;
use tokio::sync::mpsc;

/// See the module.
pub(super) struct Outlet {
    pub(super) destination: Arc<Destination>,
    pub(super) exporter: Arc<dyn DynExporter>,
    pub(super) retry: RetryOnFailure,
    /// What was written for it.
    pub(super) fingerprint: u64,
    pub(super) queue: SendingQueue,
    pub(super) run: Run,
}

/// The deliveries of one exporter.
pub(super) struct Run {
    retire: Stop,
    alive: Option<Alive>,
    ended: mpsc::Receiver<Infallible>,
}

impl Run {
    pub(super) fn new() -> Self {
        let (alive, ended) = mpsc::channel(1);
        Run { retire: Stop::new(), alive: Some(alive), ended }
    }

    /// Has all deliveries end soon. What they have not delivered goes back to the lane.
    pub(super) fn retire(&self) {
        self.retire.stop();
    }

    /// Completes when all deliveries have ended.
    pub(super) async fn ended(&mut self) {
        self.alive = None;
        let _ = self.ended.recv().await;
    }
}

impl Outlet {
    /// Its deliveries, the first time that it is asked.
    pub(super) fn deliveries(&mut self, base: &Base) -> Vec<Delivery> {
        let Some(alive) = self.run.alive.take() else { return Vec::new() };
        let mut deliveries = Vec::new();
        for lane in &self.destination.lanes {
            // What the exporter before has found out, for example that credentials are bad, is not true of this one.
            lane.circuit.close();
            for _ in 0..self.queue.num_consumers {
                deliveries.push(Delivery {
                    id: self.destination.id.clone(),
                    lane: Arc::clone(lane),
                    exporter: Arc::clone(&self.exporter),
                    retry: self.retry.clone(),
                    health: Arc::clone(&self.destination.health),
                    abandon: base.abandon.clone(),
                    retire: self.run.retire.clone(),
                    alive: alive.clone(),
                    seed: fastrand::u64(..),
                });
            }
        }
        deliveries
    }

    pub(super) fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        self.destination.lanes.iter()
    }
}
