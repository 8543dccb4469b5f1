//! A stretch of a queue: what waits in memory, or a place in a log with what has been read ahead there.

use super::{LaneCounts, join};
use crate::pipeline::settings::{BatchSettings, SendingQueue, Sizer};
use crate::pipeline::tail::{Claim, Next, Tail};
use muxbridge_core::{Batch, Needs};
use std::collections::VecDeque;
use std::time::Instant;

/// Bytes that are read from a log before they are sent.
const READ_AHEAD: usize = 4 << 20;
/// Batches that make a request without each other are joined to no more than this. Joining copies, for each destination, and
/// what is larger has left the caches before it is encoded and sent: with a mebibyte passing spans through took 5 % more time,
/// sending them to three destinations 7 % more and 25 MiB more memory.
const JOINED: usize = 384 << 10;

/// See the module.
#[derive(Default)]
pub(super) struct Stretch {
    /// In memory everything; of a log what has been read ahead, no more than makes one request.
    waiting: VecDeque<Waiting>,
    /// Where the rest is, if it is in a log.
    pub(super) tail: Option<Tail>,
    pub(super) items: usize,
    bytes: usize,
}

/// What waits.
struct Waiting {
    next: Next,
    since: Instant,
}

/// When there is something to take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    Never,
    At(Instant),
    Now,
}

impl Stretch {
    pub(super) fn stored(tail: Tail) -> Self {
        Stretch { tail: Some(tail), ..Stretch::default() }
    }

    pub(super) fn push(&mut self, next: Next, since: Instant) {
        self.items += next.batch.items();
        self.bytes += next.batch.otlp().len();
        self.waiting.push_back(Waiting { next, since });
    }

    /// Reads ahead what makes one request. Says whether the log cannot be read.
    pub(super) fn fill(&mut self, most: usize, counts: &LaneCounts) -> bool {
        let now = tokio::time::Instant::now().into_std();
        while self.items < most && self.bytes < READ_AHEAD {
            let Some(tail) = &mut self.tail else { return false };
            match tail.next(counts) {
                Ok(Some(next)) => self.push(next, now),
                Ok(None) => return false,
                Err(error) => {
                    tracing::warn!(cursor = tail.cursor(), %error, "cannot read what is queued, trying again");
                    return true;
                }
            }
        }
        false
    }

    /// When what has been read makes a request: with `min_size`, or when it has waited long enough.
    pub(super) fn due(&self, batch: &BatchSettings, closed: bool, now: Instant) -> Due {
        let Some(oldest) = self.waiting.front() else { return Due::Never };
        let due = oldest.since + batch.flush_timeout.0;
        if closed || self.items >= batch.min_size || now >= due { Due::Now } else { Due::At(due) }
    }

    /// What makes one request, of so many items at most, and when the last of it was accepted.
    pub(super) fn take(
        &mut self,
        batch: &BatchSettings,
        most: usize,
        needs: Needs,
    ) -> Option<(Batch, Claim, u64)> {
        let mut group: Vec<Batch> = Vec::new();
        let first = self.waiting.front().map_or(0, |waiting| waiting.next.number);
        let (mut records, mut accepted) = (first..first, 0);
        let (mut items, mut bytes) = (0, 0);
        let max_bytes = needs.max_request_bytes.unwrap_or(usize::MAX);
        while let Some(Waiting { next, .. }) = self.waiting.front() {
            let (more, larger) = (next.batch.items(), next.batch.otlp().len());
            let enough = items >= batch.min_size && bytes + larger > JOINED;
            let over = enough || items + more > most || bytes + larger > max_bytes;
            if over && !group.is_empty() {
                break;
            }
            items += more;
            bytes += larger;
            records.end = next.number + 1;
            accepted = next.accepted;
            group.extend(self.waiting.pop_front().map(|waiting| waiting.next.batch));
        }
        self.items -= items;
        self.bytes -= bytes;
        let place = self.tail.as_ref().map_or(0, Tail::place);
        let taken = tokio::time::Instant::now().into_std();
        Some((join(group)?, Claim { place, records, taken }, accepted))
    }

    /// Whether there is more to take.
    pub(super) fn has_more(&self) -> bool {
        !self.waiting.is_empty() || self.tail.as_ref().is_some_and(Tail::has_more)
    }

    /// When the oldest was accepted that has been read and not taken.
    pub(super) fn oldest(&self) -> Option<u64> {
        self.waiting.front().map(|waiting| waiting.next.accepted)
    }

    /// Counts and drops what has been read ahead and became too old meanwhile.
    pub(super) fn give_up_old(&mut self, counts: &LaneCounts) {
        let Some(oldest) = self.tail.as_ref().and_then(Tail::oldest) else { return };
        while self.waiting.front().is_some_and(|waiting| waiting.next.accepted < oldest) {
            let Some(Waiting { next, .. }) = self.waiting.pop_front() else { return };
            counts.drop_queued("expired", next.batch.items() as u64);
            self.items -= next.batch.items();
            self.bytes -= next.batch.otlp().len();
            self.tail.iter_mut().for_each(|tail| tail.finish(next.number..next.number + 1));
        }
    }

    /// Records that need not come again, if they are of this one.
    pub(super) fn finish(&mut self, claim: &Claim) {
        if let Some(tail) = self.tail.as_mut().filter(|tail| tail.place() == claim.place) {
            tail.finish(claim.records.clone());
        }
    }

    /// Forgets what has been read.
    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        (self.items, self.bytes) = (0, 0);
    }

    /// Whether what waits in memory takes at least this part of the room: 1 is all of it, 16 a sixteenth.
    pub(super) fn is_beyond(&self, settings: &SendingQueue, part: usize) -> bool {
        let size = match settings.sizer {
            Sizer::Requests => self.waiting.len(),
            Sizer::Items => self.items,
            Sizer::Bytes => self.bytes,
        };
        size >= settings.queue_size.div_ceil(part)
            || self.bytes >= (settings.max_size_mib << 20).div_ceil(part)
    }

    /// Whether its log has little room left because of it.
    pub(super) fn is_full(&self) -> bool {
        self.tail.as_ref().is_some_and(Tail::is_full)
    }

    /// Whether it is a part of a log that ends, and everything in it is done.
    pub(super) fn is_finished(&self) -> bool {
        self.tail.as_ref().is_some_and(Tail::is_finished)
    }
}
