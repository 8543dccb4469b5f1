//! Writes a request with deltas in place of cumulative points; everything else is copied through.

use super::value::{Side, Value};
use super::{DeltaState, DeltaStats, is_cumulative};
use bytes::Bytes;
use muxbridge_core::Batch;
use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::{
    ExponentialPoint, HistogramPoint, KeyValue, Metric, MetricData, NumberPoint, Temporality,
};
use muxbridge_pdata::wire::Fields;

struct Rewrite<'s> {
    state: &'s mut DeltaState,
    stats: &'s mut DeltaStats,
    accepted: u64,
    /// Resource, scope, name and kind of the current metric: the first part of the key of its series.
    prefix: Vec<u8>,
}

pub(super) fn request(state: &mut DeltaState, batch: &Batch, accepted: u64, stats: &mut DeltaStats) -> Bytes {
    let mut out = Writer::with_capacity(batch.otlp().len());
    let mut rewrite = Rewrite { state, stats, accepted, prefix: Vec::new() };
    for resource in batch.resources() {
        out.message(field::REQUEST_RESOURCE, |w| {
            copy_but(w, resource.raw(), field::resource_items::SCOPES);
            for scope in resource.scopes() {
                w.message(field::resource_items::SCOPES, |w| {
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
    out.into_bytes()
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
            w.bytes(field::scope_items::ITEMS, metric.raw());
            return;
        };
        let before = w.len();
        let mut kept = 0;
        w.message(field::scope_items::ITEMS, |w| {
            let number = match data {
                MetricData::Sum { .. } => field::metric::SUM,
                MetricData::Histogram { .. } => field::metric::HISTOGRAM,
                _ => field::metric::EXPONENTIAL_HISTOGRAM,
            };
            copy_but(w, metric.raw(), number);
            self.prefix.push(number as u8);
            w.message(number, |w| {
                match data {
                    MetricData::Sum { points, .. } => points.for_each(|p| kept += self.number(w, &p)),
                    MetricData::Histogram { points, .. } => {
                        points.for_each(|p| kept += self.histogram(w, &p))
                    }
                    MetricData::ExponentialHistogram { points, .. } => {
                        points.for_each(|p| kept += self.exponential(w, &p));
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
        if kept == 0 {
            w.truncate(before);
        }
    }

    fn key<'a>(&self, attributes: impl Iterator<Item = KeyValue<'a>>) -> Vec<u8> {
        let mut sorted: Vec<&[u8]> = attributes.map(|kv| kv.raw()).collect();
        sorted.sort_unstable();
        let mut key = self.prefix.clone();
        for attribute in sorted {
            key.extend_from_slice(&(attribute.len() as u64).to_le_bytes());
            key.extend_from_slice(attribute);
        }
        key
    }

    /// Runs one point through the state; 1 if something is written.
    fn point(
        &mut self,
        key: Vec<u8>,
        times: (u64, u64),
        value: Option<Value>,
        write: impl FnOnce(u64, &Value),
    ) -> usize {
        let Some(value) = value else {
            self.stats.not_a_number += 1;
            return 0;
        };
        match self.state.step(key, times, value, self.accepted, self.stats) {
            Some((since, difference)) => {
                write(since, &difference);
                1
            }
            None => 0,
        }
    }

    fn number(&mut self, w: &mut Writer, p: &NumberPoint<'_>) -> usize {
        use field::number_point as f;
        let value = p.value.filter(|_| !p.no_recorded_value).and_then(Value::number);
        let key = self.key(p.attributes());
        self.point(key, (p.start, p.time), value, |since, difference| {
            w.message(field::metric::DATA_POINTS, |w| {
                w.fixed64_nonzero(field::point::START_TIME, since);
                for x in Fields::new(p.raw()) {
                    if ![field::point::START_TIME, f::AS_INT, f::AS_DOUBLE].contains(&x.number) {
                        w.raw(x.raw);
                    }
                }
                match difference {
                    Value::Int(i) => w.fixed64(f::AS_INT, *i as u64),
                    Value::Double(d) => w.double(f::AS_DOUBLE, *d),
                    _ => {}
                }
            });
        })
    }

    fn histogram(&mut self, w: &mut Writer, p: &HistogramPoint<'_>) -> usize {
        use field::histogram_point as f;
        let value = if p.no_recorded_value { None } else { Value::histogram(p) };
        let key = self.key(p.attributes());
        self.point(key, (p.start, p.time), value, |since, difference| {
            let Value::Histogram { count, sum, buckets, .. } = difference else { return };
            let changed = [
                field::point::START_TIME,
                field::point::COUNT,
                field::point::SUM,
                f::BUCKET_COUNTS,
                f::MIN,
                f::MAX,
            ];
            w.message(field::metric::DATA_POINTS, |w| {
                w.fixed64_nonzero(field::point::START_TIME, since);
                Fields::new(p.raw()).filter(|x| !changed.contains(&x.number)).for_each(|x| w.raw(x.raw));
                w.fixed64(field::point::COUNT, *count);
                if let Some(sum) = sum {
                    w.double(field::point::SUM, *sum);
                }
                w.packed_fixed64(f::BUCKET_COUNTS, buckets.iter().copied());
            });
        })
    }

    fn exponential(&mut self, w: &mut Writer, p: &ExponentialPoint<'_>) -> usize {
        use field::exponential_point as f;
        let value = if p.no_recorded_value { None } else { Value::exponential(p) };
        let key = self.key(p.attributes());
        self.point(key, (p.start, p.time), value, |since, difference| {
            let Value::Exponential { count, sum, zero, scale, sides, .. } = difference else { return };
            let changed = [
                field::point::START_TIME,
                field::point::COUNT,
                field::point::SUM,
                f::SCALE,
                f::ZERO_COUNT,
                f::POSITIVE,
                f::NEGATIVE,
                f::MIN,
                f::MAX,
            ];
            w.message(field::metric::DATA_POINTS, |w| {
                w.fixed64_nonzero(field::point::START_TIME, since);
                Fields::new(p.raw()).filter(|x| !changed.contains(&x.number)).for_each(|x| w.raw(x.raw));
                w.fixed64(field::point::COUNT, *count);
                if let Some(sum) = sum {
                    w.double(field::point::SUM, *sum);
                }
                w.sint(f::SCALE, i64::from(*scale));
                w.fixed64_nonzero(f::ZERO_COUNT, *zero);
                side(w, f::POSITIVE, &sides[0]);
                side(w, f::NEGATIVE, &sides[1]);
            });
        })
    }
}

fn side(w: &mut Writer, number: u32, side: &Side) {
    if !side.counts.is_empty() {
        w.message(number, |w| {
            w.sint(field::exponential_point::BUCKETS_OFFSET, i64::from(side.offset));
            w.packed_varint(field::exponential_point::BUCKETS_COUNTS, side.counts.iter().copied());
        });
    }
}
