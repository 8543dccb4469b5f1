//! Points that look as nearly all do: their fields in the order of the proto files, and the attributes that are expected.
//!
//! What looks otherwise is scanned field by field (`scan.rs`), which takes three times as long. The deltas are the same.

use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::view::Number;
use muxbridge_pdata::wire::Fields;

/// What a point of any kind has.
#[derive(Clone, Copy)]
pub(super) struct Plain<'p> {
    pub(super) start: u64,
    pub(super) time: u64,
    /// What stands behind the fields that a delta changes: it ends with the attributes.
    kept: &'p [u8],
}

/// The numbers of a histogram.
#[derive(Clone, Copy)]
pub(super) struct Counts<'p> {
    pub(super) count: u64,
    pub(super) sum: f64,
    /// How many values each bucket holds, and the bounds, eight bytes a number.
    pub(super) buckets: &'p [u8],
    pub(super) bounds: &'p [u8],
}

impl<'p> Plain<'p> {
    /// A number with these attributes; `None` if it looks otherwise.
    #[inline(always)]
    pub(super) fn number(raw: &'p [u8], attributes: &[u8]) -> Option<(Self, Number)> {
        use field::number_point::{AS_DOUBLE, AS_INT};
        let mut fields = Fields::new(raw);
        let [start, time] = fields.next_fixed64s([field::point::START_TIME, field::point::TIME])?;
        let value = match fields.next_fixed64(AS_INT) {
            Some(bits) => Number::Int(bits as i64),
            None => Number::Double(f64::from_bits(fields.next_fixed64(AS_DOUBLE)?)),
        };
        let kept = fields.rest();
        (kept == attributes).then_some((Plain { start, time, kept }, value))
    }

    /// A histogram with these attributes; `None` if it looks otherwise.
    #[inline(always)]
    pub(super) fn histogram(raw: &'p [u8], attributes: &[u8]) -> Option<(Self, Counts<'p>)> {
        use field::histogram_point::{BUCKET_COUNTS, EXPLICIT_BOUNDS, MAX, MIN};
        let mut fields = Fields::new(raw);
        let [start, time] = fields.next_fixed64s([field::point::START_TIME, field::point::TIME])?;
        let [count, sum] = fields.next_fixed64s([field::point::COUNT, field::point::SUM])?;
        let buckets = fields.next_body(BUCKET_COUNTS)?;
        let kept = fields.rest();
        let bounds = fields.next_body(EXPLICIT_BOUNDS)?;
        if !fields.skip_expected(attributes) {
            return None;
        }
        let kept = &kept[..kept.len() - fields.remaining()];
        // The smallest and the largest value since the start say nothing of a difference.
        let _ = fields.next_fixed64s([MIN, MAX]);
        let counts = Counts { count, sum: f64::from_bits(sum), buckets, bounds };
        fields.rest().is_empty().then_some((Plain { start, time, kept }, counts))
    }

    /// Begins a point with what is kept of it; `more` bytes must follow.
    #[inline]
    pub(super) fn copy(&self, w: &mut Writer, since: u64, more: usize) {
        let start = if since == 0 { 0 } else { 9 };
        w.header(field::metric::DATA_POINTS, start + 9 + self.kept.len() + more);
        w.fixed64_nonzero(field::point::START_TIME, since);
        w.fixed64(field::point::TIME, self.time);
        w.raw(self.kept);
    }
}
