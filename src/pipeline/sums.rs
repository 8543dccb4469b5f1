//! The sums of one destination from which deltas are made: converted when batches leave, and stored so that a crash
//! changes none of them.
//!
//! The state is a function of the records. What is stored is the state after exactly the records below some place at or
//! before the cursor; at start the records between the two are converted once more, for the state alone. So nothing needs to
//! be stored with every request, and what the place costs is that the log keeps a little more than the cursor needs.

mod file;
#[cfg(test)]
mod tests;

use super::lane::LaneCounts;
use super::tail::{Claim, Tail};
pub(crate) use file::SumsFile;
use muxbridge_core::Batch;
use muxbridge_kit::delta::{DeltaState, DeltaStats, Frozen, Undo};
use muxbridge_seglog::Position;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Bytes that may be converted before the state is stored again, unless the state itself is larger: writing it never
/// costs more than the records did, and reading them again at start takes a moment.
const BYTES: usize = 8 << 20;
/// And how long at most, so that a budget of the log never takes what stands between the state and the cursor.
const TIME: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub(crate) struct Sums {
    state: DeltaState,
    /// What conversions changed whose records are not done, oldest first, with the number after the last record.
    under_way: VecDeque<(u64, Undo)>,
    /// `None`: in memory alone.
    stored: Option<StoredAt>,
}

#[derive(Debug)]
struct StoredAt {
    place: Position,
    when: Instant,
    /// Bytes of the state.
    size: usize,
    /// Bytes of records that the log may keep for it.
    spare: usize,
    /// Bytes that have been converted since.
    converted: usize,
}

impl Sums {
    pub(crate) fn new(state: DeltaState) -> Self {
        Sums { state, under_way: VecDeque::new(), stored: None }
    }

    /// Deltas in place of cumulative values; `None` if nothing is left. What disappears is counted.
    pub(crate) fn convert(
        &mut self,
        batch: &Batch,
        accepted: u64,
        claim: &Claim,
        counts: &LaneCounts,
    ) -> Option<Batch> {
        let mut stats = DeltaStats::default();
        let converted = match &mut self.stored {
            None => self.state.convert(batch, accepted, &mut stats),
            Some(stored) => {
                stored.converted += batch.otlp().len();
                let (converted, undo) = self.state.convert_noting(batch, accepted, &mut stats);
                self.under_way.push_back((claim.records.end, undo));
                converted
            }
        };
        let left = converted.as_ref().map_or(0, Batch::items);
        counts.converted((batch.items() - left) as u64, &stats);
        converted
    }

    /// All records below this number are done.
    pub(crate) fn settle(&mut self, first: u64) {
        while self.under_way.front().is_some_and(|(end, _)| *end <= first) {
            self.under_way.pop_front();
        }
    }

    /// The state as of what is done, if it is time to store it or `now_or_never`.
    pub(crate) fn due(&self, done: Position, now_or_never: bool) -> Option<Frozen> {
        let stored = self.stored.as_ref().filter(|stored| stored.place != done)?;
        let due =
            stored.converted >= BYTES.max(stored.size).min(stored.spare) || stored.when.elapsed() >= TIME;
        (due || now_or_never).then(|| self.state.before(self.under_way.iter().rev().map(|(_, undo)| undo)))
    }

    /// It has been tried: it stands there, or is tried again later.
    pub(crate) fn noted(&mut self, place: Option<Position>, size: usize) {
        let Some(stored) = &mut self.stored else { return };
        stored.when = Instant::now();
        if let Some(place) = place {
            (stored.place, stored.size, stored.converted) = (place, size, 0);
        }
    }

    /// Takes up what an earlier run stored, as of where `tail` stands. The first time, stores that there is nothing yet:
    /// with it comes since when series are known to be new.
    ///
    /// # Errors
    /// The log cannot be read, or nothing can be stored.
    pub(crate) fn resume(
        &mut self,
        file: &mut SumsFile,
        tail: &mut Tail,
    ) -> Result<(), muxbridge_seglog::Error> {
        let known = tail.keep(&file.cursor())?;
        let found = if known { file.read() } else { None };
        let restored = found.filter(|(_, snapshot)| self.state.restore(snapshot));
        let mut size = 0;
        match &restored {
            // What was stored below it is done, even if the cursor does not say so yet.
            Some((place, snapshot)) => {
                size = snapshot.len();
                tail.skip_to(*place);
                let from = *place;
                let mut stats = DeltaStats::default();
                tail.between(&file.cursor(), from, |batch, accepted| {
                    self.state.convert(&batch, accepted, &mut stats);
                })?;
            }
            None if known => {
                tracing::warn!(
                    cursor = tail.cursor(),
                    "the sums of the last run cannot be read: each series begins with a baseline"
                );
            }
            None => {}
        }
        let place = tail.done();
        let when = Instant::now();
        if restored.as_ref().is_none_or(|(stored, _)| *stored != place) {
            let bytes = self.state.before(std::iter::empty()).encode();
            size = bytes.len();
            tail.release(&file.cursor(), file.write(place, &bytes)?);
        }
        self.stored = Some(StoredAt { place, when, size, spare: tail.spare_bytes(), converted: 0 });
        Ok(())
    }
}
