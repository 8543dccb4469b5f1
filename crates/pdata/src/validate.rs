//! One walk over a request that checks every level, so that views need no error paths.

use crate::schema::{Field as SchemaField, KEY_VALUE, Kind, Message};
use crate::wire::{Fields, Problem, Value, WireError, read_varint};
use crate::{Signal, schema::field};

/// How deep messages may nest, the request itself included. Around an attribute value each array uses two levels and
/// each map three, so that some 27 arrays or 18 maps may stand inside one another.
pub const MAX_DEPTH: u32 = 60;

/// What a request may hold at most.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Spans, data points or log records.
    pub items: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits { items: 1_000_000 }
    }
}

/// Checks framing, nesting, wire types, UTF-8, id lengths and limits of a whole request and counts its items.
///
/// # Errors
/// The first problem, with its offset. Unknown fields are no problem: a newer sender may know more than we do.
pub fn validate(signal: Signal, otlp: &[u8], limits: Limits) -> Result<usize, WireError> {
    let walk = Walk { base: otlp.as_ptr() as usize };
    walk.message(signal.request(), otlp, MAX_DEPTH)?;
    let items = count_items(signal, otlp);
    if items > limits.items {
        return Err(WireError { offset: 0, message: signal.request().name, problem: Problem::Items });
    }
    Ok(items)
}

/// Counts the spans, data points or log records of a request that is known to be valid.
pub fn count_items(signal: Signal, otlp: &[u8]) -> usize {
    let mut items = 0;
    for resource in messages(otlp, field::REQUEST_RESOURCE) {
        for scope in messages(resource, field::resource_items::SCOPES) {
            for item in messages(scope, field::scope_items::ITEMS) {
                items += match signal {
                    Signal::Metrics => crate::view::Metric::read(item).point_count(),
                    Signal::Traces | Signal::Logs => 1,
                };
            }
        }
    }
    items
}

fn messages(message: &[u8], number: u32) -> impl Iterator<Item = &[u8]> {
    Fields::new(message).filter(move |f| f.number == number).map(|f| f.value.as_bytes())
}

struct Walk {
    /// Address of the first byte, to turn a position into an offset.
    base: usize,
}

impl Walk {
    fn message(&self, message: &'static Message, bytes: &[u8], depth: u32) -> Result<(), WireError> {
        let error = |at: &[u8], problem| {
            Err(WireError {
                offset: (at.as_ptr() as usize).saturating_sub(self.base),
                message: message.name,
                problem,
            })
        };
        if depth == 0 {
            return error(bytes, Problem::Depth);
        }
        let mut fields = Fields::new(bytes);
        loop {
            let at = &bytes[bytes.len() - fields.remaining()..];
            let found = match fields.try_next() {
                Ok(Some(found)) => found,
                Ok(None) => return Ok(()),
                Err(problem) => return error(at, problem),
            };
            let Some(known) = message.field(found.number) else { continue };
            match (known.kind, found.value) {
                // Three in four fields are attributes or inside of one.
                (Kind::Message(inner), Value::Bytes(b))
                    if std::ptr::eq(inner, &KEY_VALUE)
                        && found.number < 16
                        && depth > 2
                        && is_plain_attribute(b) =>
                {
                    // The others follow. To look nothing up for them saves a tenth of the walk.
                    let mut ahead = fields;
                    while let Some(body) = ahead.next_short(found.number)
                        && is_plain_attribute(body)
                    {
                        fields = ahead;
                    }
                }
                (Kind::Message(inner), Value::Bytes(b)) => self.message(inner, b, depth - 1)?,
                (_, value) => {
                    if let Err(problem) = scalar(known, value) {
                        return error(at, problem);
                    }
                }
            }
        }
    }
}

#[inline]
fn scalar(known: &SchemaField, value: Value<'_>) -> Result<(), Problem> {
    match (known.kind, value) {
        (Kind::String, Value::Bytes(b)) => {
            if is_ascii(b) || std::str::from_utf8(b).is_ok() {
                Ok(())
            } else {
                Err(Problem::Utf8)
            }
        }
        (Kind::TraceId, Value::Bytes(b)) if b.is_empty() || b.len() == 16 => Ok(()),
        (Kind::SpanId, Value::Bytes(b)) if b.is_empty() || b.len() == 8 => Ok(()),
        (Kind::TraceId | Kind::SpanId, Value::Bytes(_)) => Err(Problem::IdLength),
        (Kind::Bytes, Value::Bytes(_))
        | (
            Kind::Bool | Kind::Enum | Kind::Int64 | Kind::Int32 | Kind::Uint32 | Kind::Uint64 | Kind::Sint32,
            Value::Varint(_),
        )
        | (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double, Value::Fixed64(_))
        | (Kind::Fixed32, Value::Fixed32(_)) => Ok(()),
        (Kind::Fixed64 | Kind::Double, Value::Bytes(b)) if known.repeated => {
            if b.len() % 8 == 0 {
                Ok(())
            } else {
                Err(Problem::Packed)
            }
        }
        (Kind::Uint64, Value::Bytes(b)) if known.repeated => packed_varints(b),
        _ => Err(Problem::WireType),
    }
}

/// Whether a `KeyValue` is valid and looks as nearly all do: a key, then a string, boolean, integer or double, each
/// shorter than 128 bytes and without fields that the schema does not know. What looks otherwise takes the general way,
/// which costs three times as much: a message inside a message, four fields, two strings.
#[inline]
fn is_plain_attribute(bytes: &[u8]) -> bool {
    const SHORT: u8 = 0x80;
    let [0x0a, key_length @ 0..SHORT, rest @ ..] = bytes else { return false };
    let Some((key, [0x12, length @ 0..SHORT, value @ ..])) = rest.split_at_checked(usize::from(*key_length))
    else {
        return false;
    };
    if usize::from(*length) != value.len() {
        return false;
    }
    match value {
        // Tags and lengths are below 128, too, so that one look at everything is enough.
        [0x0a, length @ 0..SHORT, text @ ..] => usize::from(*length) == text.len() && is_ascii(bytes),
        [0x10, 0..SHORT] | [0x21, _, _, _, _, _, _, _, _] => is_ascii(key),
        // The tenth byte of a varint has rules of its own.
        [0x18, more @ .., 0..SHORT] => more.len() < 9 && more.iter().all(|b| *b >= SHORT) && is_ascii(key),
        _ => false,
    }
}

/// Eight bytes at a time: most strings are short and ASCII, and the general check costs three times as much for them.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk::<8>() else {
        return bytes.iter().fold(0, |high, byte| high | byte) < 0x80;
    };
    // The last word overlaps the one before, which is cheaper than the odd bytes one by one.
    let words = bytes.as_chunks::<8>().0.iter().chain([last]);
    words.fold(0, |high, word| high | u64::from_le_bytes(*word)) & HIGH == 0
}

fn packed_varints(mut bytes: &[u8]) -> Result<(), Problem> {
    while !bytes.is_empty() {
        let (_, width) = read_varint(bytes).map_err(|_| Problem::Packed)?;
        bytes = &bytes[width..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnyValue, Writer};

    #[test]
    fn what_passes_as_a_plain_attribute_is_valid_whichever_byte_changes() {
        let walk = Walk { base: 0 };
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
}
