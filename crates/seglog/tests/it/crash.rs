//! Schedules of appends, commits, reads and crashes on the modelled file system. What was acknowledged is remembered outside
//! of the log and must be there after every crash. `SEGLOG_SCHEDULES` says how many, `SEGLOG_SEED` which is the first.

use crate::model::{Faults, Model};
use crate::support::{dir, drain, id, record, small};
use bytes::Bytes;
use muxbridge_seglog::{Durability, Group, Log, Options, Read, Receipt, Start};
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};

#[derive(Clone, Debug)]
enum Op {
    /// Lengths of the records, and whether a checkpoint is with them.
    Append(Vec<usize>, bool),
    Sync,
    /// A cursor reads so many records and is advanced past them.
    Read(u8, usize),
    Maintain,
    PowerCut,
    Kill,
    /// The power goes after so many operations of the file system.
    Fuse(u64),
}

#[derive(Clone, Debug)]
struct Plan {
    seed: u64,
    durability: Durability,
    faults: Faults,
    /// A cursor that never moves, so that nothing is deleted.
    keep: bool,
    max_bytes: u64,
    ops: Vec<Op>,
}

fn plan(seed: u64) -> Plan {
    let mut rng = fastrand::Rng::with_seed(seed);
    let durability = if rng.u32(..5) == 0 { Durability::Os } else { Durability::Fsync };
    let faulty = rng.u32(..3) == 0;
    let faults = Faults {
        write_eio: if faulty { rng.u32(..80) } else { 0 },
        sync_eio: if faulty { rng.u32(..120) } else { 0 },
        short: if rng.bool() { 150 } else { 0 },
        read_eio: 0,
        capacity: (faulty && rng.bool()).then_some(160 << 10),
    };
    let keep = rng.bool();
    let max_bytes = if rng.u32(..3) == 0 && !keep { 64 << 10 } else { 16 << 20 };
    let length = rng.usize(5..60);
    let ops = (0..length).map(|_| op(&mut rng, durability)).collect();
    Plan { seed, durability, faults, keep, max_bytes, ops }
}

fn op(rng: &mut fastrand::Rng, durability: Durability) -> Op {
    match rng.u32(..100) {
        0..45 => {
            let most = [40, 600, 1500, 5000][rng.usize(..4)];
            let records = [0, 1, 1, 1, 1, 2, 3, 8][rng.usize(..8)];
            let state = records == 0 || rng.u32(..4) == 0;
            Op::Append((0..records).map(|_| rng.usize(..most)).collect(), state)
        }
        45..70 => Op::Sync,
        70..80 => Op::Read(rng.u8(..2), rng.usize(1..30)),
        80..86 => Op::Maintain,
        // What is only with the operating system does not survive a power cut, so nothing is asked of it.
        86..92 if durability == Durability::Fsync => Op::PowerCut,
        92..96 if durability == Durability::Fsync => Op::Fuse(rng.u64(1..20)),
        _ => Op::Kill,
    }
}

type Outcome = Arc<Mutex<Option<Result<Receipt, String>>>>;

#[derive(Debug)]
struct Appended {
    ids: Vec<u64>,
    checkpoint: Option<u64>,
    outcome: Outcome,
    /// Crashes before it was appended.
    life: u64,
    /// The process died before it knew.
    unknown: bool,
}

impl Appended {
    fn acked(&self) -> bool {
        matches!(&*self.outcome.lock().expect("lock"), Some(Ok(_)))
    }

    fn failed(&self) -> bool {
        !self.unknown && matches!(&*self.outcome.lock().expect("lock"), Some(Err(_)))
    }
}

#[derive(Debug, Default)]
struct Consumer {
    /// Groups from this one on were accepted after it existed.
    since: Option<usize>,
    seen: BTreeSet<u64>,
    expired: u64,
}

/// What the world outside knows.
struct World {
    plan: Plan,
    model: Model,
    options: Options,
    log: Option<Log>,
    groups: Vec<Appended>,
    next_id: u64,
    consumers: BTreeMap<String, Consumer>,
    crashes: u64,
}

macro_rules! ensure {
    ($condition:expr, $($text:tt)*) => {
        if !$condition {
            return Err(format!($($text)*));
        }
    };
}

impl World {
    fn new(plan: Plan) -> Self {
        // What readers find in memory must be what stands on the disk, whether that is all of it or some.
        let recent_bytes = [0, 700, 1 << 20][(plan.seed % 3) as usize];
        let options =
            Options { durability: plan.durability, max_bytes: plan.max_bytes, recent_bytes, ..small() };
        let model = Model::new(plan.seed);
        let mut names = vec!["0".to_owned(), "1".to_owned()];
        names.extend(plan.keep.then(|| "keep".to_owned()));
        let consumers = names.into_iter().map(|n| (n, Consumer::default())).collect();
        Self { plan, model, options, log: None, groups: Vec::new(), next_id: 0, consumers, crashes: 0 }
    }

    fn run(&mut self) -> Result<(), String> {
        self.reopen()?;
        for op in self.plan.ops.clone() {
            self.step(&op)?;
            if self.model.is_dead() {
                self.crash(true)?;
            }
        }
        self.step(&Op::Sync)?;
        let power = self.plan.durability == Durability::Fsync;
        self.crash(power)?;
        self.finish()
    }

    fn step(&mut self, op: &Op) -> Result<(), String> {
        let log = self.log.clone().ok_or("no log")?;
        match op {
            Op::Append(lengths, state) => {
                let ids: Vec<u64> = (0..lengths.len() as u64).map(|n| self.next_id + n).collect();
                self.next_id += lengths.len() as u64;
                let checkpoint = state.then_some(self.groups.len() as u64);
                let records = ids.iter().zip(lengths).map(|(id, len)| record(*id, *len)).collect();
                let blob = |n: u64| {
                    (0, Bytes::from([n.to_le_bytes().to_vec(), vec![7; (n % 300) as usize]].concat()))
                };
                let group = Group { records, checkpoints: checkpoint.map(blob).into_iter().collect() };
                let outcome = Outcome::default();
                let told = Arc::clone(&outcome);
                let ticket = log.append(group).map_err(|e| e.to_string())?;
                ticket.on_done(move |result| {
                    *told.lock().expect("lock") = Some(result.map_err(|e| e.to_string()));
                });
                self.groups.push(Appended { ids, checkpoint, outcome, life: self.crashes, unknown: false });
            }
            Op::Sync => {
                log.sync();
                let all = self.groups.iter().all(|g| g.unknown || g.outcome.lock().expect("lock").is_some());
                ensure!(all, "a ticket was not resolved by a commit");
            }
            Op::Maintain => log.maintain(),
            Op::Read(number, most) => self.read(&log, &number.to_string(), *most)?,
            Op::PowerCut => self.crash(true)?,
            Op::Kill => self.crash(false)?,
            Op::Fuse(operations) => self.model.fuse(*operations),
        }
        Ok(())
    }

    fn read(&mut self, log: &Log, name: &str, most: usize) -> Result<(), String> {
        let Ok(mut reader) = log.reader(name) else { return Ok(()) };
        let consumer = self.consumers.get_mut(name).ok_or("no consumer")?;
        for _ in 0..most {
            match reader.next() {
                Ok(Some(Read::Record(record))) => drop(consumer.seen.insert(id(&record))),
                // With the power gone, reads fail and look like damage.
                _ if self.model.is_dead() => return Ok(()),
                Ok(Some(lost)) => {
                    return Err(format!("cursor {name} was told of damage that nobody did: {lost:?}"));
                }
                Ok(None) => break,
                Err(error) => return Err(error.to_string()),
            }
        }
        log.advance(name, reader.position()).map_err(|e| e.to_string())
    }

    fn crash(&mut self, power: bool) -> Result<(), String> {
        self.crashes += 1;
        if let Some(log) = self.log.take() {
            for status in log.cursors() {
                if let Some(consumer) = self.consumers.get_mut(&status.name) {
                    consumer.expired += status.losses.expired_records;
                }
            }
            // The handle's farewell must not reach the disk.
            self.model.fuse(0);
            for group in &mut self.groups {
                group.unknown |= group.outcome.lock().expect("lock").is_none();
            }
            drop(log);
        }
        if power {
            self.model.power_cut()
        } else {
            self.model.kill()
        }
        self.check()?;
        self.reopen()
    }

    fn reopen(&mut self) -> Result<(), String> {
        self.model.faults(Faults::default());
        let opened = Log::open(Arc::new(self.model.clone()), &dir(), self.options.clone());
        let log = opened.map_err(|e| e.to_string())?.0;
        for (name, consumer) in &mut self.consumers {
            log.cursor(name, Start::Newest).map_err(|e| e.to_string())?;
            consumer.since.get_or_insert(self.groups.len());
        }
        self.model.faults(self.plan.faults);
        self.log = Some(log);
        Ok(())
    }

    /// Looks at a copy of the disk, as a process would that is started now.
    fn check(&self) -> Result<(), String> {
        let copy = self.model.copy();
        let opened =
            Log::open(Arc::new(copy), &dir(), Options { max_bytes: 1 << 30, ..self.options.clone() });
        let (log, _) = opened.map_err(|e| e.to_string())?;
        log.cursor("probe", Start::Oldest).map_err(|e| e.to_string())?;
        let (ids, lost, _) = drain(&log, "probe");
        ensure!(lost == 0, "{lost} records are reported as damaged, and nobody damaged any");
        ensure!(ids.windows(2).all(|w| w[0] < w[1]), "out of order or doubled: {ids:?}");
        let present: BTreeSet<u64> = ids.into_iter().collect();
        let state = log.checkpoint(0).map(|b| u64::from_le_bytes(b[..8].try_into().expect("8 bytes")));
        let mut failed = None;
        for (number, group) in self.groups.iter().enumerate() {
            let there = group.ids.iter().filter(|id| present.contains(id)).count();
            ensure!(there == 0 || there == group.ids.len(), "group {number}: {there} of {:?}", group.ids);
            let there = there > 0;
            // A refused group may come back after a crash, unless the same process went on without it.
            if let Some(failed) =
                failed.filter(|f: &usize| there && !group.failed() && self.groups[*f].life == group.life)
            {
                return Err(format!("group {failed} was refused, is there, and so is {number} after it"));
            }
            failed = (there && group.failed()).then_some(number).or(failed);
            if group.acked() && self.plan.keep && !group.ids.is_empty() {
                ensure!(there, "group {number} was acknowledged and is gone");
            }
            let Some(own) = group.checkpoint else {
                // State builds on what the same process appended before it.
                let builds = |s: u64| s as usize > number && self.groups[s as usize].life == group.life;
                let needed = state.is_some_and(builds) && !group.failed() && self.plan.keep;
                ensure!(
                    !needed || there || group.ids.is_empty(),
                    "state {state:?} without the data of {number}"
                );
                continue;
            };
            ensure!(
                !group.acked() || state >= Some(own),
                "state {own} was acknowledged, {state:?} came back"
            );
            ensure!(!there || state >= Some(own), "the data of {number} came back without its state");
            let needed = state == Some(own) && self.plan.keep && !group.ids.is_empty();
            ensure!(!needed || there, "state {own} came back without its data");
        }
        Ok(())
    }

    /// Every consumer reads to the end: what it has never seen must have been reported.
    fn finish(&mut self) -> Result<(), String> {
        let log = self.log.clone().ok_or("no log")?;
        for name in self.consumers.keys().cloned().collect::<Vec<_>>() {
            self.read(&log, &name, usize::MAX)?;
        }
        for status in log.cursors() {
            let Some(consumer) = self.consumers.get(&status.name) else { continue };
            let due = self.groups.iter().skip(consumer.since.unwrap_or_default()).filter(|g| g.acked());
            let missing: Vec<u64> =
                due.flat_map(|g| &g.ids).filter(|id| !consumer.seen.contains(id)).copied().collect();
            let reported = consumer.expired + status.losses.expired_records;
            ensure!(
                missing.len() as u64 <= reported,
                "cursor {}: {missing:?} were acknowledged and never seen; {reported} are reported",
                status.name
            );
            let budget = self.plan.max_bytes < 1 << 20;
            ensure!(
                budget || reported == 0,
                "cursor {}: {reported} have expired without a budget",
                status.name
            );
            ensure!(status.losses.corrupt_records == 0, "damage was reported: {status:?}");
        }
        Ok(())
    }
}

fn attempt(plan: &Plan) -> Result<(u64, u64), String> {
    let run = || {
        let mut world = World::new(plan.clone());
        world.run().map(|()| (world.groups.iter().filter(|g| g.acked()).count() as u64, world.crashes))
    };
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(result) => result,
        Err(_) => Err("a panic".to_owned()),
    }
}

/// Leaves out what is not needed for the failure.
fn shrink(mut plan: Plan) -> (Plan, String) {
    let mut why = String::new();
    let mut at = 0;
    while at < plan.ops.len() {
        let mut smaller = plan.clone();
        smaller.ops.remove(at);
        match attempt(&smaller) {
            Err(text) => {
                plan = smaller;
                why = text;
            }
            Ok(_) => at += 1,
        }
    }
    (plan, why)
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

#[test]
fn what_was_acknowledged_is_there_after_every_crash() {
    let (first, count) = (env("SEGLOG_SEED", 1), env("SEGLOG_SCHEDULES", 300));
    let (mut acked, mut crashes) = (0, 0);
    for seed in first..first + count {
        let plan = plan(seed);
        match attempt(&plan) {
            Ok((a, c)) => {
                acked += a;
                crashes += c;
            }
            Err(why) => {
                let (small, shorter) = shrink(plan);
                panic!("SEGLOG_SEED={seed} SEGLOG_SCHEDULES=1: {why}\nshortest: {shorter}\n{small:#?}");
            }
        }
    }
    println!("schedules={count} crashes={crashes} acknowledged_groups={acked} lost=0");
    assert!(acked > count, "the schedules acknowledge something");
}
