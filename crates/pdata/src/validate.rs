//! One walk over a request that checks every level, so that views need no error paths.

use crate::schema::{Field as SchemaField, Kind, Message};
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

/// Eight bytes at a time: most strings are short and ASCII, and the general check costs three times as much for them.
#[inline(always)]
fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let (words, rest) = bytes.as_chunks::<8>();
    let high = words.iter().fold(0, |high, word| high | u64::from_le_bytes(*word));
    rest.iter().fold(0, |high, byte| high | byte) < 0x80 && high & HIGH == 0
}

fn packed_varints(mut bytes: &[u8]) -> Result<(), Problem> {
    while !bytes.is_empty() {
        let (_, width) = read_varint(bytes).map_err(|_| Problem::Packed)?;
        bytes = &bytes[width..];
    }
    Ok(())
}
