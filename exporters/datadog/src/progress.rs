//! How far batches got that take several requests, so that a retry goes on where the last one failed.

use crate::delivery::Reached;
use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// How many batches are remembered; the oldest is forgotten first, and then sent again as a whole.
const REMEMBERED: usize = 64;

/// How far the pieces of each kind got, in the order in which they are sent.
pub(crate) type Kinds = Vec<Reached>;

/// How far batches got, by their content.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<VecDeque<(u64, Kinds)>>);

impl Progress {
    /// How far this batch got before, with room for `kinds` kinds of pieces; forgets it.
    pub(crate) fn take(&self, otlp: &Bytes, kinds: usize) -> Kinds {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Most of the time nothing is being tried again, and then the bytes need not be read.
        let found = if batches.is_empty() {
            None
        } else {
            let key = key(otlp);
            batches.iter().position(|(k, _)| *k == key)
        };
        let mut reached = found.and_then(|i| batches.remove(i)).map(|(_, r)| r).unwrap_or_default();
        reached.resize(kinds.max(reached.len()), Reached::default());
        reached
    }

    /// Remembers how far this batch got.
    pub(crate) fn remember(&self, otlp: &Bytes, reached: Kinds) {
        if reached.iter().all(|r| *r == Reached::default()) {
            return;
        }
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() == REMEMBERED {
            batches.pop_front();
        }
        batches.push_back((key(otlp), reached));
    }
}

fn key(otlp: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    otlp.hash(&mut hasher);
    hasher.finish()
}
