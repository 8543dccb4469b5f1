//! OTLP/JSON to wire bytes, in one pass and without a tree of values.

use super::JsonError;
use super::scalar::{Scalar, write};
use crate::schema::{Field, Kind, Message};
use crate::wire::Fields;
use crate::{MAX_DEPTH, Writer};
use bytes::Bytes;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::cell::RefCell;
use std::fmt;

pub(super) fn decode(message: &'static Message, json: &[u8]) -> Result<Bytes, JsonError> {
    let path = RefCell::new(Vec::new());
    let mut out = Writer::with_capacity(json.len() / 2);
    let mut json = serde_json::Deserializer::from_slice(json);
    let request = Object { message, out: &mut out, path: &path, depth: MAX_DEPTH, root: true };
    match request.deserialize(&mut json).and_then(|_| json.end()) {
        Ok(()) => Ok(out.into_bytes()),
        Err(error) => Err(JsonError { path: render(&path.borrow()), problem: error.to_string() }),
    }
}

/// One step from the request towards a value. A step is taken back only on success, so that after an error the steps
/// that are left lead to it.
#[derive(Clone, Copy)]
enum Step {
    Key(&'static str),
    Index(usize),
}

type Path = RefCell<Vec<Step>>;

fn render(path: &[Step]) -> String {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Key(key) if text.is_empty() => text.push_str(key),
            Step::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Step::Index(index) => {
                text.push('[');
                text.push_str(itoa::Buffer::new().format(*index));
                text.push(']');
            }
        }
    }
    if text.is_empty() { "request".to_owned() } else { text }
}

fn within<T, E>(path: &Path, step: Step, body: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    path.borrow_mut().push(step);
    let value = body()?;
    path.borrow_mut().pop();
    Ok(value)
}

/// A message: writes its body. The value says whether there was one, `null` being none.
struct Object<'a> {
    message: &'static Message,
    out: &'a mut Writer,
    path: &'a Path,
    depth: u32,
    root: bool,
}

impl<'de> DeserializeSeed<'de> for Object<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Object<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object ({})", self.message.name)
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        if self.root {
            return Err(E::invalid_type(serde::de::Unexpected::Unit, &self));
        }
        Ok(false)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        if self.depth == 0 {
            return Err(A::Error::custom("nested too deeply"));
        }
        let start = self.out.len();
        let mut singles = Singles::default();
        while let Some(key) = map.next_key_seed(Key(self.message))? {
            let Some(field) = key else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let member = Member { field, out: self.out, path: self.path, depth: self.depth - 1 };
            let written = within(self.path, Step::Key(field.json), || map.next_value_seed(member))?;
            if !field.repeated {
                singles.note(field.number, written);
            }
        }
        singles.keep_last(self.message, self.out, start);
        Ok(true)
    }
}

/// Which fields of a message have been set, to let the last of several values for one key win.
#[derive(Default)]
struct Singles {
    seen: u32,
    /// The last value was a default, which is not written.
    cleared: u32,
    repeated: bool,
}

impl Singles {
    fn note(&mut self, number: u32, written: bool) {
        let bit = 1 << (number % 32);
        self.repeated |= self.seen & bit != 0;
        self.seen |= bit;
        self.cleared = if written { self.cleared & !bit } else { self.cleared | bit };
    }

    /// Takes earlier values back. A wire reader would take the last number or string by itself, but it joins messages
    /// and does not know of a default that came last.
    fn keep_last(&self, message: &Message, out: &mut Writer, start: usize) {
        if !self.repeated {
            return;
        }
        let single = |number: u32| message.field(number).is_some_and(|f| !f.repeated);
        let body = out.as_slice()[start..].to_vec();
        let mut last = [0usize; 32];
        for (i, field) in Fields::new(&body).enumerate() {
            last[field.number as usize % 32] = i;
        }
        out.truncate(start);
        for (i, field) in Fields::new(&body).enumerate() {
            let slot = field.number % 32;
            if !single(field.number) || (last[slot as usize] == i && self.cleared & (1 << slot) == 0) {
                out.raw(field.raw);
            }
        }
    }
}

/// A key of a message: the field, or `None` if the schema does not know it.
struct Key(&'static Message);

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Option<&'static Field>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Self::Value, D::Error> {
        json.deserialize_str(self)
    }
}

impl Visitor<'_> for Key {
    type Value = Option<&'static Field>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Self::Value, E> {
        Ok(self.0.field_by_json(key))
    }
}

/// The value of one key. Its value says whether anything was written.
struct Member<'a> {
    field: &'static Field,
    out: &'a mut Writer,
    path: &'a Path,
    depth: u32,
}

impl<'de> DeserializeSeed<'de> for Member<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        if self.field.repeated { json.deserialize_any(self) } else { self.single(json) }
    }
}

impl Member<'_> {
    fn single<'de, D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        let Kind::Message(message) = self.field.kind else {
            return write(self.field, Scalar::read(json)?, self.out).map_err(D::Error::custom);
        };
        let before = self.out.len();
        let mut result = Ok(false);
        self.out.message(self.field.number, |out| {
            let object = Object { message, out, path: self.path, depth: self.depth, root: false };
            result = object.deserialize(json);
        });
        if let Ok(false) = result {
            self.out.truncate(before);
        }
        result
    }
}

/// A list. An element that is `null` is a default: an empty message, an empty string or 0.
impl<'de> Visitor<'de> for Member<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_unit<E: Error>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<bool, A::Error> {
        let Member { field, out, path, depth } = self;
        let mut numbers = Vec::new();
        let mut index = 0;
        loop {
            let more = within(path, Step::Index(index), || {
                let element = Element { field, out, path, depth, numbers: &mut numbers };
                list.next_element_seed(element)
            })?;
            if more.is_none() {
                break;
            }
            index += 1;
        }
        match field.kind {
            Kind::Uint64 => out.packed_varint(field.number, numbers),
            _ => out.packed_fixed64(field.number, numbers),
        }
        Ok(index > 0)
    }
}

/// One element of a list: a message or a string is written, a number is collected to be packed.
struct Element<'a> {
    field: &'static Field,
    out: &'a mut Writer,
    path: &'a Path,
    depth: u32,
    numbers: &'a mut Vec<u64>,
}

impl<'de> DeserializeSeed<'de> for Element<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        let Element { field, out, path, depth, numbers } = self;
        match field.kind {
            Kind::Message(message) => {
                let mut result = Ok(false);
                out.message(field.number, |out| {
                    let object = Object { message, out, path, depth, root: false };
                    result = object.deserialize(json);
                });
                result.map(drop)
            }
            Kind::String => {
                let text = Scalar::read(json)?.text().map_err(D::Error::custom)?;
                out.bytes(field.number, text.unwrap_or_default().as_bytes());
                Ok(())
            }
            kind => {
                let number = Scalar::read(json)?.number(kind).map_err(D::Error::custom)?;
                numbers.push(number.unwrap_or_default());
                Ok(())
            }
        }
    }
}
