//! Msgpack as JSON, to show people what is sent.

use muxbridge_exporter_statsd::encode::value::write_json_string;
use rmp::Marker;
use rmp::decode::{RmpRead, read_marker};

/// Deeper payloads than this are not ours.
const MAX_DEPTH: usize = 32;

/// The JSON of one msgpack value; `None` if it is cut short, nested too deeply or of a type that spans do not have.
pub fn to_json(msgpack: &[u8]) -> Option<String> {
    let mut out = String::with_capacity(msgpack.len() * 2);
    let mut rest = msgpack;
    value(&mut out, &mut rest, 0)?;
    rest.is_empty().then_some(out)
}

/// Passes over one value.
pub(super) fn skip(rest: &mut &[u8]) -> Option<()> {
    value(&mut String::new(), rest, 0)
}

fn value(out: &mut String, rest: &mut &[u8], depth: usize) -> Option<()> {
    if depth > MAX_DEPTH {
        return None;
    }
    let mut integer = |n: i128| {
        out.push_str(&n.to_string());
        Some(())
    };
    let marker = read_marker(rest).ok()?;
    match marker {
        Marker::FixPos(n) => integer(n.into()),
        Marker::FixNeg(n) => integer(n.into()),
        Marker::U8 => integer(rest.read_data_u8().ok()?.into()),
        Marker::U16 => integer(rest.read_data_u16().ok()?.into()),
        Marker::U32 => integer(rest.read_data_u32().ok()?.into()),
        Marker::U64 => integer(rest.read_data_u64().ok()?.into()),
        Marker::I8 => integer(rest.read_data_i8().ok()?.into()),
        Marker::I16 => integer(rest.read_data_i16().ok()?.into()),
        Marker::I32 => integer(rest.read_data_i32().ok()?.into()),
        Marker::I64 => integer(rest.read_data_i64().ok()?.into()),
        Marker::True | Marker::False => {
            out.push_str(if marker == Marker::True { "true" } else { "false" });
            Some(())
        }
        Marker::F64 => {
            out.push_str(&serde_json::to_string(&rest.read_data_f64().ok()?).ok()?);
            Some(())
        }
        Marker::FixStr(n) => string(out, rest, n.into()),
        Marker::Str8 => rest.read_data_u8().ok().and_then(|n| string(out, rest, n.into())),
        Marker::Str16 => rest.read_data_u16().ok().and_then(|n| string(out, rest, n.into())),
        Marker::Str32 => rest.read_data_u32().ok().and_then(|n| string(out, rest, n as usize)),
        Marker::FixArray(n) => array(out, rest, n.into(), depth),
        Marker::Array16 => rest.read_data_u16().ok().and_then(|n| array(out, rest, n.into(), depth)),
        Marker::Array32 => rest.read_data_u32().ok().and_then(|n| array(out, rest, n, depth)),
        Marker::FixMap(n) => map(out, rest, n.into(), depth),
        Marker::Map16 => rest.read_data_u16().ok().and_then(|n| map(out, rest, n.into(), depth)),
        Marker::Map32 => rest.read_data_u32().ok().and_then(|n| map(out, rest, n, depth)),
        _ => None,
    }
}

fn string(out: &mut String, rest: &mut &[u8], length: usize) -> Option<()> {
    let (text, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    write_json_string(out, std::str::from_utf8(text).ok()?);
    Some(())
}

fn array(out: &mut String, rest: &mut &[u8], length: u32, depth: usize) -> Option<()> {
    out.push('[');
    for i in 0..length {
        if i > 0 {
            out.push(',');
        }
        value(out, rest, depth + 1)?;
    }
    out.push(']');
    Some(())
}

fn map(out: &mut String, rest: &mut &[u8], length: u32, depth: usize) -> Option<()> {
    out.push('{');
    for i in 0..length {
        if i > 0 {
            out.push(',');
        }
        // JSON has no other keys than text.
        if !matches!(rest.first()?, 0xa0..=0xbf | 0xd9..=0xdb) {
            return None;
        }
        value(out, rest, depth + 1)?;
        out.push(':');
        value(out, rest, depth + 1)?;
    }
    out.push('}');
    Some(())
}
