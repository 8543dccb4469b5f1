//! Ids that follow from what they name, so that a restart and a retry find the same one again.

/// A version 4 UUID made of these parts: 128 bits of FNV-1a, whose definition no compiler changes.
pub(crate) fn uuid(parts: &[&[u8]]) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let mut hash = OFFSET;
    for part in parts {
        // The length keeps ("ab", "c") and ("a", "bc") apart.
        for byte in (part.len() as u64).to_le_bytes().iter().chain(*part) {
            hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
    text(hash)
}

/// The text of a version 4 UUID with these bits, but for version and variant.
pub(crate) fn text(mut bits: u128) -> String {
    bits = bits & !(0xf << 76) | 0x4 << 76;
    bits = bits & !(0x3 << 62) | 0x2 << 62;
    let hex = format!("{bits:032x}");
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_a_uuid_and_depends_on_every_part() {
        let id = uuid(&[b"ab", b"c"]);
        assert_eq!((id.len(), &id[14..15]), (36, "4"));
        assert!("89ab".contains(&id[19..20]), "{id}");
        assert_eq!(id, uuid(&[b"ab", b"c"]));
        assert_ne!(id, uuid(&[b"a", b"bc"]));
        // Written down: an id must not change with a version of this program.
        assert_eq!(uuid(&[]), "6c62272e-07bb-4142-a2b8-21756295c58d");
    }
}
