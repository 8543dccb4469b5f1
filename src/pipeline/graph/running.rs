//! What runs: changing it to another configuration, and stopping it.

use super::outlet::{Outlet, Run};
use super::plan::{Built, Plan, delta};
use super::worker::Order;
use super::{Base, Current};
use crate::config::Config;
use crate::pipeline::delivery::Health;
use crate::pipeline::keeper::Keeper;
use crate::pipeline::lane::Lane;
use muxbridge_core::{BuildError, DynExporter};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

/// See the module.
pub(crate) struct Running {
    base: Base,
    current: Current,
    /// Destinations that left the configuration and are not empty.
    leaving: Vec<Outlet>,
    /// Exporters that others take the place of, by the ids of those.
    replaced: Vec<(String, Arc<dyn DynExporter>, Run)>,
    threads: Vec<JoinHandle<()>>,
    orders: Vec<mpsc::UnboundedSender<Order>>,
    shutdown_timeout: Duration,
    /// How many workers have flushed their processors.
    flushed: watch::Receiver<usize>,
    /// How many deliveries run, or are about to.
    alive: watch::Sender<usize>,
    /// The worker of the next delivery.
    next: usize,
    keeper: Option<Keeper>,
}

impl Running {
    pub(super) fn new(
        base: Base,
        current: Current,
        threads: Vec<JoinHandle<()>>,
        orders: Vec<mpsc::UnboundedSender<Order>>,
        flushed: watch::Receiver<usize>,
        alive: watch::Sender<usize>,
        keeper: Option<Keeper>,
    ) -> Self {
        Running {
            base,
            current,
            leaving: Vec::new(),
            replaced: Vec::new(),
            threads,
            orders,
            shutdown_timeout: Duration::ZERO,
            flushed,
            alive,
            next: 0,
            keeper,
        }
    }

    /// The destinations with their health, in the order of their ids.
    pub(crate) fn health(&self) -> Vec<(String, Arc<Health>)> {
        let outlets = self.current.outlets.iter();
        outlets.map(|(id, outlet)| (id.clone(), outlet.destination.health.clone())).collect()
    }

    /// Has the first configuration run.
    pub(super) fn start(&mut self, plan: Plan) {
        drop(self.switch(plan));
        self.deliver();
        self.look_after();
    }

    /// Changes to another configuration: what it leaves as it is goes on undisturbed. Returns when what it removes has
    /// delivered what it could. May be dropped half-way, if [`Running::shutdown`] follows.
    ///
    /// # Errors
    /// The first component that cannot be built. Nothing is changed then.
    pub(crate) async fn reload(&mut self, config: Config) -> Result<(), BuildError> {
        let mut built = Vec::new();
        let plan = match Plan::new(&self.base, &self.current, config, &mut built) {
            Ok(plan) => plan,
            Err(error) => {
                for exporter in built {
                    exporter.shutdown_dyn().await;
                }
                return Err(error);
            }
        };
        if let Some(keeper) = &self.keeper {
            keeper.extend(plan.chains(), self.lanes().cloned().collect());
        }
        let own: Vec<_> = self.base.journal.iter().flat_map(|_| plan.outlets.keys().cloned()).collect();
        let own: Vec<_> = own
            .into_iter()
            .map(|id| (super::Signal::ALL.map(|signal| (signal, plan.pipelines(signal, &id))), id))
            .collect();
        let switched = self.switch(plan);
        self.replace().await;
        for worker in switched {
            let _ = worker.await;
        }
        // Nothing comes from the pipelines of before any more.
        for (signals, id) in own {
            for lane in self.current.outlets.get(&id).into_iter().flat_map(Outlet::lanes) {
                let pipelines = signals.iter().find(|(signal, _)| *signal == lane.signal);
                pipelines.iter().for_each(|(_, pipelines)| lane.set_pipelines(pipelines, false));
            }
        }
        self.let_go().await;
        self.look_after();
        Ok(())
    }

    /// Puts the plan in the place of what runs. The workers tell when they are done with what they had.
    fn switch(&mut self, plan: Plan) -> Vec<oneshot::Receiver<()>> {
        self.shutdown_timeout = plan.shutdown_timeout;
        self.base.sockets.commit();
        let ids: Vec<String> = self.current.outlets.keys().cloned().collect();
        for id in ids.into_iter().filter(|id| !plan.outlets.contains_key(id)) {
            self.leaving.extend(self.current.outlets.remove(&id));
        }
        for (id, built) in plan.outlets {
            if let Some(built) = built {
                self.put(id, built);
            }
        }
        self.current.retained.retain(|(id, _), lane| {
            let gone = plan.forget.contains(id);
            if gone {
                lane.forget();
            }
            !gone
        });
        self.current.lines = plan.lines;
        self.current.receivers = plan.receivers;
        let mut switched = Vec::new();
        for (order, share) in self.orders.iter().zip(plan.workers) {
            let (done, told) = oneshot::channel();
            let _ = order.send(Order::Switch(share, done));
            switched.push(told);
        }
        switched
    }

    /// A new exporter, or one in the place of another.
    fn put(&mut self, id: String, built: Built) {
        let Built { destination, exporter, needs, retry, queue, fingerprint } = built;
        for lane in &destination.lanes {
            self.current.retained.remove(&(id.clone(), lane.signal));
            lane.reconfigure(needs, queue.clone(), delta(&self.base, needs));
        }
        let outlet = Outlet { destination, exporter, retry, fingerprint, queue, run: Run::new() };
        if let Some(old) = self.current.outlets.insert(id.clone(), outlet) {
            old.run.retire();
            self.replaced.push((id, old.exporter, old.run));
        }
    }

    /// Starts the deliveries of all exporters that take nobody's place.
    fn deliver(&mut self) {
        for (id, outlet) in &mut self.current.outlets {
            if self.replaced.iter().any(|(replaced, ..)| replaced == id) {
                continue;
            }
            for delivery in outlet.deliveries(&self.base) {
                self.alive.send_modify(|n| *n += 1);
                let worker = &self.orders[self.next % self.orders.len()];
                let _ = worker.send(Order::Deliver(vec![delivery]));
                self.next += 1;
            }
        }
    }

    /// Ends the exporters that were changed, and starts those in their place, each after the one before has ended.
    async fn replace(&mut self) {
        self.deliver();
        while let Some((_, exporter, run)) = self.replaced.last_mut() {
            run.ended().await;
            exporter.shutdown_dyn().await;
            self.replaced.pop();
            self.deliver();
        }
    }

    /// Ends the destinations that left the configuration, when they have delivered what they could.
    async fn let_go(&mut self) {
        let deadline = tokio::time::Instant::now() + self.shutdown_timeout;
        for lane in self.leaving.iter().flat_map(Outlet::lanes) {
            if let Some(outbound) = self.base.journal.as_ref().and_then(|j| j.outbound(lane.signal)) {
                outbound.leave(lane);
            }
            lane.close();
        }
        while let Some(outlet) = self.leaving.last_mut() {
            if tokio::time::timeout_at(deadline, outlet.run.ended()).await.is_err() {
                outlet.run.retire();
                outlet.run.ended().await;
            }
            outlet.exporter.shutdown_dyn().await;
            let Some(outlet) = self.leaving.pop() else { return };
            let id = &outlet.destination.id;
            for lane in outlet.lanes() {
                let signal = lane.signal;
                lane.upkeep(true);
                if let Some(end) = lane.release() {
                    let outbound = self.base.journal.as_ref().and_then(|journal| journal.outbound(signal));
                    let retain = |outbound| self.base.retain(outbound, id, signal, end);
                    match outbound.map(retain).transpose().map(Option::flatten) {
                        Ok(None) => {}
                        Ok(Some(lane)) => {
                            let items = lane.counts.queued.get();
                            tracing::warn!(
                                component = id,
                                items,
                                "what waits for the removed destination is kept"
                            );
                            self.current.retained.insert((id.clone(), signal), lane);
                        }
                        Err(error) => tracing::warn!(component = id, %error, "cannot read what waits"),
                    }
                } else {
                    let items = lane.abandon();
                    if items > 0 {
                        tracing::warn!(component = id, items, "dropped with the removed destination");
                        lane.counts.drop_queued("removed", items);
                    }
                }
            }
        }
    }

    fn lanes(&self) -> impl Iterator<Item = &Arc<Lane>> {
        let outlets = self.current.outlets.values().chain(&self.leaving);
        outlets.flat_map(Outlet::lanes).chain(self.current.retained.values())
    }

    fn look_after(&self) {
        if let Some(keeper) = &self.keeper {
            keeper.extend([], self.lanes().cloned().collect());
        }
    }

    /// Stops intake, delivers what is queued until the time is over, closes the exporters.
    /// Returns whether it was hurried.
    pub(crate) async fn shutdown(mut self, hurry: impl Future<Output = ()>) -> bool {
        let deadline = tokio::time::sleep(self.shutdown_timeout);
        // A reload may have been interrupted: whoever waits for another one to end does not any more.
        let mut exporters: Vec<Arc<dyn DynExporter>> =
            self.replaced.drain(..).map(|(_, exporter, _)| exporter).collect();
        self.deliver();
        self.base.intake.stop();
        let workers = self.threads.len();
        let outlets = || self.current.outlets.values().chain(&self.leaving);
        let lanes = || outlets().flat_map(Outlet::lanes);
        let mut flushed = self.flushed.clone();
        let mut alive = self.alive.subscribe();
        let in_order = async {
            let _ = flushed.wait_for(|n| *n >= workers).await;
            lanes().for_each(|lane| lane.close());
            let _ = alive.wait_for(|n| *n == 0).await;
        };
        let hurried = tokio::select! {
            () = in_order => false,
            () = deadline => {
                tracing::warn!("shutdown timeout is over");
                false
            }
            () = hurry => {
                tracing::warn!("second signal, not waiting");
                true
            }
        };
        lanes().for_each(|lane| lane.close());
        for lane in lanes() {
            let left = lane.abandon();
            if left > 0 {
                lane.counts.drop_queued("shutdown", left);
            }
        }
        self.base.abandon.stop();
        exporters.extend(outlets().map(|outlet| outlet.exporter.clone()));
        for exporter in exporters {
            exporter.shutdown_dyn().await;
        }
        let threads = std::mem::take(&mut self.threads);
        let keeper = self.keeper.take();
        let end = move || {
            threads.into_iter().for_each(|t| drop(t.join()));
            keeper.into_iter().for_each(Keeper::finish);
        };
        let _ = tokio::task::spawn_blocking(end).await;
        hurried
    }
}
