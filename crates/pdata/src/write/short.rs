//! Copies of a few bytes, made in blocks of one size: a call for them costs more than writing everything around them.

use crate::view::KEY_TAG;

/// A key that is written again and again, as it stands in an attribute: room for the tag and length of the attribute, its
/// own tag and length, its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    text: &'static str,
    block: [u8; Key::BLOCK],
}

impl Key {
    /// Bytes that are copied for every key, of which the first ones count.
    const BLOCK: usize = 48;
    /// How long a key may be.
    pub const LONGEST: usize = Key::BLOCK - 4;

    /// The key `text`.
    ///
    /// # Panics
    /// If it is longer than [`Key::LONGEST`]: for constants, that is when they are compiled.
    pub const fn new(text: &'static str) -> Key {
        let bytes = text.as_bytes();
        assert!(bytes.len() <= Key::LONGEST, "a key of up to 44 bytes");
        let mut block = [0; Key::BLOCK];
        block[2] = KEY_TAG;
        block[3] = bytes.len() as u8;
        let mut at = 0;
        while at < bytes.len() {
            block[at + 4] = bytes[at];
            at += 1;
        }
        Key { text, block }
    }

    /// The key.
    pub const fn as_str(&self) -> &'static str {
        self.text
    }

    /// How long it is with its tag and length.
    pub(super) const fn len(&self) -> usize {
        self.text.len() + 2
    }

    /// Appends the beginning of an attribute with this tag and length.
    #[inline]
    pub(super) fn put(&self, buf: &mut Vec<u8>, [tag, length]: [u8; 2]) {
        let end = buf.len() + 2 + self.len();
        let mut block = self.block;
        (block[0], block[1]) = (tag, length);
        buf.extend_from_slice(&block);
        buf.truncate(end);
    }
}

/// Appends the first `length` bytes of `from`: as one block if it has as many.
#[inline]
pub(super) fn put_first(buf: &mut Vec<u8>, from: &[u8], length: usize) {
    let end = buf.len() + length;
    match (from.first_chunk::<32>(), from.first_chunk::<64>()) {
        (Some(block), _) if length <= 32 => buf.extend_from_slice(block),
        (_, Some(block)) if length <= 64 => buf.extend_from_slice(block),
        _ => buf.extend_from_slice(&from[..length]),
    }
    buf.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginnings_of_every_length_are_appended_whatever_follows() {
        let text: Vec<u8> = (1..=100).collect();
        for length in 0..=text.len() {
            let mut buf = vec![0xff];
            put_first(&mut buf, &text, length);
            put_first(&mut buf, &text[..length], length);
            let expected = [&[0xff][..], &text[..length], &text[..length]].concat();
            assert_eq!(buf, expected, "{length}");
        }
    }
}
