//! Writes protobuf messages: the counterpart of [`crate::wire`].

mod short;

use crate::schema::field;
use crate::view::{AnyValue, KEY_TAG};
use bytes::Bytes;

pub use short::Key;

/// Appends fields to a buffer. Nested messages are written in place; their length is filled in afterwards.
///
/// Methods without a suffix always write the field. Those that end in `_nonzero` or `_nonempty` leave out the value
/// that proto3 leaves out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Writer {
    buf: Vec<u8>,
}

impl Writer {
    /// An empty writer.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty writer with room for `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        Writer { buf: Vec::with_capacity(bytes) }
    }

    /// What has been written.
    pub fn as_slice(&self) -> &[u8] {
        &self.buf
    }

    /// How many bytes have been written.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing has been written.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    /// Forgets what was written and keeps the room.
    pub fn clear(&mut self) {
        self.buf.clear();
    }

    /// Shortens to `len` bytes: takes back the fields written since [`Writer::len`] was `len`.
    pub fn truncate(&mut self, len: usize) {
        self.buf.truncate(len);
    }

    /// The written bytes, without a copy.
    pub fn into_bytes(self) -> Bytes {
        Bytes::from(self.buf)
    }

    /// The written bytes as a vector.
    pub fn into_vec(self) -> Vec<u8> {
        self.buf
    }

    /// Copies fields as they stand on the wire ([`crate::wire::Field::raw`]).
    pub fn raw(&mut self, fields: &[u8]) {
        self.buf.extend_from_slice(fields);
    }

    /// As [`Writer::raw`] for the first `length` bytes of `from`, if they are likely to be few.
    #[inline]
    pub fn raw_short(&mut self, from: &[u8], length: usize) {
        short::put_first(&mut self.buf, from, length);
    }

    #[inline]
    fn tag(&mut self, number: u32, wire_type: u32) {
        put_varint(&mut self.buf, u64::from(number << 3 | wire_type));
    }

    /// A `bool`, an enumeration or an unsigned integer. Signed `int32` and `int64`: cast with `as u64`.
    pub fn varint(&mut self, number: u32, value: u64) {
        self.tag(number, 0);
        put_varint(&mut self.buf, value);
    }

    /// As [`Writer::varint`], unless it is 0.
    pub fn varint_nonzero(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.varint(number, value);
        }
    }

    /// A `sint32` or `sint64`.
    pub fn sint(&mut self, number: u32, value: i64) {
        self.varint(number, ((value << 1) ^ (value >> 63)) as u64);
    }

    /// A `fixed64` or `sfixed64`.
    #[inline]
    pub fn fixed64(&mut self, number: u32, value: u64) {
        if number < 16 {
            // In one piece: points consist of these.
            let mut field = [0; 9];
            field[0] = (number << 3 | 1) as u8;
            field[1..].copy_from_slice(&value.to_le_bytes());
            return self.buf.extend_from_slice(&field);
        }
        self.tag(number, 1);
        self.buf.extend_from_slice(&value.to_le_bytes());
    }

    /// As [`Writer::fixed64`], unless it is 0.
    pub fn fixed64_nonzero(&mut self, number: u32, value: u64) {
        if value != 0 {
            self.fixed64(number, value);
        }
    }

    /// A `fixed32`.
    pub fn fixed32(&mut self, number: u32, value: u32) {
        self.tag(number, 5);
        self.buf.extend_from_slice(&value.to_le_bytes());
    }

    /// As [`Writer::fixed32`], unless it is 0.
    pub fn fixed32_nonzero(&mut self, number: u32, value: u32) {
        if value != 0 {
            self.fixed32(number, value);
        }
    }

    /// A `double`.
    pub fn double(&mut self, number: u32, value: f64) {
        self.fixed64(number, value.to_bits());
    }

    /// A `string`, `bytes` or an already encoded message.
    pub fn bytes(&mut self, number: u32, value: &[u8]) {
        self.header(number, value.len());
        self.buf.extend_from_slice(value);
    }

    /// As [`Writer::bytes`], unless it is empty.
    pub fn bytes_nonempty(&mut self, number: u32, value: &[u8]) {
        if !value.is_empty() {
            self.bytes(number, value);
        }
    }

    /// A nested message, written by `body`.
    pub fn message(&mut self, number: u32, body: impl FnOnce(&mut Writer)) {
        self.tag(number, 2);
        let start = self.buf.len();
        self.buf.push(0);
        body(self);
        let length = self.buf.len() - start - 1;
        // Most messages are under 128 bytes, so one byte is reserved; longer ones are moved up.
        let mut prefix = [0u8; 10];
        let width = varint_into(&mut prefix, length as u64);
        if width > 1 {
            self.buf.extend_from_slice(&prefix[1..width]);
            self.buf.copy_within(start + 1..start + 1 + length, start + width);
        }
        self.buf[start..start + width].copy_from_slice(&prefix[..width]);
    }

    /// What stands before a `string`, `bytes` or message of `length` bytes, which must be written next: for long ones
    /// whose length is known, [`Writer::message`] would move them.
    #[inline]
    pub fn header(&mut self, number: u32, length: usize) {
        self.tag(number, 2);
        put_varint(&mut self.buf, length as u64);
    }

    /// As [`Writer::message`], for a long message whose length is about known: room for the length is left in front, so
    /// that the message has to be moved only if the guess is far off.
    pub fn message_of(&mut self, number: u32, about: usize, body: impl FnOnce(&mut Writer)) {
        self.tag(number, 2);
        let start = self.buf.len();
        let mut prefix = [0u8; 10];
        let left = varint_into(&mut prefix, about as u64);
        self.buf.extend_from_slice(&prefix[..left]);
        body(self);
        let length = self.buf.len() - start - left;
        let width = varint_into(&mut prefix, length as u64);
        if width == left {
            self.buf[start..start + left].copy_from_slice(&prefix[..width]);
        } else {
            self.buf.splice(start..start + left, prefix[..width].iter().copied());
        }
    }

    /// A packed list of `fixed64`; nothing if it is empty.
    pub fn packed_fixed64(&mut self, number: u32, values: impl IntoIterator<Item = u64>) {
        self.packed(number, values, |buf, v| buf.extend_from_slice(&v.to_le_bytes()));
    }

    /// As [`Writer::packed_fixed64`], for numbers that lie in memory, whose length is known before.
    pub fn fixed64_list(&mut self, number: u32, values: &[u64]) {
        if values.is_empty() {
            return;
        }
        self.header(number, values.len() * 8);
        let start = self.buf.len();
        self.buf.resize(start + values.len() * 8, 0);
        for (bytes, value) in self.buf[start..].as_chunks_mut::<8>().0.iter_mut().zip(values) {
            *bytes = value.to_le_bytes();
        }
    }

    /// How many bytes [`Writer::fixed64_list`] writes for this many numbers in a field below 16.
    pub fn fixed64_list_len(values: usize) -> usize {
        let mut prefix = [0u8; 10];
        if values == 0 { 0 } else { 1 + varint_into(&mut prefix, values as u64 * 8) + values * 8 }
    }

    /// A packed list of `double`; nothing if it is empty.
    pub fn packed_double(&mut self, number: u32, values: impl IntoIterator<Item = f64>) {
        self.packed(number, values, |buf, v| buf.extend_from_slice(&v.to_le_bytes()));
    }

    /// A packed list of varints; nothing if it is empty.
    pub fn packed_varint(&mut self, number: u32, values: impl IntoIterator<Item = u64>) {
        self.packed(number, values, put_varint);
    }

    fn packed<T>(&mut self, number: u32, values: impl IntoIterator<Item = T>, put: fn(&mut Vec<u8>, T)) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            self.message(number, |w| values.for_each(|v| put(&mut w.buf, v)));
        }
    }

    /// A `KeyValue` in the repeated field `number`.
    pub fn attribute(&mut self, number: u32, key: &[u8], value: AnyValue<'_>) {
        let put = |buf: &mut Vec<u8>, [tag, length]: [u8; 2]| {
            buf.extend_from_slice(&[tag, length, KEY_TAG, key.len() as u8]);
            buf.extend_from_slice(key);
        };
        if !self.short_attribute(number, key.len(), put, value) {
            self.any_attribute(number, key, value);
        }
    }

    /// As [`Writer::attribute`], for a key that is written again and again.
    #[inline]
    pub fn attribute_of(&mut self, number: u32, key: &Key, value: AnyValue<'_>) {
        let text = key.as_str().as_bytes();
        if !self.short_attribute(number, text.len(), |buf, head| key.put(buf, head), value) {
            self.any_attribute(number, text, value);
        }
    }

    /// An attribute with another key and the same value: `from` begins with the field `value` of `length` bytes as it
    /// stands on the wire ([`crate::view::KeyValue::split`]). If more follows there, it is copied in one block.
    #[inline]
    pub fn attribute_renamed(&mut self, number: u32, key: &Key, from: &[u8], length: usize) {
        let all = key.len() + length;
        if number < 16 && all < 0x80 {
            key.put(&mut self.buf, [(number << 3 | 2) as u8, all as u8]);
        } else {
            self.header(number, all);
            self.bytes(field::key_value::KEY, key.as_str().as_bytes());
        }
        short::put_first(&mut self.buf, from, length);
    }

    #[cold]
    fn any_attribute(&mut self, number: u32, key: &[u8], value: AnyValue<'_>) {
        self.message(number, |w| {
            w.bytes(field::key_value::KEY, key);
            w.any_value(field::key_value::VALUE, value);
        });
    }

    /// Writes an attribute whose parts are shorter than 128 bytes, as nearly all are: their lengths are one byte each and
    /// known before, so that tags and lengths are written four at a time and nothing is filled in afterwards. Half of all
    /// that the translation writes goes through here, and this is three times as fast. `false` if it is not so.
    #[inline(always)]
    fn short_attribute(
        &mut self,
        number: u32,
        key: usize,
        put_key: impl FnOnce(&mut Vec<u8>, [u8; 2]),
        value: AnyValue<'_>,
    ) -> bool {
        let mut scalar = [0u8; 11];
        let (tag, text): (u8, &[u8]) = match value {
            AnyValue::String(text) => ((field::any_value::STRING << 3 | 2) as u8, text),
            AnyValue::Bool(b) => {
                scalar[0] = b.into();
                ((field::any_value::BOOL << 3) as u8, &scalar[..1])
            }
            AnyValue::Int(i) => {
                let mut bytes = [0; 10];
                let width = varint_into(&mut bytes, i as u64);
                scalar[..10].copy_from_slice(&bytes);
                ((field::any_value::INT << 3) as u8, &scalar[..width])
            }
            AnyValue::Double(d) => {
                scalar[..8].copy_from_slice(&d.to_le_bytes());
                ((field::any_value::DOUBLE << 3 | 1) as u8, &scalar[..8])
            }
            AnyValue::Empty | AnyValue::Array(_) | AnyValue::KvList(_) | AnyValue::Bytes(_) => return false,
        };
        let prefixed = matches!(value, AnyValue::String(_));
        let length = key + text.len() + 5 + usize::from(prefixed);
        if length > 127 || number > 15 {
            return false;
        }
        const VALUE_TAG: u8 = (field::key_value::VALUE << 3 | 2) as u8;
        let inner = (text.len() + 1 + usize::from(prefixed)) as u8;
        self.buf.reserve(length + 2);
        put_key(&mut self.buf, [(number << 3 | 2) as u8, length as u8]);
        if prefixed {
            self.buf.extend_from_slice(&[VALUE_TAG, inner, tag, text.len() as u8]);
        } else {
            self.buf.extend_from_slice(&[VALUE_TAG, inner, tag]);
        }
        self.buf.extend_from_slice(text);
        true
    }

    /// A `KeyValue` with a string.
    pub fn attribute_str(&mut self, number: u32, key: &str, value: &str) {
        self.attribute(number, key.as_bytes(), AnyValue::String(value.as_bytes()));
    }

    /// An `AnyValue`.
    pub fn any_value(&mut self, number: u32, value: AnyValue<'_>) {
        self.message(number, |w| match value {
            AnyValue::Empty => {}
            AnyValue::String(s) => w.bytes(field::any_value::STRING, s),
            AnyValue::Bool(b) => w.varint(field::any_value::BOOL, b.into()),
            AnyValue::Int(i) => w.varint(field::any_value::INT, i as u64),
            AnyValue::Double(d) => w.double(field::any_value::DOUBLE, d),
            AnyValue::Array(a) => w.bytes(field::any_value::ARRAY, a.raw()),
            AnyValue::KvList(l) => w.bytes(field::any_value::KVLIST, l.raw()),
            AnyValue::Bytes(b) => w.bytes(field::any_value::BYTES, b),
        });
    }

    /// A `KeyValue` with an array of strings.
    pub fn attribute_strings<'s>(
        &mut self,
        number: u32,
        key: &str,
        values: impl IntoIterator<Item = &'s str>,
    ) {
        self.message(number, |w| {
            w.bytes(field::key_value::KEY, key.as_bytes());
            w.message(field::key_value::VALUE, |w| {
                w.message(field::any_value::ARRAY, |w| {
                    for value in values {
                        w.any_value(field::any_value::VALUES, AnyValue::String(value.as_bytes()));
                    }
                });
            });
        });
    }
}

#[inline]
fn put_varint(buf: &mut Vec<u8>, value: u64) {
    match value {
        0..0x80 => buf.push(value as u8),
        // Lengths of points.
        0x80..0x4000 => buf.extend_from_slice(&[value as u8 | 0x80, (value >> 7) as u8]),
        _ => put_long_varint(buf, value),
    }
}

#[inline(never)]
fn put_long_varint(buf: &mut Vec<u8>, value: u64) {
    let mut bytes = [0u8; 10];
    let width = varint_into(&mut bytes, value);
    buf.extend_from_slice(&bytes[..width]);
}

fn varint_into(bytes: &mut [u8; 10], mut value: u64) -> usize {
    let mut width = 0;
    loop {
        if value < 0x80 {
            bytes[width] = value as u8;
            return width + 1;
        }
        bytes[width] = value as u8 | 0x80;
        value >>= 7;
        width += 1;
    }
}
