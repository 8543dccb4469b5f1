//! The places of a request that the full scan must look at: a vector search for the beginnings and middles of anchors.
//!
//! The full scan costs a nanosecond a byte, as much as everything else together, and nearly all requests hold nothing.
//! This search folds case in passing and may stop at too many places, never at too few.

use aho_corasick::packed::{Config, MatchKind, Searcher};
use std::sync::LazyLock;

/// For each anchor but `://` a part of it, folded as [`fold`] does; few enough for a vector search.
const PARTS: &[&str] = &[
    "key=",
    "oken=",
    "auth=",
    "sig=",
    "ature",
    "keyid=",
    "tial=",
    "ity-tok",
    "apikey",
    "api_key",
    "api-key",
    "api_tok",
    "api-tok",
    "ion-key",
    "ion_key",
    "ess_tok",
    "ess-tok",
    "uth_tok",
    "uth-tok",
    "esh_tok",
    "esh-tok",
    "id_tok",
    "id-tok",
    "ion_tok",
    "ion-tok",
    "secret",
    "ate-key",
    "ate_key",
    "nse_key",
    "nse-key",
    "passw",
    "cookie",
    "authori",
    "bearer",
    "sk-",
    "aiza",
    "ya29.",
    "gsk_",
    "hf_",
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "hub_pat",
    "xox",
    "xapp-",
    "nrak-",
    "nral",
    "akia",
    "asia",
    "eyj",
    "private k",
    "\x0a\x05token",
];

/// No anchor is longer, so that one that holds a part begins and ends at most so far from it.
pub(super) const REACH: usize = 24;

/// Bytes that are folded at once, on the stack.
const BLOCK: usize = 4096;

/// Sets the bit that tells lower case from upper case in letters. Other bytes may fall together: then the search stops
/// in vain.
fn fold(byte: u8) -> u8 {
    byte | 0x20
}

static SEARCH: LazyLock<Option<Searcher>> = LazyLock::new(|| {
    let parts = PARTS.iter().map(|part| part.bytes().map(fold).collect::<Vec<u8>>());
    Config::new().match_kind(MatchKind::LeftmostFirst).builder().extend(parts).build()
});

/// Calls `look` with ranges, ascending, that cover every anchor but `://`. Without vector instructions that is everything.
pub(super) fn places(request: &[u8], mut look: impl FnMut(std::ops::Range<usize>)) {
    let Some(search) = SEARCH.as_ref() else { return look(0..request.len()) };
    let mut folded = [0; BLOCK];
    let mut start = 0;
    while start < request.len() {
        let block = &request[start..request.len().min(start + BLOCK)];
        let folded = &mut folded[..block.len()];
        folded.iter_mut().zip(block).for_each(|(to, from)| *to = fold(*from));
        let mut at = 0;
        while let Some(found) = search.find_in(&*folded, (at..folded.len()).into()) {
            let place = start + found.start();
            look(place.saturating_sub(REACH)..request.len().min(place + REACH));
            at = found.start() + 1;
        }
        // A part may lie across the border.
        start += if block.len() == BLOCK { BLOCK - REACH } else { block.len() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::translate::scrub::detect::ANCHORS;

    #[test]
    fn every_anchor_has_a_part_that_the_search_finds_and_fits_into_its_reach() {
        let fold_all = |text: &str| text.bytes().map(fold).collect::<Vec<u8>>();
        for (anchor, _) in ANCHORS.iter().filter(|(anchor, _)| *anchor != "://") {
            let anchor = fold_all(anchor);
            let held = PARTS.iter().map(|p| fold_all(p)).any(|p| anchor.windows(p.len()).any(|w| w == p));
            assert!(held, "{}", String::from_utf8_lossy(&anchor));
            assert!(anchor.len() <= REACH, "{}", String::from_utf8_lossy(&anchor));
        }
        assert!(PARTS.len() <= 64, "more than a vector search takes");
    }

    #[test]
    fn a_part_is_found_at_every_offset_in_any_case_also_across_blocks() {
        for offset in (0..100).chain(BLOCK - 60..BLOCK + 60) {
            for part in PARTS {
                let mut text = vec![b'.'; BLOCK * 2];
                text[offset..offset + part.len()].copy_from_slice(part.to_ascii_uppercase().as_bytes());
                let mut covered = false;
                places(&text, |range| {
                    covered |= range.contains(&offset) && range.contains(&(offset + part.len() - 1))
                });
                assert!(covered, "{part} at {offset}");
            }
        }
    }
}
