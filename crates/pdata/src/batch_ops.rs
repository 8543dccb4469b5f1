//! Joins and splits requests without decoding them.

mod splitter;

use crate::wire::Fields;
use crate::{Signal, count_items, schema::field};
use bytes::Bytes;
use splitter::Splitter;

/// Joins valid requests of one signal into one valid request: protobuf messages concatenate.
pub fn concat<'a>(requests: impl IntoIterator<Item = &'a [u8]>) -> Bytes {
    let mut joined = Vec::new();
    for request in requests {
        joined.extend_from_slice(request);
    }
    Bytes::from(joined)
}

/// Splits a valid request into several, each with at most `max_items` items and `max_bytes` bytes.
///
/// Items keep their order, none is lost and none is sent twice. Resources and scopes are repeated in every part that
/// has items of theirs, with their unknown fields. A metric that fits no part whole is split between its data points.
/// A request that fits comes back as it is, without a copy.
///
/// A part is larger than the limits only where no split can help: with a single item that is too large by itself, or
/// below a resource and scope that take more than `max_bytes` alone. The items of the latter stay together up to
/// `max_items`, because to repeat such a resource for each of them would multiply the size of a request.
pub fn split(signal: Signal, request: &Bytes, max_items: usize, max_bytes: usize) -> Vec<Bytes> {
    let max_items = max_items.max(1);
    if request.len() <= max_bytes && count_items(signal, request) <= max_items {
        return vec![request.clone()];
    }
    let mut parts = Splitter::new(max_items, max_bytes);
    parts.walk(&levels(signal), request);
    parts.finish()
}

/// The fields that lead from a request to its items.
fn levels(signal: Signal) -> [Level; 3] {
    [
        Level::Container(field::REQUEST_RESOURCE),
        Level::Container(field::resource_items::SCOPES),
        if signal == Signal::Metrics { Level::Metrics } else { Level::Items },
    ]
}

/// What the fields of one message are to a split.
#[derive(Clone, Copy)]
enum Level {
    /// Messages in this field have items below them.
    Container(u32),
    /// `spans` or `log_records`.
    Items,
    /// `metrics`.
    Metrics,
    /// Metrics that have their data in this field.
    Data(u32),
    /// `data_points`.
    Points,
}

impl Level {
    fn field(self) -> u32 {
        match self {
            Level::Container(number) | Level::Data(number) => number,
            Level::Items | Level::Metrics => field::scope_items::ITEMS,
            Level::Points => field::metric::DATA_POINTS,
        }
    }
}

/// The one field that holds the data of a metric; `None` if there is none or several, which cannot be split.
fn only_data(metric: &[u8]) -> Option<u32> {
    use field::metric::{EXPONENTIAL_HISTOGRAM, GAUGE, HISTOGRAM, SUM, SUMMARY};
    let mut data = Fields::new(metric)
        .map(|f| f.number)
        .filter(|n| matches!(*n, GAUGE | SUM | HISTOGRAM | EXPONENTIAL_HISTOGRAM | SUMMARY));
    let first = data.next();
    if data.next().is_some() { None } else { first }
}
