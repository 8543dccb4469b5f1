//! What nearly all attributes and data points look like, recognised faster than by looking up each field.

use crate::schema::{PointField, PointFields};
use crate::wire::Fields;

/// Whether a data point is valid and looks as nearly all do: times, values, lists of eight bytes each, flags, and plain
/// attributes. What looks otherwise takes the general way, which costs four times as much.
#[inline]
pub(super) fn is_plain_point(bytes: &[u8], point: &PointFields) -> bool {
    // A position takes half of what it costs to cut slices.
    let mut at = 0;
    while let Some(tag) = bytes.get(at) {
        match point.behind(*tag) {
            PointField::Fixed64 => at += 9,
            PointField::Attribute => match plain_attributes(bytes, at, *tag) {
                Some(end) => at = end,
                None => return false,
            },
            PointField::Packed64 => {
                let mut fields = Fields::new(&bytes[at..]);
                match fields.next_body(u32::from(tag >> 3)) {
                    Some(list) if list.len() % 8 == 0 => at = bytes.len() - fields.remaining(),
                    _ => return false,
                }
            }
            PointField::Varint => {
                let Some(0..0x80) = bytes.get(at + 1) else { return false };
                at += 2;
            }
            PointField::Other => return false,
        }
    }
    // Eight bytes may have been cut off.
    at == bytes.len()
}

/// Where the attributes with this tag end that begin here; `None` if one of them is not plain.
#[inline(always)]
fn plain_attributes(bytes: &[u8], mut at: usize, tag: u8) -> Option<usize> {
    // Strings that have not been looked at: at all of a point at once, which costs a third of one by one.
    let mut strings = at;
    while bytes.get(at) == Some(&tag) {
        let length = bytes.get(at + 1).filter(|length| **length < 0x80)?;
        let to = at + 2 + usize::from(*length);
        let body = bytes.get(at + 2..to)?;
        if !is_string_attribute(body) {
            if !is_plain_attribute(body) || !is_ascii(&bytes[strings..at]) {
                return None;
            }
            strings = to;
        }
        at = to;
    }
    is_ascii(&bytes[strings..at]).then_some(at)
}

/// Whether a `KeyValue` of fewer than 128 bytes is valid and has a string, should all of its bytes be ASCII.
#[inline(always)]
fn is_string_attribute(bytes: &[u8]) -> bool {
    let [0x0a, key_length, rest @ ..] = bytes else { return false };
    let length = bytes.len().wrapping_sub(usize::from(*key_length) + 2);
    match rest.get(usize::from(*key_length)..) {
        Some([0x12, a, 0x0a, b, ..]) => usize::from(*a) + 2 == length && usize::from(*b) + 4 == length,
        _ => false,
    }
}

/// Whether a `KeyValue` is valid and looks as nearly all do: a key, then a string, boolean, integer or double, all of it
/// shorter than 128 bytes and without fields that the schema does not know. What looks otherwise takes the general way,
/// which costs three times as much: a message inside a message, four fields, two strings.
#[inline]
pub(super) fn is_plain_attribute(bytes: &[u8]) -> bool {
    const SHORT: u8 = 0x80;
    let [0x0a, key_length, rest @ ..] = bytes else { return false };
    if bytes.len() >= usize::from(SHORT) {
        return false;
    }
    let Some((key, value)) = rest.split_at_checked(usize::from(*key_length)) else { return false };
    // Everything is short, and so what must be the length of something has one byte.
    let length = value.len() as u8;
    match value {
        // Tags and lengths are below 128, too, so that one look at everything is enough.
        [0x12, a, 0x0a, b, ..] => *a == length - 2 && *b == length - 4 && is_ascii(bytes),
        [0x12, 2, 0x10, 0..SHORT] | [0x12, 9, 0x21, _, _, _, _, _, _, _, _] => is_ascii(key),
        // The tenth byte of a varint has rules of its own.
        [0x12, a, 0x18, more @ .., 0..SHORT] => {
            *a == length - 2 && more.len() < 9 && more.iter().all(|b| *b >= SHORT) && is_ascii(key)
        }
        _ => false,
    }
}

/// Eight bytes at a time: most strings are short and ASCII, and the general check costs three times as much for them.
#[inline(always)]
pub(super) fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |high, byte| high | byte) < 0x80;
    };
    let words = bytes.as_chunks::<8>().0.iter();
    // The last word overlaps the one before, which is cheaper than the odd bytes one by one.
    let high = words.fold(u64::from_le_bytes(*last), |high, word| high | u64::from_le_bytes(*word));
    high & HIGH == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Signal;
    use crate::schema::{KEY_VALUE, Kind, field};
    use crate::validate::{MAX_DEPTH, Walk};
    use crate::{AnyValue, Writer};

    #[test]
    fn what_passes_as_a_plain_attribute_is_valid_whichever_byte_changes() {
        let mut walk = Walk { base: 0, points: 0 };
        let (mut plain, mut valid) = (0, 0);
        for value in [
            AnyValue::string("some text of sixteen"),
            AnyValue::string(""),
            AnyValue::Bool(true),
            AnyValue::Int(-1),
            AnyValue::Int(300),
            AnyValue::Double(0.25),
            AnyValue::Bytes(b"\xff"),
        ] {
            let mut w = Writer::new();
            w.attribute(1, b"a.key", value);
            let body = &w.as_slice()[2..];
            for (at, byte) in (0..body.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut body = body.to_vec();
                body[at] = byte;
                for length in [body.len(), at] {
                    let general = walk.message(&KEY_VALUE, &body[..length], MAX_DEPTH).is_ok();
                    let fast = is_plain_attribute(&body[..length]);
                    assert!(general || !fast, "{:x?}", &body[..length]);
                    valid += usize::from(general);
                    plain += usize::from(fast);
                }
            }
        }
        assert!(plain > 5_000 && valid > plain, "{plain} of {valid}");
    }

    #[test]
    fn what_passes_as_a_plain_point_is_valid_whichever_byte_changes() {
        let message = |name| {
            let mut found = None;
            let mut queue = vec![Signal::Metrics.request()];
            while let Some(message) = queue.pop() {
                if message.name == name {
                    found = Some(message);
                }
                let inner = message.fields.iter().filter_map(|field| match field.kind {
                    Kind::Message(inner) if !std::ptr::eq(inner, &KEY_VALUE) => Some(inner),
                    _ => None,
                });
                queue.extend(inner);
            }
            found.unwrap()
        };
        let mut walk = Walk { base: 0, points: 0 };
        for (name, attributes) in [
            ("NumberDataPoint", field::number_point::ATTRIBUTES),
            ("HistogramDataPoint", field::histogram_point::ATTRIBUTES),
            ("ExponentialHistogramDataPoint", field::exponential_point::ATTRIBUTES),
            ("SummaryDataPoint", field::summary_point::ATTRIBUTES),
        ] {
            let message = message(name);
            let point = message.point.unwrap();
            let mut w = Writer::new();
            for field in message.fields {
                match (field.kind, field.repeated) {
                    (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double, false) => w.fixed64(field.number, 7),
                    (Kind::Fixed64 | Kind::Double, true) => w.packed_fixed64(field.number, [1, 2]),
                    (Kind::Uint32 | Kind::Sint32, _) => w.varint(field.number, 1),
                    _ => {}
                }
            }
            w.attribute_str(attributes, "a", "text");
            w.attribute(attributes, b"b", AnyValue::Int(5));
            w.attribute_str(attributes, "c", "another text");
            let body = w.into_vec();
            let (mut plain, mut valid) = (0, 0);
            for (at, byte) in (0..body.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut body = body.clone();
                body[at] = byte;
                for length in [body.len(), at] {
                    let general = walk.message(message, &body[..length], MAX_DEPTH).is_ok();
                    let fast = is_plain_point(&body[..length], &point);
                    assert!(general || !fast, "{name}: {:x?}", &body[..length]);
                    valid += usize::from(general);
                    plain += usize::from(fast);
                }
            }
            assert!(plain > 5_000 && valid > plain, "{name}: {plain} of {valid}");
        }
    }
}
