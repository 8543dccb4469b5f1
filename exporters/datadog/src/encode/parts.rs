//! Encoded pieces that requests are made of, and the frames around them.
//!
//! A piece is what no request may cut: the chunk of a trace, a series, a log. Every body that Datadog reads is a list of
//! pieces with something around it, so that packing below a limit and halving what is too large are the same for all.

use bytes::Bytes;
use std::ops::Range;

/// Pieces one after another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parts {
    bytes: Vec<u8>,
    /// The same bytes after [`Parts::seal`].
    sealed: Bytes,
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
        if !self.sealed.is_empty() {
            self.bytes = std::mem::take(&mut self.sealed).into();
        }
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self.items.push(items);
    }

    /// Makes room for so many bytes of pieces.
    pub fn reserve(&mut self, bytes: usize) {
        self.bytes.reserve(bytes);
    }

    /// Makes msgpack bodies share the memory of the pieces: a copy of them is a twelfth of the work on a batch of spans.
    pub fn seal(&mut self) {
        if self.sealed.is_empty() {
            self.sealed = std::mem::take(&mut self.bytes).into();
        }
    }

    fn bytes(&self) -> &[u8] {
        if self.sealed.is_empty() { &self.bytes } else { &self.sealed }
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
        &self.bytes()[self.start(i)..self.ends[i]]
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
    pub fn body(&self, frame: &Frame, range: Range<usize>) -> Body {
        let inner = self.start(range.start)..range.end.checked_sub(1).map_or(0, |last| self.ends[last]);
        let mut head = Vec::new();
        match frame {
            Frame::Msgpack => {
                // A length cannot fail to be written to memory.
                let _ = rmp::encode::write_array_len(&mut head, range.len() as u32);
                if !self.sealed.is_empty() {
                    return Body { head: head.into(), pieces: self.sealed.slice(inner) };
                }
                head.reserve_exact(inner.len());
                head.extend_from_slice(&self.bytes()[inner]);
            }
            Frame::Fields { before, after } => {
                head.reserve_exact(inner.len() + frame.overhead());
                head.extend_from_slice(before);
                head.extend_from_slice(&self.bytes()[inner]);
                head.extend_from_slice(after);
            }
            Frame::Json { before, after } => {
                head.reserve_exact(inner.len() + range.len() + frame.overhead());
                head.extend_from_slice(before.as_bytes());
                for i in range.clone() {
                    if i > range.start {
                        head.push(b',');
                    }
                    head.extend_from_slice(self.piece(i));
                }
                head.extend_from_slice(after.as_bytes());
            }
        }
        Body { head: head.into(), pieces: Bytes::new() }
    }
}

/// A body in two parts, of which the second one may be memory that others share.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body {
    /// What comes first: all of it, if the pieces share no memory.
    pub head: Bytes,
    /// The rest.
    pub pieces: Bytes,
}

impl Body {
    /// How long it is.
    pub fn len(&self) -> usize {
        self.head.len() + self.pieces.len()
    }

    /// Whether it is empty.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Both parts as one.
    pub fn joined(self) -> Bytes {
        if self.pieces.is_empty() { self.head } else { [self.head, self.pieces].concat().into() }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Self {
        Body { head: bytes.into(), pieces: Bytes::new() }
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
        let body = |parts: &Parts, frame: &Frame, range| parts.body(frame, range).joined();
        let frame = Frame::Fields { before: b"<".to_vec(), after: b">".to_vec() };
        let mut sealed = parts.clone();
        sealed.seal();
        for parts in [&parts, &sealed] {
            assert_eq!(body(parts, &Frame::json_list(), 0..3), "[1,22,333]");
            assert_eq!(body(parts, &Frame::Msgpack, 1..3), b"\x9222333"[..]);
            assert_eq!(body(parts, &frame, 0..2), "<122>");
        }
        sealed.push(b"4", 1);
        assert_eq!(body(&sealed, &Frame::json_list(), 1..4), "[22,333,4]");
    }
}
