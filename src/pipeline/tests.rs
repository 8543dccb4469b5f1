//! Delivery against a destination that fails, on paused time.

pub(crate) mod disk;

use super::delivery::{Delivery, Health};
use super::lane::Lane;
use super::settings::{RetryOnFailure, SendingQueue};
use muxbridge_core::{
    Batch, BoxFuture, Counters, Delivered, DynExporter, ExportError, Limits, Needs, Origin, Signal, Stop,
    names,
};
use muxbridge_pdata::Writer;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What the destination answers: attempt time since the start, items of the batch.
type Script = Box<dyn Fn(Duration, usize) -> Result<Delivered, ExportError> + Send + Sync>;

struct Scripted {
    script: Script,
    began: Instant,
    /// When each attempt began, with its items and how many were under way then.
    attempts: Mutex<Vec<(Duration, usize, usize)>>,
    under_way: Mutex<usize>,
}

impl DynExporter for Scripted {
    fn export_dyn<'a>(&'a self, batch: &'a Batch) -> BoxFuture<'a, Result<Delivered, ExportError>> {
        Box::pin(async move {
            let at = self.began.elapsed();
            let now = {
                let mut under_way = self.under_way.lock().expect("a lock");
                *under_way += 1;
                *under_way
            };
            self.attempts.lock().expect("a lock").push((at, batch.items(), now));
            tokio::time::sleep(Duration::from_millis(50)).await;
            *self.under_way.lock().expect("a lock") -= 1;
            (self.script)(at, batch.items())
        })
    }
    fn shutdown_dyn(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// A batch of empty spans.
pub(crate) fn spans(count: usize) -> Batch {
    let mut w = Writer::new();
    w.message(1, |w| {
        w.message(2, |w| {
            (0..count).for_each(|_| w.message(2, |w| w.bytes(1, &[7; 16])));
        });
    });
    let bytes = w.as_slice().to_vec().into();
    Batch::new(Signal::Traces, bytes, Arc::new(Origin::default()), Limits::default()).expect("a valid batch")
}

struct Run {
    counters: Counters,
    exporter: Arc<Scripted>,
    took: Duration,
}

/// Delivers these batches, each a request of its own, with four consumers.
async fn deliver(batches: Vec<Batch>, script: Script) -> Run {
    let counters = Counters::new();
    let mut queue = SendingQueue::default();
    queue.batch.min_size = 1;
    queue.batch.max_size = 1000;
    let lane = Arc::new(Lane::new("d", Signal::Traces, Needs::default(), queue, &counters, None));
    let began = Instant::now();
    let exporter =
        Arc::new(Scripted { script, began, attempts: Mutex::default(), under_way: Mutex::default() });
    // 1000 spans are a full request, so that no two batches are joined.
    batches.into_iter().for_each(|batch| lane.push(batch, began.into_std()));
    lane.close();
    let health = Arc::new(Health::default());
    let mut tasks = JoinSet::new();
    for seed in 0..4 {
        let delivery = Delivery {
            id: "d".to_owned(),
            lane: lane.clone(),
            exporter: exporter.clone(),
            retry: RetryOnFailure::default(),
            health: health.clone(),
            abandon: Stop::new(),
            retire: Stop::new(),
            alive: mpsc::channel(1).0,
            seed,
        };
        tasks.spawn(delivery.run());
    }
    while tasks.join_next().await.is_some() {}
    Run { counters, exporter, took: began.elapsed() }
}

fn retryable(after: Option<Duration>) -> Result<Delivered, ExportError> {
    Err(ExportError::Retryable { after, source: "down".into() })
}

#[tokio::test(start_paused = true)]
async fn a_destination_that_is_down_gets_one_probe_at_a_time_and_then_everything() {
    let down = Duration::from_secs(600);
    let script: Script =
        Box::new(move |at, _| if at < down { retryable(None) } else { Ok(Delivered::default()) });
    let run = deliver((0..20).map(|_| spans(1000)).collect(), script).await;
    assert_eq!(run.counters.sum(names::SENT, &[]), 20_000);
    assert_eq!(run.counters.sum(names::DROPPED, &[]), 0);
    let attempts = run.exporter.attempts.lock().expect("a lock");
    let probes: Vec<_> = attempts.iter().filter(|(at, ..)| *at < down).collect();
    assert!(probes.len() <= 40, "{} attempts in ten minutes", probes.len());
    // The first four start together, before anything is known.
    assert!(probes.iter().skip(4).all(|(_, _, under_way)| *under_way == 1), "{probes:?}");
    assert!(run.took < down + Duration::from_secs(50), "{:?}", run.took);
}

#[tokio::test(start_paused = true)]
async fn no_consumer_sends_before_the_time_that_the_destination_asked_for() {
    let asked = Duration::from_secs(100);
    let script: Script = Box::new(move |at, _| {
        if at < Duration::from_millis(10) { retryable(Some(asked)) } else { Ok(Delivered::default()) }
    });
    let run = deliver((0..8).map(|_| spans(1000)).collect(), script).await;
    let attempts = run.exporter.attempts.lock().expect("a lock");
    assert_eq!(attempts.len(), 12, "four that fail, and eight");
    assert!(attempts.iter().skip(4).all(|(at, ..)| *at >= asked), "{attempts:?}");
    assert_eq!(run.counters.sum(names::SENT, &[]), 8_000);
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_alone_makes_a_destination_fail_does_not_hold_back_the_others() {
    let cured = Duration::from_secs(3600);
    let script: Script =
        Box::new(
            move |at, items| {
                if items == 999 && at < cured { retryable(None) } else { Ok(Delivered::default()) }
            },
        );
    let mut batches = vec![spans(999)];
    batches.extend((0..200).map(|_| spans(1000)));
    let run = deliver(batches, script).await;
    let attempts = run.exporter.attempts.lock().expect("a lock");
    let last = attempts.iter().filter(|(_, items, _)| *items == 1000).map(|(at, ..)| *at).max();
    assert!(last.is_some_and(|at| at < Duration::from_secs(60)), "{last:?}");
    assert_eq!(run.counters.sum(names::SENT, &[]), 200_999);
}

#[tokio::test(start_paused = true)]
async fn what_is_too_large_is_halved_until_it_fits_and_one_item_alone_is_dropped() {
    let script: Script =
        Box::new(
            |_, items| {
                if items > 100 { Err(ExportError::too_large("413")) } else { Ok(Delivered::default()) }
            },
        );
    let run = deliver(vec![spans(1000)], script).await;
    assert_eq!(run.counters.sum(names::SENT, &[]), 1000);
    let run = deliver(vec![spans(2)], Box::new(|_, _| Err(ExportError::too_large("413")))).await;
    assert_eq!(run.counters.sum(names::DROPPED, &[("reason", "too_large")]), 2);
    assert_eq!(run.counters.sum(names::QUEUED, &[]), 0);
}
