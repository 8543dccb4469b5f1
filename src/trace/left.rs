//! Which traces left, so that spans that come later are known as late.

use foldhash::fast::RandomState;
use std::hash::BuildHasher;

/// Marks that share a line of the cache.
const LINE: usize = 8;
/// Lines: 512 KiB of them, of which pages take up memory as they are used.
const LINES: usize = 8_192;

/// The traces that left last: of each line the last eight, so that of the last 16,384 traces one in a thousand is forgotten,
/// and looking up and remembering one costs one miss of the cache. A map and a queue of ids cost four: a twentieth of the
/// whole translation.
///
/// A trace is known by 63 bits of a hash that is seeded at random: among so many, two are never taken for one, and no
/// sender can make them so.
#[derive(Debug)]
pub(super) struct Left {
    lines: Vec<[u64; LINE]>,
    hasher: RandomState,
}

impl Left {
    pub(super) fn new() -> Self {
        Left { lines: vec![[0; LINE]; LINES], hasher: RandomState::default() }
    }

    fn place(&self, id: u128) -> (usize, u64) {
        let hash = self.hasher.hash_one(id);
        // 0 is no mark. The highest bits, which tell the lines apart, are in the mark, too: it does no harm.
        ((hash >> (64 - LINES.ilog2())) as usize, hash | 1)
    }

    /// Whether this trace left.
    pub(super) fn contains(&self, id: u128) -> bool {
        let (line, mark) = self.place(id);
        // All of them, so that nothing branches on a line that is still on its way.
        self.lines[line].iter().fold(false, |found, m| found | (*m == mark))
    }

    /// Remembers that this trace left.
    pub(super) fn insert(&mut self, id: u128) {
        let (line, mark) = self.place(id);
        let line = &mut self.lines[line];
        line.copy_within(..LINE - 1, 1);
        line[0] = mark;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_traces_are_known_and_others_are_not() {
        let mut left = Left::new();
        let id = |n: u64| u128::from(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)) << 64 | u128::from(n);
        (0..100_000).for_each(|n| left.insert(id(n)));
        let known = (100_000 - 16_384..100_000).filter(|n| left.contains(id(*n))).count();
        assert!(known > 16_200, "{known}");
        assert!((100_000 - 1_000..100_000).all(|n| left.contains(id(n))));
        assert!(!(100_000..200_000).any(|n| left.contains(id(n))));
    }
}
