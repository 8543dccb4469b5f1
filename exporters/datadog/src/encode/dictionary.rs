//! The keys of the attributes of a batch, each looked at once: what it is written as, and whether it is written at all.

use super::content::is_content;
use super::keys::{ALL, Role, SLOTS, TABLE, WIRE, hash, slot};
use super::msgpack;
use muxbridge_pdata::view::ExpectedKey;

/// More keys than this are strangers: a set of numbers up to it is a few words.
pub(super) const MOST: usize = 512;
// Half of the slots stay free.
const _: () = assert!(MOST * 2 <= SLOTS);
/// How many slots may be looked at for a key. Whoever sends keys that share one must not make the search long.
const PROBES: usize = 8;
/// Room for a key as msgpack writes it, and for a number behind it.
const ROOM: usize = 64;
const LONGEST: usize = ROOM - 9;
/// Written under another name.
const HEADER: &[u8] = b"http.request.header.";

/// What becomes of an attribute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Use {
    /// It is written.
    Written,
    /// It became a field of the span.
    Field,
    /// It holds content and is left out.
    Content,
}

/// A key of a batch.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    text: &'a [u8],
    /// As it stands in an attribute.
    pub(super) expected: ExpectedKey,
    hash: u32,
    pub(super) becomes: Use,
    /// Whether it is an attribute of a call to a model.
    pub(super) of_model: bool,
    /// The number of the key that it is written under.
    pub(super) target: u16,
    length: u8,
    wire: [u8; ROOM],
}

static KNOWN: [Entry<'static>; ALL.len()] = known();

const fn known() -> [Entry<'static>; ALL.len()] {
    const NONE: Entry<'static> = Entry {
        text: b"",
        expected: ExpectedKey::new(b""),
        hash: 0,
        becomes: Use::Field,
        of_model: false,
        target: 0,
        length: 0,
        wire: [0; ROOM],
    };
    let mut entries = [NONE; ALL.len()];
    let mut i = 0;
    while i < ALL.len() {
        let (key, text) = (ALL[i].0, ALL[i].1.as_bytes());
        entries[i].text = text;
        entries[i].expected = ExpectedKey::new(text);
        entries[i].hash = hash(text);
        if let Role::Named(target) = key.role() {
            entries[i].becomes = Use::Written;
            entries[i].target = target as u16;
            let (wire, length) = target.wire();
            entries[i].length = length as u8;
            let mut at = 0;
            while at < WIRE {
                entries[i].wire[at] = wire[at];
                at += 1;
            }
        }
        i += 1;
    }
    entries
}

impl<'a> Entry<'a> {
    fn new(text: &'a [u8], hash: u32, id: u16, content: bool) -> Self {
        let becomes = if !content && is_content(text) { Use::Content } else { Use::Written };
        let mut entry = Entry {
            text,
            expected: ExpectedKey::new(text),
            hash,
            becomes,
            of_model: is_of_model(text),
            target: id,
            length: 0,
            wire: [0; ROOM],
        };
        let mut wire = Vec::with_capacity(text.len() + 5);
        msgpack::text(&mut wire, text);
        // A longer one is written anew each time.
        if wire.len() <= LONGEST {
            entry.wire[..wire.len()].copy_from_slice(&wire);
            entry.length = wire.len() as u8;
        }
        entry
    }

    /// Appends the key in msgpack.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        match self.wire.get(..usize::from(self.length)) {
            Some(wire) if !wire.is_empty() => out.extend_from_slice(wire),
            _ => msgpack::text(out, self.text),
        }
    }

    /// Appends the key and a text. All of the room of the key is copied and what is too much cut off: a copy of a length
    /// that the compiler knows needs no call.
    #[inline]
    pub(super) fn write_text(&self, out: &mut Vec<u8>, value: &[u8]) {
        let end = out.len() + usize::from(self.length);
        if self.length == 0 || value.len() >= 32 {
            self.write(out);
            return msgpack::text(out, value);
        }
        out.extend_from_slice(&self.wire);
        out[end] = 0xa0 | value.len() as u8;
        out.truncate(end + 1);
        out.extend_from_slice(value);
    }

    /// Appends the key and a number.
    #[inline]
    pub(super) fn write_number(&self, out: &mut Vec<u8>, value: f64) {
        const NUMBER: usize = 9;
        let end = out.len() + usize::from(self.length);
        if self.length == 0 {
            self.write(out);
            return msgpack::double(out, value);
        }
        out.extend_from_slice(&self.wire);
        out[end] = 0xcb;
        out[end + 1..end + NUMBER].copy_from_slice(&value.to_be_bytes());
        out.truncate(end + NUMBER);
    }
}

/// Whether an attribute of this name belongs to a call to a model.
pub(super) fn is_of_model(key: &[u8]) -> bool {
    key.starts_with(b"gen_ai.")
}

/// The name that a header is written under, if the key is one.
pub(super) fn header(key: &[u8]) -> Option<Vec<u8>> {
    key.strip_prefix(HEADER).map(|header| [b"http.request.headers.", header].concat())
}

/// The keys of a batch by their number. Those that are known by name come first, as in [`Key`].
///
/// Keys without a number are strangers: headers, empty ones, and what comes when there is no room left. A key that
/// was a stranger for one attribute is one for the next, except that a header may be written under a name that gets a
/// number later.
pub(super) struct Dictionary<'a> {
    content: bool,
    slots: [u16; SLOTS],
    entries: Vec<Entry<'a>>,
    /// What key came last at each [`Place`].
    next: Vec<u16>,
}

/// So many places are told apart.
const PLACES: usize = 4096;

/// A place in the attributes of a span: behind which key, and of a span of which name. Spans of a name mostly have the same
/// keys in the same order, so that the key that came there last is likely to come again, and to try that one first saves
/// 1,800 of 8,200 instructions a span of the bench's load. Two places that are taken for one only make a wrong guess.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    name: u32,
    at: u16,
}

impl Place {
    /// Before the first attribute of a span of this name.
    #[inline]
    pub(super) fn before(name: &[u8]) -> Self {
        let name = hash(name);
        Place { name, at: (name as usize % PLACES) as u16 }
    }

    /// A number of the name.
    pub(super) fn name(self) -> usize {
        self.name as usize
    }

    /// Behind the key of this number.
    #[inline]
    pub(super) fn behind(self, number: u16) -> Self {
        let mixed = self.name.wrapping_add((u32::from(number) + 1).wrapping_mul(0x9e37_79b1));
        Place { name: self.name, at: (mixed >> 16) as u16 % PLACES as u16 }
    }
}

impl<'a> Dictionary<'a> {
    /// With the known keys. `content` says whether attributes with content are written.
    pub(super) fn new(content: bool) -> Self {
        let mut entries = Vec::with_capacity(MOST / 4);
        entries.extend_from_slice(&KNOWN);
        Dictionary { content, slots: TABLE, next: vec![0; PLACES], entries }
    }

    /// Whether attributes with content are written.
    pub(super) fn content(&self) -> bool {
        self.content
    }

    /// The number of a key; none for a stranger.
    #[inline]
    pub(super) fn number(&mut self, key: &'a [u8]) -> Option<u16> {
        let hash = hash(key);
        self.find(key, hash).or_else(|| self.add(key, hash))
    }

    /// The key that is likely to come at this place.
    #[inline]
    pub(super) fn expected(&self, place: Place) -> Option<(u16, &Entry<'a>)> {
        let number = *self.next.get(usize::from(place.at))?;
        Some((number, self.entry(number)?))
    }

    /// Expects the key of this number there from now on.
    pub(super) fn expect(&mut self, place: Place, number: u16) {
        self.next[usize::from(place.at)] = number;
    }

    /// What is known of the key of this number.
    #[inline]
    pub(super) fn entry(&self, number: u16) -> Option<&Entry<'a>> {
        self.entries.get(usize::from(number))
    }

    /// What is known of this key, if it has a number.
    pub(super) fn entry_of(&self, key: &[u8]) -> Option<&Entry<'a>> {
        self.entry(self.find(key, hash(key))?)
    }

    #[inline]
    fn find(&self, key: &[u8], hash: u32) -> Option<u16> {
        let first = slot(hash);
        for step in 0..PROBES {
            let number = self.slots[(first + step) % SLOTS].checked_sub(1)?;
            let entry = self.entry(number)?;
            if entry.hash == hash && entry.text == key {
                return Some(number);
            }
        }
        None
    }

    #[cold]
    fn add(&mut self, key: &'a [u8], hash: u32) -> Option<u16> {
        if self.entries.len() == MOST || key.is_empty() || key.starts_with(HEADER) {
            return None;
        }
        let first = slot(hash);
        let free = (0..PROBES).map(|step| (first + step) % SLOTS).find(|at| self.slots[*at] == 0)?;
        let number = self.entries.len() as u16;
        self.slots[free] = number + 1;
        self.entries.push(Entry::new(key, hash, number, self.content));
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_key_has_its_own_number_and_what_it_is_written_as() {
        let mut keys = Dictionary::new(false);
        for (key, text) in ALL {
            assert_eq!(keys.number(text.as_bytes()), Some(*key as u16));
            let entry = keys.entry_of(text.as_bytes()).unwrap();
            match key.role() {
                Role::Field => assert_eq!(entry.becomes, Use::Field),
                Role::Named(target) => {
                    let (mut out, mut expected) = (Vec::new(), Vec::new());
                    entry.write(&mut out);
                    msgpack::text(&mut expected, ALL[target as usize].1.as_bytes());
                    assert_eq!((out, entry.target), (expected, target as u16));
                }
            }
            let other = format!("{text}x");
            assert!(keys.entry_of(other.as_bytes()).is_none());
        }
    }

    #[test]
    fn a_key_keeps_its_number_and_is_a_stranger_when_there_is_no_room() {
        let many: Vec<String> = (0..2000).map(|i| format!("key.number.{i}.{}", "x".repeat(i % 40))).collect();
        let mut keys = Dictionary::new(true);
        let first: Vec<_> = many.iter().map(|key| keys.number(key.as_bytes())).collect();
        let again: Vec<_> = many.iter().map(|key| keys.number(key.as_bytes())).collect();
        assert_eq!(first, again);
        assert_eq!(keys.entries.len(), MOST);
        for (key, number) in many.iter().zip(&first) {
            let Some(number) = number else { continue };
            let (mut out, mut expected) = (Vec::new(), Vec::new());
            keys.entry(*number).unwrap().write(&mut out);
            msgpack::text(&mut expected, key.as_bytes());
            assert_eq!(out, expected);
        }
        for stranger in ["", "http.request.header.accept"] {
            assert_eq!(Dictionary::new(true).number(stranger.as_bytes()), None);
        }
    }

    #[test]
    fn keys_that_share_a_slot_make_no_long_search() {
        // The same length, beginning and end: the same hash.
        let same: Vec<String> = (0..100).map(|i| format!("beginning.{i:03}.theend..")).collect();
        let mut keys = Dictionary::new(true);
        let found = same.iter().filter(|key| keys.number(key.as_bytes()).is_some()).count();
        assert!((1..=PROBES).contains(&found), "{found}");
        assert!(
            same.iter().all(|key| keys.entry_of(key.as_bytes()).is_none_or(|e| e.text == key.as_bytes()))
        );
    }

    #[test]
    fn content_is_known_as_such_unless_it_is_wanted() {
        let becomes = |content| {
            let mut keys = Dictionary::new(content);
            keys.number(b"gen_ai.input.messages").map(|number| keys.entry(number).unwrap().becomes)
        };
        assert_eq!((becomes(false), becomes(true)), (Some(Use::Content), Some(Use::Written)));
    }
}
