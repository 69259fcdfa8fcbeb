//! Rejection thresholds and randomness: the 56-bit numbers of consistent probability sampling.
//!
//! ```text
//! threshold T  = (1 - probability) * 2^56        written as hex without trailing zeros: 50 % is th:8
//! randomness R = `rv` of the trace state (14 hex digits), else the low 7 bytes of the trace id
//! kept         = R >= T
//! ```
//!
//! Specification: OpenTelemetry, "TraceState: Probability Sampling"; W3C Trace Context Level 2, "Randomness of trace-id".

use std::fmt;

/// How many different values 56 bits take.
const RANGE: u64 = 1 << 56;

/// The significant hex digits of a threshold, as the specification recommends. Leading `f`s do not count.
const PRECISION: i32 = 4;

/// How many of 2^56 traces are rejected. `RANGE` itself rejects all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Threshold(u64);

/// The number that one trace drew, the same wherever it is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Randomness(u64);

impl Threshold {
    /// Rejects nothing.
    pub(crate) const NONE: Self = Self(0);

    /// The threshold that keeps `probability` (0 to 1) of the traces, rounded to four significant hex digits so that what is
    /// decided is what is written. 0 rejects everything, which is not a form of probability sampling and has no `th`.
    pub(crate) fn keeping(probability: f64) -> Self {
        if probability >= 1.0 {
            return Self::NONE;
        }
        if probability <= 0.0 {
            return Self(RANGE);
        }
        // frexp: probability = m * 2^exponent with m in [0.5, 1); each four bits of smallness are one leading f.
        let exponent = ((probability.to_bits() >> 52) & 0x7ff) as i32 - 1022;
        let digits = (PRECISION + -exponent / 4).clamp(1, 12);
        // In [1, 2) the 52 bits of the mantissa are 13 hex digits of the rejected share.
        let rejected = 2.0 - probability + 0.5 * 16f64.powi(-digits);
        if rejected >= 2.0 {
            return Self(0x00ff_ffff_ffff_ff00);
        }
        let mantissa = rejected.to_bits() & ((1 << 52) - 1);
        let dropped_bits = 52 - 4 * digits as u32;
        Self((mantissa >> dropped_bits << dropped_bits) << 4)
    }

    /// Reads the value of `th`: 1 to 14 hex digits, missing ones are zeros at the end.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let value = hex(text).filter(|_| (1..=14).contains(&text.len()))?;
        Some(Self(value << (4 * (14 - text.len()))))
    }
}

impl fmt::Display for Threshold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == 0 {
            return f.write_str("0");
        }
        let zeros = self.0.trailing_zeros() / 4;
        write!(f, "{:0width$x}", self.0 >> (4 * zeros), width = 14 - zeros as usize)
    }
}

impl Randomness {
    /// Whether a trace with this randomness is kept.
    pub(crate) fn passes(self, threshold: Threshold) -> bool {
        self.0 >= threshold.0
    }

    /// Reads the value of `rv`: exactly 14 hex digits.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        hex(text).filter(|_| text.len() == 14).map(Self)
    }

    /// The low 56 bits of a trace id; `None` for one that is missing, all zeros or not 16 bytes.
    pub(crate) fn of_trace_id(id: &[u8]) -> Option<Self> {
        let id: &[u8; 16] = id.try_into().ok()?;
        let value = u128::from_be_bytes(*id);
        (value != 0).then_some(Self((value as u64) & (RANGE - 1)))
    }

    /// A hash of `bytes` that every node computes alike: FNV-1a (64 bits, offset basis XOR `seed`), its bits mixed by the
    /// finaliser of MurmurHash3, of which the low 56 bits count.
    pub(crate) fn of_hash(seed: u64, bytes: &[u8]) -> Self {
        let mut hash = 0xcbf2_9ce4_8422_2325 ^ seed;
        for &byte in bytes {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        Self((hash ^ (hash >> 33)) & (RANGE - 1))
    }
}

/// `from_str_radix` alone would take a sign.
fn hex(text: &str) -> Option<u64> {
    if !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    u64::from_str_radix(text, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The table "1-in-N probability sampling" of the specification, precision 4.
    #[test]
    fn thresholds_of_the_specification() {
        for (one_in, th) in [
            (1.0, "0"),
            (2.0, "8"),
            (3.0, "aaab"),
            (4.0, "c"),
            (5.0, "cccd"),
            (8.0, "e"),
            (10.0, "e666"),
            (16.0, "f"),
            (100.0, "fd70a"),
            (1_000.0, "ffbe77"),
            (10_000.0, "fff9724"),
            (100_000.0, "ffff583a"),
            (1_000_000.0, "ffffef39"),
        ] {
            assert_eq!(Threshold::keeping(1.0 / one_in).to_string(), th, "1 in {one_in}");
        }
    }

    #[test]
    fn the_ends_of_the_range() {
        assert_eq!(Threshold::keeping(1.0), Threshold::NONE);
        assert!(!Randomness(RANGE - 1).passes(Threshold::keeping(0.0)));
        assert!(Randomness(RANGE - 1).passes(Threshold::keeping(f64::MIN_POSITIVE)));
        assert_eq!(Threshold::keeping(0.9999999), Threshold::NONE);
        assert!(Randomness(0).passes(Threshold::NONE));
    }

    #[test]
    fn what_is_not_a_threshold_or_randomness() {
        for bad in ["", "+8", "xyz", "0x8", "123456789abcdef", " 8", "8 ", "é"] {
            assert_eq!(Threshold::parse(bad), None, "{bad}");
        }
        for bad in ["", "8", "0123456789abc", "0123456789abcde", "+123456789abcd", "0123456789abcg"] {
            assert_eq!(Randomness::parse(bad), None, "{bad}");
        }
        assert_eq!(Threshold::parse("8"), Some(Threshold(RANGE / 2)));
        assert_eq!(Threshold::parse("C0"), Some(Threshold(RANGE / 4 * 3)));
        assert_eq!(Randomness::parse("0123456789abcd"), Some(Randomness(0x01_2345_6789_abcd)));
    }

    #[test]
    fn trace_ids() {
        let id = 0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10_u128.to_be_bytes();
        assert_eq!(Randomness::of_trace_id(&id), Some(Randomness(0x0a_0b0c_0d0e_0f10)));
        assert_eq!(Randomness::of_trace_id(&[0; 16]), None);
        assert_eq!(Randomness::of_trace_id(&id[..15]), None);
    }

    /// The hash is a promise to other nodes and other versions.
    #[test]
    fn the_hash_stays_what_it_is() {
        // FNV-1a of "" is its offset basis; of "a" af63dc4c8601ec8c (draft-eastlake-fnv); then fmix64.
        fn mixed(mut h: u64) -> u64 {
            h ^= h >> 33;
            h = h.wrapping_mul(0xff51afd7ed558ccd);
            h ^= h >> 33;
            h = h.wrapping_mul(0xc4ceb9fe1a85ec53);
            (h ^ (h >> 33)) & 0x00ff_ffff_ffff_ffff
        }
        assert_eq!(Randomness::of_hash(0, b"").0, mixed(0xcbf29ce484222325));
        assert_eq!(Randomness::of_hash(0, b"a").0, mixed(0xaf63dc4c8601ec8c));
        assert_eq!(Randomness::of_hash(0, b"foobar").0, mixed(0x85944171f73967e8));
        assert_ne!(Randomness::of_hash(1, b"a"), Randomness::of_hash(0, b"a"));
    }

    proptest! {
        #[test]
        fn written_thresholds_are_read_back(value in 0u64..RANGE) {
            let threshold = Threshold(value);
            let text = threshold.to_string();
            prop_assert_eq!(Threshold::parse(&text), Some(threshold));
            prop_assert!(text == "0" || !text.ends_with('0'));
        }

        #[test]
        fn rounding_is_small(probability in 1e-9f64..1.0) {
            let kept = (RANGE - Threshold::keeping(probability).0) as f64 / RANGE as f64;
            prop_assert!((kept - probability).abs() <= probability.max(1.0 / 16.0) * 16f64.powi(-3), "{kept} {probability}");
        }

        #[test]
        fn sequential_keys_spread_evenly(start in 0u32..1_000_000, seed: u64) {
            let kept = (start..start + 20_000)
                .filter(|i| Randomness::of_hash(seed, i.to_string().as_bytes()).passes(Threshold::keeping(0.25)))
                .count();
            // Five standard deviations of a binomial of 20,000 at 1/4 are 306.
            prop_assert!((4_650..=5_350).contains(&kept), "{kept}");
        }
    }
}
