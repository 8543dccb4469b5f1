//! The attributes of a span, of its scope and of its resource: read once, looked up by their place in a table.

use super::content::is_content;
use super::keys::{Key, READ, Role};
use super::maps::{Maps, Name};
use muxbridge_exporter_statsd::encode::value::as_text;
use muxbridge_pdata::view::{AnyValue, KeyValue};
use std::borrow::Cow;

/// Whole numbers up to this are exact in a double.
const EXACT: u64 = 1 << 53;
const HEADER: &[u8] = b"http.request.header.";

/// An attribute and what its key is.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attribute<'a> {
    name: Name<'a>,
    value: AnyValue<'a>,
}

impl<'a> Attribute<'a> {
    #[inline]
    pub(super) fn of(kv: &KeyValue<'a>) -> Self {
        Attribute { name: Name::of(kv.key), value: kv.value }
    }

    /// Numbers go to `metrics`, everything else to `meta` as text. Whether it was left out because it is content.
    #[inline]
    pub(super) fn write(&self, maps: &mut Maps, content: bool) -> bool {
        let Some(key) = self.name.key else { return self.write_other(maps, content) };
        match key.role() {
            Role::Field => false,
            Role::Named(key) => {
                write(maps, &Name { key: Some(key), ..self.name }, &self.value);
                false
            }
        }
    }

    fn write_other(&self, maps: &mut Maps, content: bool) -> bool {
        let key = self.name.text;
        match key.first() {
            None => return false,
            _ if !content && is_content(key) => return true,
            Some(b'h') => {
                if let Some(header) = key.strip_prefix(HEADER) {
                    let renamed = [b"http.request.headers.", header].concat();
                    write(maps, &Name::of(&renamed), &self.value);
                    return false;
                }
            }
            _ => {}
        }
        write(maps, &self.name, &self.value);
        false
    }
}

#[inline]
fn write(maps: &mut Maps, name: &Name<'_>, value: &AnyValue<'_>) {
    match *value {
        AnyValue::String(text) => maps.meta.named_text(name, text),
        AnyValue::Int(i) => {
            maps.metrics.named_number(name, i as f64);
            if i.unsigned_abs() > EXACT {
                maps.meta.named_text(name, i.to_string().as_bytes());
            }
        }
        AnyValue::Double(d) if d.is_finite() => maps.metrics.named_number(name, d),
        other => maps.meta.named_text(name, as_text(&other).as_bytes()),
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
    pub(super) fn clear(&mut self) {
        self.present = 0;
    }

    /// Keeps the value if the attribute is read. The first of several with the same key counts.
    #[inline]
    pub(super) fn keep(&mut self, attribute: &Attribute<'a>) {
        if let Some(key) = attribute.name.key
            && let Some(value) = self.values.get_mut(key as usize)
            && self.present & (1 << key as u8) == 0
        {
            self.present |= 1 << key as u8;
            *value = attribute.value;
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
    pub(super) fn text(&self, keys: &[Key]) -> Option<Cow<'a, str>> {
        // Most spans have none of what is asked for.
        if !self.any(keys) {
            return None;
        }
        keys.iter().find_map(|key| Some(as_text(&self.get(*key)?)).filter(|text| !text.is_empty()))
    }

    /// The HTTP status, whether it is a number or text.
    pub(super) fn http_status(&self) -> Option<i64> {
        [Key::HttpStatusCode, Key::HttpResponseStatusCode].iter().find_map(|key| match self.get(*key)? {
            AnyValue::Int(code) => Some(code),
            AnyValue::String(_) => self.text(&[*key])?.parse().ok(),
            _ => None,
        })
    }
}
