//! The scalar fields of a span.

use super::{id, msgpack};
use muxbridge_pdata::view::SpanHead;

/// Begins a span of version 0.4, with a list of its events or without: its service, its operation and its resource. Its
/// [`numbers`] must follow, the two maps and its [`end`].
pub(super) fn begin(out: &mut Vec<u8>, service: &[u8], name: &[u8], resource: &[u8], events: bool) {
    msgpack::map(out, 12 + usize::from(events));
    out.extend_from_slice(b"\xa7service");
    msgpack::text(out, service);
    out.extend_from_slice(b"\xa4name");
    msgpack::text(out, name);
    out.extend_from_slice(b"\xa8resource");
    msgpack::text(out, resource);
}

/// What no two spans have in common: ids and times. Its [`error`] must follow.
pub(super) fn numbers(out: &mut Vec<u8>, head: &SpanHead<'_>) {
    // Times are signed there.
    let signed = |nanos: u64| nanos.min(i64::MAX as u64);
    let mut numbers = Numbers { bytes: [0; NUMBERS], end: 0 };
    numbers.put(b"\xa8trace_id", id(head.trace_id.get(8..).unwrap_or_default()));
    numbers.put(b"\xa7span_id", head.span_id);
    numbers.put(b"\xa9parent_id", head.parent_span_id);
    numbers.put(b"\xa5start", signed(head.start));
    numbers.put(b"\xa8duration", signed(head.duration()));
    out.extend_from_slice(&numbers.bytes[..numbers.end]);
}

/// Five keys and numbers at their longest.
const NUMBERS: usize = 9 + 8 + 10 + 6 + 9 + 5 * 9;

/// Numbers with their keys, written before they are copied: with room for each known to be there, that is half the work.
struct Numbers {
    bytes: [u8; NUMBERS],
    end: usize,
}

impl Numbers {
    /// In its shortest form.
    #[inline(always)]
    fn put<const K: usize>(&mut self, key: &[u8; K], value: u64) {
        let (marker, length) = match value {
            0..0x80 => (value as u8, 0),
            0x80..0x100 => (0xcc, 1),
            0x100..0x1_0000 => (0xcd, 2),
            0x1_0000..0x1_0000_0000 => (0xce, 4),
            _ => (0xcf, 8),
        };
        if let Some(room) = self.bytes.get_mut(self.end..self.end + K + 9) {
            room[..K].copy_from_slice(key);
            room[K] = marker;
            room[K + 1..].copy_from_slice(&value.unbounded_shl(64 - 8 * length).to_be_bytes());
            self.end += K + 1 + length as usize;
        }
    }
}

/// Whether it is one.
pub(super) fn error(out: &mut Vec<u8>, error: bool) {
    out.extend_from_slice(&[0xa5, b'e', b'r', b'r', b'o', b'r', u8::from(error)]);
}

/// Ends a span: its type, and the list of its events in msgpack if that is not empty.
pub(super) fn end(out: &mut Vec<u8>, kind: &[u8], events: &[u8]) {
    out.extend_from_slice(b"\xa4type");
    msgpack::text(out, kind);
    if !events.is_empty() {
        out.extend_from_slice(b"\xabspan_events");
        out.extend_from_slice(events);
    }
}

#[cfg(test)]
mod tests {
    use super::super::keys::Key;
    use super::super::maps::Maps;
    use super::*;
    use muxbridge_pdata::Writer;
    use muxbridge_pdata::view::Span;

    #[test]
    fn a_minimal_span_has_exactly_the_known_bytes() {
        let mut w = Writer::new();
        w.bytes(1, &[7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        w.bytes(2, &[0, 0, 0, 0, 0, 0, 0, 2]);
        w.fixed64(7, 1_700_000_000_000_000_000);
        w.fixed64(8, 1_700_000_000_000_001_000);
        let raw = w.into_vec();
        let span = Span::read(&raw);
        let mut out = vec![0x91, 0x91];
        begin(&mut out, b"mm", b"http.server.request", b"POST /v1/chat", false);
        numbers(&mut out, &span.head());
        error(&mut out, false);
        let mut maps = Maps::default();
        maps.start(&mut out);
        maps.meta.text(Key::Env, b"t");
        maps.meta.text(Key::Env, b"a second value");
        maps.metrics.number(Key::SamplingPriorityV1, 1.0);
        maps.end(&mut out);
        end(&mut out, b"web", &[]);
        assert_eq!(
            super::super::hex(&out),
            "91918ca773657276696365a26d6da46e616d65b3687474702e7365727665722e72657175657374a87265736f75726365ad\
             504f5354202f76312f63686174a874726163655f696401a77370616e5f696402a9706172656e745f696400a5737461\
             7274cf17979cfe362a0000a86475726174696f6ecd03e8a56572726f7200a46d65746181a3656e76a174a76d657472\
             69637381b55f73616d706c696e675f7072696f726974795f7631cb3ff0000000000000a474797065a3776562"
        );
    }

    #[test]
    fn numbers_are_written_as_msgpack_has_them_whatever_their_size() {
        let sizes = (0..64).map(|bits| 1u64 << bits).chain([0, u64::MAX]);
        for n in sizes.flat_map(|n| [n.wrapping_sub(1), n]) {
            let trace = [[7; 8], n.to_be_bytes()].concat();
            let head = SpanHead { trace_id: &trace, span_id: n, parent_span_id: n, start: n, end: u64::MAX };
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            numbers(&mut out, &head);
            let times = [n.min(i64::MAX as u64), (u64::MAX - n).min(i64::MAX as u64)];
            let keys = ["trace_id", "span_id", "parent_id", "start", "duration"];
            for (key, number) in keys.iter().zip([n, n, n, times[0], times[1]]) {
                msgpack::text(&mut expected, key.as_bytes());
                let _ = rmp::encode::write_uint(&mut expected, number);
            }
            assert_eq!(out, expected, "{n}");
        }
    }
}
