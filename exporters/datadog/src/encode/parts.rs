//! Encoded pieces that requests are made of, and the frames around them.
//!
//! A piece is what no request may cut: the chunk of a trace, a series, a log. Every body that Datadog reads is a list of
//! pieces with something around it, so that packing below a limit and halving what is too large are the same for all.

use std::ops::Range;

/// Pieces one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    items: Vec<u32>,
}

impl Parts {
    /// Adds a piece that stands for `items` items of its batch.
    pub fn push(&mut self, piece: &[u8], items: u32) {
        self.build(items, |bytes| bytes.extend_from_slice(piece));
    }

    /// Adds a piece for `items` items of its batch that `write` appends.
    pub fn build(&mut self, items: u32, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self.items.push(items);
    }

    /// How many pieces there are.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The items of the pieces in `range`.
    pub fn items(&self, range: Range<usize>) -> u64 {
        self.items[range].iter().map(|n| u64::from(*n)).sum()
    }

    /// One piece.
    pub fn piece(&self, i: usize) -> &[u8] {
        &self.bytes[self.start(i)..self.ends[i]]
    }

    fn start(&self, i: usize) -> usize {
        if i == 0 { 0 } else { self.ends[i - 1] }
    }

    /// Packs the pieces from `first` on into requests of at most `limit`. A piece that is larger alone gets one of its
    /// own.
    pub fn pack(&self, first: usize, frame: &Frame, limit: Limit) -> Vec<Range<usize>> {
        let mut ranges = Vec::new();
        let (mut from, mut size) = (first, 0);
        for i in first..self.len() {
            // A list separates its pieces by at most one byte.
            let piece = self.ends[i] - self.start(i) + usize::from(frame.separated());
            let full = i - from >= limit.pieces || size + piece + frame.overhead() > limit.bytes;
            if i > from && full {
                ranges.push(from..i);
                (from, size) = (i, 0);
            }
            size += piece;
        }
        if from < self.len() {
            ranges.push(from..self.len());
        }
        ranges
    }

    /// The body of a request with these pieces.
    pub fn body(&self, frame: &Frame, range: Range<usize>) -> Vec<u8> {
        let inner = self.start(range.start)..range.end.checked_sub(1).map_or(0, |last| self.ends[last]);
        let mut body = Vec::with_capacity(inner.len() + range.len() + frame.overhead());
        match frame {
            Frame::Msgpack => {
                // A length cannot fail to be written to memory.
                let _ = rmp::encode::write_array_len(&mut body, range.len() as u32);
                body.extend_from_slice(&self.bytes[inner]);
            }
            Frame::Fields { before, after } => {
                body.extend_from_slice(before);
                body.extend_from_slice(&self.bytes[inner]);
                body.extend_from_slice(after);
            }
            Frame::Json { before, after } => {
                body.extend_from_slice(before.as_bytes());
                for i in range.clone() {
                    if i > range.start {
                        body.push(b',');
                    }
                    body.extend_from_slice(self.piece(i));
                }
                body.extend_from_slice(after.as_bytes());
            }
        }
        body
    }
}

/// What one request may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Bytes before compression.
    pub bytes: usize,
    /// Pieces.
    pub pieces: usize,
}

/// What stands around the pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// A msgpack list.
    Msgpack,
    /// A protobuf message whose repeated field the pieces are, with other fields before and after them.
    Fields {
        /// Fields before the pieces.
        before: Vec<u8>,
        /// Fields after the pieces.
        after: Vec<u8>,
    },
    /// A JSON list, whose brackets are part of this text.
    Json {
        /// Everything up to the first piece.
        before: String,
        /// Everything after the last piece.
        after: String,
    },
}

impl Frame {
    /// A protobuf message with nothing but the pieces.
    pub fn fields() -> Frame {
        Frame::Fields { before: Vec::new(), after: Vec::new() }
    }

    /// The JSON of distribution points.
    pub fn distribution_points() -> Frame {
        Frame::Json { before: "{\"series\":[".to_owned(), after: "]}".to_owned() }
    }

    /// A JSON list.
    pub fn json_list() -> Frame {
        Frame::Json { before: "[".to_owned(), after: "]".to_owned() }
    }

    fn overhead(&self) -> usize {
        match self {
            // The length of a list takes up to five bytes.
            Frame::Msgpack => 5,
            Frame::Fields { before, after } => before.len() + after.len(),
            Frame::Json { before, after } => before.len() + after.len(),
        }
    }

    fn separated(&self) -> bool {
        matches!(self, Frame::Json { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> Parts {
        let mut parts = Parts::default();
        for (piece, items) in [("1", 1), ("22", 2), ("333", 3)] {
            parts.push(piece.as_bytes(), items);
        }
        parts
    }

    #[test]
    fn requests_hold_as_much_as_fits_and_each_piece_once() {
        let (parts, frame) = (parts(), Frame::json_list());
        let pack = |first, bytes, pieces| parts.pack(first, &frame, Limit { bytes, pieces });
        // "[1,22]" has six bytes; a comma is reserved for each piece.
        assert_eq!(pack(0, 7, 9), [0..2, 2..3]);
        assert_eq!(pack(0, 6, 9), [0..1, 1..2, 2..3]);
        assert_eq!(pack(0, 1, 9), [0..1, 1..2, 2..3]);
        assert_eq!(pack(0, 99, 2), [0..2, 2..3]);
        assert_eq!(pack(1, 99, 9), vec![1..3; 1]);
        assert!(
            pack(3, 99, 9).is_empty()
                && Parts::default().pack(0, &frame, Limit { bytes: 9, pieces: 9 }).is_empty()
        );
        assert_eq!(parts.items(1..3), 5);
    }

    #[test]
    fn frames_stand_around_the_pieces() {
        let parts = parts();
        assert_eq!(parts.body(&Frame::json_list(), 0..3), b"[1,22,333]");
        assert_eq!(parts.body(&Frame::Msgpack, 1..3), b"\x9222333");
        let frame = Frame::Fields { before: b"<".to_vec(), after: b">".to_vec() };
        assert_eq!(parts.body(&frame, 0..2), b"<122>");
    }
}
