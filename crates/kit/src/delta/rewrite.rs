//! Writes a request with deltas in place of cumulative points; everything else is copied through.

use super::plain::Plain;
use super::scan::{Fixed, Scan};
use super::value::{Exponential, Histogram, Side, Value};
use super::{DeltaState, DeltaStats, Place, is_cumulative};
use bytes::Bytes;
use muxbridge_core::Batch;
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{ExponentialPoint, Metric, MetricData, Number, Temporality};
use muxbridge_pdata::wire::{Fields, Value as Field};
use std::sync::Arc;

/// The bounds of the last histogram as they stood there, and as its series has them. A layout that equals nothing, not even
/// itself, is none: NaN is in it.
#[derive(Default)]
struct Layout {
    packed: Vec<u8>,
    bounds: Option<Arc<[f64]>>,
}

struct Rewrite<'s> {
    state: &'s mut DeltaState,
    stats: &'s mut DeltaStats,
    accepted: u64,
    /// Resource, scope, name and kind of the current metric: the first part of the key of its series.
    prefix: Vec<u8>,
    scan: Scan,
    bounds: Vec<f64>,
    layout: Layout,
    /// A histogram whose room can be used again.
    spare: Option<Box<Histogram>>,
    /// Points that were written.
    items: usize,
}

/// The request, and how many points it holds.
pub(super) fn request(
    state: &mut DeltaState,
    batch: &Batch,
    accepted: u64,
    stats: &mut DeltaStats,
) -> (Bytes, usize) {
    let mut out = Writer::with_capacity(batch.otlp().len());
    let mut rewrite = Rewrite {
        state,
        stats,
        accepted,
        prefix: Vec::new(),
        scan: Scan::default(),
        bounds: Vec::new(),
        layout: Layout::default(),
        spare: None,
        items: 0,
    };
    for resource in batch.resources() {
        // Deltas are as long as totals or a little shorter, so that lengths are known before.
        out.message_of(field::REQUEST_RESOURCE, resource.raw().len(), |w| {
            copy_but(w, resource.raw(), field::resource_items::SCOPES);
            for scope in resource.scopes() {
                w.message_of(field::resource_items::SCOPES, scope.raw().len(), |w| {
                    copy_but(w, scope.raw(), field::scope_items::ITEMS);
                    for metric in scope.metrics() {
                        rewrite.prefix.clear();
                        for part in [resource.resource.raw(), scope.scope.raw(), metric.name] {
                            rewrite.prefix.extend_from_slice(&(part.len() as u64).to_le_bytes());
                            rewrite.prefix.extend_from_slice(part);
                        }
                        rewrite.metric(w, &metric);
                    }
                });
            }
        });
    }
    (out.into_bytes(), rewrite.items)
}

/// Copies all fields but those of one number.
fn copy_but(w: &mut Writer, message: &[u8], number: u32) {
    for f in Fields::new(message).filter(|f| f.number != number) {
        w.raw(f.raw);
    }
}

impl Rewrite<'_> {
    fn metric(&mut self, w: &mut Writer, metric: &Metric<'_>) {
        let Some(data) = metric.data.filter(is_cumulative) else {
            self.items += metric.point_count();
            w.bytes(field::scope_items::ITEMS, metric.raw());
            return;
        };
        let before = (w.len(), self.items);
        w.message_of(field::scope_items::ITEMS, metric.raw().len(), |w| {
            let number = match data {
                MetricData::Sum { .. } => field::metric::SUM,
                MetricData::Histogram { .. } => field::metric::HISTOGRAM,
                _ => field::metric::EXPONENTIAL_HISTOGRAM,
            };
            copy_but(w, metric.raw(), number);
            self.prefix.push(number as u8);
            let prefix = self.state.series.prefix(&self.prefix);
            w.message_of(number, metric.raw().len(), |w| {
                match data {
                    MetricData::Sum { points, .. } => {
                        points.raw().for_each(|p| self.number(w, &prefix, p));
                    }
                    MetricData::Histogram { points, .. } => {
                        points.raw().for_each(|p| self.histogram(w, &prefix, p));
                    }
                    MetricData::ExponentialHistogram { points, .. } => {
                        points.for_each(|p| self.exponential(w, &prefix, &p));
                    }
                    MetricData::Gauge { .. } | MetricData::Summary { .. } => {}
                }
                w.varint(field::metric::TEMPORALITY, Temporality::Delta as u64);
                if number == field::metric::SUM {
                    w.varint(field::metric::IS_MONOTONIC, 1);
                }
            });
        });
        // A metric without points says nothing.
        if self.items == before.1 {
            w.truncate(before.0);
        }
    }

    /// As [`DeltaState::step`], for the point that was just scanned.
    fn scanned(&mut self, prefix: &Arc<[u8]>, raw: &[u8], value: Option<&mut Value>) -> Option<u64> {
        let value = value.filter(|_| !self.scan.no_recorded_value);
        let attributes = self.scan.attributes(raw);
        let Scan { start, time, as_expected, .. } = self.scan;
        let place = Place { prefix, attributes, as_expected, start, time, accepted: self.accepted };
        step(self.state, self.stats, &mut self.items, &place, value)
    }

    /// The same for one that looks as nearly all do, with the attributes that are expected.
    #[inline]
    fn plain(&mut self, prefix: &Arc<[u8]>, plain: Plain<'_>, value: Option<&mut Value>) -> Option<u64> {
        let Plain { start, time, .. } = plain;
        let (as_expected, accepted) = (true, self.accepted);
        let place = Place { prefix, attributes: &[], as_expected, start, time, accepted };
        step(self.state, self.stats, &mut self.items, &place, value)
    }

    fn number(&mut self, w: &mut Writer, prefix: &Arc<[u8]>, raw: &[u8]) {
        let plain = self.state.series.expected_attributes(prefix);
        match plain.and_then(|attributes| Plain::number(raw, attributes)) {
            Some((plain, number)) => {
                let mut value = Value::number(number);
                let Some(since) = self.plain(prefix, plain, value.as_mut()) else { return };
                plain.copy(w, since, 9);
                put_number(w, value);
            }
            None => self.any_number(w, prefix, raw),
        }
    }

    fn any_number(&mut self, w: &mut Writer, prefix: &Arc<[u8]>, raw: &[u8]) {
        use field::number_point as f;
        const POINT: Fixed = Fixed::new(f::ATTRIBUTES, f::FLAGS, &[f::AS_INT, f::AS_DOUBLE]);
        let mut number = None;
        let expected = self.state.series.expected_attributes(prefix).unwrap_or_default();
        self.scan.walk(raw, &POINT, expected, |field, found| match field {
            f::AS_DOUBLE => number = Some(Number::Double(f64::from_bits(found.as_u64()))),
            f::AS_INT => number = Some(Number::Int(found.as_u64() as i64)),
            _ => {}
        });
        let mut value = number.and_then(Value::number);
        let Some(since) = self.scanned(prefix, raw, value.as_mut()) else { return };
        self.scan.copy(w, raw, since, 9);
        put_number(w, value);
    }

    fn histogram(&mut self, w: &mut Writer, prefix: &Arc<[u8]>, raw: &[u8]) {
        let mut histogram = self.spare.take().unwrap_or_default();
        histogram.buckets.clear();
        self.bounds.clear();
        let expected = self.state.series.expected_attributes(prefix);
        let plain = expected.and_then(|attributes| Plain::histogram(raw, attributes));
        match &plain {
            Some((_, counts)) => {
                (histogram.count, histogram.sum) = (counts.count, Some(counts.sum));
                Field::Bytes(counts.buckets).extend(&mut histogram.buckets, |n| n);
                self.lay_out(&mut histogram, counts.bounds);
            }
            None => self.scan_histogram(&mut histogram, prefix, raw),
        }
        let finite = histogram.sum.is_none_or(f64::is_finite);
        let mut value = Value::Histogram(histogram);
        let found = finite.then_some(&mut value);
        let since = match plain {
            Some((plain, _)) => self.plain(prefix, plain, found),
            None => self.scanned(prefix, raw, found),
        };
        let Value::Histogram(difference) = value else { return };
        if let Some(since) = since {
            let more = counts_len(&difference);
            match plain {
                Some((plain, _)) => plain.copy(w, since, more),
                None => self.scan.copy(w, raw, since, more),
            }
            put_counts(w, &difference);
        }
        self.spare = Some(difference);
    }

    fn scan_histogram(&mut self, histogram: &mut Histogram, prefix: &Arc<[u8]>, raw: &[u8]) {
        use field::histogram_point as f;
        use field::point::{COUNT, SUM};
        const POINT: Fixed =
            Fixed::new(f::ATTRIBUTES, f::FLAGS, &[COUNT, SUM, f::BUCKET_COUNTS, f::MIN, f::MAX]);
        (histogram.count, histogram.sum) = (0, None);
        let (bounds, mut packed) = (&mut self.bounds, &raw[..0]);
        let expected = self.state.series.expected_attributes(prefix).unwrap_or_default();
        self.scan.walk(raw, &POINT, expected, |field, found| match field {
            COUNT => histogram.count = found.as_u64(),
            SUM => histogram.sum = Some(f64::from_bits(found.as_u64())),
            f::BUCKET_COUNTS => found.extend(&mut histogram.buckets, |n| n),
            f::EXPLICIT_BOUNDS => match found {
                // All of them, nearly always.
                Field::Bytes(list) if packed.is_empty() && bounds.is_empty() => packed = list,
                _ => {
                    Field::Bytes(std::mem::take(&mut packed)).extend(bounds, f64::from_bits);
                    found.extend(bounds, f64::from_bits);
                }
            },
            _ => {}
        });
        self.lay_out(histogram, packed);
    }

    /// Gives a histogram its bounds: what was read of them, then those that are packed.
    fn lay_out(&mut self, histogram: &mut Histogram, packed: &[u8]) {
        let Layout { packed: known, bounds: Some(layout) } = &self.layout else {
            return self.lay_out_anew(histogram, packed);
        };
        if !self.bounds.is_empty() || **known != *packed {
            return self.lay_out_anew(histogram, packed);
        }
        // What the series shared before is nearly always the same.
        if !Arc::ptr_eq(&histogram.bounds, layout) {
            histogram.bounds = Arc::clone(layout);
        }
    }

    fn lay_out_anew(&mut self, histogram: &mut Histogram, packed: &[u8]) {
        let whole = self.bounds.is_empty();
        Field::Bytes(packed).extend(&mut self.bounds, f64::from_bits);
        histogram.bounds = self.state.layout(&self.bounds);
        if whole && !self.bounds.iter().any(|bound| bound.is_nan()) {
            self.layout.packed.clear();
            self.layout.packed.extend_from_slice(packed);
            self.layout.bounds = Some(Arc::clone(&histogram.bounds));
        }
    }

    fn exponential(&mut self, w: &mut Writer, prefix: &Arc<[u8]>, p: &ExponentialPoint<'_>) {
        use field::exponential_point as f;
        use field::point::{COUNT, SUM};
        const POINT: Fixed = Fixed::new(
            f::ATTRIBUTES,
            f::FLAGS,
            &[COUNT, SUM, f::SCALE, f::ZERO_COUNT, f::POSITIVE, f::NEGATIVE, f::MIN, f::MAX],
        );
        let expected = self.state.series.expected_attributes(prefix).unwrap_or_default();
        self.scan.walk(p.raw(), &POINT, expected, |_, _| {});
        let mut value = Value::exponential(p);
        let Some(since) = self.scanned(prefix, p.raw(), value.as_mut()) else { return };
        let Some(Value::Exponential(difference)) = value else { return };
        let Exponential { count, sum, zero, scale, sides, .. } = *difference;
        w.message(field::metric::DATA_POINTS, |w| {
            self.scan.copy_body(w, p.raw(), since);
            w.fixed64(COUNT, count);
            if let Some(sum) = sum {
                w.double(SUM, sum);
            }
            w.sint(f::SCALE, i64::from(scale));
            w.fixed64_nonzero(f::ZERO_COUNT, zero);
            side(w, f::POSITIVE, &sides[0]);
            side(w, f::NEGATIVE, &sides[1]);
        });
    }
}

/// As [`DeltaState::step`]. Counts what is kept, and what has no value.
#[inline]
fn step(
    state: &mut DeltaState,
    stats: &mut DeltaStats,
    items: &mut usize,
    place: &Place<'_>,
    value: Option<&mut Value>,
) -> Option<u64> {
    let Some(value) = value else {
        stats.not_a_number += 1;
        return None;
    };
    let since = state.step(place, value, stats)?;
    *items += 1;
    Some(since)
}

fn put_number(w: &mut Writer, value: Option<Value>) {
    match value {
        Some(Value::Int(i)) => w.fixed64(field::number_point::AS_INT, i as u64),
        Some(Value::Double(d)) => w.double(field::number_point::AS_DOUBLE, d),
        _ => {}
    }
}

/// How many bytes [`put_counts`] writes.
fn counts_len(histogram: &Histogram) -> usize {
    let sum = if histogram.sum.is_some() { 9 } else { 0 };
    9 + sum + Writer::fixed64_list_len(histogram.buckets.len())
}

fn put_counts(w: &mut Writer, Histogram { count, sum, buckets, .. }: &Histogram) {
    w.fixed64(field::point::COUNT, *count);
    if let Some(sum) = sum {
        w.double(field::point::SUM, *sum);
    }
    w.fixed64_list(field::histogram_point::BUCKET_COUNTS, buckets);
}

fn side(w: &mut Writer, number: u32, side: &Side) {
    if !side.counts.is_empty() {
        w.message(number, |w| {
            w.sint(field::exponential_point::BUCKETS_OFFSET, i64::from(side.offset));
            w.packed_varint(field::exponential_point::BUCKETS_COUNTS, side.counts.iter().copied());
        });
    }
}
