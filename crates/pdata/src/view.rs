//! Shallow views over validated bytes: `Copy` structs that hold scalars and leave repeated fields as slices to iterate.
//!
//! Accessors are total: on bytes that [`crate::validate`] has not accepted they return less, never an error. Strings
//! are byte slices, known to be UTF-8; [`text`] turns one into a `&str`.

mod alike;
mod common;
mod expected;
mod logs;
mod metrics;
mod traces;

pub use alike::{Changed, SpanHead, SpanPattern};
pub(crate) use common::KEY_TAG;
pub use common::{AnyValue, ArrayValue, KeyValue, KvList, Resource, ResourceItems, Scope, ScopeItems};
pub use expected::ExpectedKey;
pub use logs::LogRecord;
pub use metrics::{
    Buckets, Exemplar, ExponentialPoint, HistogramPoint, Metric, MetricData, Number, NumberPoint,
    QuantileValue, SummaryPoint, Temporality,
};
pub use traces::{Event, Link, Span, SpanIds, SpanKind, Status, StatusCode};

use crate::schema::field;
use crate::wire::{Fields, Value, read_varint};

/// A validated string field as text.
pub fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap_or_default()
}

/// The `ResourceSpans`, `ResourceMetrics` or `ResourceLogs` of a request.
pub fn resources(request: &[u8]) -> Repeated<'_, ResourceItems<'_>> {
    Repeated::new(request, field::REQUEST_RESOURCE, ResourceItems::read)
}

/// The messages of one repeated field.
#[derive(Clone, Copy, Debug)]
pub struct Repeated<'a, T> {
    fields: Fields<'a>,
    number: u32,
    read: fn(&'a [u8]) -> T,
}

impl<'a, T> Repeated<'a, T> {
    pub(crate) fn new(message: &'a [u8], number: u32, read: fn(&'a [u8]) -> T) -> Self {
        Repeated { fields: Fields::new(message), number, read }
    }

    /// Their bodies, for who reads them in another way.
    pub fn raw(self) -> Repeated<'a, &'a [u8]> {
        Repeated { fields: self.fields, number: self.number, read: |raw| raw }
    }
}

impl<'a, T> Iterator for Repeated<'a, T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let number = self.number;
        // No message has one of its repeated fields above 15.
        let body = match self.fields.next_body(number) {
            Some(body) => body,
            None => after_others(&mut self.fields, number)?,
        };
        Some((self.read)(body))
    }

    /// Without reading them, which was more than a quarter of what the validation of metrics took.
    fn count(self) -> usize {
        self.raw().fold(0, |n, _| n + 1)
    }
}

/// The body of the next message with this number, wherever it stands. On its own, as it is seldom needed.
#[inline(never)]
fn after_others<'a>(fields: &mut Fields<'a>, number: u32) -> Option<&'a [u8]> {
    fields.find(|f| f.number == number).map(|f| f.value.as_bytes())
}

/// The numbers of one repeated field, packed or not.
#[derive(Clone, Copy, Debug)]
pub struct Numbers<'a> {
    fields: Fields<'a>,
    number: u32,
    packed: &'a [u8],
    varints: bool,
}

impl<'a> Numbers<'a> {
    pub(crate) fn fixed64(message: &'a [u8], number: u32) -> Self {
        Numbers { fields: Fields::new(message), number, packed: &[], varints: false }
    }

    pub(crate) fn varints(message: &'a [u8], number: u32) -> Self {
        Numbers { fields: Fields::new(message), number, packed: &[], varints: true }
    }

    /// The same numbers as doubles.
    pub fn doubles(self) -> impl Iterator<Item = f64> + Clone + 'a {
        self.map(f64::from_bits)
    }
}

impl Iterator for Numbers<'_> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        loop {
            if !self.packed.is_empty() {
                if self.varints {
                    let (value, width) = read_varint(self.packed).ok()?;
                    self.packed = &self.packed[width..];
                    return Some(value);
                }
                let (head, tail) = self.packed.split_first_chunk::<8>()?;
                self.packed = tail;
                return Some(u64::from_le_bytes(*head));
            }
            let number = self.number;
            match self.fields.find(|f| f.number == number)?.value {
                Value::Bytes(b) => self.packed = b,
                other => return Some(other.as_u64()),
            }
        }
    }
}
