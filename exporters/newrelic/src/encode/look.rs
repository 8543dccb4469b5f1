//! What this exporter wants to know of a span, found in one walk over it.

use muxbridge_pdata::schema::field::span;
use muxbridge_pdata::view::{KeyValue, Status};
use muxbridge_pdata::wire::{Field, Fields};

/// The attributes that are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    OwnName,
    Method,
    Route,
    Address,
    Port,
    Status,
    Error,
    Provider,
    System,
    Cached,
    CachedOld,
}

const KEYS: usize = Key::CachedOld as usize + 1;

impl Key {
    /// By its length first: that leaves one or two names to compare with, for most attributes none.
    #[inline]
    fn of(key: &[u8]) -> Option<Key> {
        let known = match key.len() {
            10 if key == b"http.route" => Key::Route,
            10 if key == b"error.type" => Key::Error,
            11 if key == b"server.port" => Key::Port,
            13 if key == b"gen_ai.system" => Key::System,
            14 if key == b"server.address" => Key::Address,
            19 if key == b"http.request.method" => Key::Method,
            20 if key == b"gen_ai.provider.name" => Key::Provider,
            20 if key == b"modelmuxer.span.name" => Key::OwnName,
            25 if key == b"http.response.status_code" => Key::Status,
            36 if key == b"gen_ai.usage.cache_read.input_tokens" => Key::Cached,
            36 if key == b"gen_ai.usage.cache_read_input_tokens" => Key::CachedOld,
            _ => return None,
        };
        Some(known)
    }
}

/// See the module.
#[derive(Clone, Copy, Default)]
pub(crate) struct Look<'a> {
    /// As they stand in the span, and read when they are needed: for most spans none is. Empty where there is none.
    attributes: [&'a [u8]; KEYS],
    /// As a number: `SpanKind` has them.
    pub(crate) kind: u64,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) status: Status<'a>,
}

impl<'a> Look<'a> {
    /// A whole span.
    pub(crate) fn at(raw: &'a [u8]) -> Self {
        let mut look = Look::default();
        for f in Fields::new(raw) {
            match f.number {
                span::ATTRIBUTES => {
                    let raw = f.value.as_bytes();
                    look.attribute(KeyValue::read(raw).key, raw);
                }
                span::STATUS => look.status = Status::read(f.value.as_bytes()),
                _ => look.field(&f),
            }
        }
        look
    }

    /// Takes note of the attribute `raw` with this key; of several with one key the first one counts.
    #[inline]
    pub(crate) fn attribute(&mut self, key: &[u8], raw: &'a [u8]) {
        if let Some(key) = Key::of(key) {
            let place = &mut self.attributes[key as usize];
            if place.is_empty() {
                *place = raw;
            }
        }
    }

    /// Takes note of a field that is neither an attribute nor the status.
    #[inline]
    pub(crate) fn field(&mut self, f: &Field<'a>) {
        match f.number {
            span::KIND => self.kind = f.value.as_u64(),
            span::START_TIME => self.start = f.value.as_u64(),
            span::END_TIME => self.end = f.value.as_u64(),
            _ => {}
        }
    }

    pub(crate) fn has(&self, key: Key) -> bool {
        !self.attributes[key as usize].is_empty()
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<KeyValue<'a>> {
        let raw = self.attributes[key as usize];
        (!raw.is_empty()).then(|| KeyValue::read(raw))
    }
}
