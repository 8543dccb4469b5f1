//! One walk over a data point: its times, where its attributes stand, and what of it a delta does not keep.

use muxbridge_pdata::Writer;
use muxbridge_pdata::schema::field;
use muxbridge_pdata::wire::{Fields, Value};

/// The flag of a point that says: the series has no value any more.
const NO_RECORDED_VALUE: u64 = 1;

/// Which fields a kind of point has.
pub(super) struct Fixed {
    attributes: u32,
    flags: u32,
    /// Bits of the fields that a delta writes anew, or leaves out.
    changed: u32,
}

impl Fixed {
    /// Of a kind whose deltas change the field `start` and these.
    pub(super) const fn new(attributes: u32, flags: u32, changed: &[u32]) -> Self {
        let mut bits = 1 << field::point::START_TIME;
        let mut i = 0;
        while i < changed.len() {
            bits |= 1 << changed[i];
            i += 1;
        }
        Fixed { attributes, flags, changed: bits }
    }
}

/// What was found in a point.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) start: u64,
    pub(super) time: u64,
    pub(super) no_recorded_value: bool,
    /// From where to where its attributes stand.
    attributes: (usize, usize),
    /// Whether they are those that were expected.
    pub(super) as_expected: bool,
    /// The attributes, if something stands between them.
    gathered: Vec<u8>,
    /// From where to where something stands that is not kept, in order.
    cuts: Vec<(usize, usize)>,
}

impl Scan {
    /// Reads the body of a point, faster if its attributes are the fields `expected`. `value` is told each field, to read what
    /// else it needs.
    #[inline(always)]
    pub(super) fn walk<'p>(
        &mut self,
        raw: &'p [u8],
        point: &Fixed,
        expected: &[u8],
        mut value: impl FnMut(u32, Value<'p>),
    ) {
        (self.start, self.time, self.no_recorded_value) = (0, 0, false);
        (self.attributes, self.as_expected) = ((0, 0), false);
        self.gathered.clear();
        self.cuts.clear();
        let mut fields = Fields::new(raw);
        let mut from = 0;
        if let Some(times) = fields.next_fixed64s([field::point::START_TIME, field::point::TIME]) {
            [self.start, self.time] = times;
            self.cuts.push((0, 9));
            from = 18;
        }
        loop {
            if self.attributes.1 == 0 && fields.skip_expected(expected) {
                let to = raw.len() - fields.remaining();
                (self.attributes, self.as_expected) = ((from, to), true);
                from = to;
            }
            let Some(f) = fields.next() else { break };
            let to = raw.len() - fields.remaining();
            match f.number {
                field::point::START_TIME => self.start = f.value.as_u64(),
                field::point::TIME => self.time = f.value.as_u64(),
                number if number == point.attributes => self.attribute(raw, from, to),
                number if number == point.flags => {
                    self.no_recorded_value = f.value.as_u64() & NO_RECORDED_VALUE != 0;
                }
                number => value(number, f.value),
            }
            if f.number < 32 && point.changed >> f.number & 1 != 0 {
                match self.cuts.last_mut() {
                    Some(last) if last.1 == from => last.1 = to,
                    _ => self.cuts.push((from, to)),
                }
            }
            from = to;
        }
    }

    #[inline(always)]
    fn attribute(&mut self, raw: &[u8], from: usize, to: usize) {
        let (first, last) = self.attributes;
        self.as_expected = false;
        if first == last {
            self.attributes = (from, to);
        } else if last == from && self.gathered.is_empty() {
            self.attributes.1 = to;
        } else {
            if self.gathered.is_empty() {
                self.gathered.extend_from_slice(&raw[first..last]);
            }
            self.gathered.extend_from_slice(&raw[from..to]);
        }
    }

    /// The attributes of the point, one field after the other.
    pub(super) fn attributes<'a>(&'a self, raw: &'a [u8]) -> &'a [u8] {
        if self.gathered.is_empty() { &raw[self.attributes.0..self.attributes.1] } else { &self.gathered }
    }

    /// Begins a point with what is kept of it; `more` bytes must follow.
    pub(super) fn copy(&self, w: &mut Writer, raw: &[u8], since: u64, more: usize) {
        let cut: usize = self.cuts.iter().map(|(from, to)| to - from).sum();
        let start = if since == 0 { 0 } else { 9 };
        w.header(field::metric::DATA_POINTS, start + raw.len() - cut + more);
        self.copy_body(w, raw, since);
    }

    /// The same without what stands before a point.
    pub(super) fn copy_body(&self, w: &mut Writer, raw: &[u8], since: u64) {
        w.fixed64_nonzero(field::point::START_TIME, since);
        let mut at = 0;
        for (from, to) in &self.cuts {
            if at < *from {
                w.raw(&raw[at..*from]);
            }
            at = *to;
        }
        w.raw(&raw[at..]);
    }
}
