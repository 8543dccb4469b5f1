//! An attribute key that is expected: to compare the beginning of an attribute with it costs less than to read and to find it.

use super::common::plain_body;

/// Room for what stands before a value.
const ROOM: usize = 64;

/// A key as it stands in an attribute, up to its value.
#[derive(Clone, Copy, Debug)]
pub struct ExpectedKey {
    bytes: [u8; ROOM],
    /// 0 for a key that is too long: no attribute is found to have it.
    length: u8,
}

impl ExpectedKey {
    /// What stands before the value of an attribute with this key.
    pub const fn new(key: &[u8]) -> Self {
        let mut expected = ExpectedKey { bytes: [0; ROOM], length: 0 };
        if key.len() > ROOM - 2 {
            return expected;
        }
        expected.bytes[0] = super::common::KEY_TAG;
        expected.bytes[1] = key.len() as u8;
        let mut at = 0;
        while at < key.len() {
            expected.bytes[at + 2] = key[at];
            at += 1;
        }
        expected.length = key.len() as u8 + 2;
        expected
    }

    /// The body of the value, if the attribute has this key and looks as nearly all do; `None` says nothing of it.
    #[inline]
    pub fn value<'a>(&self, attribute: &'a [u8]) -> Option<&'a [u8]> {
        // Nothing before the value is what an attribute without a key has.
        let length = usize::from(self.length).checked_sub(1)? + 1;
        let (key, value) = attribute.split_at_checked(length)?;
        if self.bytes.get(..length) != Some(key) { None } else { plain_body(value) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;
    use crate::view::{AnyValue, KeyValue};

    #[test]
    fn an_expected_attribute_is_read_as_any_other_is() {
        let longest = "k".repeat(ROOM - 2);
        let longer = "k".repeat(ROOM - 1);
        let keys = ["", "k", "key", "another.key", &longest, &longer];
        let long = "v".repeat(200);
        let values = [
            AnyValue::String(b""),
            AnyValue::String(b"text"),
            AnyValue::String(long.as_bytes()),
            AnyValue::Int(-1),
            AnyValue::Int(200),
            AnyValue::Double(0.5),
            AnyValue::Bool(true),
            AnyValue::Bytes(b"b"),
        ];
        let mut found = 0;
        for key in keys {
            for value in &values {
                let mut w = Writer::new();
                w.attribute(1, key.as_bytes(), *value);
                let field =
                    crate::wire::Fields::new(&w.into_vec()).next().map(|f| f.value.as_bytes().to_vec());
                let attribute = field.unwrap();
                for expected in keys {
                    // Cut short, too: a reader must not see more than there is.
                    for end in 0..=attribute.len() {
                        let read = KeyValue::read(&attribute[..end]);
                        if let Some(value) = ExpectedKey::new(expected.as_bytes()).value(&attribute[..end]) {
                            assert_eq!(read.key, expected.as_bytes());
                            assert_eq!(format!("{:?}", AnyValue::read(value)), format!("{:?}", read.value));
                            found += usize::from(end == attribute.len());
                        }
                    }
                }
            }
        }
        let without_key = [0x12, 3, 0x0a, 1, b'v'];
        for key in keys {
            assert_eq!(ExpectedKey::new(key.as_bytes()).value(&without_key), None, "{key}");
        }
        // Five keys that are short enough, with the values that are.
        assert_eq!(found, 35);
    }
}
