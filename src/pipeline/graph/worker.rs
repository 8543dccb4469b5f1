//! A thread with a runtime: its receivers, its chains of processors, and its share of the deliveries.

use crate::pipeline::delivery::Delivery;
use crate::pipeline::entry::{Appends, Chain, Entry, stored};
use muxbridge_core::{RunReceiver, Stop};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

/// What a worker is told to change.
pub(super) enum Order {
    /// These deliveries, too.
    Deliver(Vec<Delivery>),
    /// Other chains and receivers. The answer comes when everything is stored or queued that came in before.
    Switch(Share, oneshot::Sender<()>),
}

/// What a change of the configuration means for one worker.
#[derive(Default)]
pub(super) struct Share {
    /// All chains from now on.
    pub(super) chains: Vec<Arc<Chain>>,
    /// Chains whose processors go on, but without some destinations: what is held back goes to those, too.
    pub(super) flush: Vec<Arc<Chain>>,
    /// Chains that are not needed any more.
    pub(super) retire: Vec<Arc<Chain>>,
    pub(super) start: Vec<(String, RunReceiver)>,
    /// Receivers that end, also those that are started anew.
    pub(super) stop: Vec<String>,
}

/// A receiver that runs.
struct Receiving {
    entry: Arc<Entry>,
    stop: Stop,
    task: JoinHandle<()>,
}

/// See the module.
pub(super) struct Worker {
    orders: mpsc::UnboundedReceiver<Order>,
    intake: Stop,
    abandon: Stop,
    /// How many workers have flushed their processors.
    flushed: watch::Sender<usize>,
    /// How many deliveries run, on all workers.
    alive: watch::Sender<usize>,
    chains: Vec<Arc<Chain>>,
    /// Chains of former configurations that are not done.
    retired: Vec<Arc<Chain>>,
    receivers: BTreeMap<String, Receiving>,
    sending: JoinSet<()>,
    /// Receivers and chains of former configurations on their way out.
    ending: JoinSet<()>,
}

impl Worker {
    pub(super) fn new(
        orders: mpsc::UnboundedReceiver<Order>,
        intake: Stop,
        abandon: Stop,
        flushed: watch::Sender<usize>,
        alive: watch::Sender<usize>,
    ) -> Self {
        Worker {
            orders,
            intake,
            abandon,
            flushed,
            alive,
            chains: Vec::new(),
            retired: Vec::new(),
            receivers: BTreeMap::new(),
            sending: JoinSet::new(),
            ending: JoinSet::new(),
        }
    }

    /// Works until intake stops, then until all deliveries have ended.
    pub(super) async fn run(mut self) {
        let intake = self.intake.clone();
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => self.tick(),
                Some(order) = self.orders.recv() => self.obey(order),
                Some(_) = self.sending.join_next() => self.one_less(),
                Some(_) = self.ending.join_next() => {}
                () = intake.wait() => break,
            }
        }
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order);
        }
        let receivers = std::mem::take(&mut self.receivers);
        receivers.values().for_each(|receiving| receiving.stop.stop());
        let received = async {
            for receiving in receivers.into_values() {
                let _ = receiving.task.await;
            }
            while self.ending.join_next().await.is_some() {}
        };
        // Requests that have begun get no answer if there is no time for it: then nobody takes them for acknowledged.
        tokio::select! {
            () = received => {}
            () = self.abandon.wait() => {}
        }
        let now = now();
        let flushed = self.chains.iter().chain(&self.retired).flat_map(|chain| chain.flush(now)).collect();
        tokio::select! {
            _ = stored(flushed) => {}
            () = self.abandon.wait() => {}
        }
        self.flushed.send_modify(|n| *n += 1);
        while self.sending.join_next().await.is_some() {
            self.one_less();
        }
    }

    fn one_less(&self) {
        self.alive.send_modify(|n| *n -= 1);
    }

    fn tick(&mut self) {
        let now = now();
        self.retired.retain(|chain| !chain.is_idle());
        self.chains.iter().chain(&self.retired).for_each(|chain| chain.tick(now));
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Deliver(deliveries) => {
                for delivery in deliveries {
                    self.sending.spawn(delivery.run());
                }
            }
            Order::Switch(share, done) => self.switch(share, done),
        }
    }

    /// Nothing of this waits, and receivers of this worker run on this thread: no batch is half in the old chains.
    fn switch(&mut self, share: Share, done: oneshot::Sender<()>) {
        let Share { chains, flush, retire, start, stop } = share;
        let mut appends: Appends = flush.iter().flat_map(|chain| chain.flush(now())).collect();
        self.chains = chains;
        self.retired.extend(retire.iter().cloned());
        let mut stopped = Vec::new();
        for id in stop {
            let Some(receiving) = self.receivers.remove(&id) else { continue };
            receiving.stop.stop();
            // What it has begun to receive takes the new way, or the old one if there is none.
            let heir =
                |old: &Arc<Chain>| self.chains.iter().find(|new| new.id == old.id).unwrap_or(old).clone();
            receiving.entry.set(receiving.entry.chains().iter().map(heir));
            stopped.push(receiving.task);
        }
        for (id, receiving) in &self.receivers {
            receiving.entry.set(fed_by(&self.chains, id));
        }
        for (id, receiver) in start {
            let (entry, stop) = (Arc::new(Entry::new(fed_by(&self.chains, &id))), Stop::new());
            let run = receiver(entry.clone(), stop.clone());
            let name = id.clone();
            let task = tokio::spawn(async move {
                if let Err(error) = run.await {
                    tracing::error!(receiver = name, error = %error, "receiver stopped");
                }
            });
            self.receivers.insert(id, Receiving { entry, stop, task });
        }
        self.ending.spawn(async move {
            for task in stopped {
                let _ = task.await;
            }
            appends.extend(retire.iter().flat_map(|chain| chain.flush(now())));
            stored(appends).await;
            let _ = done.send(());
        });
    }
}

fn fed_by(chains: &[Arc<Chain>], receiver: &str) -> Vec<Arc<Chain>> {
    chains.iter().filter(|chain| chain.receivers.iter().any(|id| id == receiver)).cloned().collect()
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
