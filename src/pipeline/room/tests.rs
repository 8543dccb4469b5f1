//! Senders and several destinations, some of them slow, down or hanging, on paused time.

mod stored;

use super::{PATIENCE, Room};
use crate::pipeline::delivery::{Delivery, Health};
use crate::pipeline::entry::{Chain, Entry};
use crate::pipeline::lane::{Destination, Lane};
use crate::pipeline::settings::{RetryOnFailure, SendingQueue};
use crate::pipeline::tests::spans;
use muxbridge_core::{
    Batch, BoxFuture, Consumer, Counters, Delivered, DynExporter, ExportError, Needs, Signal, Stop, names,
};
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A destination that takes this long for a request; `None`: it refuses each at once.
struct Exporter(Option<Duration>);

impl DynExporter for Exporter {
    fn export_dyn<'a>(&'a self, _: &'a Batch) -> BoxFuture<'a, Result<Delivered, ExportError>> {
        Box::pin(async move {
            let Some(time) = self.0 else { return Err(ExportError::retryable("down")) };
            tokio::time::sleep(time).await;
            Ok(Delivered::default())
        })
    }

    fn shutdown_dyn(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

struct Bridge {
    counters: Counters,
    entry: Arc<Entry>,
    /// End with it.
    _deliveries: JoinSet<()>,
}

/// Destinations `0`, `1` and so on with room for 40,000 spans each and two requests under way.
fn bridge(destinations: &[Option<Duration>]) -> Bridge {
    let counters = Counters::new();
    let mut queue = SendingQueue { queue_size: 40_000, ..SendingQueue::default() };
    queue.batch.max_size = 1000;
    let mut deliveries = JoinSet::new();
    let mut built = Vec::new();
    for (number, time) in destinations.iter().enumerate() {
        let id = number.to_string();
        let lane = Arc::new(Lane::new(&id, Signal::Traces, Needs::default(), queue.clone(), &counters, None));
        let health = Arc::new(Health::default());
        let exporter = Arc::new(Exporter(*time));
        for seed in 0..2 {
            let delivery = Delivery {
                id: id.clone(),
                lane: lane.clone(),
                exporter: exporter.clone(),
                retry: RetryOnFailure::default(),
                health: health.clone(),
                abandon: Stop::new(),
                retire: Stop::new(),
                alive: mpsc::channel(1).0,
                seed,
            };
            deliveries.spawn(delivery.run());
        }
        built.push(Arc::new(Destination { id, lanes: vec![lane], health }));
    }
    let chain = Chain {
        id: "traces".to_owned(),
        signal: Signal::Traces,
        receivers: Vec::new(),
        processors: Arc::default(),
        destinations: built,
        tap: None,
        durable: None,
    };
    Bridge { counters, entry: Arc::new(Entry::new([Arc::new(chain)])), _deliveries: deliveries }
}

impl Bridge {
    /// Hands over this many requests of 1000 spans with 16 under way, and says how long that took.
    async fn load(&self, requests: usize) -> Duration {
        let began = Instant::now();
        let left = Arc::new(AtomicUsize::new(requests));
        let mut senders = JoinSet::new();
        for _ in 0..16 {
            let (left, entry) = (left.clone(), self.entry.clone());
            senders.spawn(async move {
                while left.fetch_update(Relaxed, Relaxed, |n| n.checked_sub(1)).is_ok() {
                    entry.consume(spans(1000)).await.expect("taken");
                    tokio::task::yield_now().await;
                }
            });
        }
        senders.join_all().await;
        began.elapsed()
    }

    fn count(&self, name: &str, destination: &str) -> u64 {
        self.counters.sum(name, &[("component", destination)])
    }

    /// Waits until nothing is queued for a destination.
    async fn drained(&self, destination: &str) {
        while self.count(names::QUEUED, destination) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

const FAST: Option<Duration> = Some(Duration::from_millis(1));

#[tokio::test(start_paused = true)]
async fn a_slow_destination_slows_its_senders_down_and_loses_nothing() {
    let bridge = bridge(&[FAST, Some(Duration::from_millis(100))]);
    // Ten times what fits, and two requests of 1000 spans in a tenth of a second.
    let took = bridge.load(400).await;
    bridge.drained("1").await;
    assert_eq!((bridge.count(names::SENT, "0"), bridge.count(names::SENT, "1")), (400_000, 400_000));
    assert_eq!(bridge.count(names::DROPPED, "1"), 0);
    assert!(took > Duration::from_secs(18), "not held back: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_holds_back_no_sender() {
    let bridge = bridge(&[FAST, None]);
    let took = bridge.load(400).await;
    bridge.drained("0").await;
    assert_eq!(bridge.count(names::SENT, "0"), 400_000);
    assert!(bridge.count(names::DROPPED, "1") > 300_000, "what finds no room is counted");
    assert!(took < Duration::from_secs(1), "held back: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_answers_nothing_holds_senders_back_once() {
    let bridge = bridge(&[FAST, Some(Duration::from_secs(3600))]);
    let took = bridge.load(400).await;
    bridge.drained("0").await;
    assert_eq!(bridge.count(names::SENT, "0"), 400_000);
    assert!(took >= PATIENCE && took < PATIENCE + Duration::from_secs(1), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_has_had_room_again_holds_senders_back_again() {
    let bridge = bridge(&[FAST, Some(Duration::from_secs(10))]);
    let first = bridge.load(20).await;
    assert!(first >= PATIENCE, "no sender waited: {first:?}");
    bridge.drained("1").await;
    let second = bridge.load(20).await;
    assert!(second >= PATIENCE, "no sender waited: {second:?}");
}

#[tokio::test(start_paused = true)]
async fn no_sender_waits_much_longer_than_the_others() {
    let bridge = bridge(&[Some(Duration::from_millis(10))]);
    let mut senders = JoinSet::new();
    for _ in 0..16 {
        let entry = bridge.entry.clone();
        senders.spawn(async move {
            let mut longest = Duration::ZERO;
            for _ in 0..50 {
                let began = Instant::now();
                entry.consume(spans(1000)).await.expect("taken");
                longest = longest.max(began.elapsed());
                tokio::task::yield_now().await;
            }
            longest
        });
    }
    let longest = senders.join_all().await.into_iter().max();
    // Two requests of 1000 spans go in ten milliseconds, so that one of sixteen senders has its turn after eighty.
    assert!(longest <= Some(Duration::from_millis(100)), "{longest:?}");
}

/// Everybody who can go on does.
async fn settled() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn who_waits_for_room_keeps_its_place_even_if_it_is_woken_for_nothing() {
    let (room, free, through) =
        (Arc::new(Room::default()), Arc::new(AtomicUsize::new(0)), Arc::new(Mutex::new(Vec::new())));
    for number in 0..5 {
        let (room, free, through) = (room.clone(), free.clone(), through.clone());
        tokio::spawn(async move {
            room.wait(Instant::now() + PATIENCE, || free.load(Relaxed) == 0, || 0).await;
            free.fetch_sub(1, Relaxed);
            through.lock().unwrap().push(number);
        });
    }
    settled().await;
    for _ in 0..3 {
        room.freed();
        settled().await;
    }
    assert!(room.is_waited_for());
    for _ in 0..5 {
        free.fetch_add(1, Relaxed);
        room.freed();
        settled().await;
    }
    assert_eq!(*through.lock().unwrap(), [0, 1, 2, 3, 4]);
    assert!(!room.is_waited_for());
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_take_the_room_that_another_one_waits_for() {
    let mut queue = SendingQueue { queue_size: 40_000, ..SendingQueue::default() };
    queue.batch.max_size = 1000;
    let lane = Arc::new(Lane::new("0", Signal::Traces, Needs::default(), queue, &Counters::new(), None));
    // Senders wait from 2,500 on.
    for _ in 0..3 {
        lane.push(spans(1000), Instant::now().into_std());
    }
    let waits = lane.clone();
    let waits = tokio::spawn(async move { waits.wait_for_room(Instant::now() + PATIENCE).await });
    settled().await;
    assert_eq!(lane.pop().await.unwrap().batch.items(), 1000);
    assert!(!waits.is_finished() && lane.holds_back(), "there is room, and it is not the newcomer's");
    settled().await;
    assert!(waits.is_finished() && !lane.holds_back());
}
