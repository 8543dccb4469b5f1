//! In an outage: what waits is set apart as a backlog, so that what comes in does not wait behind it. See
//! docs/adr/0013-fresh-before-backlog.md.

use super::stretch::{Due, Stretch};
use super::{Lane, State};
use crate::pipeline::tail::{Claim, Mark, Tail};
use muxbridge_core::Signal;
use std::time::{Duration, Instant};

/// What the oldest must have waited at least, and how long the end of the backlog then stays where it is.
const LATE_MS: u64 = 5000;
/// How many requests must wait at least. Fewer are gone sooner than they are set apart.
const REQUESTS: usize = 4;
/// One request in so many is the backlog's, also where what comes in would take them all.
const SHARE: u32 = 4;
/// What comes in waits for the requests of a backlog that are under way: those are to take no longer than this.
const SLOW: Duration = Duration::from_secs(2);

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

    /// Requests of the backlog become smaller where they take long, and larger again where they do not.
    pub(super) fn adapt(&mut self, claim: &Claim) {
        let tail = self.backlog.as_ref().and_then(|backlog| backlog.tail.as_ref());
        if tail.is_none_or(|tail| tail.place() != claim.place) {
            return;
        }
        let took = tokio::time::Instant::now().into_std().saturating_duration_since(claim.taken);
        let batch = &self.settings.batch;
        let most = if took > SLOW {
            self.backlog_most / 2
        } else if took < SLOW / 2 {
            self.backlog_most.saturating_mul(2)
        } else {
            self.backlog_most
        };
        self.backlog_most = most.max(batch.min_size).min(batch.max_size);
    }

    /// What is to be set apart, if it is late and not little.
    fn late(&self, now_ms: u64) -> Option<Mark> {
        let tail = self.live.tail.as_ref().filter(|tail| tail.is_endless())?;
        let few = self.settings.batch.min_size.max(1).saturating_mul(REQUESTS) as u64;
        let much = tail.unread_items() >= few;
        let late = self.live.oldest()?.saturating_add(LATE_MS) <= now_ms;
        (much && late).then(|| tail.mark())
    }

    /// While nothing of what is live has been taken, what of it is late is a part of the backlog.
    fn extend(&mut self, now_ms: u64) {
        let since = *self.apart.get_or_insert(now_ms);
        if let (Some(live), Some(Stretch { tail: Some(backlog), .. })) =
            (&mut self.live.tail, &mut self.backlog)
            && now_ms.saturating_sub(since) >= LATE_MS
            && backlog.extend(live)
        {
            self.apart = Some(now_ms);
        }
    }

    /// What waits becomes the backlog, with what is under way. Returns its items that have not been read.
    fn split(&mut self, mark: &Mark, now_ms: u64) -> Option<u64> {
        if self.closed || self.abandoned || self.backlog.is_some() {
            return None;
        }
        let tail = self.live.tail.as_mut()?;
        let live = tail.set_apart(mark).ok().flatten()?;
        let items = tail.unread_items();
        self.backlog = Some(std::mem::replace(&mut self.live, Stretch::stored(live)));
        self.apart = Some(now_ms);
        Some(items)
    }
}

impl Lane {
    /// Sets apart what waits if the destination is far behind. One backlog at a time: it grows until the destination takes
    /// something of what came after it, and what a second outage leaves waits in order behind that. Metrics stay in order.
    /// Blocks; the places are held.
    pub(super) fn set_apart(&self, now_ms: u64) {
        let mark = {
            let mut state = self.lock();
            if state.closed || state.abandoned || self.signal == Signal::Metrics {
                return;
            }
            if state.backlog.is_some() {
                return state.extend(now_ms);
            }
            self.fill(&mut state);
            state.late(now_ms)
        };
        let Some(mark) = mark else { return };
        if let Err(error) = mark.store() {
            return tracing::debug!(component = self.counts.id, %error, "cannot set a backlog apart");
        }
        let split = self.lock().split(&mark, now_ms);
        match split {
            Some(items) => {
                let signal = self.signal.as_str();
                tracing::info!(
                    component = self.counts.id,
                    signal,
                    items,
                    "what comes in goes before the backlog"
                );
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
