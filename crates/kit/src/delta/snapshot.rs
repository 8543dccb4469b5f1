//! The state as bytes, so that it outlives the process.
//!
//! `MUXDELT\n | version (4): 1 | started (8) | series (8) | each series | CRC-32 of all before (4)`, numbers little-endian. A
//! series: key (length 4, bytes), start (8), time (8), kind (1), then as in [`Value`]: lists with a length of 4, what may be
//! missing after a byte 0 or 1.

use super::value::{Side, Value};
use super::{DeltaState, MAX_SERIES, Previous};
use std::collections::HashMap;
use std::time::Instant;

const MAGIC: &[u8; 8] = b"MUXDELT\n";
const VERSION: u32 = 1;

impl DeltaState {
    /// Everything it remembers.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut w = Out(MAGIC.to_vec());
        w.u32(VERSION);
        w.u64(self.started);
        w.u64(self.series.len() as u64);
        for (key, previous) in &self.series {
            w.bytes(key);
            w.u64(previous.start);
            w.u64(previous.time);
            w.value(&previous.value);
        }
        let crc = crc32fast::hash(&w.0);
        w.u32(crc);
        w.0
    }

    /// Remembers what a snapshot says, and nothing else. With it comes when the first of the processes started, so that a
    /// series that began while none was running is known to be new. `false`, and nothing changed, if it is damaged or of another
    /// version.
    #[must_use]
    pub fn restore(&mut self, snapshot: &[u8], now: Instant) -> bool {
        match read(snapshot, now) {
            Some((started, series)) => {
                self.started = started;
                self.series = series;
                self.swept = None;
                true
            }
            None => false,
        }
    }
}

fn read(snapshot: &[u8], now: Instant) -> Option<(u64, HashMap<Vec<u8>, Previous>)> {
    let (body, crc) = snapshot.split_last_chunk::<4>()?;
    if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
        return None;
    }
    let mut r = In(body.strip_prefix(MAGIC)?);
    if r.u32()? != VERSION {
        return None;
    }
    let (started, count) = (r.u64()?, r.u64()?);
    let mut series = HashMap::new();
    for _ in 0..count {
        let key = r.bytes()?.to_vec();
        let previous = Previous { start: r.u64()?, time: r.u64()?, value: r.value()?, seen: now };
        series.insert(key, previous);
    }
    (r.0.is_empty() && series.len() <= MAX_SERIES).then_some((started, series))
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

    fn bytes(&mut self, bytes: &[u8]) {
        self.length(bytes.len());
        self.0.extend_from_slice(bytes);
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
            Value::Histogram { count, sum, bounds, buckets } => {
                self.0.push(3);
                self.u64(*count);
                self.sum(*sum);
                self.length(bounds.len());
                bounds.iter().for_each(|n| self.f64(*n));
                self.list(buckets);
            }
            Value::Exponential { count, sum, zero, threshold, scale, sides } => {
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
            3 => Value::Histogram {
                count: self.u64()?,
                sum: self.sum()?,
                bounds: self.list()?.into_iter().map(f64::from_bits).collect(),
                buckets: self.list()?,
            },
            4 => Value::Exponential {
                count: self.u64()?,
                sum: self.sum()?,
                zero: self.u64()?,
                threshold: self.f64()?,
                scale: self.u32()? as i32,
                sides: [self.side()?, self.side()?],
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::InitialValue;
    use super::*;

    fn state() -> DeltaState {
        let mut state = DeltaState::new(InitialValue::Auto, 17);
        let side = |offset, counts: &[u64]| Side { offset, counts: counts.to_vec() };
        let values = [
            Value::Int(-3),
            Value::Double(2.5),
            Value::Histogram { count: 3, sum: Some(1.5), bounds: vec![1.0], buckets: vec![1, 2] },
            Value::Histogram { count: 0, sum: None, bounds: vec![], buckets: vec![] },
            Value::Exponential {
                count: 9,
                sum: Some(0.5),
                zero: 1,
                threshold: 0.25,
                scale: -4,
                sides: [side(-7, &[1, 2]), side(0, &[])],
            },
        ];
        for (n, value) in values.into_iter().enumerate() {
            let previous = Previous { start: n as u64, time: 100 + n as u64, value, seen: Instant::now() };
            state.series.insert(vec![n as u8; n], previous);
        }
        state
    }

    #[test]
    fn every_value_comes_back_as_it_was_and_a_flipped_bit_anywhere_is_refused() {
        let before = state();
        let bytes = before.snapshot();
        let mut after = DeltaState::new(InitialValue::Auto, 99);
        assert!(after.restore(&bytes, Instant::now()));
        assert_eq!(after.started, 17);
        assert_eq!(after.series.len(), before.series.len());
        for (key, expected) in &before.series {
            let found = &after.series[key];
            let of = |p: &Previous| (p.start, p.time, p.value.clone());
            assert_eq!(of(found), of(expected));
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            let mut state = DeltaState::new(InitialValue::Auto, 99);
            assert!(!state.restore(&damaged, Instant::now()), "bit {bit}");
            assert!(state.series.is_empty());
        }
        for length in 0..bytes.len() {
            assert!(!after.restore(&bytes[..length], Instant::now()), "{length} bytes");
        }
    }
}
