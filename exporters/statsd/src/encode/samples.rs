//! The text of values that stand for a bucket: the same for each histogram with these bounds.

use super::number;
use super::replay::Bucket;
use foldhash::fast::RandomState;
use std::collections::HashMap;

/// More values than this stand for a bucket only if it has hundreds of thousands; they are not kept.
const MOST_VALUES: u64 = 64;
/// How much text is kept at most. Histograms that know their smallest and largest value have a bucket of their own each.
const MOST_BYTES: usize = 1 << 20;

/// Texts that were written before.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// By the bits of both bounds and the number of values: where their text begins, and where their ends stand.
    index: HashMap<(u64, u64, u64), (u32, u32), RandomState>,
    text: String,
    /// Where each value ends in `text`.
    ends: Vec<u32>,
}

/// Values in a row, with colons between them.
pub(super) struct Row<'a> {
    text: &'a str,
    start: u32,
    ends: &'a [u32],
}

impl Row<'_> {
    /// The values from one to before another one, with colons between them.
    pub(super) fn values(&self, from: usize, to: usize) -> &str {
        let start = if from == 0 { self.start } else { self.ends[from - 1] + 1 };
        &self.text[start as usize..self.ends[to - 1] as usize]
    }
}

impl Samples {
    /// The values that stand for a bucket.
    pub(super) fn of(&mut self, bucket: &Bucket, values: u64) -> Row<'_> {
        let key = (bucket.low.to_bits(), bucket.high.to_bits(), values);
        let (start, first) = match self.index.get(&key) {
            Some(known) => *known,
            None => {
                if self.text.len() > MOST_BYTES {
                    *self = Samples::default();
                }
                let at = (self.text.len() as u32, self.ends.len() as u32);
                for (i, value) in bucket.spread(values).take(values as usize).enumerate() {
                    if i > 0 {
                        self.text.push(':');
                    }
                    number::write(&mut self.text, number::six_digits(value));
                    self.ends.push(self.text.len() as u32);
                }
                if values <= MOST_VALUES {
                    self.index.insert(key, at);
                }
                at
            }
        };
        let first = first as usize;
        Row { text: &self.text, start, ends: &self.ends[first..first + values as usize] }
    }
}
