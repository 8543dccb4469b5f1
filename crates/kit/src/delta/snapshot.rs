//! The state as bytes, so that it outlives the process.
//!
//! `MUXDELT\n | version (4): 2 | started (8) | swept (8, 0: never) | series (8) | each series | CRC-32 of all before (4)`, numbers
//! little-endian. A series: key (length 4, bytes), start (8), time (8), seen (8), kind (1), then as in [`Value`]: lists with a
//! length of 4, what may be missing after a byte 0 or 1.

use super::known::{Known, sorted};
use super::value::{Exponential, Histogram, Side, Value};
use super::{Before, DeltaState, MAX_SERIES, Previous, Series, Undo};
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;

const MAGIC: &[u8; 8] = b"MUXDELT\n";
const VERSION: u32 = 2;

/// A state that does not change any more: taken at once, written at leisure.
#[derive(Debug)]
pub struct Frozen {
    started: u64,
    swept: Option<u64>,
    series: Vec<Option<Series>>,
}

impl Frozen {
    /// For [`DeltaState::restore`].
    pub fn encode(&self) -> Vec<u8> {
        let mut w = Out(MAGIC.to_vec());
        w.u32(VERSION);
        w.u64(self.started);
        w.u64(self.swept.unwrap_or_default());
        w.u64(self.series.iter().flatten().count() as u64);
        for Series { prefix, attributes, previous, .. } in self.series.iter().flatten() {
            w.key(prefix, attributes);
            w.u64(previous.start);
            w.u64(previous.time);
            w.u64(previous.seen);
            w.value(&previous.value);
        }
        let crc = crc32fast::hash(&w.0);
        w.u32(crc);
        w.0
    }
}

impl DeltaState {
    /// The state as it was before these conversions, which are the latest ones, the newest of them first. What is under way
    /// is not done: should the process die, it is converted again.
    pub fn before<'u>(&self, undone: impl Iterator<Item = &'u Undo>) -> Frozen {
        let mut frozen =
            Frozen { started: self.started, swept: self.swept, series: self.series.slots().to_vec() };
        for undo in undone {
            (frozen.started, frozen.swept) = (undo.started, undo.swept);
            for (slot, before) in undo.changed.iter().rev() {
                let Some(place) = frozen.series.get_mut(*slot as usize) else { continue };
                match before {
                    Before::Absent => *place = None,
                    Before::Forgotten(series) => *place = Some(series.clone()),
                    Before::Point(previous) => {
                        if let Some(series) = place {
                            series.previous = previous.clone();
                        }
                    }
                }
            }
        }
        frozen
    }

    /// Remembers what [`Frozen::encode`] wrote, and nothing else. With it comes when the first of the processes started, so
    /// that a series that began while none was running is known to be new. `false`, and nothing changed, if it is damaged or of
    /// another version.
    #[must_use]
    pub fn restore(&mut self, snapshot: &[u8]) -> bool {
        match read(snapshot) {
            Some((started, swept, series)) => {
                (self.started, self.swept, self.series) = (started, swept, series);
                true
            }
            None => false,
        }
    }
}

fn read(snapshot: &[u8]) -> Option<(u64, Option<u64>, Known)> {
    let (body, crc) = snapshot.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut r = In(body.strip_prefix(MAGIC)?);
    if r.u32()? != VERSION {
        return None;
    }
    let (started, swept, count) = (r.u64()?, r.u64()?, r.u64()?);
    let mut series = Known::default();
    for _ in 0..count {
        let (prefix, attributes) = In(r.bytes()?).identity()?;
        let (start, time, seen) = (r.u64()?, r.u64()?, r.u64()?);
        let previous = Previous { start, time, seen, value: r.value()? };
        let prefix = series.prefix(prefix);
        if series.find(&prefix, &attributes, false).is_some() {
            return None;
        }
        series.insert(&prefix, &attributes, previous);
    }
    let swept = (swept > 0).then_some(swept);
    (r.0.is_empty() && series.len() <= MAX_SERIES).then_some((started, swept, series))
}

struct Out(Vec<u8>);

impl Out {
    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_le_bytes());
    }

    fn f64(&mut self, n: f64) {
        self.u64(n.to_bits());
    }

    /// Keys and lists come from one request, which is far below 4 GiB.
    fn length(&mut self, n: usize) {
        self.u32(u32::try_from(n).unwrap_or(u32::MAX));
    }

    /// The key of a series: its prefix, then the attributes sorted, each after its length.
    fn key(&mut self, prefix: &[u8], attributes: &[u8]) {
        let attributes = sorted(attributes);
        self.length(prefix.len() + attributes.iter().map(|a| 8 + a.len()).sum::<usize>());
        self.0.extend_from_slice(prefix);
        for attribute in attributes {
            self.u64(attribute.len() as u64);
            self.0.extend_from_slice(attribute);
        }
    }

    fn list(&mut self, list: &[u64]) {
        self.length(list.len());
        list.iter().for_each(|n| self.u64(*n));
    }

    fn sum(&mut self, sum: Option<f64>) {
        self.0.push(u8::from(sum.is_some()));
        if let Some(sum) = sum {
            self.f64(sum);
        }
    }

    fn value(&mut self, value: &Value) {
        match value {
            Value::Int(n) => {
                self.0.push(1);
                self.u64(*n as u64);
            }
            Value::Double(n) => {
                self.0.push(2);
                self.f64(*n);
            }
            Value::Histogram(histogram) => {
                let Histogram { count, sum, bounds, buckets } = &**histogram;
                self.0.push(3);
                self.u64(*count);
                self.sum(*sum);
                self.length(bounds.len());
                bounds.iter().for_each(|n| self.f64(*n));
                self.list(buckets);
            }
            Value::Exponential(histogram) => {
                let Exponential { count, sum, zero, threshold, scale, sides } = &**histogram;
                self.0.push(4);
                self.u64(*count);
                self.sum(*sum);
                self.u64(*zero);
                self.f64(*threshold);
                self.u32(*scale as u32);
                for side in sides {
                    self.u32(side.offset as u32);
                    self.list(&side.counts);
                }
            }
        }
    }
}

struct In<'a>(&'a [u8]);

impl<'a> In<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }

    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }

    fn f64(&mut self) -> Option<f64> {
        self.u64().map(f64::from_bits)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u32()?).ok()?;
        self.take(length)
    }

    /// A key that [`Out::key`] wrote: the prefix, and the attributes as fields of a point.
    fn identity(&mut self) -> Option<(&'a [u8], Vec<u8>)> {
        let whole = self.0;
        for _ in 0..3 {
            self.part()?;
        }
        let number = match u32::from(self.u8()?) {
            field::metric::SUM => field::number_point::ATTRIBUTES,
            field::metric::HISTOGRAM => field::histogram_point::ATTRIBUTES,
            field::metric::EXPONENTIAL_HISTOGRAM => field::exponential_point::ATTRIBUTES,
            _ => return None,
        };
        let prefix = &whole[..whole.len() - self.0.len()];
        let mut w = Writer::new();
        while !self.0.is_empty() {
            w.bytes(number, self.part()?);
        }
        Some((prefix, w.into_vec()))
    }

    /// Bytes after their length.
    fn part(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.u64()?).ok()?;
        self.take(length)
    }

    /// The bytes are there before anything is reserved for them.
    fn list(&mut self) -> Option<Vec<u64>> {
        let length = usize::try_from(self.u32()?).ok()?.checked_mul(8)?;
        let mut items = In(self.take(length)?);
        Some(std::iter::from_fn(|| items.u64()).collect())
    }

    fn sum(&mut self) -> Option<Option<f64>> {
        match self.u8()? {
            0 => Some(None),
            1 => Some(Some(self.f64()?)),
            _ => None,
        }
    }

    fn side(&mut self) -> Option<Side> {
        Some(Side { offset: self.u32()? as i32, counts: self.list()? })
    }

    fn value(&mut self) -> Option<Value> {
        Some(match self.u8()? {
            1 => Value::Int(self.u64()? as i64),
            2 => Value::Double(self.f64()?),
            3 => Value::Histogram(Box::new(Histogram {
                count: self.u64()?,
                sum: self.sum()?,
                bounds: self.list()?.into_iter().map(f64::from_bits).collect(),
                buckets: self.list()?,
            })),
            4 => Value::Exponential(Box::new(Exponential {
                count: self.u64()?,
                sum: self.sum()?,
                zero: self.u64()?,
                threshold: self.f64()?,
                scale: self.u32()? as i32,
                sides: [self.side()?, self.side()?],
            })),
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::InitialValue;
    use super::*;
    use std::sync::Arc;

    fn state() -> DeltaState {
        let mut state = DeltaState::new(InitialValue::Auto, 17);
        let side = |offset, counts: &[u64]| Side { offset, counts: counts.to_vec() };
        let values = [
            Value::Int(-3),
            Value::Double(2.5),
            Value::Histogram(Box::new(Histogram {
                count: 3,
                sum: Some(1.5),
                bounds: Arc::from([1.0]),
                buckets: vec![1, 2],
            })),
            Value::Histogram(Box::new(Histogram {
                count: 0,
                sum: None,
                bounds: Arc::from([]),
                buckets: vec![],
            })),
            Value::Exponential(Box::new(Exponential {
                count: 9,
                sum: Some(0.5),
                zero: 1,
                threshold: 0.25,
                scale: -4,
                sides: [side(-7, &[1, 2]), side(0, &[])],
            })),
        ];
        for (n, value) in values.into_iter().enumerate() {
            let n = n as u64;
            let kind = [7, 7, 9, 9, 10][n as usize];
            let mut key = Out(Vec::new());
            for part in [&b"resource"[..], b"", b"name"] {
                key.u64(part.len() as u64);
                key.0.extend_from_slice(part);
            }
            key.0.push(kind);
            let prefix = state.series.prefix(&key.0);
            let mut w = Writer::new();
            let number = [7, 7, 9, 9, 1][n as usize];
            (0..n).for_each(|a| w.attribute_str(number, &format!("key{a}"), "value"));
            let previous = Previous { start: n, time: 100 + n, value, seen: 1000 + n };
            state.series.insert(&prefix, w.as_slice(), previous);
        }
        state
    }

    #[test]
    fn every_value_comes_back_as_it_was_and_a_flipped_bit_anywhere_is_refused() {
        let before = state();
        let bytes = before.before(std::iter::empty()).encode();
        let mut after = DeltaState::new(InitialValue::Auto, 99);
        assert!(after.restore(&bytes));
        assert_eq!(after.started, 17);
        assert_eq!(after.series.len(), before.series.len());
        for (found, expected) in after.series.slots().iter().zip(before.series.slots()) {
            let of = |s: &Series| {
                let p = &s.previous;
                (s.prefix.clone(), s.attributes.clone(), p.start, p.time, p.seen, p.value.clone())
            };
            assert_eq!(found.as_ref().map(of), expected.as_ref().map(of));
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut state = DeltaState::new(InitialValue::Auto, 99);
            assert!(!state.restore(&damaged), "bit {bit}");
            assert_eq!(state.series.len(), 0);
        }
        for length in 0..bytes.len() {
            assert!(!after.restore(&bytes[..length]), "{length} bytes");
        }
    }
}
