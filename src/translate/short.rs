//! Comparisons of short texts without a call: for a few bytes the call costs more than comparing them.

/// Whether two texts are the same.
#[inline(always)]
pub(super) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (Some(a), Some(b)) = (ends::<8>(a), ends::<8>(b)) {
        return a.map(u64::from_le_bytes) == b.map(u64::from_le_bytes);
    }
    if let (Some(a), Some(b)) = (ends::<4>(a), ends::<4>(b)) {
        return a.map(u32::from_le_bytes) == b.map(u32::from_le_bytes);
    }
    a == b
}

/// The first `N` bytes and the last ones, which may overlap, if they are all of it.
#[inline(always)]
fn ends<const N: usize>(text: &[u8]) -> Option<[[u8; N]; 2]> {
    (text.len() <= 2 * N).then_some(())?;
    Some([*text.first_chunk()?, *text.last_chunk()?])
}

#[cfg(test)]
mod tests {
    use super::same;

    #[test]
    fn texts_of_every_length_are_the_same_only_if_each_byte_is() {
        let text: Vec<u8> = (0..40).collect();
        for length in 0..=text.len() {
            let text = &text[..length];
            let copy = text.to_vec();
            assert!(same(text, &copy), "{length}");
            for at in 0..length {
                let mut other = text.to_vec();
                other[at] ^= 0x80;
                assert!(!same(text, &other), "{length} {at}");
                assert!(!same(text, &text[..at]));
            }
        }
    }
}
