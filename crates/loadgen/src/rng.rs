//! A seeded generator (SplitMix64): the same seed makes the same payloads on every machine and in every version.
//!
//! Not for secrets. It is written out here, because the output of a crate's generator may change with its version, and with
//! it every payload.

/// The state: any 64 bits.
#[derive(Clone, Debug)]
pub(crate) struct Rng(u64);

impl Rng {
    /// A generator for this seed.
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n` (`n > 0`); the bias of the multiplication is far below anything measured here.
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(n)) >> 64) as u64
    }

    /// An index of a slice of this length (`len > 0`).
    pub(crate) fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// One of these (not empty).
    pub(crate) fn pick<'a, T: ?Sized>(&mut self, of: &[&'a T]) -> &'a T {
        of[self.index(of.len())]
    }

    /// `N` random bytes.
    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        for chunk in out.chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes()[..chunk.len()]);
        }
        out
    }

    /// `2 * N` lower-case hex digits.
    pub(crate) fn hex<const N: usize>(&mut self) -> String {
        self.bytes::<N>().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// A rank in `0..n` (`n > 0`) with a long tail: about as likely as one over the rank, as in Zipf's law.
    pub(crate) fn rank(&mut self, n: usize) -> usize {
        let unit = self.next() as f64 / u64::MAX as f64;
        let rank = (n as f64).powf(unit) as usize;
        rank.saturating_sub(1).min(n - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reference_values() {
        // Published test values of SplitMix64 for the seed 1234567.
        let mut rng = Rng::new(1_234_567);
        assert_eq!(rng.next(), 6_457_827_717_110_365_317);
        assert_eq!(rng.next(), 3_203_168_211_198_807_973);
    }

    #[test]
    fn ranks_are_skewed_and_in_range() {
        let mut rng = Rng::new(1);
        let mut counts = vec![0u32; 5_000];
        for _ in 0..50_000 {
            counts[rng.rank(5_000)] += 1;
        }
        let first: u32 = counts[..50].iter().sum();
        let last: u32 = counts[4_950..].iter().sum();
        assert!(first > 15_000, "the first 1 % of the ranks has {first} of 50,000");
        assert!(last > 0 && last < 300, "the last 1 % of the ranks has {last} of 50,000");
    }
}
