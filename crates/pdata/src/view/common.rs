//! What all signals share: resources, scopes, attributes and their values.

use super::Repeated;
use crate::schema::field;
use crate::wire::{Fields, Value};

/// `ResourceSpans`, `ResourceMetrics` or `ResourceLogs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ResourceItems<'a> {
    raw: &'a [u8],
    /// The resource, empty if there is none.
    pub resource: Resource<'a>,
    /// The schema URL of the resource.
    pub schema_url: &'a [u8],
}

impl<'a> ResourceItems<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = ResourceItems { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::resource_items::RESOURCE => view.resource = Resource::read(f.value.as_bytes()),
                field::resource_items::SCHEMA_URL => view.schema_url = f.value.as_bytes(),
                _ => {}
            }
        }
        view
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The scopes with their items.
    pub fn scopes(&self) -> Repeated<'a, ScopeItems<'a>> {
        Repeated::new(self.raw, field::resource_items::SCOPES, ScopeItems::read)
    }
}

/// `ScopeSpans`, `ScopeMetrics` or `ScopeLogs`.
#[derive(Clone, Copy, Debug, Default)]
pub struct ScopeItems<'a> {
    raw: &'a [u8],
    /// The scope, empty if there is none.
    pub scope: Scope<'a>,
}

impl<'a> ScopeItems<'a> {
    /// Reads the body of the message, up to its first scope: that stands before the items, and to hop over all of them
    /// first, by then out of the caches, was a tenth of the time of what goes to Datadog.
    pub fn read(raw: &'a [u8]) -> Self {
        let scope = Fields::new(raw).find(|f| f.number == field::scope_items::SCOPE);
        let scope = scope.map(|f| Scope::read(f.value.as_bytes())).unwrap_or_default();
        ScopeItems { raw, scope }
    }

    /// As [`ScopeItems::read`], but of several scopes the last one, as protobuf has it: a walk over all items.
    pub fn read_to_end(raw: &'a [u8]) -> Self {
        let scopes = Fields::new(raw).filter(|f| f.number == field::scope_items::SCOPE);
        let scope = scopes.last().map(|f| Scope::read(f.value.as_bytes())).unwrap_or_default();
        ScopeItems { raw, scope }
    }

    /// The schema URL of the items, which stands behind them.
    pub fn schema_url(&self) -> &'a [u8] {
        let urls = Fields::new(self.raw).filter(|f| f.number == field::scope_items::SCHEMA_URL);
        urls.last().map(|f| f.value.as_bytes()).unwrap_or_default()
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The bodies of the spans, metrics or log records.
    pub fn items(&self) -> Repeated<'a, &'a [u8]> {
        Repeated::new(self.raw, field::scope_items::ITEMS, |raw| raw)
    }

    /// The spans, in a request of traces.
    pub fn spans(&self) -> Repeated<'a, super::Span<'a>> {
        Repeated::new(self.raw, field::scope_items::ITEMS, super::Span::read)
    }

    /// The metrics, in a request of metrics.
    pub fn metrics(&self) -> Repeated<'a, super::Metric<'a>> {
        Repeated::new(self.raw, field::scope_items::ITEMS, super::Metric::read)
    }

    /// The log records, in a request of logs.
    pub fn logs(&self) -> Repeated<'a, super::LogRecord<'a>> {
        Repeated::new(self.raw, field::scope_items::ITEMS, super::LogRecord::read)
    }
}

/// `Resource`: who sent the telemetry.
#[derive(Clone, Copy, Debug, Default)]
pub struct Resource<'a> {
    raw: &'a [u8],
}

impl<'a> Resource<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        Resource { raw }
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::resource::ATTRIBUTES, KeyValue::read)
    }

    /// The value of one attribute.
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'a>> {
        find(self.attributes(), key)
    }
}

/// `InstrumentationScope`: the library that made the items.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    raw: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// Its version.
    pub version: &'a [u8],
}

impl<'a> Scope<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Scope { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::scope::NAME => view.name = f.value.as_bytes(),
                field::scope::VERSION => view.version = f.value.as_bytes(),
                _ => {}
            }
        }
        view
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::scope::ATTRIBUTES, KeyValue::read)
    }
}

/// `KeyValue`: one attribute.
#[derive(Clone, Copy, Debug, Default)]
pub struct KeyValue<'a> {
    raw: &'a [u8],
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: AnyValue<'a>,
}

impl<'a> KeyValue<'a> {
    /// Reads the body of the message.
    #[inline]
    pub fn read(raw: &'a [u8]) -> Self {
        if let Some((key, value)) = plain(raw) {
            return KeyValue { raw, key, value };
        }
        Self::read_any(raw)
    }

    fn read_any(raw: &'a [u8]) -> Self {
        let mut view = KeyValue { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::key_value::KEY => view.key = f.value.as_bytes(),
                field::key_value::VALUE => view.value = AnyValue::read(f.value.as_bytes()),
                _ => {}
            }
        }
        view
    }

    /// The body of the message: what to write with [`crate::Writer::bytes`] to keep the attribute as it is.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The key in the body of the message, and the field `value` as it stands on the wire if it is all that follows the key;
    /// else nothing. For those who read few of the values.
    #[inline]
    pub fn split(raw: &'a [u8]) -> (&'a [u8], &'a [u8]) {
        match framed(raw) {
            Some((key, value_field)) if plain_body(value_field).is_some() => (key, value_field),
            _ => (Self::read_any(raw).key, &[]),
        }
    }
}

/// The tag of the key of an attribute, and that of its value.
pub(crate) const KEY_TAG: u8 = (field::key_value::KEY << 3 | 2) as u8;
const VALUE_TAG: u8 = (field::key_value::VALUE << 3 | 2) as u8;
const SHORT: u8 = 0x80;

/// An attribute that looks as nearly all do: a key, then a string, boolean, small integer or double, each shorter than 128
/// bytes. Others take the general way, which costs three times as much: every reader of spans and points comes here for
/// each attribute.
#[inline(always)]
fn plain(raw: &[u8]) -> Option<(&[u8], AnyValue<'_>)> {
    let (key, value) = framed(raw)?;
    Some((key, plain_value(plain_body(value)?)?))
}

/// A key at the beginning of an attribute, and what follows it.
#[inline(always)]
fn framed(raw: &[u8]) -> Option<(&[u8], &[u8])> {
    let [KEY_TAG, key_length @ 0..SHORT, rest @ ..] = raw else { return None };
    rest.split_at_checked(usize::from(*key_length))
}

/// The body of the value, if the field is that and nothing else.
#[inline]
pub(super) fn plain_body(field: &[u8]) -> Option<&[u8]> {
    let [VALUE_TAG, length @ 0..SHORT, body @ ..] = field else { return None };
    (usize::from(*length) == body.len()).then_some(body)
}

#[inline(always)]
fn plain_value(body: &[u8]) -> Option<AnyValue<'_>> {
    match body {
        [0x0a, length @ 0..SHORT, text @ ..] if usize::from(*length) == text.len() => {
            Some(AnyValue::String(text))
        }
        [0x10, truth @ 0..SHORT] => Some(AnyValue::Bool(*truth != 0)),
        [0x18, number @ 0..SHORT] => Some(AnyValue::Int(i64::from(*number))),
        [0x18, low @ SHORT..=0xff, high @ 0..SHORT] => {
            Some(AnyValue::Int(i64::from(low & 0x7f) | i64::from(*high) << 7))
        }
        [0x21, a, b, c, d, e, f, g, h] => {
            Some(AnyValue::Double(f64::from_le_bytes([*a, *b, *c, *d, *e, *f, *g, *h])))
        }
        _ => None,
    }
}

/// The value of the first attribute with this key.
pub(crate) fn find<'a>(mut attributes: Repeated<'a, KeyValue<'a>>, key: &[u8]) -> Option<AnyValue<'a>> {
    attributes.find(|kv| kv.key == key).map(|kv| kv.value)
}

/// `AnyValue`: an attribute value or the body of a log record.
#[derive(Clone, Copy, Debug, Default)]
// A tag of one byte would be written alone and then copied with the seven behind it, which stalls: together with handing
// values on by reference this was a twentieth of the translation.
#[repr(u64)]
pub enum AnyValue<'a> {
    /// No value, or one of a kind that this version does not know.
    #[default]
    Empty,
    /// UTF-8 text.
    String(&'a [u8]),
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A list.
    Array(ArrayValue<'a>),
    /// A map.
    KvList(KvList<'a>),
    /// Opaque bytes.
    Bytes(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// Reads the body of the message. Of several values the last one counts, as in every protobuf oneof.
    #[inline(always)]
    pub fn read(raw: &'a [u8]) -> Self {
        match plain_value(raw) {
            Some(value) => value,
            None => Self::read_any(raw),
        }
    }

    fn read_any(raw: &'a [u8]) -> Self {
        let mut value = AnyValue::Empty;
        for f in Fields::new(raw) {
            value = match (f.number, f.value) {
                (field::any_value::STRING, Value::Bytes(b)) => AnyValue::String(b),
                (field::any_value::BOOL, Value::Varint(v)) => AnyValue::Bool(v != 0),
                (field::any_value::INT, Value::Varint(v)) => AnyValue::Int(v as i64),
                (field::any_value::DOUBLE, Value::Fixed64(v)) => AnyValue::Double(f64::from_bits(v)),
                (field::any_value::ARRAY, Value::Bytes(b)) => AnyValue::Array(ArrayValue { raw: b }),
                (field::any_value::KVLIST, Value::Bytes(b)) => AnyValue::KvList(KvList { raw: b }),
                (field::any_value::BYTES, Value::Bytes(b)) => AnyValue::Bytes(b),
                _ => value,
            };
        }
        value
    }

    /// A text value.
    pub fn string(text: &'a str) -> Self {
        AnyValue::String(text.as_bytes())
    }

    /// The text of a string value.
    pub fn as_str(&self) -> Option<&'a str> {
        match self {
            AnyValue::String(s) => Some(super::text(s)),
            _ => None,
        }
    }

    /// The number of an integer value.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            AnyValue::Int(i) => Some(*i),
            _ => None,
        }
    }

    /// The number of an integer or double value.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            AnyValue::Int(i) => Some(*i as f64),
            AnyValue::Double(d) => Some(*d),
            _ => None,
        }
    }

    /// The truth of a boolean value.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            AnyValue::Bool(b) => Some(*b),
            _ => None,
        }
    }
}

/// `ArrayValue`: a list of values.
#[derive(Clone, Copy, Debug, Default)]
pub struct ArrayValue<'a> {
    raw: &'a [u8],
}

impl<'a> ArrayValue<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        ArrayValue { raw }
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The values.
    pub fn values(&self) -> Repeated<'a, AnyValue<'a>> {
        Repeated::new(self.raw, field::any_value::VALUES, AnyValue::read)
    }
}

/// `KeyValueList`: a map.
#[derive(Clone, Copy, Debug, Default)]
pub struct KvList<'a> {
    raw: &'a [u8],
}

impl<'a> KvList<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        KvList { raw }
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// The entries.
    pub fn values(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::any_value::VALUES, KeyValue::read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Writer;

    #[test]
    fn the_quick_way_reads_what_the_general_one_reads_whichever_byte_changes() {
        let (mut quick, mut general) = (0, 0);
        for value in [
            AnyValue::string("some text of sixteen"),
            AnyValue::string(""),
            AnyValue::Bool(true),
            AnyValue::Int(-1),
            AnyValue::Int(7),
            AnyValue::Int(300),
            AnyValue::Double(0.25),
            AnyValue::Bytes(b"x"),
        ] {
            let mut w = Writer::new();
            w.attribute(1, b"a.key", value);
            let body = &w.as_slice()[2..];
            for (at, byte) in (0..body.len()).flat_map(|at| (0..=255).map(move |byte| (at, byte))) {
                let mut body = body.to_vec();
                body[at] = byte;
                for length in [body.len(), at] {
                    let expected = KeyValue::read_any(&body[..length]);
                    let (key, value_field) = KeyValue::split(&body[..length]);
                    assert_eq!(key, expected.key, "{body:x?}");
                    if !value_field.is_empty() {
                        let renamed = KeyValue::read_any(value_field);
                        assert_eq!(
                            format!("{:?}", renamed.value),
                            format!("{:?}", expected.value),
                            "{body:x?}"
                        );
                    }
                    match plain(&body[..length]) {
                        Some((key, value)) => {
                            let read = (key, format!("{value:?}"));
                            assert_eq!(read, (expected.key, format!("{:?}", expected.value)), "{body:x?}");
                            quick += 1;
                        }
                        None => general += 1,
                    }
                }
            }
        }
        assert!(quick > 5_000 && general > 5_000, "{quick} and {general}");
    }
}
