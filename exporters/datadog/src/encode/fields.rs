//! The scalar fields of a span.

use super::msgpack;

/// Those that are always there, besides the two maps and the type.
#[derive(Debug)]
pub(super) struct Fields<'s> {
    pub(super) service: &'s [u8],
    pub(super) name: &'s [u8],
    pub(super) resource: &'s [u8],
    pub(super) trace_id: u64,
    pub(super) span_id: u64,
    pub(super) parent_id: u64,
    pub(super) start: u64,
    pub(super) duration: u64,
    pub(super) error: bool,
}

impl Fields<'_> {
    /// Begins a span of version 0.4, with a list of its events or without. The two maps must follow and then
    /// [`end`].
    pub(super) fn write(&self, out: &mut Vec<u8>, events: bool) {
        msgpack::map(out, 12 + usize::from(events));
        out.extend_from_slice(b"\xa7service");
        msgpack::text(out, self.service);
        out.extend_from_slice(b"\xa4name");
        msgpack::text(out, self.name);
        out.extend_from_slice(b"\xa8resource");
        msgpack::text(out, self.resource);
        // Times are signed there.
        let signed = |nanos: u64| nanos.min(i64::MAX as u64);
        out.extend_from_slice(b"\xa8trace_id");
        msgpack::uint(out, self.trace_id);
        out.extend_from_slice(b"\xa7span_id");
        msgpack::uint(out, self.span_id);
        out.extend_from_slice(b"\xa9parent_id");
        msgpack::uint(out, self.parent_id);
        out.extend_from_slice(b"\xa5start");
        msgpack::uint(out, signed(self.start));
        out.extend_from_slice(b"\xa8duration");
        msgpack::uint(out, signed(self.duration));
        out.extend_from_slice(b"\xa5error");
        msgpack::uint(out, u64::from(self.error));
    }
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

    #[test]
    fn a_minimal_span_has_exactly_the_known_bytes() {
        let fields = Fields {
            service: b"mm",
            name: b"http.server.request",
            resource: b"POST /v1/chat",
            trace_id: 1,
            span_id: 2,
            parent_id: 0,
            start: 1_700_000_000_000_000_000,
            duration: 1000,
            error: false,
        };
        let mut out = vec![0x91, 0x91];
        fields.write(&mut out, false);
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
