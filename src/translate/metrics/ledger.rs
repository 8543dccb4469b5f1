//! What is remembered from batch to batch, so that sums of several series never fall and units never change.
//!
//! Series whose attributes become the same are one series after the translation: the sum of its parts. A batch need not
//! hold all parts, a part can end, and it can be counted from zero again; the sum must stand still then, as one that
//! falls reads as a restart of all of it. So the last value of every part is kept, and what ended is carried on.

use super::attributes::Attributes;
use super::point::{Point, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

/// The most parts that are remembered, and the most units. A part beyond that is left out of its sum and counted.
pub const MAX_PARTS: usize = 200_000;

/// How long a series without points is remembered.
const TTL: Duration = Duration::from_secs(3600);

/// What became of the points.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Outcome {
    /// Points that were added into another one.
    pub(super) merged: u64,
    /// Points that found no room.
    pub(super) refused: u64,
    /// Points of a sum that are older than what is known of their part: the sum at that time cannot be known any more.
    pub(super) late: u64,
}

#[derive(Debug, Default)]
pub(super) struct Ledger {
    series: HashMap<Vec<u8>, Series>,
    parts: usize,
    units: HashMap<Vec<u8>, Unit>,
    /// Families that are known as never counted and count after all.
    alive: HashSet<Vec<u8>>,
    swept: Option<Instant>,
    max_parts: Option<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Unit {
    seconds: bool,
    start: u64,
    count: u64,
    seen: Instant,
}

/// One series after the translation.
#[derive(Debug)]
struct Series {
    /// When the sum began; it stays, as one that moves reads as a restart. 0 if that is unknown.
    start: u64,
    /// By their labels, in an order that is the same in every run: sums of doubles depend on it.
    parts: BTreeMap<Vec<u8>, Part>,
    /// The sum of what ended while other parts went on.
    carried: Option<Value>,
    /// What was sent last.
    sent: Option<Value>,
    seen: Instant,
}

#[derive(Debug)]
struct Part {
    start: u64,
    time: u64,
    value: Value,
}

enum Applied {
    Yes,
    Late,
    Refused,
}

impl Ledger {
    /// One that remembers at most `max_parts`, for tests.
    #[cfg(test)]
    pub(super) fn bounded(max_parts: usize) -> Self {
        Ledger { max_parts: Some(max_parts), ..Ledger::default() }
    }

    fn max_parts(&self) -> usize {
        self.max_parts.unwrap_or(MAX_PARTS)
    }

    /// Forgets what has had no points for an hour.
    pub(super) fn sweep(&mut self, now: Instant) {
        if self.swept.is_some_and(|at| now.saturating_duration_since(at) < TTL / 2) {
            return;
        }
        self.swept = Some(now);
        let fresh = |seen: Instant| now.saturating_duration_since(seen) < TTL;
        self.series.retain(|_, s| fresh(s.seen));
        self.parts = self.series.values().map(|s| s.parts.len()).sum();
        self.units.retain(|_, u| fresh(u.seen));
    }

    /// Whether a series of latencies holds seconds: decided at its first values and kept, until it is counted anew.
    pub(super) fn seconds(
        &mut self,
        key: Vec<u8>,
        start: u64,
        count: u64,
        now: Instant,
        decide: impl FnOnce() -> bool,
    ) -> bool {
        if let Some(unit) = self.units.get_mut(&key)
            && unit.start == start
            && unit.count <= count
        {
            *unit = Unit { count, seen: now, ..*unit };
            return unit.seconds;
        }
        let seconds = decide();
        if self.units.len() < self.max_parts() || self.units.contains_key(&key) {
            self.units.insert(key, Unit { seconds, start, count, seen: now });
        }
        seconds
    }

    /// Whether a family that is known as never counted has counted before.
    pub(super) fn is_alive(&self, key: &[u8]) -> bool {
        self.alive.contains(key)
    }

    /// Remembers that it counts.
    pub(super) fn set_alive(&mut self, key: Vec<u8>) {
        // A few families for each resource; without room they are found again at their next value.
        if self.alive.len() < MAX_PARTS / 100 {
            self.alive.insert(key);
        }
    }

    /// Adds up the points of one cumulative target: one point for each series and time.
    pub(super) fn sum(
        &mut self,
        target: &[u8],
        mut points: Vec<Point>,
        now: Instant,
    ) -> (Vec<Point>, Outcome) {
        points.sort_by_key(|p| p.time);
        let mut out: Vec<Point> = Vec::with_capacity(points.len());
        let mut outcome = Outcome::default();
        let mut points = points.into_iter().peekable();
        while let Some(first) = points.next() {
            let time = first.time;
            let mut touched: Vec<(Vec<u8>, Point, u64)> = Vec::new();
            let mut index: HashMap<Attributes, usize> = HashMap::new();
            let mut next = Some(first);
            while let Some(point) = next {
                let key = key(target, &point.attributes);
                match self.apply(&key, &point, now) {
                    Applied::Refused => outcome.refused += 1,
                    Applied::Late => outcome.late += 1,
                    Applied::Yes => match index.get(&point.attributes) {
                        Some(&at) => {
                            let (_, first, n): &mut (_, Point, _) = &mut touched[at];
                            first.rest.extend_from_slice(&point.rest);
                            *n += 1;
                        }
                        None => {
                            index.insert(point.attributes.clone(), touched.len());
                            touched.push((key, point, 1));
                        }
                    },
                }
                next = points.next_if(|p| p.time == time);
            }
            for (key, point, n) in touched {
                outcome.merged += n - 1;
                out.push(self.total(&key, point, n));
            }
        }
        (out, outcome)
    }

    fn apply(&mut self, key: &[u8], point: &Point, now: Instant) -> Applied {
        let room = self.parts < self.max_parts();
        if !self.series.contains_key(key) {
            if point.value == Value::Gone {
                return Applied::Yes;
            }
            if !room {
                return Applied::Refused;
            }
            let series = Series { start: 0, parts: BTreeMap::new(), carried: None, sent: None, seen: now };
            self.series.insert(key.to_vec(), series);
        }
        let Some(series) = self.series.get_mut(key) else { return Applied::Refused };
        series.seen = now;
        if point.value == Value::Gone {
            if let Some(part) = series.parts.remove(&point.part) {
                self.parts -= 1;
                series.carry(part.value);
            }
            return Applied::Yes;
        }
        let alone = series.parts.len() == 1 && series.carried.is_none();
        let fresh = Part { start: point.start, time: point.time, value: point.value.clone() };
        match series.parts.get_mut(&point.part) {
            Some(part) if point.time < part.time => {
                return if alone { Applied::Yes } else { Applied::Late };
            }
            Some(part) => {
                let anew = fresh.value.fell(&part.value) || fresh.start > part.time;
                let before = std::mem::replace(part, fresh);
                if anew && !alone {
                    series.carry(before.value);
                }
            }
            None if !room => return Applied::Refused,
            None => {
                series.parts.insert(point.part.clone(), fresh);
                self.parts += 1;
            }
        }
        Applied::Yes
    }

    /// The point of a series that `n` points of one time went into; `point` is the first of them.
    fn total(&mut self, key: &[u8], mut point: Point, n: u64) -> Point {
        let Some(series) = self.series.get_mut(key) else { return point };
        if series.parts.is_empty() {
            self.series.remove(key);
            point.value = Value::Gone;
            return point;
        }
        let alone = series.parts.len() == 1 && series.carried.is_none();
        if alone && n == 1 && point.value != Value::Gone {
            // Not a sum: it goes on as it came, restarts and all.
            if series.parts.values().any(|p| p.time == point.time) {
                series.start = point.start;
                series.sent = Some(point.value.clone());
            }
            return point;
        }
        let starts = series.parts.values().map(|p| p.start).filter(|start| *start > 0);
        if series.sent.is_none() {
            series.start = starts.min().unwrap_or(0);
        }
        let mut parts = series.carried.iter().chain(series.parts.values().map(|p| &p.value));
        if let Some(mut total) = parts.next().cloned() {
            parts.for_each(|value| total.add(value));
            if let Some(sent) = &series.sent {
                total.not_below(sent);
            }
            series.sent = Some(total.clone());
            point.value = total;
        }
        point.start = series.start.min(point.time);
        point
    }
}

impl Series {
    fn carry(&mut self, value: Value) {
        match &mut self.carried {
            Some(carried) => carried.add(&value),
            // The last part: nothing goes on that it could be carried in.
            None if self.parts.is_empty() => {}
            None => self.carried = Some(value),
        }
    }
}

fn key(target: &[u8], attributes: &Attributes) -> Vec<u8> {
    let mut key = target.to_vec();
    attributes.identity(&mut key);
    key
}

/// Adds up deltas: points of one series and one time.
pub(super) fn sum_deltas(points: Vec<Point>) -> (Vec<Point>, Outcome) {
    let mut index: HashMap<(Attributes, u64), usize> = HashMap::new();
    let mut out: Vec<Point> = Vec::with_capacity(points.len());
    let mut outcome = Outcome::default();
    for point in points {
        let at = *index.entry((point.attributes.clone(), point.time)).or_insert(out.len());
        let Some(first) = out.get_mut(at) else {
            out.push(point);
            continue;
        };
        outcome.merged += 1;
        first.rest.extend_from_slice(&point.rest);
        first.start = match (first.start, point.start) {
            // 0 is "unknown", not the earliest time.
            (0, start) | (start, 0) => start,
            (a, b) => a.min(b),
        };
        match &first.value {
            Value::Gone => first.value = point.value,
            _ => first.value.add(&point.value),
        }
    }
    (out, outcome)
}
