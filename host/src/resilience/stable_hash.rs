//! A hash that is the same in every process, on every machine and in every version.

/// The offset basis and the prime of FNV-1a with 64 bits.
const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// FNV-1a (Fowler, Noll, Vo), then the finaliser of MurmurHash3.
///
/// Hosts must agree on it, so it is one that any language has or can have in ten lines; hash functions of
/// libraries promise less. FNV alone would not do: the highest bits, by which a ring is looked up, hardly
/// depend on the last bytes.
///
/// It has no secret: a caller who chooses keys can choose where they go. Bounded load is the answer to that.
pub(crate) fn stable_hash(bytes: &[u8]) -> u64 {
    mix(fnv1a(bytes))
}

/// Number `n` of a sequence that belongs to `seed`: SplitMix64 (Steele, Lea, Flood 2014) with its constant.
pub(crate) fn nth(seed: u64, n: u64) -> u64 {
    mix(seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(OFFSET, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// Every bit of the result depends on every bit of `x`.
fn mix(mut x: u64) -> u64 {
    x = (x ^ x >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x = (x ^ x >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    x ^ x >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_the_published_values() {
        assert_eq!(fnv1a(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv1a(b"foobar"), 0x8594_4171_f739_67e8);
        // MurmurHash3's finaliser of one.
        assert_eq!(mix(1), 0xb456_bcfc_34c2_cb2c);
    }

    #[test]
    fn never_changes() {
        // Recorded once: another value here would send the keys of hosts of different versions apart.
        assert_eq!(stable_hash(b"customer-42"), 16_557_371_046_515_049_401);
    }

    #[test]
    fn the_last_byte_reaches_the_highest_bits() {
        let tops: std::collections::HashSet<_> =
            (0..=255u8).map(|last| stable_hash(&[7, 7, 7, last]) >> 52).collect();
        assert!(tops.len() > 240, "{}", tops.len());
    }
}
