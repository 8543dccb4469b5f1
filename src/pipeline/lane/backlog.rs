//! After an outage: what waited is set apart as a backlog, so that what comes in does not wait behind it. See
//! docs/adr/0013-fresh-before-backlog.md.

use super::stretch::{Due, Stretch};
use super::{Lane, State};
use crate::pipeline::tail::{Mark, Tail};
use muxbridge_core::Signal;
use std::time::{Duration, Instant};

/// What the oldest must have waited at least.
const LATE: Duration = Duration::from_secs(5);
/// How many requests must wait at least. Fewer are gone sooner than they are set apart.
const REQUESTS: usize = 4;
/// One request in so many is the backlog's, also where what comes in would take them all.
const SHARE: u32 = 4;

/// Which stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    Live,
    Backlog,
}

/// What a consumer does next.
pub(super) enum Choice {
    Take(Which),
    Wait(Instant),
    Nothing,
}

impl State {
    /// Both, or the one.
    pub(super) fn stretches(&mut self) -> impl Iterator<Item = &mut Stretch> {
        std::iter::once(&mut self.live).chain(&mut self.backlog)
    }

    /// What comes in first; what it leaves to the consumers is the backlog's, and a share of the requests in any case.
    pub(super) fn choose(&mut self, now: Instant) -> Choice {
        let due = |stretch: &Stretch| stretch.due(&self.settings.batch, self.closed, now);
        let (live, backlog) = (due(&self.live), self.backlog.as_ref().map_or(Due::Never, due));
        let which = match (live, backlog) {
            (Due::Now, Due::Now) if self.live_in_turn + 1 >= SHARE => Which::Backlog,
            (Due::Now, _) => Which::Live,
            (_, Due::Now) => Which::Backlog,
            (Due::At(a), Due::At(b)) => return Choice::Wait(a.min(b)),
            (Due::At(at), Due::Never) | (Due::Never, Due::At(at)) => return Choice::Wait(at),
            (Due::Never, Due::Never) => return Choice::Nothing,
        };
        self.live_in_turn = if which == Which::Live { self.live_in_turn.saturating_add(1) } else { 0 };
        Choice::Take(which)
    }

    /// What is to be set apart, if it is late and not little.
    fn late(&self, now_ms: u64) -> Option<Mark> {
        let tail = self.live.tail.as_ref().filter(|tail| tail.is_endless())?;
        let few = self.settings.batch.min_size.max(1).saturating_mul(REQUESTS) as u64;
        let much = tail.unread_items() >= few;
        let late = self.live.oldest()?.saturating_add(LATE.as_millis() as u64) <= now_ms;
        (much && late).then(|| tail.mark())
    }
}

impl Lane {
    /// Sets apart what waits if the destination is far behind and takes data again. One backlog at a time: a second outage
    /// adds to what is live until the first is delivered. Metrics stay in order. Blocks; the places are held.
    pub(super) fn set_apart(&self, now_ms: u64) {
        let sent = self.counts.sent.get();
        let mark = {
            let mut state = self.lock();
            let before = state.sent.replace(sent);
            let takes = before.is_some_and(|before| sent > before) && !self.circuit.is_open();
            let idle = state.closed || state.abandoned || state.backlog.is_some();
            if !takes || idle || self.signal == Signal::Metrics {
                return;
            }
            self.fill(&mut state);
            state.late(now_ms)
        };
        let Some(mark) = mark else { return };
        if let Err(error) = mark.store() {
            return tracing::debug!(component = self.counts.id, %error, "cannot set a backlog apart");
        }
        match self.lock().split(&mark) {
            Some(items) => {
                let signal = self.signal.as_str();
                tracing::info!(component = self.counts.id, signal, items, "what comes in goes before the backlog");
            }
            None => mark.remove(),
        }
        self.changed.notify_one();
    }

    /// Removes the cursors of a backlog that is delivered. Blocks; the places are held.
    pub(super) fn let_go_of_backlog(&self) {
        let finished = self.lock().backlog.take_if(|backlog| backlog.is_finished());
        finished.and_then(|backlog| backlog.tail).into_iter().for_each(Tail::remove_backlog);
    }
}

impl State {
    /// What waits becomes the backlog, with what is under way. Returns its items that have not been read.
    fn split(&mut self, mark: &Mark) -> Option<u64> {
        if self.closed || self.abandoned || self.backlog.is_some() {
            return None;
        }
        let tail = self.live.tail.as_mut()?;
        let live = tail.set_apart(mark).ok().flatten()?;
        let items = tail.unread_items();
        self.backlog = Some(std::mem::replace(&mut self.live, Stretch::stored(live)));
        Some(items)
    }
}
