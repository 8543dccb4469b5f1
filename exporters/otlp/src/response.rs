//! What a destination says about a request that it took: `ExportTraceServiceResponse` and its siblings.
//!
//! A request was taken when its status says so. An answer that is empty or makes no sense does not change that.

use muxbridge_core::{Batch, Delivered};
use muxbridge_kit::status::excerpt;
use muxbridge_pdata::wire::Fields;
use serde_json::Value;

/// Reads `partial_success`, which is field 1 of all three messages: the count of rejected items and a message.
pub(crate) fn from_proto(batch: &Batch, body: &[u8]) -> Delivered {
    let mut delivered = Delivered::default();
    let partial = Fields::new(body).filter(|f| f.number == 1).flat_map(|f| Fields::new(f.value.as_bytes()));
    for field in partial {
        match field.number {
            1 => delivered.rejected = count(batch, field.value.as_u64() as i64),
            2 => delivered.message = excerpt(field.value.as_bytes()),
            _ => {}
        }
    }
    delivered
}

/// The same in JSON, where a 64-bit number is a string or a number.
pub(crate) fn from_json(batch: &Batch, body: &[u8]) -> Delivered {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    let partial = &answer["partialSuccess"];
    let rejected = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"]
        .iter()
        .find_map(|key| partial[key].as_i64().or_else(|| partial[key].as_str()?.parse().ok()));
    Delivered {
        rejected: count(batch, rejected.unwrap_or(0)),
        omitted: 0,
        message: excerpt(partial["errorMessage"].as_str().unwrap_or_default().as_bytes()),
    }
}

/// No destination can reject less than nothing or more than it got.
fn count(batch: &Batch, rejected: i64) -> u64 {
    u64::try_from(rejected).unwrap_or(0).min(batch.items() as u64)
}
