//! The points of gauges, sums and histograms with explicit bounds.

use super::{Exemplar, Number, double};
use crate::schema::field;
use crate::view::common::{AnyValue, KeyValue, find};
use crate::view::{Numbers, Repeated};
use crate::wire::{Field, Fields, Value};

/// The flag of a point that says: the series has no value any more.
pub(super) const NO_RECORDED_VALUE: u64 = 1;

/// Where the attributes of a point stand.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Span {
    from: usize,
    to: usize,
    /// Whether they were expected.
    pub(super) expected: bool,
}

impl Span {
    /// Passes over attributes that are expected.
    #[inline(always)]
    pub(super) fn pass(&mut self, fields: &mut Fields<'_>, message: &[u8], expected: &[u8]) {
        let from = message.len() - fields.remaining();
        if self.to == 0 && fields.skip_expected(expected) {
            *self = Span { from, to: message.len() - fields.remaining(), expected: true };
        }
    }

    /// Adds a field that was just read.
    #[inline]
    pub(super) fn add(&mut self, field: &Field<'_>, after: &Fields<'_>, message: &[u8]) {
        let to = message.len() - after.remaining();
        if self.to == 0 {
            self.from = to - field.raw.len();
        }
        self.to = to;
        self.expected = false;
    }

    pub(super) fn of<'a>(&self, message: &'a [u8]) -> &'a [u8] {
        message.get(self.from..self.to).unwrap_or_default()
    }
}

/// The value of a number point, if it comes next.
#[inline(always)]
fn number(fields: &mut Fields<'_>) -> Option<Number> {
    if let Some(bits) = fields.next_fixed64(field::number_point::AS_DOUBLE) {
        return Some(Number::Double(f64::from_bits(bits)));
    }
    fields.next_fixed64(field::number_point::AS_INT).map(|bits| Number::Int(bits as i64))
}

/// The two lists of a histogram.
#[derive(Clone, Copy, Debug, Default)]
struct Lists<'a> {
    packed: [&'a [u8]; 2],
    /// Whether one of them is more than one packed list.
    scattered: bool,
}

impl<'a> Lists<'a> {
    #[inline]
    fn add(&mut self, list: usize, value: Value<'a>) {
        match value {
            Value::Bytes(packed) if self.packed[list].is_empty() => self.packed[list] = packed,
            _ => self.scattered = true,
        }
    }
}

/// `NumberDataPoint`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NumberPoint<'a> {
    raw: &'a [u8],
    attributes: Span,
    /// Nanoseconds since 1970; 0 if unknown.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// Its value, `None` if it has none.
    pub value: Option<Number>,
    /// The series has no value any more.
    pub no_recorded_value: bool,
}

impl<'a> NumberPoint<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        Self::read_expecting(raw, &[])
    }

    /// The same, faster for a point that has these attributes: whole fields of a point of this kind.
    #[inline]
    pub fn read_expecting(raw: &'a [u8], attributes: &[u8]) -> Self {
        let mut view = NumberPoint { raw, ..Default::default() };
        let mut fields = Fields::new(raw);
        // Nearly all points are read with this, whether the value comes before the attributes or behind them.
        [view.start, view.time] =
            fields.next_fixed64s([field::point::START_TIME, field::point::TIME]).unwrap_or_default();
        view.value = number(&mut fields);
        view.attributes.pass(&mut fields, raw, attributes);
        view.value = number(&mut fields).or(view.value);
        loop {
            view.attributes.pass(&mut fields, raw, attributes);
            let Some(f) = fields.next() else { break };
            match f.number {
                field::number_point::ATTRIBUTES => view.attributes.add(&f, &fields, raw),
                field::point::START_TIME => view.start = f.value.as_u64(),
                field::point::TIME => view.time = f.value.as_u64(),
                field::number_point::AS_DOUBLE => view.value = Some(Number::Double(double(f.value))),
                field::number_point::AS_INT => view.value = Some(Number::Int(f.value.as_u64() as i64)),
                field::number_point::FLAGS => {
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

    /// Whether its attributes are those that were expected, and nothing else.
    pub fn as_expected(&self) -> bool {
        self.attributes.expected
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::number_point::ATTRIBUTES, KeyValue::read)
    }

    /// The value of one attribute.
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'a>> {
        find(self.attributes(), key)
    }

    /// Its exemplars.
    pub fn exemplars(&self) -> Repeated<'a, Exemplar<'a>> {
        Repeated::new(self.raw, field::number_point::EXEMPLARS, Exemplar::read)
    }
}

/// `HistogramDataPoint`.
#[derive(Clone, Copy, Debug, Default)]
pub struct HistogramPoint<'a> {
    raw: &'a [u8],
    attributes: Span,
    lists: Lists<'a>,
    /// Nanoseconds since 1970; 0 if unknown.
    pub start: u64,
    /// Nanoseconds since 1970.
    pub time: u64,
    /// How many values it holds.
    pub count: u64,
    /// Their sum, if known.
    pub sum: Option<f64>,
    /// The smallest, if known.
    pub min: Option<f64>,
    /// The largest, if known.
    pub max: Option<f64>,
    /// The series has no value any more.
    pub no_recorded_value: bool,
}

impl<'a> HistogramPoint<'a> {
    /// Reads the body of the message.
    pub fn read(raw: &'a [u8]) -> Self {
        Self::read_expecting(raw, &[])
    }

    /// The same, faster for a point that has these attributes: whole fields of a point of this kind.
    #[inline]
    pub fn read_expecting(raw: &'a [u8], attributes: &[u8]) -> Self {
        let mut view = HistogramPoint { raw, ..Default::default() };
        let mut fields = Fields::new(raw);
        // Nearly all points are read with this, whether the counts come before the attributes or behind them.
        [view.start, view.time] =
            fields.next_fixed64s([field::point::START_TIME, field::point::TIME]).unwrap_or_default();
        view.counts(&mut fields);
        if let Some(bounds) = fields.next_body(field::histogram_point::EXPLICIT_BOUNDS) {
            view.lists.add(1, Value::Bytes(bounds));
        }
        view.attributes.pass(&mut fields, raw, attributes);
        view.counts(&mut fields);
        if let Some([min, max]) =
            fields.next_fixed64s([field::histogram_point::MIN, field::histogram_point::MAX])
        {
            (view.min, view.max) = (Some(f64::from_bits(min)), Some(f64::from_bits(max)));
        }
        loop {
            view.attributes.pass(&mut fields, raw, attributes);
            let Some(f) = fields.next() else { break };
            match f.number {
                field::histogram_point::ATTRIBUTES => view.attributes.add(&f, &fields, raw),
                field::point::START_TIME => view.start = f.value.as_u64(),
                field::point::TIME => view.time = f.value.as_u64(),
                field::point::COUNT => view.count = f.value.as_u64(),
                field::point::SUM => view.sum = Some(double(f.value)),
                field::histogram_point::BUCKET_COUNTS => view.lists.add(0, f.value),
                field::histogram_point::EXPLICIT_BOUNDS => view.lists.add(1, f.value),
                field::histogram_point::MIN => view.min = Some(double(f.value)),
                field::histogram_point::MAX => view.max = Some(double(f.value)),
                field::histogram_point::FLAGS => {
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

    /// Reads count, sum and buckets, if they come next.
    #[inline(always)]
    fn counts(&mut self, fields: &mut Fields<'a>) {
        if let Some([count, sum]) = fields.next_fixed64s([field::point::COUNT, field::point::SUM]) {
            (self.count, self.sum) = (count, Some(f64::from_bits(sum)));
        }
        if let Some(counts) = fields.next_body(field::histogram_point::BUCKET_COUNTS) {
            self.lists.add(0, Value::Bytes(counts));
        }
    }

    /// Its attributes as they stand in the message, from the first to the end of the last. If something stands between them,
    /// that is in it too; points with the same bytes here have the same attributes.
    pub fn attribute_fields(&self) -> &'a [u8] {
        self.attributes.of(self.raw)
    }

    /// Whether its attributes are those that were expected, and nothing else.
    pub fn as_expected(&self) -> bool {
        self.attributes.expected
    }

    /// Its attributes.
    pub fn attributes(&self) -> Repeated<'a, KeyValue<'a>> {
        Repeated::new(self.raw, field::histogram_point::ATTRIBUTES, KeyValue::read)
    }

    /// The value of one attribute.
    pub fn attribute(&self, key: &[u8]) -> Option<AnyValue<'a>> {
        find(self.attributes(), key)
    }

    /// How many values each bucket holds (not cumulative): one more than there are bounds, or none at all.
    pub fn bucket_counts(&self) -> Numbers<'a> {
        Numbers::fixed64(self.raw, field::histogram_point::BUCKET_COUNTS)
    }

    /// [`HistogramPoint::bucket_counts`] and [`HistogramPoint::explicit_bounds`] as they stand in the point, eight bytes a number,
    /// if each is one packed list, as nearly always.
    pub fn packed_buckets(&self) -> Option<[&'a [u8]; 2]> {
        (!self.lists.scattered).then_some(self.lists.packed)
    }

    /// The inclusive upper bounds of all buckets but the last, as the bits of doubles; see [`Numbers::doubles`].
    pub fn explicit_bounds(&self) -> impl Iterator<Item = f64> + Clone + 'a {
        Numbers::fixed64(self.raw, field::histogram_point::EXPLICIT_BOUNDS).doubles()
    }

    /// Its exemplars.
    pub fn exemplars(&self) -> Repeated<'a, Exemplar<'a>> {
        Repeated::new(self.raw, field::histogram_point::EXEMPLARS, Exemplar::read)
    }
}
