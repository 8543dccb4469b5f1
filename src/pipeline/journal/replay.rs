//! What a crash left of open traces goes through the processors again.

use super::{Journal, REPLAY, record};
use crate::pipeline::entry::Chain;
use muxbridge_core::{Counters, names};
use muxbridge_seglog::Read;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// So many appends wait at most for the disk.
const UNDER_WAY: usize = 256;

impl Journal {
    /// Replays the intake log through these chains, before receivers start. Blocks.
    pub(crate) fn replay(&self, chains: &[Arc<Chain>], counters: &Counters, now: Instant) {
        let log = &self.intake.log;
        let Ok(mut reader) = log.reader(REPLAY) else { return };
        // What is appended meanwhile is not for this time.
        let end = log.end();
        let (mut batches, mut items, mut appends) = (0u64, 0u64, 0usize);
        while reader.position().lsn < end.lsn {
            let record = match reader.next() {
                Ok(Some(Read::Record(record))) => record,
                Ok(Some(Read::Lost { items, .. })) => {
                    lost(counters, "corrupt", items);
                    continue;
                }
                Ok(None) => break,
                Err(error) => {
                    self.incomplete.store(true, Ordering::Relaxed);
                    tracing::error!(%error, "cannot read the open traces of the last run");
                    break;
                }
            };
            let decoded = record::decode(&record);
            let chain = decoded.as_ref().and_then(|(id, _)| chains.iter().find(|chain| chain.id == *id));
            match (decoded, chain) {
                (Some((_, batch)), Some(chain)) => {
                    batches += 1;
                    items += batch.items() as u64;
                    appends += chain.replay(batch, now, record.at).len();
                    if appends >= UNDER_WAY {
                        self.store();
                        appends = 0;
                    }
                }
                (Some(_), None) => lost(counters, "pipeline_removed", u64::from(record.items)),
                (None, _) => lost(counters, "corrupt", u64::from(record.items)),
            }
        }
        if batches > 0 {
            tracing::info!(batches, items, "took up the open traces of the last run");
        }
    }
}

fn lost(counters: &Counters, reason: &str, items: u64) {
    tracing::warn!(reason, items, "a part of the open traces of the last run is lost");
    counters.get(names::DROPPED, &[("component", "intake"), ("reason", reason)]).add(items);
}
