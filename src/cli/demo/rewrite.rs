//! New ids and times for a recorded request, in its OTLP/JSON form.

use super::recording::Play;
use serde_json::Value;

/// What every id of a playing is combined with, so that a trace that is played twice is two traces.
#[derive(Clone, Copy)]
pub(super) struct Ids(pub(super) u128);

/// What becomes of times.
#[derive(Clone, Copy)]
pub(super) enum Times {
    /// All move as far as one of them, `from`, which becomes `to`.
    Shift { from: u64, to: u64 },
    /// Each becomes when it happens in this playing.
    Map(Play),
}

impl Times {
    fn of(self, time: u64) -> u64 {
        match self {
            Times::Shift { from, to } => (u128::from(time) + u128::from(to))
                .checked_sub(u128::from(from))
                .and_then(|t| u64::try_from(t).ok())
                .unwrap_or(to),
            Times::Map(play) => play.time(time),
        }
    }
}

/// Rewrites everything below `value`.
pub(super) fn rewrite(value: &mut Value, times: Times, ids: Ids) {
    match value {
        Value::Array(list) => list.iter_mut().for_each(|value| rewrite(value, times, ids)),
        Value::Object(map) => {
            for (key, value) in map {
                match key.as_str() {
                    "traceId" | "spanId" | "parentSpanId" => id(value, ids),
                    key if key.ends_with("TimeUnixNano") || key == "timeUnixNano" => {
                        *value = times.of(nanos(value)).to_string().into();
                    }
                    _ => rewrite(value, times, ids),
                }
            }
        }
        _ => {}
    }
}

/// Ids that differ stay different, and the same ones the same.
fn id(value: &mut Value, ids: Ids) {
    let Some(hex) = value.as_str() else { return };
    let Ok(id) = u128::from_str_radix(hex, 16) else { return };
    let width = hex.len();
    let mask = if width >= 32 { ids.0 } else { ids.0 & ((1 << (4 * width)) - 1) };
    *value = format!("{:0width$x}", id ^ mask).into();
}

/// The list under a key; none if there is none.
pub(super) fn list<'v>(value: &'v Value, key: &str) -> impl Iterator<Item = &'v Value> {
    value.get(key).and_then(Value::as_array).into_iter().flatten()
}

/// A time, which OTLP/JSON writes as a string.
pub(super) fn nanos(value: &Value) -> u64 {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn ids_stay_related_and_times_keep_their_distance() {
        let mut request = json!({ "spans": [
            { "traceId": "00000000000000000000000000000001", "spanId": "00000000000000aa",
              "startTimeUnixNano": "1000", "endTimeUnixNano": "1500", "events": [{ "timeUnixNano": "1200" }] },
            { "traceId": "00000000000000000000000000000001", "spanId": "00000000000000bb", "parentSpanId": "00000000000000aa",
              "startTimeUnixNano": "1100", "endTimeUnixNano": "1400" },
        ] });
        let ids = Ids(0xf000_0000_0000_0000_0000_0000_0000_0f0f);
        rewrite(&mut request, Times::Shift { from: 1500, to: 9500 }, ids);
        let expected = json!({ "spans": [
            { "traceId": "f0000000000000000000000000000f0e", "spanId": "0000000000000fa5",
              "startTimeUnixNano": "9000", "endTimeUnixNano": "9500", "events": [{ "timeUnixNano": "9200" }] },
            { "traceId": "f0000000000000000000000000000f0e", "spanId": "0000000000000fb4", "parentSpanId": "0000000000000fa5",
              "startTimeUnixNano": "9100", "endTimeUnixNano": "9400" },
        ] });
        assert_eq!(request, expected);
    }
}
