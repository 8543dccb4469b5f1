//! The two maps of a span, `meta` (text) and `metrics` (numbers), and the span around them.

use super::keys::{Key, hash};
use super::msgpack;
use std::collections::HashSet;

/// With more entries than this, keys are looked up in a set.
const MANY: usize = 256;

/// A key, ready to be compared.
#[derive(Clone, Copy, Debug)]
pub(super) struct Name<'k> {
    pub(super) text: &'k [u8],
    pub(super) hash: u32,
    pub(super) key: Option<Key>,
}

impl<'k> Name<'k> {
    #[inline]
    pub(super) fn of(text: &'k [u8]) -> Self {
        let hash = hash(text);
        Name { text, hash, key: Key::of(text, hash) }
    }
}

/// Where a key stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: u32,
    length: u32,
    hash: u32,
}

/// A msgpack map that grows entry by entry. The first value of a key stays.
#[derive(Debug, Default)]
pub(super) struct Map {
    entries: Vec<u8>,
    /// How many entries there are.
    count: usize,
    /// The known keys among them.
    known: [u64; 2],
    /// A bit for each of the others, by its hash: most keys are new, and this says so at once.
    others: [u64; 4],
    /// Where the others stand.
    places: Vec<Place>,
    /// The others, if they are many: somebody may send as many as fit into a request.
    many: HashSet<Box<[u8]>>,
}

impl Map {
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.count = 0;
        self.known = [0; 2];
        self.others = [0; 4];
        self.places.clear();
        self.many.clear();
    }

    /// Text under a known key.
    #[inline]
    pub(super) fn text(&mut self, key: Key, value: &[u8]) {
        let (word, bit) = key.bit();
        if self.known[word] & bit == 0 {
            self.known[word] |= bit;
            self.count += 1;
            self.key(key);
            msgpack::text(&mut self.entries, value);
        }
    }

    /// A number under a known key.
    #[inline]
    pub(super) fn number(&mut self, key: Key, value: f64) {
        let (word, bit) = key.bit();
        if self.known[word] & bit == 0 {
            self.known[word] |= bit;
            self.count += 1;
            self.key(key);
            msgpack::double(&mut self.entries, value);
        }
    }

    /// Appends a known key. All of its room is copied and what is too much cut off: a copy of a length that the compiler
    /// knows needs no call.
    #[inline]
    fn key(&mut self, key: Key) {
        let (wire, length) = key.wire();
        let end = self.entries.len() + length;
        self.entries.extend_from_slice(wire);
        self.entries.truncate(end);
    }

    /// Text under any key.
    #[inline]
    pub(super) fn named_text(&mut self, name: &Name<'_>, value: &[u8]) {
        match name.key {
            Some(key) => self.text(key, value),
            None => {
                if self.begin(name) {
                    msgpack::text(&mut self.entries, value);
                }
            }
        }
    }

    /// A number under any key.
    #[inline]
    pub(super) fn named_number(&mut self, name: &Name<'_>, value: f64) {
        match name.key {
            Some(key) => self.number(key, value),
            None => {
                if self.begin(name) {
                    msgpack::double(&mut self.entries, value);
                }
            }
        }
    }

    #[inline]
    fn begin(&mut self, name: &Name<'_>) -> bool {
        let (word, bit) = bit(name.hash);
        if self.others[word] & bit != 0 && self.holds(name.text, name.hash) {
            return false;
        }
        self.others[word] |= bit;
        msgpack::text(&mut self.entries, name.text);
        let place = Place {
            start: (self.entries.len() - name.text.len()) as u32,
            length: name.text.len() as u32,
            hash: name.hash,
        };
        self.places.push(place);
        self.count += 1;
        if self.places.len() >= MANY {
            self.remember(name.text);
        }
        true
    }

    #[cold]
    fn remember(&mut self, key: &[u8]) {
        if self.many.is_empty() {
            self.many = self.places.iter().map(|p| self.other(p).into()).collect();
        } else {
            self.many.insert(key.into());
        }
    }

    fn holds(&self, key: &[u8], hash: u32) -> bool {
        if self.many.is_empty() {
            self.places.iter().any(|p| p.hash == hash && self.other(p) == key)
        } else {
            self.many.contains(key)
        }
    }

    fn other(&self, place: &Place) -> &[u8] {
        let start = place.start as usize;
        &self.entries[start..start + place.length as usize]
    }

    /// Whether the two may have a key in common.
    pub(super) fn may_overlap(&self, other: &Map) -> bool {
        let known = self.known.iter().zip(other.known).any(|(a, b)| a & b != 0);
        known || self.others.iter().zip(other.others).any(|(a, b)| a & b != 0)
    }

    /// Adds the entries of a map that has only known keys, none of which this one has.
    pub(super) fn block(&mut self, other: &Map) {
        self.entries.extend_from_slice(&other.entries);
        self.count += other.count;
        self.known.iter_mut().zip(other.known).for_each(|(a, b)| *a |= b);
    }

    /// Writes the map, with the entries of `tail` at its end, whose keys are other ones.
    fn write(&self, out: &mut Vec<u8>, tail: Option<&Map>) {
        msgpack::map(out, self.count + tail.map_or(0, |t| t.count));
        out.extend_from_slice(&self.entries);
        if let Some(tail) = tail {
            out.extend_from_slice(&tail.entries);
        }
    }
}

/// The word and the bit of a hash.
#[inline]
fn bit(hash: u32) -> (usize, u64) {
    let place = hash >> 24;
    ((place >> 6) as usize, 1 << (place & 63))
}

/// The two maps.
#[derive(Debug, Default)]
pub(super) struct Maps {
    /// Text.
    pub(super) meta: Map,
    /// Numbers.
    pub(super) metrics: Map,
}

impl Maps {
    pub(super) fn clear(&mut self) {
        self.meta.clear();
        self.metrics.clear();
    }

    pub(super) fn may_overlap(&self, other: &Maps) -> bool {
        self.meta.may_overlap(&other.meta) || self.metrics.may_overlap(&other.metrics)
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

/// Writes a span of version 0.4: its maps with the entries of `tail` at their end, and the list of its events in msgpack
/// if that is not empty.
pub(super) fn write_span(
    out: &mut Vec<u8>,
    fields: &Fields<'_>,
    maps: &Maps,
    tail: Option<&Maps>,
    events: &[u8],
) {
    msgpack::map(out, 12 + usize::from(!events.is_empty()));
    for (key, value) in [
        (b"\xa7service".as_slice(), fields.service),
        (b"\xa4name", fields.name),
        (b"\xa8resource", fields.resource),
    ] {
        out.extend_from_slice(key);
        msgpack::text(out, value.as_bytes());
    }
    // Times are signed there.
    let signed = |nanos: u64| nanos.min(i64::MAX as u64);
    for (key, value) in [
        (b"\xa8trace_id".as_slice(), fields.trace_id),
        (b"\xa7span_id", fields.span_id),
        (b"\xa9parent_id", fields.parent_id),
        (b"\xa5start", signed(fields.start)),
        (b"\xa8duration", signed(fields.duration)),
        (b"\xa5error", u64::from(fields.error)),
    ] {
        out.extend_from_slice(key);
        msgpack::uint(out, value);
    }
    out.extend_from_slice(b"\xa4meta");
    maps.meta.write(out, tail.map(|t| &t.meta));
    out.extend_from_slice(b"\xa7metrics");
    maps.metrics.write(out, tail.map(|t| &t.metrics));
    out.extend_from_slice(b"\xa4type");
    msgpack::text(out, fields.kind.as_bytes());
    if !events.is_empty() {
        out.extend_from_slice(b"\xabspan_events");
        out.extend_from_slice(events);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minimal_span_has_exactly_the_known_bytes() {
        let mut maps = Maps::default();
        maps.meta.text(Key::Env, b"t");
        maps.meta.text(Key::Env, b"a second value");
        maps.metrics.number(Key::SamplingPriorityV1, 1.0);
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
        write_span(&mut out, &fields, &maps, None, &[]);
        assert_eq!(
            super::super::hex(&out),
            "91918ca773657276696365a26d6da46e616d65b3687474702e7365727665722e72657175657374a87265736f75726365ad\
             504f5354202f76312f63686174a874726163655f696401a77370616e5f696402a9706172656e745f696400a5737461\
             7274cf17979cfe362a0000a86475726174696f6ecd03e8a56572726f7200a46d65746181a3656e76a174a76d657472\
             69637381b55f73616d706c696e675f7072696f726974795f7631cb3ff0000000000000a474797065a3776562"
        );
    }

    #[test]
    fn the_first_value_of_a_key_stays_however_many_keys_there_are() {
        for keys in [3, 40, 1000] {
            let mut map = Map::default();
            for round in 0..3 {
                for key in 0..keys {
                    let key = format!("key.number.{key}");
                    map.named_text(&Name::of(key.as_bytes()), round.to_string().as_bytes());
                }
                map.named_text(&Name::of(b"env"), round.to_string().as_bytes());
            }
            let mut out = Vec::new();
            map.write(&mut out, None);
            let read = rmpv::decode::read_value(&mut out.as_slice()).unwrap();
            let entries = read.as_map().unwrap();
            assert_eq!(entries.len(), keys + 1);
            assert!(entries.iter().all(|(_, value)| value.as_str() == Some("0")));
        }
    }
}
