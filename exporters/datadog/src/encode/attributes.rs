//! The attributes of a span, of its scope and of its resource: read once, looked up by their place in a table.

use super::content::is_content;
use super::dictionary::{Dictionary, Entry, Place, Use, header, is_of_model};
use super::keys::{Key, READ};
use super::maps::{Maps, Name};
use super::msgpack;
use muxbridge_exporter_statsd::encode::value::as_text;
use muxbridge_pdata::view::{AnyValue, KeyValue};
use std::borrow::Cow;

/// How long a number is in msgpack.
const NUMBER: usize = 9;
/// Whole numbers up to this are exact in a double.
const EXACT: u64 = 1 << 53;

/// An attribute as it stands in its batch, and the number of its key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    raw: &'a [u8],
    number: u16,
    /// Where in it the value stands; 0 if that is not known.
    value: u8,
}

/// Which map a value goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Goes {
    /// `meta`, as text.
    Meta,
    /// `metrics`.
    Metrics,
    /// Both: a whole number that is not exact as a double.
    Both,
}

impl Goes {
    #[inline]
    pub(super) fn of(value: &AnyValue<'_>) -> Goes {
        match value {
            AnyValue::Int(i) if i.unsigned_abs() > EXACT => Goes::Both,
            AnyValue::Int(_) => Goes::Metrics,
            AnyValue::Double(d) if d.is_finite() => Goes::Metrics,
            _ => Goes::Meta,
        }
    }
}

/// The number of a stranger: no key of a dictionary has it.
const STRANGER: u16 = u16::MAX;

impl<'a> Attribute<'a> {
    pub(super) fn of(kv: &KeyValue<'a>, keys: &mut Dictionary<'a>) -> Self {
        Attribute { raw: kv.raw(), number: keys.number(kv.key).unwrap_or(STRANGER), value: 0 }
    }

    /// The attribute at this place of a span, and the place behind it.
    #[inline]
    pub(super) fn at(place: Place, raw: &'a [u8], keys: &mut Dictionary<'a>) -> (Self, Place) {
        if let Some((number, entry)) = keys.expected(place)
            && let Some(value) = entry.expected.value(raw)
        {
            let value = (raw.len() - value.len()) as u8;
            return (Attribute { raw, number, value }, place.behind(number));
        }
        Self::unexpected(place, raw, keys)
    }

    fn unexpected(place: Place, raw: &'a [u8], keys: &mut Dictionary<'a>) -> (Self, Place) {
        let attribute = Attribute::of(&KeyValue::read(raw), keys);
        if attribute.number == STRANGER {
            return (attribute, place);
        }
        keys.expect(place, attribute.number);
        (attribute, place.behind(attribute.number))
    }

    #[inline(always)]
    fn value(&self) -> AnyValue<'a> {
        match self.raw.get(usize::from(self.value)..) {
            Some(body) if self.value != 0 => AnyValue::read(body),
            _ => KeyValue::read(self.raw).value,
        }
    }

    /// Whether it belongs to a call to a model.
    #[inline]
    pub(super) fn is_of_model(&self, keys: &Dictionary<'a>) -> bool {
        match keys.entry(self.number) {
            Some(entry) => entry.of_model,
            None => is_of_model(KeyValue::read(self.raw).key),
        }
    }

    /// Whether something follows from it.
    #[inline]
    pub(super) fn is_looked_up(&self) -> bool {
        usize::from(self.number) < READ
    }

    /// Which map its value goes to.
    pub(super) fn goes(&self) -> Goes {
        Goes::of(&self.value())
    }

    /// How long its value is as [`write_value`] writes it.
    pub(super) fn written(&self) -> usize {
        match self.value() {
            AnyValue::Int(_) => NUMBER,
            AnyValue::Double(d) if d.is_finite() => NUMBER,
            other => msgpack::text_length(&bytes(&other)),
        }
    }

    /// Numbers go to `metrics`, everything else to `meta` as text. Whether it was left out because it is content.
    #[inline]
    pub(super) fn write(&self, maps: &mut Maps, keys: &Dictionary<'a>) -> bool {
        let Some(entry) = keys.entry(self.number) else { return self.write_stranger(maps, keys) };
        if entry.becomes != Use::Written {
            return entry.becomes == Use::Content;
        }
        match self.value() {
            AnyValue::String(text) => maps.meta.entry_text(entry, text),
            AnyValue::Double(d) if d.is_finite() => maps.metrics.entry_number(entry, d),
            AnyValue::Int(i) if i.unsigned_abs() <= EXACT => maps.metrics.entry_number(entry, i as f64),
            _ => self.write_other(maps, entry),
        }
        false
    }

    fn write_other(&self, maps: &mut Maps, entry: &Entry<'_>) {
        write(maps, &Name::Numbered(entry), &self.value());
    }

    #[cold]
    fn write_stranger(&self, maps: &mut Maps, keys: &Dictionary<'a>) -> bool {
        let KeyValue { key, value, .. } = KeyValue::read(self.raw);
        if key.is_empty() {
            return false;
        }
        if !keys.content() && is_content(key) {
            return true;
        }
        let renamed = header(key);
        let key = renamed.as_deref().unwrap_or(key);
        // What it is renamed to may be a key of its own, too.
        let name = keys.entry_of(key).map_or(Name::Stranger(key), Name::Numbered);
        write(maps, &name, &value);
        false
    }
}

fn write(maps: &mut Maps, name: &Name<'_>, value: &AnyValue<'_>) {
    match *value {
        AnyValue::String(value) => text(maps, name, value),
        AnyValue::Int(i) => {
            number(maps, name, i as f64);
            if i.unsigned_abs() > EXACT {
                text(maps, name, itoa::Buffer::new().format(i).as_bytes());
            }
        }
        AnyValue::Double(d) if d.is_finite() => number(maps, name, d),
        AnyValue::Bool(truth) => text(maps, name, if truth { b"true" } else { b"false" }),
        other => text(maps, name, as_text(&other).as_bytes()),
    }
}

fn text(maps: &mut Maps, name: &Name<'_>, value: &[u8]) {
    if maps.meta.begin(name) {
        msgpack::text(&mut maps.meta.bytes, value);
    }
}

fn number(maps: &mut Maps, name: &Name<'_>, value: f64) {
    if maps.metrics.begin(name) {
        msgpack::double(&mut maps.metrics.bytes, value);
    }
}

/// A value as it stands in the map that it goes to, if that is one.
pub(super) fn write_value(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    match *value {
        AnyValue::Int(i) => msgpack::double(out, i as f64),
        AnyValue::Double(d) if d.is_finite() => msgpack::double(out, d),
        _ => msgpack::text(out, &bytes(value)),
    }
}

/// The attributes that are read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Values<'a> {
    present: u64,
    values: [AnyValue<'a>; READ],
}

// One bit for each.
const _: () = assert!(READ <= 64);

impl Default for Values<'_> {
    fn default() -> Self {
        Values { present: 0, values: [AnyValue::Empty; READ] }
    }
}

impl<'a> Values<'a> {
    /// Holds these and nothing else.
    pub(super) fn read(&mut self, attributes: &[Attribute<'a>]) {
        self.present = 0;
        attributes.iter().for_each(|attribute| self.keep(attribute));
    }

    /// Keeps the value if the attribute is read. The first of several with the same key counts.
    #[inline]
    pub(super) fn keep(&mut self, attribute: &Attribute<'a>) {
        if let Some(value) = self.values.get_mut(usize::from(attribute.number))
            && self.present & (1 << attribute.number) == 0
        {
            self.present |= 1 << attribute.number;
            *value = attribute.value();
        }
    }

    #[inline]
    fn get(&self, key: Key) -> Option<AnyValue<'a>> {
        (self.present & (1 << key as u8) != 0).then(|| self.values[key as usize])
    }

    /// Whether one of these is there.
    #[inline]
    pub(super) fn any(&self, keys: &[Key]) -> bool {
        let wanted = keys.iter().fold(0u64, |set, key| set | 1 << *key as u8);
        self.present & wanted != 0
    }
}

/// What a span can say of itself: an attribute of the span wins over one of its resource.
#[derive(Clone, Copy)]
pub(super) struct Attributes<'s, 'a> {
    pub(super) span: &'s Values<'a>,
    pub(super) resource: &'s Values<'a>,
}

impl<'a> Attributes<'_, 'a> {
    #[inline]
    pub(super) fn get(&self, key: Key) -> Option<AnyValue<'a>> {
        self.span.get(key).or_else(|| self.resource.get(key))
    }

    /// Whether one of these is there.
    #[inline]
    pub(super) fn any(&self, keys: &[Key]) -> bool {
        self.span.any(keys) || self.resource.any(keys)
    }

    /// The first of these attributes that is not empty, as text.
    #[inline]
    pub(super) fn text(&self, keys: &[Key]) -> Option<Cow<'a, [u8]>> {
        // Most spans have none of what is asked for.
        if !self.any(keys) {
            return None;
        }
        keys.iter().find_map(|key| Some(bytes(&self.get(*key)?)).filter(|text| !text.is_empty()))
    }

    /// The HTTP status, whether it is a number or text.
    pub(super) fn http_status(&self) -> Option<i64> {
        const STATUS: [Key; 2] = [Key::HttpStatusCode, Key::HttpResponseStatusCode];
        if !self.any(&STATUS) {
            return None;
        }
        STATUS.iter().find_map(|key| match self.get(*key)? {
            AnyValue::Int(code) => Some(code),
            AnyValue::String(code) => muxbridge_pdata::view::text(code).parse().ok(),
            _ => None,
        })
    }
}

/// A value as text, whose bytes are known to be UTF-8: what is only copied need not be looked at again.
pub(super) fn bytes<'a>(value: &AnyValue<'a>) -> Cow<'a, [u8]> {
    match value {
        AnyValue::String(text) => Cow::Borrowed(text),
        other => match as_text(other) {
            Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
            Cow::Owned(text) => Cow::Owned(text.into_bytes()),
        },
    }
}
