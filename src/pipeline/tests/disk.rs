//! A disk that is full or fails: senders are refused, what was acknowledged is delivered, and it goes on by itself.

use crate::pipeline::delivery::Health;
use crate::pipeline::entry::{Chain, Durable, Entry};
use crate::pipeline::journal::Journal;
use crate::pipeline::journal::ledger::Ledger;
use crate::pipeline::journal::place::Place;
use crate::pipeline::lane::{Destination, Lane};
use crate::pipeline::model::{Faults, Model};
use crate::pipeline::settings::SendingQueue;
use muxbridge_core::{Batch, Consumer, Counters, Needs, Refused, Signal, names};
use muxbridge_pdata::Writer;
use muxbridge_seglog::vfs::Vfs;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

struct Bridge {
    entry: Entry,
    journal: Arc<Journal>,
    lane: Arc<Lane>,
    counters: Counters,
}

/// A bridge with one pipeline of traces and one destination that nobody delivers to, on this disk.
fn open(model: &Model) -> Bridge {
    let vfs: Arc<dyn Vfs> = Arc::new(model.clone());
    let place = Place {
        directory: PathBuf::from("/data"),
        synced: true,
        max_bytes: 8 << 20,
        max_age: None,
        dead_bytes: 0,
    };
    let counters = Counters::new();
    let journal = Arc::new(Journal::open(&vfs, &place, &counters).expect("opens"));
    let mut queue = SendingQueue::default();
    (queue.batch.min_size, queue.batch.max_size) = (1, 1);
    let lane = Arc::new(Lane::new("d", Signal::Traces, Needs::default(), queue, &counters, None));
    journal.join(&lane, "d", BTreeSet::from(["traces".to_owned()])).expect("follows");
    let destination = Destination {
        id: "d".to_owned(),
        lanes: vec![Arc::clone(&lane)],
        health: Arc::new(Health::default()),
    };
    let chain = Chain {
        id: "traces".to_owned(),
        signal: Signal::Traces,
        receivers: Vec::new(),
        processors: Arc::default(),
        destinations: vec![Arc::new(destination)],
        tap: None,
        durable: Some(Durable { journal: Arc::clone(&journal), ledger: Ledger::new(&counters, "traces", 0) }),
    };
    Bridge { entry: Entry::new([Arc::new(chain)]), journal, lane, counters }
}

/// One span of this number, and bytes beside it.
pub(crate) fn span(number: u64, padding: usize) -> Batch {
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            w.message(2, |w| {
                w.bytes(1, &[7; 16]);
                w.bytes(2, &number.to_be_bytes());
                w.bytes(3, &vec![b'x'; padding]);
            });
        });
    });
    muxbridge_testkit::batch(Signal::Traces, w.into_bytes())
}

pub(crate) fn number(batch: &Batch) -> u64 {
    let text = batch.otlp();
    // After the trace id of sixteen sevens and the tag and length of the span id.
    let at = text.windows(16).position(|w| w == [7; 16]).expect("a trace id") + 18;
    u64::from_be_bytes(text[at..at + 8].try_into().expect("eight bytes"))
}

impl Bridge {
    async fn accepts(&self, number: u64, padding: usize) -> bool {
        match self.entry.consume(span(number, padding)).await {
            Ok(()) => true,
            Err(Refused::Busy { retry_after }) => {
                assert!(retry_after.as_secs() >= 1, "the sender is told when to come again");
                false
            }
            Err(other) => panic!("{other}"),
        }
    }

    /// As a worker does now and then. What it appends again is committed, or has failed, when this returns.
    fn tick(&self) {
        self.entry.chains().iter().for_each(|chain| chain.tick(Instant::now()));
        self.journal.store();
    }

    fn queued(&self) -> BTreeSet<u64> {
        let pop = || match pin!(self.lane.pop()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken,
            Poll::Pending => None,
        };
        std::iter::from_fn(pop).map(|taken| number(&taken.batch)).collect()
    }
}

/// Sends while the disk has these faults and after it has none. Returns how many were refused meanwhile.
async fn through(model: &mut Model, faults: Faults, seed: u64) -> u64 {
    let mut bridge = open(model);
    let mut acknowledged = BTreeSet::new();
    for number in 0..5 {
        assert!(bridge.accepts(number, 10).await, "the disk works");
        acknowledged.insert(number);
    }
    model.faults(faults);
    let mut refused = 0;
    for number in 5..45 {
        match bridge.accepts(number, 20_000).await {
            true => drop(acknowledged.insert(number)),
            false => refused += 1,
        }
        bridge.tick();
    }
    if refused > 0 {
        assert!(bridge.counters.sum(names::STORE_FAILED, &[]) > 0, "seed {seed}: not counted");
    }
    model.faults(Faults::default());
    let mut tries = 0;
    while !bridge.accepts(1000, 10).await {
        tries += 1;
        assert!(tries < 100, "seed {seed}: it does not resume by itself");
        bridge.tick();
    }
    acknowledged.insert(1000);
    let queued = bridge.queued();
    assert!(acknowledged.is_subset(&queued), "seed {seed}: {acknowledged:?} {queued:?}");
    assert_eq!(bridge.counters.sum(names::DROPPED, &[]), 0);
    // Nothing was delivered, and the power goes.
    model.power_cut();
    bridge = open(model);
    let queued = bridge.queued();
    assert!(acknowledged.is_subset(&queued), "seed {seed}: {acknowledged:?} {queued:?} after a power cut");
    refused
}

#[tokio::test]
async fn a_full_disk_refuses_senders_loses_nothing_acknowledged_and_resumes_by_itself() {
    for seed in 0..10 {
        let mut model = Model::new(seed);
        // What the first segments reserve, and nothing more.
        let faults = Faults { capacity: Some(1), ..Faults::default() };
        assert!(through(&mut model, faults, seed).await > 10, "seed {seed}");
    }
}

#[tokio::test]
async fn a_disk_that_fails_writes_refuses_senders_loses_nothing_acknowledged_and_resumes_by_itself() {
    for seed in 0..10 {
        let mut model = Model::new(seed);
        let all = Faults { write_eio: 1000, ..Faults::default() };
        assert_eq!(through(&mut model, all, seed).await, 40, "seed {seed}");
        let some = Faults { write_eio: 300, short: 300, ..Faults::default() };
        through(&mut Model::new(seed), some, seed).await;
    }
}

#[tokio::test]
async fn a_disk_that_fails_syncs_refuses_senders_loses_nothing_acknowledged_and_resumes_by_itself() {
    for seed in 0..10 {
        let all = Faults { sync_eio: 1000, ..Faults::default() };
        assert_eq!(through(&mut Model::new(seed), all, seed).await, 40, "seed {seed}");
        let some = Faults { sync_eio: 400, ..Faults::default() };
        through(&mut Model::new(seed), some, seed).await;
    }
}
