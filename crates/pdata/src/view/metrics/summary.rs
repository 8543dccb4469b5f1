//! Summaries: quantiles that the source computed.

use super::super::Repeated;
use super::super::common::KeyValue;
use super::{NO_RECORDED_VALUE, Span, double};
use crate::schema::field;
use crate::wire::Fields;

/// `SummaryDataPoint`.
#[derive(Clone, Copy, Debug, Default)]
pub struct SummaryPoint<'a> {
    raw: &'a [u8],
    attributes: Span,
    /// Nanoseconds since 1970; 0 if unknown.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// How many values were observed.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The series has no value any more.
    pub no_recorded_value: bool,
}

/// `SummaryDataPoint.ValueAtQuantile`.
#[derive(Clone, Copy, Debug, Default)]
pub struct QuantileValue {
    /// 0 to 1.
    pub quantile: f64,
    /// The value there.
    pub value: f64,
}

impl<'a> SummaryPoint<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        let mut view = SummaryPoint { raw, ..Default::default() };
        let mut fields = Fields::new(raw);
        while let Some(f) = fields.next() {
            match f.number {
                field::summary_point::ATTRIBUTES => view.attributes.add(&f, &fields, raw),
                field::point::START_TIME => view.start = f.value.as_u64(),
                field::point::TIME => view.time = f.value.as_u64(),
                field::point::COUNT => view.count = f.value.as_u64(),
                field::point::SUM => view.sum = double(f.value),
                field::summary_point::FLAGS => {
                    view.no_recorded_value = f.value.as_u64() & NO_RECORDED_VALUE != 0
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

    /// Its attributes as they stand in the message, from the first to the end of the last. If something stands between them,
    /// that is in it too; points with the same bytes here have the same attributes.
    pub fn attribute_fields(&self) -> &'a [u8] {
        self.attributes.of(self.raw)
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::summary_point::ATTRIBUTES, KeyValue::read)
    }

    /// Its quantiles.
    pub fn quantiles(&self) -> Repeated<'a, QuantileValue> {
        Repeated::new(self.raw, field::summary_point::QUANTILES, |raw| {
            let mut view = QuantileValue::default();
            for f in Fields::new(raw) {
                match f.number {
                    field::summary_point::QUANTILE => view.quantile = double(f.value),
                    field::summary_point::VALUE => view.value = double(f.value),
                    _ => {}
                }
            }
            view
        })
    }
}
