//! Copies of a few bytes, made in blocks of one size: a call for them costs about as much as everything around them.

use crate::view::KEY_TAG;

/// A key that is written again and again, as it stands in an attribute: room for the tag and length of the attribute, its
/// own tag and length, its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    text: &'static str,
    block: [u8; Key::BLOCK],
}

impl Key {
    /// Bytes that are copied for every key, of which the first ones count.
    const BLOCK: usize = 48;
    /// How long a key may be.
    pub const LONGEST: usize = Key::BLOCK - 4;

    /// The key `text`.
    ///
    /// # Panics
    /// If it is longer than [`Key::LONGEST`]: for constants, that is when they are compiled.
    pub const fn new(text: &'static str) -> Key {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= Key::LONGEST, "a key of up to 44 bytes");
        let mut block = [0; Key::BLOCK];
        block[2] = KEY_TAG;
        block[3] = bytes.len() as u8;
        let mut at = 0;
        while at < bytes.len() {
            block[at + 4] = bytes[at];
            at += 1;
        }
        Key { text, block }
    }

    /// The key.
    pub const fn as_str(&self) -> &'static str {
        self.text
    }

    /// How long it is with its tag and length.
    pub(super) const fn len(&self) -> usize {
        self.text.len() + 2
    }

    /// Appends the beginning of an attribute with this tag and length.
    #[inline]
    pub(super) fn put(&self, buf: &mut Vec<u8>, [tag, length]: [u8; 2]) {
        let end = buf.len() + 2 + self.len();
        let mut block = self.block;
        (block[0], block[1]) = (tag, length);
        buf.extend_from_slice(&block);
        buf.truncate(end);
    }
}

/// Appends the first `length` bytes of `from`: as one block if it has as many.
#[inline]
pub(super) fn put_first(buf: &mut Vec<u8>, from: &[u8], length: usize) {
    let end = buf.len() + length;
    match (from.first_chunk::<32>(), from.first_chunk::<64>()) {
        (Some(block), _) if length <= 32 => buf.extend_from_slice(block),
        (_, Some(block)) if length <= 64 => buf.extend_from_slice(block),
        _ => buf.extend_from_slice(&from[..length]),
    }
    buf.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::view::{AnyValue, KeyValue};
    use crate::{Writer, wire::Fields};

    #[test]
    fn an_attribute_is_the_same_whichever_way_it_is_written() {
        const KEYS: [Key; 3] =
            [Key::new(""), Key::new("a.key"), Key::new("a.key.as.long.as.a.key.may.be.and.no.longer.")];
        let (texts, mut general) = ((0..200).map(|n| "x".repeat(n)).collect::<Vec<_>>(), Writer::new());
        general.any_value(1, AnyValue::string("of an array"));
        let list = crate::view::ArrayValue::read(general.as_slice());
        let mut values: Vec<_> = texts.iter().map(|text| AnyValue::string(text)).collect();
        values.extend([AnyValue::Bool(true), AnyValue::Bool(false), AnyValue::Int(0), AnyValue::Int(-1)]);
        values.extend([AnyValue::Int(300), AnyValue::Double(-0.5), AnyValue::Empty, AnyValue::Array(list)]);
        for (key, value) in KEYS.iter().flat_map(|key| values.iter().map(move |value| (key, *value))) {
            for number in [1, 9, 15, 16, 70_000] {
                let text = key.as_str().as_bytes();
                let mut expected = Writer::new();
                expected.any_attribute(number, text, value);
                let mut quick = Writer::new();
                quick.attribute(number, text, value);
                assert_eq!(quick, expected, "{number} {key:?} {value:?}");
                quick.clear();
                quick.attribute_of(number, key, value);
                assert_eq!(quick, expected, "{number} {key:?} {value:?}");
                let mut other = Writer::new();
                other.any_attribute(9, b"another", value);
                let body = Fields::new(other.as_slice()).next().unwrap().value.as_bytes();
                let (_, field) = KeyValue::split(body);
                for from in [field.to_vec(), [field, &[0xff; 64]].concat()] {
                    quick.clear();
                    quick.attribute_renamed(number, key, &from, field.len());
                    assert!(quick == expected || field.is_empty(), "{number} {key:?} {value:?}");
                }
            }
        }
    }

    #[test]
    fn beginnings_of_every_length_are_appended_whatever_follows() {
        let text: Vec<u8> = (1..=100).collect();
        for length in 0..=text.len() {
            let mut buf = vec![0xff];
            put_first(&mut buf, &text, length);
            put_first(&mut buf, &text[..length], length);
            let expected = [&[0xff][..], &text[..length], &text[..length]].concat();
            assert_eq!(buf, expected, "{length}");
        }
    }
}
