//! The two maps of a span, `meta` (text) and `metrics` (numbers), and the span around them.

/// A msgpack map that grows entry by entry. The first value of a key stays.
#[derive(Debug, Default)]
pub(super) struct Map {
    entries: Vec<u8>,
    keys: Vec<(usize, usize)>,
}

// Writing to memory cannot fail, so that the results of rmp are of no interest here.
impl Map {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.keys.clear();
    }

    fn begin(&mut self, key: &str) -> bool {
        let known = |(start, length): &(usize, usize)| {
            *length == key.len() && &self.entries[*start..start + length] == key.as_bytes()
        };
        if self.keys.iter().any(known) {
            return false;
        }
        let _ = rmp::encode::write_str(&mut self.entries, key);
        self.keys.push((self.entries.len() - key.len(), key.len()));
        true
    }

    pub(super) fn text(&mut self, key: &str, value: &str) {
        if self.begin(key) {
            let _ = rmp::encode::write_str(&mut self.entries, value);
        }
    }

    pub(super) fn number(&mut self, key: &str, value: f64) {
        if self.begin(key) {
            let _ = rmp::encode::write_f64(&mut self.entries, value);
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let _ = rmp::encode::write_map_len(out, self.keys.len() as u32);
        out.extend_from_slice(&self.entries);
    }
}

/// The scalar fields of a span.
#[derive(Debug)]
pub(super) struct Fields<'s> {
    pub(super) service: &'s str,
    pub(super) name: &'s str,
    pub(super) resource: &'s str,
    pub(super) trace_id: u64,
    pub(super) span_id: u64,
    pub(super) parent_id: u64,
    pub(super) start: u64,
    pub(super) duration: u64,
    pub(super) error: bool,
    pub(super) kind: &'s str,
}

/// Writes a span of version 0.4, with the list of its events in msgpack if that is not empty.
pub(super) fn write_span(out: &mut Vec<u8>, fields: &Fields<'_>, meta: &Map, metrics: &Map, events: &[u8]) {
    let _ = rmp::encode::write_map_len(out, 12 + u32::from(!events.is_empty()));
    for (key, value) in [("service", fields.service), ("name", fields.name), ("resource", fields.resource)] {
        let _ = rmp::encode::write_str(out, key);
        let _ = rmp::encode::write_str(out, value);
    }
    // Times are signed there.
    let signed = |nanos: u64| nanos.min(i64::MAX as u64);
    for (key, value) in [
        ("trace_id", fields.trace_id),
        ("span_id", fields.span_id),
        ("parent_id", fields.parent_id),
        ("start", signed(fields.start)),
        ("duration", signed(fields.duration)),
        ("error", u64::from(fields.error)),
    ] {
        let _ = rmp::encode::write_str(out, key);
        let _ = rmp::encode::write_uint(out, value);
    }
    let _ = rmp::encode::write_str(out, "meta");
    meta.write(out);
    let _ = rmp::encode::write_str(out, "metrics");
    metrics.write(out);
    let _ = rmp::encode::write_str(out, "type");
    let _ = rmp::encode::write_str(out, fields.kind);
    if !events.is_empty() {
        let _ = rmp::encode::write_str(out, "span_events");
        out.extend_from_slice(events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_span_has_exactly_the_known_bytes() {
        let (mut meta, mut metrics) = (Map::default(), Map::default());
        meta.text("env", "t");
        meta.text("env", "a second value");
        metrics.number("_sampling_priority_v1", 1.0);
        let fields = Fields {
            service: "mm",
            name: "http.server.request",
            resource: "POST /v1/chat",
            trace_id: 1,
            span_id: 2,
            parent_id: 0,
            start: 1_700_000_000_000_000_000,
            duration: 1000,
            error: false,
            kind: "web",
        };
        let mut out = vec![0x91, 0x91];
        write_span(&mut out, &fields, &meta, &metrics, &[]);
        assert_eq!(
            super::super::hex(&out),
            "91918ca773657276696365a26d6da46e616d65b3687474702e7365727665722e72657175657374a87265736f75726365ad\
             504f5354202f76312f63686174a874726163655f696401a77370616e5f696402a9706172656e745f696400a5737461\
             7274cf17979cfe362a0000a86475726174696f6ecd03e8a56572726f7200a46d65746181a3656e76a174a76d657472\
             69637381b55f73616d706c696e675f7072696f726974795f7631cb3ff0000000000000a474797065a3776562"
        );
    }
}
