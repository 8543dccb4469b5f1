//! The places of a request that the full scan must look at: a vector search for the beginnings and middles of anchors.
//!
//! The full scan costs a nanosecond a byte, as much as everything else together, and nearly all requests hold nothing.
//! This search folds case in passing and may stop at too many places, never at too few.

use super::detect::ANCHORS;
use aho_corasick::packed::{Config, MatchKind, Searcher};
use std::sync::LazyLock;

/// Parts of three bytes, apart from the others because the search compares as many bytes at once as the shortest one has,
/// and with four it stops in vain far less often. `sk-` is also in `gsk_`.
const SHORT: &[&str] = &["://", "sk-", "hf_", "eyj", "xox"];

/// For each other anchor but those that end in `=` a part of it.
///
/// The search puts every eighth part into the same bucket and is right about a bucket, not about a part: it stops where
/// the first four letters come from any of the bucket. So the order matters: with this one it stops in vain less than
/// once in a hundred spans, with others in every one. More than 32 parts would halve its speed.
const LONG: &[&str] = &[
    "api_t",
    "n_tok",
    "xapp-",
    "pikey",
    "amz-s",
    "gho_",
    "asia",
    "horiza",
    "ghs_",
    "api_k",
    "secret",
    "nrak-",
    "aiza",
    "ya29.",
    "b_pat",
    "h_tok",
    "ghr_",
    "s_tok",
    "\x0a\x05token",
    "cookie",
    "passw",
    "on_key",
    "bearer",
    "d_tok",
    "-signa",
    "key---",
    "nral",
    "e_key",
    "ghp_",
    "ghu_",
    "akia",
];

/// No part is longer.
const LONGEST: usize = 8;

/// Bytes that are folded at once, on the stack.
const BLOCK: usize = 4096;

/// Sets the bit that tells lower case from upper case in letters, and makes `_` the same as `-`: names are spelled both
/// ways. Other bytes may fall together, too: then the search stops in vain.
fn fold(byte: u8) -> u8 {
    if byte == b'_' { b'-' } else { byte | 0x20 }
}

/// One search and, for each of its parts, the anchors that it is in, with its distance from their beginning.
struct Search {
    searcher: Searcher,
    anchors: Vec<Vec<(usize, usize)>>,
}

static SEARCHES: LazyLock<Option<[Search; 2]>> = LazyLock::new(|| Some([search(SHORT)?, search(LONG)?]));

fn search(parts: &[&str]) -> Option<Search> {
    let parts: Vec<_> = parts.iter().map(|part| fold_all(part)).collect();
    let anchors = parts.iter().map(|part| {
        let places = ANCHORS.iter().enumerate().filter_map(|(index, (anchor, _))| {
            let distance = fold_all(anchor).windows(part.len()).position(|window| window == part)?;
            Some((index, distance))
        });
        places.collect()
    });
    let anchors = anchors.collect();
    let searcher = Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(parts).build()?;
    Some(Search { searcher, anchors })
}

fn fold_all(text: &str) -> Vec<u8> {
    text.bytes().map(fold).collect()
}

/// Calls `look` with the position in [`ANCHORS`] and the beginning of everything that may be an anchor, but for those
/// that end in `=`. `false` without vector instructions: then all of the request must be looked at.
pub(super) fn places(request: &[u8], mut look: impl FnMut(usize, usize)) -> bool {
    let Some(searches) = SEARCHES.as_ref() else { return false };
    let mut folded = [0; BLOCK];
    let mut start = 0;
    while start < request.len() {
        let block = &request[start..request.len().min(start + BLOCK)];
        let folded = &mut folded[..block.len()];
        folded.iter_mut().zip(block).for_each(|(to, from)| *to = fold(*from));
        for Search { searcher, anchors } in searches {
            let mut at = 0;
            while let Some(found) = searcher.find_in(&*folded, (at..folded.len()).into()) {
                let place = start + found.start();
                for (anchor, distance) in &anchors[found.pattern().as_usize()] {
                    place.checked_sub(*distance).into_iter().for_each(|begin| look(*anchor, begin));
                }
                at = found.start() + 1;
            }
        }
        // A part may lie across the border.
        start += if block.len() == BLOCK { BLOCK - LONGEST } else { block.len() };
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_anchor_has_a_part_that_the_search_finds() {
        let parts: Vec<_> = [SHORT, LONG].concat().into_iter().map(fold_all).collect();
        for (anchor, _) in ANCHORS.iter().filter(|(anchor, _)| !anchor.ends_with('=')) {
            let anchor = fold_all(anchor);
            let held = parts.iter().any(|p| anchor.windows(p.len()).any(|w| w == p));
            assert!(held, "{}", String::from_utf8_lossy(&anchor));
        }
        // Only one part is found at a place.
        for (at, part) in parts.iter().enumerate() {
            assert!(part.len() <= LONGEST);
            assert!(!parts.iter().enumerate().any(|(other, longer)| at != other && longer.starts_with(part)));
        }
        assert!(LONG.len() <= 32, "more than the fast search takes");
        assert!(LONG.iter().all(|part| part.len() >= 4) && SHORT.iter().all(|part| part.len() == 3));
    }

    #[test]
    fn an_anchor_is_found_at_every_offset_in_any_case_also_across_blocks() {
        let anchors = ANCHORS.iter().enumerate().filter(|(_, (anchor, _))| !anchor.ends_with('='));
        let (mut list, mut wanted) = (Vec::new(), Vec::new());
        for (index, (anchor, _)) in anchors {
            for spelled in [anchor.to_ascii_uppercase(), anchor.to_ascii_lowercase()] {
                wanted.push((index, list.len()));
                list.extend_from_slice(spelled.as_bytes());
                list.push(b'.');
            }
        }
        for offset in (0..100).chain(BLOCK - list.len()..BLOCK + 60) {
            let text = [&vec![b'.'; offset], &*list, &[b'.'; 100]].concat();
            let mut found = std::collections::HashSet::new();
            assert!(places(&text, |anchor, at| found.extend([(anchor, at)])));
            for (index, at) in &wanted {
                assert!(found.contains(&(*index, offset + at)), "{} at {offset} + {at}", ANCHORS[*index].0);
            }
        }
    }
}
