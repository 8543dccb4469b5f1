//! A backlog that is set apart: what comes in overtakes it, and nothing is lost, whenever the power goes.

use super::{Lane, Taken};
use crate::pipeline::journal::place::Place;
use crate::pipeline::journal::{Journal, Outbound, record};
use crate::pipeline::model::Model;
use crate::pipeline::settings::SendingQueue;
use crate::pipeline::tail::Tail;
use crate::pipeline::tests::disk::{number, span};
use muxbridge_core::{Batch, Counters, Needs, Signal, names};
use muxbridge_pdata::wire::Fields;
use muxbridge_seglog::vfs::Vfs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::pin::pin;
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// So late that everything is, in milliseconds.
const LATER: u64 = 1 << 50;

struct Bridge {
    journal: Journal,
    lane: Arc<Lane>,
    counters: Counters,
    signal: Signal,
}

impl Bridge {
    /// `None` if the power went meanwhile.
    fn open(model: &Model, signal: Signal) -> Option<Bridge> {
        let vfs: Arc<dyn Vfs> = Arc::new(model.clone());
        let counters = Counters::new();
        let place = Place {
            directory: PathBuf::from("/data"),
            synced: true,
            max_bytes: 8 << 20,
            max_age: None,
            dead_bytes: 0,
        };
        let journal = Journal::open(&vfs, &place, &counters).ok()?;
        let mut queue = SendingQueue::default();
        (queue.batch.min_size, queue.batch.max_size) = (1, 3);
        let lane = Arc::new(Lane::new("d", signal, Needs::default(), queue, &counters, None));
        journal.join(&lane, "d", BTreeSet::from(["p".to_owned()])).ok()?;
        Some(Bridge { journal, lane, counters, signal })
    }

    fn outbound(&self) -> &Arc<Outbound> {
        self.journal.outbound(self.signal).expect("a log")
    }

    /// Whether it was acknowledged.
    fn accept(&self, batch: &Batch) -> bool {
        let (tell, told) = mpsc::channel();
        let done = move |outcome: Result<_, _>| {
            let _ = tell.send(outcome.is_ok());
        };
        let appended = self.outbound().append(record::encode("p", batch), done);
        self.outbound().stored.log.sync();
        appended.is_ok() && told.recv().unwrap_or(false)
    }

    fn accept_all(&self, numbers: impl IntoIterator<Item = u64>) {
        numbers.into_iter().for_each(|number| assert!(self.accept(&span(number, 10)), "the disk works"));
    }

    /// What makes one request, if there is something.
    fn pop(&self) -> Option<Taken> {
        match pin!(self.lane.pop()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken,
            Poll::Pending => None,
        }
    }

    /// The destination takes it.
    fn take(&self, taken: Taken) {
        let items = taken.batch.items() as u64;
        self.lane.counts.queued.sub(items);
        self.lane.counts.sent.add(items);
        self.lane.finish(taken.claim);
    }

    /// One request that the destination takes.
    fn deliver(&self) -> Option<Vec<u64>> {
        let taken = self.pop()?;
        let numbers = numbers(&taken.batch);
        self.take(taken);
        Some(numbers)
    }

    /// Everything that is left, in order.
    fn drain(&self) -> Vec<u64> {
        std::iter::from_fn(|| self.deliver()).flatten().collect()
    }

    /// What waits is late. Returns what the destination takes first.
    fn late(&self) -> Vec<u64> {
        let first = self.deliver().expect("something waits");
        self.lane.set_apart(LATER);
        first
    }

    fn cursors(&self) -> Vec<String> {
        self.outbound().stored.log.cursors().into_iter().map(|status| status.name).collect()
    }

    fn assert_adds_up(&self) {
        let sum = |name| self.counters.sum(name, &[]);
        let ended = sum(names::SENT) + sum(names::DROPPED) + sum(names::OMITTED) + sum(names::QUEUED);
        assert_eq!(sum(names::ENQUEUED), ended);
    }
}

/// The numbers of all spans of a request.
fn numbers(batch: &Batch) -> Vec<u64> {
    let resources = Fields::new(batch.otlp()).map(|field| field.raw.to_vec());
    resources.map(|raw| number(&muxbridge_testkit::batch(Signal::Traces, raw.into()))).collect()
}

const APART: [&str; 3] = ["backlog:d", "d", "until:d"];

#[tokio::test]
async fn what_comes_in_overtakes_a_backlog_and_everything_comes_once() {
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    bridge.accept_all(0..300);
    // Under way while it is set apart.
    let early = bridge.pop().expect("a request");
    let mut came = numbers(&early.batch);
    came.extend(bridge.late());
    assert_eq!(bridge.cursors(), APART);
    bridge.accept_all(1000..1012);
    let rest = bridge.drain();
    let last = rest.iter().position(|n| *n == 1011).expect("it comes");
    assert!(last < 20, "the last of what came in is number {last} of {}", rest.len());
    let backlog: Vec<_> = rest.iter().filter(|n| **n < 1000).collect();
    assert!(backlog.is_sorted(), "{backlog:?}");
    came.extend(rest);
    came.sort_unstable();
    assert_eq!(came, (0..300).chain(1000..1012).collect::<Vec<_>>());
    // The cursors go when all of it is done, not before.
    bridge.lane.upkeep(false);
    assert_eq!(bridge.cursors(), APART);
    bridge.take(early);
    bridge.lane.upkeep(false);
    assert_eq!(bridge.cursors(), ["d"]);
    assert_eq!(bridge.outbound().stored.log.cursors()[0].backlog_records, 0);
    assert_eq!(bridge.counters.sum(names::QUEUED, &[]), 0);
    bridge.assert_adds_up();
}

#[tokio::test]
async fn a_backlog_gets_its_share_where_what_comes_in_would_take_all_requests() {
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    bridge.accept_all(0..60);
    bridge.late();
    bridge.accept_all(1000..1090);
    let requests: Vec<_> = std::iter::from_fn(|| bridge.deliver()).take(20).collect();
    let old = requests.iter().filter(|numbers| numbers[0] < 1000).count();
    assert_eq!(old, 5, "{requests:?}");
}

#[tokio::test]
async fn nothing_is_set_apart_that_is_not_late_or_little() {
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    bridge.accept_all(0..100);
    bridge.lane.upkeep(false);
    assert_eq!(bridge.cursors(), ["d"], "it is not late");
    while bridge.lane.counts.queued.get() > 5 {
        bridge.deliver();
    }
    bridge.lane.set_apart(LATER);
    assert_eq!(bridge.cursors(), ["d"], "little is left");
}

#[tokio::test]
async fn a_backlog_grows_as_long_as_nothing_is_delivered_so_that_only_the_last_seconds_come_first() {
    let mut model = Model::new(1);
    let bridge = Bridge::open(&model, Signal::Traces).expect("opens");
    let under_way = [(); 2].map(|()| {
        bridge.accept_all(0..3);
        bridge.pop().expect("a request")
    });
    bridge.accept_all(10..100);
    bridge.lane.set_apart(LATER);
    for round in 1..=4 {
        bridge.accept_all((1..=10).map(|n| 100 * round + n));
        bridge.lane.set_apart(LATER + 5000 * round - 1);
        let grown = bridge.lane.lock().backlog.as_ref().and_then(|b| b.tail.as_ref()).map(Tail::end);
        assert!(grown.is_some_and(|end| end.items == 96 + 10 * (round - 1)), "{round}: {grown:?}");
        bridge.lane.set_apart(LATER + 5000 * round);
    }
    bridge.accept_all(1000..1006);
    // The power goes once everything is stored, and later as it comes.
    bridge.journal.store();
    let copies = [model.copy(), model.copy()];
    under_way.into_iter().for_each(|taken| bridge.take(taken));
    check_grown(&bridge, 0);
    for mut copy in copies {
        copy.power_cut();
        check_grown(&Bridge::open(&copy, Signal::Traces).expect("opens"), 6);
    }
    model.power_cut();
}

/// Delivers everything: the newest first, nothing missing, nothing twice but what was under way.
fn check_grown(bridge: &Bridge, under_way: usize) {
    let rest = bridge.drain();
    assert!(rest.iter().position(|n| *n == 1005).is_some_and(|at| at < 10), "{rest:?}");
    let backlog: Vec<_> = rest.iter().filter(|n| (10..1000).contains(*n)).collect();
    assert!(backlog.is_sorted() && backlog.len() == 130, "{backlog:?}");
    assert_eq!(rest.len(), 136 + under_way);
    bridge.lane.upkeep(false);
    assert_eq!(bridge.cursors(), ["d"]);
    bridge.assert_adds_up();
}

#[tokio::test(start_paused = true)]
async fn requests_of_a_backlog_are_small_where_they_take_long_and_large_where_they_do_not() {
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    bridge.lane.lock().settings.batch.max_size = 16;
    bridge.accept_all(0..500);
    bridge.late();
    let mut sizes = Vec::new();
    for seconds in [0, 0, 0, 0, 0, 3, 3, 1, 3, 3, 3, 0] {
        let taken = bridge.pop().expect("a request");
        sizes.push(taken.batch.items());
        tokio::time::advance(Duration::from_secs(seconds)).await;
        bridge.take(taken);
    }
    assert_eq!(sizes, [1, 1, 2, 4, 8, 16, 8, 4, 4, 2, 1, 1]);
}

#[tokio::test]
async fn a_second_outage_waits_behind_what_is_live_until_the_first_backlog_is_delivered() {
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    bridge.accept_all(0..100);
    let mut came = bridge.late();
    bridge.accept_all(100..200);
    came.extend(bridge.late());
    bridge.lane.set_apart(2 * LATER);
    assert_eq!(bridge.lane.lock().live.tail.as_ref().map(Tail::place), Some(1), "it is split once");
    bridge.accept_all(200..300);
    let rest = bridge.drain();
    for stretch in [0..100, 100..300] {
        assert!(rest.iter().filter(|n| stretch.contains(*n)).is_sorted());
    }
    came.extend(rest);
    bridge.lane.upkeep(false);
    // The third has a backlog of its own again.
    bridge.accept_all(300..400);
    came.extend(bridge.late());
    assert_eq!(bridge.cursors(), APART);
    came.extend(bridge.drain());
    came.sort_unstable();
    assert_eq!(came, (0..400).collect::<Vec<_>>());
}

#[tokio::test]
async fn an_orderly_restart_goes_on_with_both_and_sends_nothing_twice() {
    let mut model = Model::new(1);
    let bridge = Bridge::open(&model, Signal::Traces).expect("opens");
    bridge.accept_all(0..100);
    let mut came = bridge.late();
    bridge.accept_all(1000..1030);
    for _ in 0..8 {
        came.extend(bridge.deliver().into_iter().flatten());
    }
    bridge.journal.store();
    model.kill();
    let bridge = Bridge::open(&model, Signal::Traces).expect("opens");
    assert_eq!(bridge.lane.counts.queued.get(), 130 - came.len() as u64);
    assert_eq!(bridge.cursors(), APART);
    bridge.accept_all(2000..2003);
    let rest = bridge.drain();
    assert!(rest.iter().position(|n| *n == 2002).is_some_and(|at| at < 40), "{rest:?}");
    came.extend(rest);
    came.sort_unstable();
    assert_eq!(came, (0..100).chain(1000..1030).chain(2000..2003).collect::<Vec<_>>());
    bridge.lane.upkeep(false);
    assert_eq!(bridge.cursors(), ["d"]);
    bridge.assert_adds_up();
}

/// Lives of a bridge on a disk whose power goes at any operation. Returns in how many a backlog was there at the end.
fn lives(seed: u64, kill: bool) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::new(seed);
    let (mut next, mut apart, mut later) = (0, 0, LATER);
    let mut acknowledged = BTreeSet::new();
    let mut reached = BTreeMap::<u64, usize>::new();
    for life in 0..8 {
        let last = life == 7;
        if !last {
            model.fuse(random.u64(..400));
        }
        let Some(bridge) = Bridge::open(&model, Signal::Traces) else {
            assert!(model.is_dead(), "only the power keeps it from opening");
            model.power_cut();
            continue;
        };
        let mut under_way: Vec<Taken> = Vec::new();
        for _ in 0..random.usize(20..150) {
            match random.u8(..12) {
                0..5 => {
                    if bridge.accept(&span(next, random.usize(..3000))) {
                        acknowledged.insert(next);
                    }
                    next += 1;
                }
                5..7 => under_way.extend((under_way.len() < 4).then(|| bridge.pop()).flatten()),
                7 if !under_way.is_empty() => {
                    let taken = under_way.swap_remove(random.usize(..under_way.len()));
                    numbers(&taken.batch).into_iter().for_each(|n| *reached.entry(n).or_default() += 1);
                    bridge.take(taken);
                }
                8 | 9 => {
                    later += random.u64(..10_000);
                    bridge.lane.set_apart(later);
                }
                10 => bridge.journal.store(),
                _ => bridge.lane.upkeep(random.bool()),
            }
        }
        apart += usize::from(bridge.cursors().len() > 1);
        if last {
            while let Some(taken) = under_way.pop().or_else(|| bridge.pop()) {
                numbers(&taken.batch).into_iter().for_each(|n| *reached.entry(n).or_default() += 1);
                bridge.take(taken);
            }
            bridge.lane.upkeep(false);
            assert_eq!(bridge.cursors(), ["d"], "seed {seed}");
            assert_eq!(bridge.lane.counts.queued.get(), 0, "seed {seed}");
            bridge.assert_adds_up();
        }
        if kill { model.kill() } else { model.power_cut() }
    }
    let lost: Vec<_> = acknowledged.iter().filter(|n| !reached.contains_key(n)).collect();
    assert!(lost.is_empty(), "seed {seed}: lost {lost:?}");
    apart
}

#[tokio::test]
async fn nothing_is_lost_whatever_step_of_setting_a_backlog_apart_a_power_cut_hits() {
    let apart: usize = (0..60).map(|seed| lives(seed, seed % 3 == 0)).sum();
    assert!(apart > 40, "{apart}: the crashes came at no interesting time");
}

#[tokio::test]
async fn a_destination_that_leaves_with_a_backlog_leaves_no_cursor() {
    // Delivered.
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    bridge.accept_all(0..100);
    bridge.late();
    bridge.outbound().leave(&bridge.lane);
    bridge.lane.close();
    bridge.drain();
    bridge.lane.upkeep(true);
    assert_eq!(bridge.cursors(), Vec::<String>::new());
    assert!(bridge.lane.release().is_none(), "nothing is left");
    bridge.assert_adds_up();
    // Kept until it is given up.
    let bridge = Bridge::open(&Model::new(2), Signal::Traces).expect("opens");
    bridge.accept_all(0..100);
    let came = bridge.late().len() as u64;
    bridge.outbound().leave(&bridge.lane);
    bridge.lane.close();
    bridge.lane.upkeep(true);
    let end = bridge.lane.release().expect("something is left");
    let mut tails = Tail::open(bridge.outbound(), "d", BTreeSet::new()).expect("opens");
    tails.0.limit(end);
    let retained = Lane::retained("d", tails, bridge.signal, &bridge.counters);
    retained.upkeep(false);
    assert_eq!((retained.counts.queued.get(), bridge.cursors().len()), (100 - came, 3));
    assert_eq!(bridge.outbound().others(&|_| false).len(), 1, "known after a restart, too");
    retained.forget();
    assert_eq!(bridge.cursors(), Vec::<String>::new());
    bridge.assert_adds_up();
}

#[tokio::test]
async fn what_the_budget_takes_of_a_backlog_is_counted_and_what_came_in_is_delivered() {
    let bridge = Bridge::open(&Model::new(1), Signal::Traces).expect("opens");
    (0..60).for_each(|number| assert!(bridge.accept(&span(number, 20_000))));
    bridge.late();
    let mut accepted = 60;
    while !bridge.lane.is_full() {
        assert!(bridge.accept(&span(accepted, 20_000)));
        accepted += 1;
    }
    (0..40).for_each(|number| assert!(bridge.accept(&span(1000 + number, 20_000))));
    bridge.journal.store();
    bridge.lane.upkeep(false);
    bridge.assert_adds_up();
    let rest = bridge.drain();
    bridge.lane.upkeep(false);
    assert!((0..40).all(|number| rest.contains(&(1000 + number))));
    assert!(bridge.counters.sum(names::DROPPED, &[("reason", "expired")]) > 0);
    assert_eq!(bridge.counters.sum(names::QUEUED, &[]), 0);
    assert_eq!(bridge.cursors(), ["d"]);
    bridge.assert_adds_up();
}

#[tokio::test]
async fn metrics_stay_in_order_also_where_no_deltas_are_made() {
    let bridge = Bridge::open(&Model::new(1), Signal::Metrics).expect("opens");
    let empty = || {
        let mut w = muxbridge_pdata::Writer::new();
        w.message(1, |w| w.message(2, |w| w.message(2, |w| w.message(5, |w| w.message(1, |_| {})))));
        muxbridge_testkit::batch(Signal::Metrics, w.into_bytes())
    };
    (0..100).for_each(|_| assert!(bridge.accept(&empty())));
    let taken = bridge.pop().expect("a request");
    bridge.take(taken);
    bridge.lane.set_apart(LATER);
    assert_eq!(bridge.cursors(), ["d"]);
}
