//! The scalar fields of a span.

use super::{id, msgpack};
use muxbridge_pdata::view::{Span, StatusCode};

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

/// What no two spans have in common: ids and times.
#[inline]
pub(super) fn numbers(out: &mut Vec<u8>, span: &Span<'_>) {
    // Times are signed there.
    let signed = |nanos: u64| nanos.min(i64::MAX as u64);
    out.extend_from_slice(b"\xa8trace_id");
    msgpack::uint(out, id(span.trace_id.get(8..).unwrap_or_default()));
    out.extend_from_slice(b"\xa7span_id");
    msgpack::uint(out, id(span.span_id));
    out.extend_from_slice(b"\xa9parent_id");
    msgpack::uint(out, id(span.parent_span_id));
    out.extend_from_slice(b"\xa5start");
    msgpack::uint(out, signed(span.start));
    out.extend_from_slice(b"\xa8duration");
    msgpack::uint(out, signed(span.duration()));
    let error = u8::from(span.status.code == StatusCode::Error);
    out.extend_from_slice(&[0xa5, b'e', b'r', b'r', b'o', b'r', error]);
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
        numbers(&mut out, &span);
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
}
