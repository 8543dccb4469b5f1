//! What a change of the configuration does to a lane that has something in it.

use super::stretch::Stretch;
use super::{Lane, Taken, wants_delta};
use crate::pipeline::settings::SendingQueue;
use crate::pipeline::sums::Sums;
use crate::pipeline::tail::Tail;
use muxbridge_core::{Counters, Needs, Signal};
use muxbridge_kit::delta::DeltaState;
use muxbridge_seglog::Position;
use std::collections::BTreeSet;

impl Lane {
    /// For what a log holds for a destination that is not in the configuration. How that one was set up is not known.
    pub(crate) fn retained(
        id: &str,
        (tail, backlog): (Tail, Option<Tail>),
        signal: Signal,
        counters: &Counters,
    ) -> Self {
        let lane = Self::new(id, signal, Needs::default(), SendingQueue::default(), counters, None);
        lane.take_up(tail, backlog);
        lane.lock().closed = true;
        lane
    }

    /// Lets another lane follow the log in its place, which counts what is there. Returns where it ends, if it has a place.
    pub(crate) fn release(&self) -> Option<Position> {
        let _places = self.places();
        let mut state = self.lock();
        state.backlog = None;
        let tail = state.live.tail.take()?;
        drop(state);
        self.unexpect(self.counts.queued.get());
        Some(tail.end())
    }

    /// Another configuration of the same destination. `delta` is for one that needs deltas from now on.
    pub(crate) fn reconfigure(&self, needs: Needs, settings: SendingQueue, delta: Option<DeltaState>) {
        let mut state = self.lock();
        (state.needs, state.settings) = (needs, settings);
        let delta = delta.filter(|_| wants_delta(self.signal, needs));
        // Baselines that are known stay.
        let known = state.sums.take();
        if known.is_some() && delta.is_none() {
            state.live.tail.iter().for_each(Tail::forget_sums);
        }
        state.sums = delta.map(|fresh| known.unwrap_or_else(|| Sums::new(fresh)));
        drop(state);
        self.changed.notify_waiters();
    }

    /// A request that was taken comes back, to be sent by another exporter of the same destination.
    pub(crate) fn give_back(&self, taken: Taken) {
        self.lock().returned.push_back(taken);
        self.changed.notify_one();
    }

    /// Of a log it takes what is there, and nothing that comes later.
    pub(crate) fn take_no_more(&self) {
        let _places = self.places();
        if let Some(tail) = &mut self.lock().live.tail {
            let end = tail.end();
            tail.limit(end);
        }
    }

    /// Gives up what is queued for a destination that has left the configuration.
    pub(crate) fn forget(&self) {
        let items = self.counts.queued.get();
        tracing::warn!(
            component = self.counts.id,
            signal = self.signal.as_str(),
            items,
            "what waited for a removed destination is given up"
        );
        self.counts.drop_queued("removed", items);
        let _places = self.places();
        let mut state = self.lock();
        state.stretches().for_each(Stretch::clear);
        state.returned.clear();
        state.backlog = None;
        if let Some(tail) = state.live.tail.take() {
            tail.remove();
        }
    }

    /// The pipelines that it belongs to from now on, in a log, besides those before if `both`.
    pub(crate) fn set_pipelines(&self, pipelines: &BTreeSet<String>, both: bool) {
        for tail in self.lock().stretches().filter_map(|stretch| stretch.tail.as_mut()) {
            tail.set_pipelines(pipelines, both);
        }
    }
}
