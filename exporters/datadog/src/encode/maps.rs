//! The two maps of a span, `meta` (text) and `metrics` (numbers).

use super::dictionary::{Entry, MOST};
use super::keys::{ALL, Key, hash};
use super::msgpack;
use std::collections::HashSet;
use std::ops::Range;

/// With more strangers than this, they are looked up in a set.
const MANY: usize = 256;
/// Room for the beginning of a map, until it is known how long it gets.
const BEGINNING: usize = 3;

/// Numbers of keys. Those of the known ones come first.
#[derive(Clone, Copy, Debug, Default)]
struct Numbers([u64; MOST / 64]);

const _: () = assert!(ALL.len() < MOST && MOST.is_power_of_two());

impl Numbers {
    /// Adds a number. Whether it was not there.
    #[inline]
    fn add(&mut self, number: u16) -> bool {
        let (word, bit) = (usize::from(number) % MOST / 64, 1 << (number % 64));
        let new = self.0[word] & bit == 0;
        self.0[word] |= bit;
        new
    }

    fn overlaps(&self, other: &Numbers) -> bool {
        self.0.iter().zip(other.0).fold(0, |both, (a, b)| both | a & b) != 0
    }

    fn add_all(&mut self, other: &Numbers) {
        self.0.iter_mut().zip(other.0).for_each(|(a, b)| *a |= b);
    }
}

/// Where a stranger stands.
#[derive(Clone, Copy, Debug)]
struct Place {
    start: usize,
    length: usize,
    hash: u32,
}

/// Keys without a number.
#[derive(Debug, Default)]
struct Strangers {
    /// A bit for each, by its hash: most are new, and this says so at once.
    bits: [u64; 4],
    places: Vec<Place>,
    /// All of them, if they are many: somebody may send as many as fit into a request.
    many: HashSet<Box<[u8]>>,
}

impl Strangers {
    #[cold]
    fn clear(&mut self) {
        self.bits = [0; 4];
        self.places.clear();
        self.many.clear();
    }

    fn holds(&self, bytes: &[u8], key: &[u8], hash: u32) -> bool {
        let (word, bit) = bit(hash);
        self.bits[word] & bit != 0
            && if self.many.is_empty() {
                self.places.iter().any(|p| p.hash == hash && p.of(bytes) == key)
            } else {
                self.many.contains(key)
            }
    }

    /// Adds a key that now ends `bytes`.
    fn add(&mut self, bytes: &[u8], key: &[u8], hash: u32) {
        let (word, bit) = bit(hash);
        self.bits[word] |= bit;
        self.places.push(Place { start: bytes.len() - key.len(), length: key.len(), hash });
        if self.many.is_empty() && self.places.len() >= MANY {
            self.many = self.places.iter().map(|p| p.of(bytes).into()).collect();
        } else if !self.many.is_empty() {
            self.many.insert(key.into());
        }
    }
}

impl Place {
    fn of<'b>(&self, bytes: &'b [u8]) -> &'b [u8] {
        &bytes[self.start..self.start + self.length]
    }
}

/// The word and the bit of a hash.
fn bit(hash: u32) -> (usize, u64) {
    let place = hash >> 24;
    ((place >> 6) as usize, 1 << (place & 63))
}

/// A msgpack map that grows entry by entry, behind whatever its bytes hold already. The first value of a key stays.
#[derive(Debug, Default)]
pub(super) struct Map {
    pub(super) bytes: Vec<u8>,
    /// How many entries there are.
    count: usize,
    numbers: Numbers,
    strangers: Strangers,
}

impl Map {
    /// Forgets the entries. Their bytes stay.
    fn forget(&mut self) {
        self.count = 0;
        self.numbers = Numbers::default();
        if !self.strangers.places.is_empty() {
            self.strangers.clear();
        }
    }

    /// Text under a known key.
    #[inline]
    pub(super) fn text(&mut self, key: Key, value: &[u8]) {
        if self.numbers.add(key as u16) {
            self.count += 1;
            self.key(key);
            msgpack::text(&mut self.bytes, value);
        }
    }

    /// A number under a known key.
    #[inline]
    pub(super) fn number(&mut self, key: Key, value: f64) {
        if self.numbers.add(key as u16) {
            self.count += 1;
            self.key(key);
            msgpack::double(&mut self.bytes, value);
        }
    }

    /// Appends a known key. All of its room is copied and what is too much cut off: a copy of a length that the compiler
    /// knows needs no call.
    #[inline]
    fn key(&mut self, key: Key) {
        let (wire, length) = key.wire();
        let end = self.bytes.len() + length;
        self.bytes.extend_from_slice(wire);
        self.bytes.truncate(end);
    }

    /// Begins an entry for a key. Whether it is new: then its value must follow.
    pub(super) fn begin(&mut self, name: &Name<'_>) -> bool {
        let entry = match name {
            Name::Numbered(entry) => entry,
            Name::Stranger(text) => return self.begin_stranger(text),
        };
        let new = self.numbers.add(entry.target);
        if new {
            self.count += 1;
            entry.write(&mut self.bytes);
        }
        new
    }

    /// Text under a key of the dictionary.
    #[inline]
    pub(super) fn entry_text(&mut self, entry: &Entry<'_>, value: &[u8]) {
        if self.numbers.add(entry.target) {
            self.count += 1;
            entry.write_text(&mut self.bytes, value);
        }
    }

    /// A number under a key of the dictionary.
    #[inline]
    pub(super) fn entry_number(&mut self, entry: &Entry<'_>, value: f64) {
        if self.numbers.add(entry.target) {
            self.count += 1;
            entry.write_number(&mut self.bytes, value);
        }
    }

    #[cold]
    fn begin_stranger(&mut self, key: &[u8]) -> bool {
        let hash = hash(key);
        let new = !self.strangers.holds(&self.bytes, key, hash);
        if new {
            msgpack::text(&mut self.bytes, key);
            self.strangers.add(&self.bytes, key, hash);
            self.count += 1;
        }
        new
    }

    /// Where the last bytes stand that were written.
    pub(super) fn last(&self, length: usize) -> Range<usize> {
        self.bytes.len() - length..self.bytes.len()
    }

    /// Whether it and the whole of `other` may have a key in common.
    fn may_overlap(&self, other: &Map) -> bool {
        // A name that was a stranger when the other one was made may have a number now.
        self.numbers.overlaps(&other.numbers) || !other.strangers.places.is_empty()
    }

    /// Adds the entries of a map without strangers, none of which this one has.
    pub(super) fn block(&mut self, other: &Map) {
        self.bytes.extend_from_slice(&other.bytes);
        self.count += other.count;
        self.numbers.add_all(&other.numbers);
    }

    /// Writes the beginning of the map, for which there is room at `at`.
    fn close(&mut self, at: usize) {
        match self.count {
            0..16 => {
                self.bytes[at] = 0x80 | self.count as u8;
                self.bytes.drain(at + 1..at + BEGINNING);
            }
            16..0x1_0000 => {
                self.bytes[at] = 0xde;
                self.bytes[at + 1..at + BEGINNING].copy_from_slice(&(self.count as u16).to_be_bytes());
            }
            _ => {
                let mut beginning = Vec::new();
                msgpack::map(&mut beginning, self.count);
                self.bytes.splice(at..at + BEGINNING, beginning);
            }
        }
    }
}

/// A key to write.
#[derive(Clone, Copy, Debug)]
pub(super) enum Name<'k> {
    /// One that the dictionary has.
    Numbered(&'k Entry<'k>),
    /// Any other.
    Stranger(&'k [u8]),
}

/// The two maps.
#[derive(Debug, Default)]
pub(super) struct Maps {
    /// Text.
    pub(super) meta: Map,
    /// Numbers.
    pub(super) metrics: Map,
    /// Where the text begins.
    at: usize,
}

impl Maps {
    /// Begins the maps of the next span at the end of `out`, which is given back by [`Maps::end`]: most of a span is text,
    /// and this saves a copy of it.
    pub(super) fn start(&mut self, out: &mut Vec<u8>) {
        self.meta.forget();
        self.metrics.forget();
        self.metrics.bytes.clear();
        self.meta.bytes = std::mem::take(out);
        self.meta.bytes.extend_from_slice(b"\xa4meta");
        self.at = self.meta.bytes.len();
        self.meta.bytes.extend_from_slice(&[0; BEGINNING]);
    }

    /// Ends the maps. By how many bytes the text has moved, and where the numbers begin.
    pub(super) fn end(&mut self, out: &mut Vec<u8>) -> (isize, usize) {
        let length = self.meta.bytes.len();
        self.meta.close(self.at);
        *out = std::mem::take(&mut self.meta.bytes);
        let moved = out.len() as isize - length as isize;
        out.extend_from_slice(b"\xa7metrics");
        msgpack::map(out, self.metrics.count);
        let metrics = out.len();
        out.extend_from_slice(&self.metrics.bytes);
        (moved, metrics)
    }

    /// Adds all of `other` as it is, unless there may be a key in common.
    pub(super) fn block(&mut self, other: &Maps) -> bool {
        let apart = !self.meta.may_overlap(&other.meta) && !self.metrics.may_overlap(&other.metrics);
        if apart {
            self.meta.block(&other.meta);
            self.metrics.block(&other.metrics);
        }
        apart
    }
}

#[cfg(test)]
mod tests {
    use super::super::dictionary::Dictionary;
    use super::*;

    fn read(out: &[u8]) -> Vec<(rmpv::Value, rmpv::Value)> {
        let mut rest = out.strip_prefix(b"\xa4meta").unwrap();
        let rmpv::Value::Map(meta) = rmpv::decode::read_value(&mut rest).unwrap() else { panic!("no map") };
        rest = rest.strip_prefix(b"\xa7metrics").unwrap();
        let rmpv::Value::Map(metrics) = rmpv::decode::read_value(&mut rest).unwrap() else {
            panic!("no map")
        };
        assert!(rest.is_empty());
        meta.into_iter().chain(metrics).collect()
    }

    #[test]
    fn the_first_value_of_a_key_stays_however_many_keys_there_are() {
        for keys in [3, 14, 15, 16, 40, 1000, 70_000] {
            let names: Vec<String> = (0..keys).map(|key| format!("key.number.{key}")).collect();
            let mut dictionary = Dictionary::new(false);
            for name in &names {
                dictionary.number(name.as_bytes());
            }
            let (mut maps, mut out) = (Maps::default(), Vec::new());
            maps.start(&mut out);
            for round in 0..3 {
                for name in &names {
                    let entry = dictionary.entry_of(name.as_bytes());
                    if maps.meta.begin(&entry.map_or(Name::Stranger(name.as_bytes()), Name::Numbered)) {
                        msgpack::text(&mut maps.meta.bytes, round.to_string().as_bytes());
                    }
                }
                maps.meta.text(Key::Env, round.to_string().as_bytes());
            }
            maps.end(&mut out);
            let entries = read(&out);
            assert_eq!(entries.len(), keys + 1);
            assert!(entries.iter().all(|(_, value)| value.as_str() == Some("0")));
            let found: HashSet<_> = entries.iter().map(|(key, _)| key.as_str().unwrap()).collect();
            assert!(names.iter().all(|name| found.contains(name.as_str())) && found.contains("env"));
            assert!(matches!((keys, out[5]), (..15, 0x80..=0x8f) | (15..65_535, 0xde) | (_, 0xdf)));
        }
    }

    #[test]
    fn maps_with_a_key_in_common_are_not_put_together() {
        let mut dictionary = Dictionary::new(false);
        dictionary.number(b"a");
        let with = |keys: &[&[u8]]| {
            let mut maps = Maps::default();
            for key in keys {
                let name = dictionary.entry_of(key).map_or(Name::Stranger(key), Name::Numbered);
                assert!(maps.metrics.begin(&name));
                msgpack::double(&mut maps.metrics.bytes, 1.0);
            }
            maps
        };
        assert!(!with(&[b"a", b"b"]).block(&with(&[b"a"])));
        assert!(!with(&[b"a"]).block(&with(&[b"b"])), "a stranger may be anything");
        let mut both = with(&[b"b"]);
        assert!(both.block(&with(&[b"a"])));
        assert_eq!(both.metrics.count, 2);
        assert!(!both.block(&with(&[b"a"])), "what was added is there");
    }
}
