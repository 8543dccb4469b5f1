//! Log records.

use super::Repeated;
use super::common::{AnyValue, KeyValue, find};
use crate::schema::field;
use crate::wire::Fields;

/// `LogRecord`.
#[derive(Clone, Copy, Debug, Default)]
pub struct LogRecord<'a> {
    raw: &'a [u8],
    /// Nanoseconds since 1970; 0 if unknown.
    pub time: u64,
    /// Nanoseconds since 1970; 0 if unknown.
    pub observed_time: u64,
    /// 1 (trace) to 24 (fatal); 0 if unknown.
    pub severity_number: i32,
    /// The level as the source wrote it.
    pub severity_text: &'a [u8],
    /// What was logged.
    pub body: AnyValue<'a>,
    /// Attributes that the sender dropped.
    pub dropped_attributes_count: u32,
    /// W3C trace flags.
    pub flags: u32,
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
    /// The name of an event; empty for an ordinary record.
    pub event_name: &'a [u8],
}

impl<'a> LogRecord<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = LogRecord { raw, ..Default::default() };
        for f in Fields::new(raw) {
            match f.number {
                field::log::TIME => view.time = f.value.as_u64(),
                field::log::OBSERVED_TIME => view.observed_time = f.value.as_u64(),
                field::log::SEVERITY_NUMBER => view.severity_number = f.value.as_u64() as i32,
                field::log::SEVERITY_TEXT => view.severity_text = f.value.as_bytes(),
                field::log::BODY => view.body = AnyValue::read(f.value.as_bytes()),
                field::log::DROPPED_ATTRIBUTES_COUNT => {
                    view.dropped_attributes_count = f.value.as_u64() as u32
                }
                field::log::FLAGS => view.flags = f.value.as_u64() as u32,
                field::log::TRACE_ID => view.trace_id = f.value.as_bytes(),
                field::log::SPAN_ID => view.span_id = f.value.as_bytes(),
                field::log::EVENT_NAME => view.event_name = f.value.as_bytes(),
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
        Repeated::new(self.raw, field::log::ATTRIBUTES, KeyValue::read)
    }

    /// The value of one attribute.
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'a>> {
        find(self.attributes(), key)
    }
}
