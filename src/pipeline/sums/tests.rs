//! Deltas add up whatever a power cut leaves of the disk, and in whatever order requests finish.

use crate::pipeline::journal::Journal;
use crate::pipeline::journal::place::Place;
use crate::pipeline::journal::record;
use crate::pipeline::lane::{Lane, Taken};
use crate::pipeline::model::Model;
use crate::pipeline::settings::SendingQueue;
use crate::pipeline::sums::SumsFile;
use muxbridge_core::{Batch, Counters, Needs, Signal, TemporalityNeed, names};
use muxbridge_kit::delta::{DeltaState, InitialValue};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{MetricData, Number};
use muxbridge_seglog::Position;
use muxbridge_seglog::vfs::Vfs;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};

const STARTED: u64 = 100;

/// A counter: its name, when it began, the time of its last point, and its value.
#[derive(Clone, Copy)]
struct Source {
    name: u8,
    start: u64,
    time: u64,
    value: i64,
}

impl Source {
    fn batch(&self, padding: usize) -> Batch {
        let mut w = Writer::new();
        w.message(field::REQUEST_RESOURCE, |w| {
            w.message(field::resource_items::SCOPES, |w| {
                w.message(field::scope_items::ITEMS, |w| {
                    w.bytes(field::metric::NAME, &[self.name]);
                    // Not a part of what names the series.
                    w.bytes(field::metric::DESCRIPTION, &vec![b'x'; padding]);
                    w.message(field::metric::SUM, |w| {
                        w.message(field::metric::DATA_POINTS, |w| {
                            w.fixed64(field::point::START_TIME, self.start);
                            w.fixed64(field::point::TIME, self.time);
                            w.fixed64(field::number_point::AS_INT, self.value as u64);
                        });
                        w.varint(field::metric::TEMPORALITY, 2);
                        w.varint(field::metric::IS_MONOTONIC, 1);
                    });
                });
            });
        });
        muxbridge_testkit::batch(Signal::Metrics, w.into_bytes())
    }
}

/// What reached the destination, by series and interval.
#[derive(Default)]
struct Reached(BTreeMap<(u8, u64, u64), i64>, usize);

impl Reached {
    fn add(&mut self, batch: &Batch) {
        let metrics = batch.resources().flat_map(|r| r.scopes()).flat_map(|s| s.metrics());
        for metric in metrics {
            let Some(MetricData::Sum { points, .. }) = metric.data else { panic!("no sum") };
            for point in points {
                let Some(Number::Int(value)) = point.value else { panic!("no integer") };
                let before = self.0.insert((metric.name[0], point.start, point.time), value);
                assert!(before.is_none_or(|before| before == value), "an interval came with two values");
                self.1 += usize::from(before.is_some());
            }
        }
    }
}

struct Bridge {
    journal: Journal,
    lane: Arc<Lane>,
    counters: Counters,
}

fn place() -> Place {
    Place {
        directory: PathBuf::from("/data"),
        synced: true,
        max_bytes: 8 << 20,
        max_age: None,
        dead_bytes: 0,
    }
}

impl Bridge {
    /// `None` if the power went meanwhile.
    fn open(model: &Model) -> Option<Bridge> {
        let vfs: Arc<dyn Vfs> = Arc::new(model.clone());
        let counters = Counters::new();
        let journal = Journal::open(&vfs, &place(), &counters).ok()?;
        let mut queue = SendingQueue::default();
        (queue.batch.min_size, queue.batch.max_size) = (1, 3);
        let needs = Needs { temporality: TemporalityNeed::Delta, ..Needs::default() };
        let state = DeltaState::new(InitialValue::Auto, STARTED);
        let lane = Arc::new(Lane::new("d", Signal::Metrics, needs, queue, &counters, Some(state)));
        journal.join(&lane, "d", BTreeSet::from(["metrics".to_owned()])).ok()?;
        Some(Bridge { journal, lane, counters })
    }

    /// Whether it was acknowledged.
    fn accept(&self, batch: &Batch) -> bool {
        let (tell, told) = mpsc::channel();
        let outbound = self.journal.outbound(Signal::Metrics).expect("a log");
        let done = move |outcome: Result<_, _>| {
            let _ = tell.send(outcome.is_ok());
        };
        let appended = outbound.append(record::encode("metrics", batch), done);
        self.journal.outbound(Signal::Metrics).expect("a log").stored.log.sync();
        appended.is_ok() && told.recv().unwrap_or(false)
    }

    /// What makes one request, if there is something.
    fn pop(&self) -> Option<Taken> {
        match pin!(self.lane.pop()).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(taken) => taken,
            Poll::Pending => None,
        }
    }
}

/// Lives of a bridge on a disk whose power goes at any operation. Returns how many intervals came twice.
fn lives(seed: u64, kill: bool) -> usize {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut model = Model::new(seed);
    let mut sources: Vec<Source> =
        (0..3).map(|n| Source { name: b'a' + n, start: 200, time: 200, value: 0 }).collect();
    let (mut reached, mut total, mut clock) = (Reached::default(), 0, 200);
    // A sender keeps what was not acknowledged.
    let mut unsent: Option<Batch> = None;
    for life in 0..8 {
        let last = life == 7;
        if !last {
            model.fuse(random.u64(..600));
        }
        let Some(bridge) = Bridge::open(&model) else {
            assert!(model.is_dead(), "only the power keeps it from opening");
            model.power_cut();
            continue;
        };
        let mut under_way: Vec<Taken> = Vec::new();
        for _ in 0..random.usize(20..120) {
            // Without power nothing is sent either, and what cannot be read is no damage.
            if model.is_dead() {
                break;
            }
            match random.u8(..12) {
                0..4 => {
                    let batch = unsent.take().unwrap_or_else(|| {
                        clock += 1;
                        let (source, more) = (&mut sources[random.usize(..3)], random.i64(1..100));
                        if random.u8(..) < 10 {
                            (source.start, source.value) = (clock, 0);
                            clock += 1;
                        }
                        (source.time, source.value) = (clock, source.value + more);
                        total += more;
                        source.batch(random.usize(..3000))
                    });
                    unsent = (!bridge.accept(&batch)).then_some(batch);
                }
                4..7 => under_way.extend((under_way.len() < 4).then(|| bridge.pop()).flatten()),
                7 | 8 if !under_way.is_empty() => {
                    let taken = under_way.swap_remove(random.usize(..under_way.len()));
                    reached.add(&taken.batch);
                    bridge.lane.finish(taken.claim);
                }
                // Taken by the destination, and nobody knows: under way for good.
                9 if !under_way.is_empty() => reached.add(&under_way[random.usize(..under_way.len())].batch),
                _ => {
                    bridge.lane.upkeep(random.bool());
                    bridge.journal.store();
                }
            }
        }
        if last {
            if let Some(batch) = unsent.take() {
                assert!(bridge.accept(&batch), "the disk works");
            }
            while let Some(taken) = under_way.pop().or_else(|| bridge.pop()) {
                reached.add(&taken.batch);
                bridge.lane.finish(taken.claim);
            }
            assert_eq!(bridge.counters.sum(names::OMITTED, &[]), 0, "seed {seed}: a baseline");
        }
        if kill { model.kill() } else { model.power_cut() }
    }
    assert_eq!(reached.0.values().sum::<i64>(), total, "seed {seed}: {} intervals", reached.0.len());
    reached.1
}

#[tokio::test]
async fn deltas_add_up_after_power_cuts_at_any_operation_whatever_was_under_way() {
    let repeats: usize = (0..40).map(|seed| lives(seed, seed % 3 == 0)).sum();
    assert!(repeats > 0, "nothing was ever sent twice: the crashes came at no interesting time");
}

#[tokio::test]
async fn a_damaged_file_of_sums_changes_nothing_because_the_other_is_there() {
    let mut model = Model::new(1);
    let mut source = Source { name: b'a', start: 200, time: 200, value: 0 };
    let mut reached = Reached::default();
    let mut send = |bridge: &Bridge, reached: &mut Reached| {
        (source.time, source.value) = (source.time + 1, source.value + 7);
        assert!(bridge.accept(&source.batch(10)));
        let taken = bridge.pop().expect("a request");
        reached.add(&taken.batch);
        bridge.lane.finish(taken.claim);
    };
    let bridge = Bridge::open(&model).expect("opens");
    for _ in 0..5 {
        send(&bridge, &mut reached);
        bridge.lane.upkeep(true);
    }
    send(&bridge, &mut reached);
    model.kill();
    drop(bridge);
    for slot in ["/data/sums/d.0", "/data/sums/d.1"] {
        let length = model.read(Path::new(slot)).len();
        for at in [0, 10, 15, 25, 45, 53, 60, length - 1] {
            let mut model = model.copy();
            let mut bytes = model.read(Path::new(slot));
            bytes[at] ^= 4;
            model.put(Path::new(slot), bytes);
            let mut reached = Reached(reached.0.clone(), 0);
            let bridge = Bridge::open(&model).expect("opens");
            while let Some(taken) = bridge.pop() {
                reached.add(&taken.batch);
                bridge.lane.finish(taken.claim);
            }
            let mut next = source;
            (next.time, next.value) = (source.time + 1, source.value + 7);
            assert!(bridge.accept(&next.batch(10)));
            reached.add(&bridge.pop().expect("a request").batch);
            assert_eq!(reached.0.values().sum::<i64>(), next.value, "{slot}, byte {at}");
            model.kill();
        }
    }
}

fn place_of(records: u64) -> Position {
    Position { lsn: records, records, items: records }
}

fn with_checksum(body: &[u8]) -> Vec<u8> {
    [body, &crc32fast::hash(body).to_le_bytes()].concat()
}

#[test]
fn a_crash_while_sums_are_stored_never_leaves_a_place_with_the_state_of_another() {
    let stored = |number: u8| (place_of(u64::from(number)), with_checksum(&[number; 40]));
    for (seed, operations) in (0..300).flat_map(|seed| (0..6).map(move |operations| (seed, operations))) {
        let mut model = Model::new(seed);
        let open = |model: &Model| {
            let vfs: Arc<dyn Vfs> = Arc::new(model.clone());
            SumsFile::open(&vfs, Path::new("/sums"), "d").expect("opens")
        };
        let mut file = open(&model);
        for (place, state) in [stored(1), stored(2)] {
            file.write(place, &state).expect("stores");
        }
        // Opens the file of the first, writes the header, the state, cuts and syncs.
        model.fuse(operations);
        let (place, state) = stored(3);
        let outcome = file.write(place, &state);
        if seed % 2 == 0 {
            model.kill()
        } else {
            model.power_cut()
        }
        let mut file = open(&model);
        let found = file.read().expect("one of the files is whole");
        assert!(
            found == stored(3) || (outcome.is_err() && found == stored(2)),
            "{seed} {operations} {found:?}"
        );
        file.write(place, &state).expect("stores");
        assert_eq!(open(&model).read(), Some(stored(3)));
    }
}

#[test]
fn a_file_of_sums_of_the_first_version_is_read() {
    let model = Model::new(1);
    let mut header = b"MUXSUMS\n".to_vec();
    header.extend_from_slice(&1u32.to_le_bytes());
    let state = with_checksum(b"sums");
    for number in [7, 5, 5, 5, state.len() as u64] {
        header.extend_from_slice(&number.to_le_bytes());
    }
    model.put(Path::new("/sums/d.0"), [with_checksum(&header), state.clone()].concat());
    let vfs: Arc<dyn Vfs> = Arc::new(model);
    let mut file = SumsFile::open(&vfs, Path::new("/sums"), "d").expect("opens");
    assert_eq!(file.read(), Some((place_of(5), state)));
}
