//! Senders whose batches are stored, and destinations that are about to have to read them from the disk.

use crate::pipeline::delivery::Health;
use crate::pipeline::entry::{Chain, Durable, Entry};
use crate::pipeline::journal::Journal;
use crate::pipeline::journal::ledger::Ledger;
use crate::pipeline::journal::place::Place;
use crate::pipeline::lane::{Destination, Lane};
use crate::pipeline::model::Model;
use crate::pipeline::room::STORED_PATIENCE;
use crate::pipeline::settings::SendingQueue;
use crate::pipeline::tests::disk::{number, span};
use muxbridge_core::{Consumer, Counters, Needs, Signal};
use muxbridge_seglog::vfs::Vfs;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::time::Instant;

struct Bridge {
    entry: Entry,
    lanes: Vec<Arc<Lane>>,
}

/// A bridge with so many destinations that nobody delivers to.
fn bridge(destinations: usize) -> Bridge {
    let vfs: Arc<dyn Vfs> = Arc::new(Model::new(1));
    let directory = PathBuf::from("/data");
    let place = Place { directory, synced: true, max_bytes: 256 << 20, max_age: None, dead_bytes: 0 };
    let counters = Counters::new();
    let journal = Arc::new(Journal::open(&vfs, &place, &counters).expect("opens"));
    let mut queue = SendingQueue::default();
    (queue.batch.min_size, queue.batch.max_size) = (1, 1);
    let (mut lanes, mut built) = (Vec::new(), Vec::new());
    for id in (0..destinations).map(|number| number.to_string()) {
        let lane = Lane::new(&id, Signal::Traces, Needs::default(), queue.clone(), &counters, None);
        let lane = Arc::new(lane);
        journal.join(&lane, &id, BTreeSet::from(["traces".to_owned()])).expect("follows");
        lanes.push(Arc::clone(&lane));
        let health = Arc::new(Health::default());
        built.push(Arc::new(Destination { id, lanes: vec![lane], health }));
    }
    let chain = Chain {
        id: "traces".to_owned(),
        signal: Signal::Traces,
        receivers: Vec::new(),
        processors: Arc::default(),
        destinations: built,
        tap: None,
        durable: Some(Durable { journal, ledger: Ledger::new(&counters, "traces", 0) }),
    };
    Bridge { entry: Entry::new([Arc::new(chain)]), lanes }
}

impl Bridge {
    /// Sends one MiB and says how long its sender waited, but for the disk: that takes no time here.
    async fn send(&self, number: u64) -> Duration {
        let began = Instant::now();
        self.entry.consume(span(number, 1 << 20)).await.expect("taken");
        began.elapsed()
    }

    /// What a destination takes now, and is done with.
    fn take(&self, destination: usize) -> Option<u64> {
        let lane = &self.lanes[destination];
        match pin!(lane.pop()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken.map(|taken| {
                lane.finish(taken.claim);
                number(&taken.batch)
            }),
            Poll::Pending => None,
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sender_waits_a_moment_before_a_destination_must_read_from_the_disk_and_no_other_one_waits_for_it()
{
    let bridge = bridge(1);
    let mut waited = Vec::new();
    for number in 0..20 {
        waited.push(bridge.send(number).await);
    }
    let expected: Vec<_> = (0..20).map(|n| if n == 8 { STORED_PATIENCE } else { Duration::ZERO }).collect();
    assert_eq!(waited, expected);
    let taken: Vec<_> = std::iter::from_fn(|| bridge.take(0)).collect();
    assert_eq!(taken, (0..20).collect::<Vec<_>>());
    // It has had room, so that it is worth waiting for again.
    for number in 20..28 {
        assert_eq!(bridge.send(number).await, Duration::ZERO);
    }
    assert_eq!(bridge.send(28).await, STORED_PATIENCE);
}

#[tokio::test(start_paused = true)]
async fn a_sender_that_waits_goes_on_when_the_destination_takes_what_is_in_memory() {
    let bridge = bridge(1);
    for number in 0..8 {
        bridge.send(number).await;
    }
    let mut sending = pin!(bridge.send(8));
    assert!(sending.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    assert_eq!(bridge.take(0), Some(0));
    assert_eq!(sending.await, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_for_one_destination_while_another_keeps_up() {
    let bridge = bridge(2);
    for number in 0..40 {
        assert_eq!(bridge.send(number).await, Duration::ZERO, "{number}");
        assert_eq!(bridge.take(1), Some(number));
    }
    let taken: Vec<_> = std::iter::from_fn(|| bridge.take(0)).collect();
    assert_eq!(taken, (0..40).collect::<Vec<_>>(), "what is on the disk alone by now");
}
