//! Spans, their events, links and status.

use super::Repeated;
use super::alike::SpanHead;
use super::common::{AnyValue, KeyValue, find};
use crate::schema::field;
use crate::wire::{Field, Fields, Value};

/// `Span.SpanKind`. A number that this version does not know reads as `Unspecified`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's own")]
pub enum SpanKind {
    #[default]
    Unspecified = 0,
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

impl SpanKind {
    fn read(number: u64) -> Self {
        match number {
            1 => SpanKind::Internal,
            2 => SpanKind::Server,
            3 => SpanKind::Client,
            4 => SpanKind::Producer,
            5 => SpanKind::Consumer,
            _ => SpanKind::Unspecified,
        }
    }
}

/// `Status.StatusCode`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are the standard's own")]
// As wide as what stands beside it: a byte would be copied in overlapping pieces, each of which waits for the one before.
#[repr(u64)]
pub enum StatusCode {
    #[default]
    Unset = 0,
    Ok = 1,
    Error = 2,
}

/// The ids of a span, for those who group spans before they read them.
#[derive(Clone, Copy, Debug, Default)]
pub struct SpanIds<'a> {
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
    /// 8 bytes; empty for a root.
    pub parent_span_id: &'a [u8],
}

impl<'a> SpanIds<'a> {
    /// The trace id in the body of a span, which nearly always stands first. If there is another one behind that, the other
    /// one counts: who relies on this compares it with what is read later.
    #[inline]
    pub fn first_trace_id(raw: &'a [u8]) -> &'a [u8] {
        match Fields::new(raw).next() {
            Some(f) if f.number == field::span::TRACE_ID => f.value.as_bytes(),
            _ => SpanIds::read(raw).trace_id,
        }
    }

    /// The name in the body of a span, if it stands before the attributes.
    pub fn early_name(raw: &'a [u8]) -> Option<&'a [u8]> {
        let mut fields = Fields::new(raw);
        let found = fields.find(|f| matches!(f.number, field::span::NAME | field::span::ATTRIBUTES))?;
        (found.number == field::span::NAME).then(|| found.value.as_bytes())
    }

    /// Reads them of the body of a span.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut ids = SpanIds::default();
        for f in Fields::new(raw) {
            match f.number {
                field::span::TRACE_ID => ids.trace_id = f.value.as_bytes(),
                field::span::SPAN_ID => ids.span_id = f.value.as_bytes(),
                field::span::PARENT_SPAN_ID => ids.parent_span_id = f.value.as_bytes(),
                _ => {}
            }
        }
        ids
    }
}

/// `Status` of a span.
#[derive(Clone, Copy, Debug, Default)]
pub struct Status<'a> {
    /// A description, only of errors.
    pub message: &'a [u8],
    /// The code.
    pub code: StatusCode,
}

/// `Span`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Span<'a> {
    raw: &'a [u8],
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a [u8],
    /// 8 bytes; empty for a root.
    pub parent_span_id: &'a [u8],
    /// Its name.
    pub name: &'a [u8],
    /// Its kind.
    pub kind: SpanKind,
    /// Nanoseconds since 1970.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub end: u64,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// Events that the sender dropped.
    pub dropped_events_count: u32,
    /// Links that the sender dropped.
    pub dropped_links_count: u32,
    /// Its status, `Unset` if it has none.
    pub status: Status<'a>,
    /// W3C trace flags and the remote-parent bits.
    pub flags: u32,
}

impl<'a> Span<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        Span::read_each(raw, |_| {})
    }

    /// As [`Span::read`], and shows every field to `see`: for those who also need attributes or events, one walk instead
    /// of two.
    #[inline]
    pub fn read_each(raw: &'a [u8], mut see: impl FnMut(Field<'a>)) -> Self {
        let mut view = Span { raw, ..Default::default() };
        let mut fields = Fields::new(raw);
        loop {
            let before = fields;
            let attribute = fields.next_short(field::span::ATTRIBUTES);
            let f = if let Some(body) = attribute {
                let raw = before.up_to(fields);
                Field { number: field::span::ATTRIBUTES, value: Value::Bytes(body), raw }
            } else if let Some(f) = fields.next() {
                f
            } else {
                return view;
            };
            see(f);
            if attribute.is_none() {
                view.field(f);
            }
        }
    }

    #[inline(always)]
    fn field(&mut self, f: Field<'a>) {
        match f.number {
            field::span::TRACE_ID => self.trace_id = f.value.as_bytes(),
            field::span::SPAN_ID => self.span_id = f.value.as_bytes(),
            field::span::TRACE_STATE => self.trace_state = f.value.as_bytes(),
            field::span::PARENT_SPAN_ID => self.parent_span_id = f.value.as_bytes(),
            field::span::NAME => self.name = f.value.as_bytes(),
            field::span::KIND => self.kind = SpanKind::read(f.value.as_u64()),
            field::span::START_TIME => self.start = f.value.as_u64(),
            field::span::END_TIME => self.end = f.value.as_u64(),
            field::span::DROPPED_ATTRIBUTES_COUNT => self.dropped_attributes_count = f.value.as_u64() as u32,
            field::span::DROPPED_EVENTS_COUNT => self.dropped_events_count = f.value.as_u64() as u32,
            field::span::DROPPED_LINKS_COUNT => self.dropped_links_count = f.value.as_u64() as u32,
            field::span::STATUS => self.status = Status::read(f.value.as_bytes()),
            field::span::FLAGS => self.flags = f.value.as_u64() as u32,
            _ => {}
        }
    }

    /// As [`Span::read_each`], and shows the body of each attribute to `attribute`, every other field to `see`: most fields
    /// are attributes, one after the other, and to look for these first makes the walk shorter.
    #[inline]
    pub fn read_attributes(
        raw: &'a [u8],
        mut attribute: impl FnMut(&'a [u8]),
        mut see: impl FnMut(Field<'a>),
    ) -> Self {
        let mut view = Span { raw, ..Default::default() };
        let mut fields = Fields::new(raw);
        // In one place, or the compiler would not put it in line.
        while let Some(body) = fields.next_message(field::span::ATTRIBUTES, |f| {
            see(f);
            view.field(f);
        }) {
            attribute(body);
        }
        view
    }

    /// The body of the message.
    pub fn raw(&self) -> &'a [u8] {
        self.raw
    }

    /// What no two spans have in common.
    pub fn head(&self) -> SpanHead<'a> {
        let id = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_be_bytes);
        SpanHead {
            trace_id: self.trace_id,
            span_id: id(self.span_id),
            parent_span_id: id(self.parent_span_id),
            start: self.start,
            end: self.end,
        }
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::span::ATTRIBUTES, KeyValue::read)
    }

    /// The value of one attribute.
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'a>> {
        find(self.attributes(), key)
    }

    /// Its events.
    pub fn events(&self) -> Repeated<'a, Event<'a>> {
        Repeated::new(self.raw, field::span::EVENTS, Event::read)
    }

    /// Its links.
    pub fn links(&self) -> Repeated<'a, Link<'a>> {
        Repeated::new(self.raw, field::span::LINKS, Link::read)
    }

    /// End minus start in nanoseconds; 0 if it ends before it starts.
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

impl<'a> Status<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Status::default();
        for f in Fields::new(raw) {
            match f.number {
                field::status::MESSAGE => view.message = f.value.as_bytes(),
                field::status::CODE => {
                    view.code = match f.value.as_u64() {
                        1 => StatusCode::Ok,
                        2 => StatusCode::Error,
                        _ => StatusCode::Unset,
                    }
                }
                _ => {}
            }
        }
        view
    }
}

/// `Span.Event`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Event<'a> {
    raw: &'a [u8],
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its name, for example `exception`.
    pub name: &'a [u8],
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
}

impl<'a> Event<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Event { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::event::TIME => view.time = f.value.as_u64(),
                field::event::NAME => view.name = f.value.as_bytes(),
                field::event::DROPPED_ATTRIBUTES_COUNT => {
                    view.dropped_attributes_count = f.value.as_u64() as u32
                }
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
        Repeated::new(self.raw, field::event::ATTRIBUTES, KeyValue::read)
    }

    /// The value of one attribute.
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'a>> {
        find(self.attributes(), key)
    }
}

/// `Span.Link`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Link<'a> {
    raw: &'a [u8],
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
    /// W3C `tracestate`.
    pub trace_state: &'a [u8],
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// W3C trace flags and the remote-parent bits.
    pub flags: u32,
}

impl<'a> Link<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = Link { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::link::TRACE_ID => view.trace_id = f.value.as_bytes(),
                field::link::SPAN_ID => view.span_id = f.value.as_bytes(),
                field::link::TRACE_STATE => view.trace_state = f.value.as_bytes(),
                field::link::DROPPED_ATTRIBUTES_COUNT => {
                    view.dropped_attributes_count = f.value.as_u64() as u32
                }
                field::link::FLAGS => view.flags = f.value.as_u64() as u32,
                _ => {}
            }
        }
        view
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::link::ATTRIBUTES, KeyValue::read)
    }
}
