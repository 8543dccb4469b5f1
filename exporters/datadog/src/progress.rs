//! How far batches got that take several requests, so that a retry goes on where the last one failed.

use bytes::Bytes;
use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

/// How many batches are remembered; the oldest is forgotten first, and then sent again as a whole.
const REMEMBERED: usize = 64;

/// How many requests of a batch were accepted, by the content of the batch.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<VecDeque<(u64, usize)>>);

impl Progress {
    /// How many requests of this batch were accepted before; forgets it.
    pub(crate) fn done(&self, otlp: &Bytes) -> usize {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(otlp);
        let found = batches.iter().position(|(k, _)| *k == key);
        found.and_then(|i| batches.remove(i)).map_or(0, |(_, done)| done)
    }

    /// Remembers that the first `done` requests of this batch were accepted.
    pub(crate) fn remember(&self, otlp: &Bytes, done: usize) {
        let mut batches = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if batches.len() == REMEMBERED {
            batches.pop_front();
        }
        batches.push_back((key(otlp), done));
    }
}

fn key(otlp: &Bytes) -> u64 {
    let mut hasher = DefaultHasher::new();
    otlp.hash(&mut hasher);
    hasher.finish()
}
