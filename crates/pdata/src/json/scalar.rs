//! Numbers, strings, ids and bytes of OTLP/JSON.

use crate::Writer;
use crate::schema::{Field, Kind, Presence};
use base64::alphabet;
use base64::engine::{DecodePaddingMode, Engine, GeneralPurpose, GeneralPurposeConfig};
use serde::de::{Deserializer, Error, Visitor};
use std::borrow::Cow;
use std::fmt;

const PADDING: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING);

/// Doubles count integers one by one up to here.
const MAX_EXACT: f64 = 9_007_199_254_740_992.0;

/// A JSON value that is neither an object nor an array.
pub(super) enum Scalar<'de> {
    Null,
    Bool(bool),
    Unsigned(u64),
    Negative(i64),
    Double(f64),
    Text(Cow<'de, str>),
}

impl<'de> Scalar<'de> {
    pub(super) fn read<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        json.deserialize_any(ScalarVisitor)
    }

    /// A string; `None` for `null`.
    pub(super) fn text(self) -> Result<Option<Cow<'de, str>>, String> {
        match self {
            Scalar::Null => Ok(None),
            Scalar::Text(text) => Ok(Some(text)),
            other => Err(format!("expected a string, found {}", other.describe())),
        }
    }

    /// The bits of a number, boolean or enumeration as they stand in a varint or fixed field; `None` for `null`.
    pub(super) fn number(&self, kind: Kind) -> Result<Option<u64>, String> {
        if let Scalar::Null = self {
            return Ok(None);
        }
        match kind {
            Kind::Bool => match self {
                Scalar::Bool(value) => Ok(u64::from(*value)),
                other => Err(format!("expected true or false, found {}", other.describe())),
            },
            Kind::Enum if matches!(self, Scalar::Text(_)) => {
                Err("expected the number of an enumeration value, found a string".to_owned())
            }
            Kind::Double => self.double().map(f64::to_bits),
            Kind::Enum | Kind::Int32 => self.integer(i32::MIN.into(), i32::MAX.into()).map(|i| i as u64),
            Kind::Sint32 => {
                self.integer(i32::MIN.into(), i32::MAX.into()).map(|i| ((i << 1) ^ (i >> 63)) as u64)
            }
            Kind::Uint32 | Kind::Fixed32 => self.integer(0, u32::MAX.into()).map(|i| i as u64),
            Kind::Uint64 | Kind::Fixed64 => self.integer(0, u64::MAX.into()).map(|i| i as u64),
            _ => self.integer(i64::MIN.into(), i64::MAX.into()).map(|i| i as u64),
        }
        .map(Some)
    }

    fn integer(&self, min: i128, max: i128) -> Result<i128, String> {
        let value = match self {
            Scalar::Unsigned(value) => i128::from(*value),
            Scalar::Negative(value) => i128::from(*value),
            Scalar::Double(value) => whole(*value)?,
            Scalar::Text(text) => match text.parse() {
                Ok(value) => value,
                Err(_) => whole(decimal(text).ok_or("expected an integer, found another string")?)?,
            },
            other => return Err(format!("expected an integer, found {}", other.describe())),
        };
        if value < min || value > max {
            return Err(format!("expected an integer from {min} to {max}, found {value}"));
        }
        Ok(value)
    }

    fn double(&self) -> Result<f64, String> {
        match self {
            Scalar::Unsigned(value) => Ok(*value as f64),
            Scalar::Negative(value) => Ok(*value as f64),
            Scalar::Double(value) => Ok(*value),
            Scalar::Text(text) => match text.as_ref() {
                "NaN" => Ok(f64::NAN),
                "Infinity" => Ok(f64::INFINITY),
                "-Infinity" => Ok(f64::NEG_INFINITY),
                other => decimal(other).ok_or_else(|| "expected a number, found another string".to_owned()),
            },
            other => Err(format!("expected a number, found {}", other.describe())),
        }
    }

    fn describe(&self) -> &'static str {
        match self {
            Scalar::Null => "null",
            Scalar::Bool(_) => "a boolean",
            Scalar::Unsigned(_) | Scalar::Negative(_) | Scalar::Double(_) => "a number",
            Scalar::Text(_) => "a string",
        }
    }
}

/// A decimal number in a string. Rust's own parser also takes words such as `inf`.
fn decimal(text: &str) -> Option<f64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'+' | b'-' | b'.' | b'e' | b'E'));
    text.parse().ok().filter(|value: &f64| plain && value.is_finite())
}

fn whole(value: f64) -> Result<i128, String> {
    if value.fract() != 0.0 || value.abs() > MAX_EXACT {
        return Err(format!("expected an integer, found {value}"));
    }
    Ok(value as i128)
}

/// Writes a singular field. The value says whether anything was written: defaults are not, except in a oneof and
/// where the field is `optional`.
pub(super) fn write(field: &Field, value: Scalar<'_>, out: &mut Writer) -> Result<bool, String> {
    let keep_default = field.presence != Presence::Implicit;
    match field.kind {
        Kind::String | Kind::Bytes | Kind::TraceId | Kind::SpanId => {
            let Some(text) = value.text()? else { return Ok(false) };
            let bytes = match field.kind {
                Kind::String => Cow::Borrowed(text.as_bytes()),
                Kind::Bytes => Cow::Owned(base64(&text)?),
                Kind::TraceId => Cow::Owned(hex(&text, 16)?),
                _ => Cow::Owned(hex(&text, 8)?),
            };
            let written = keep_default || !bytes.is_empty();
            if written {
                out.bytes(field.number, &bytes);
            }
            Ok(written)
        }
        kind => {
            let Some(bits) = value.number(kind)? else { return Ok(false) };
            let written = keep_default || bits != 0;
            if written {
                match kind {
                    Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => out.fixed64(field.number, bits),
                    Kind::Fixed32 => out.fixed32(field.number, bits as u32),
                    _ => out.varint(field.number, bits),
                }
            }
            Ok(written)
        }
    }
}

fn base64(text: &str) -> Result<Vec<u8>, String> {
    let engine = if text.contains(['-', '_']) { URL_SAFE } else { STANDARD };
    engine.decode(text).map_err(|_| "expected base64".to_owned())
}

fn hex(text: &str, bytes: usize) -> Result<Vec<u8>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let wrong = || format!("expected {} hex digits or an empty string", 2 * bytes);
    if text.len() != 2 * bytes {
        return Err(wrong());
    }
    let digit = |b: &u8| char::from(*b).to_digit(16).map(|d| d as u8).ok_or_else(wrong);
    let digits = text.as_bytes().iter().map(digit).collect::<Result<Vec<_>, _>>()?;
    Ok(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

struct ScalarVisitor;

impl<'de> Visitor<'de> for ScalarVisitor {
    type Value = Scalar<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a number, a boolean or null")
    }

    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Scalar::Unsigned(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Scalar::Negative(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Self::Value, E> {
        Ok(Scalar::Double(value))
    }

    fn visit_borrowed_str<E: Error>(self, value: &'de str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Self::Value, E> {
        Ok(Scalar::Text(Cow::Owned(value.to_owned())))
    }
}
