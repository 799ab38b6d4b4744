//! Random draws behind the users of a page.
//!
//! The real server seeds a Mersenne Twister with 32 bits of `md5(seed + page)`. Here a PCG takes all 128 bits:
//! pages of different seeds never share a user by accident, and the values differ from the real server's.

use md5::{Digest, Md5};
use rand_pcg::Pcg64Mcg;
use rand_pcg::rand_core::{Rng, SeedableRng};

/// A deterministic stream of draws; the same seed text gives the same stream on every machine and in every run.
pub(crate) struct Draw(Pcg64Mcg);

impl Draw {
    /// The stream of `seed_text`: the API's seed with the page glued to it.
    pub(crate) fn from_text(seed_text: &str) -> Self {
        Self(Pcg64Mcg::from_seed(Md5::digest(seed_text.as_bytes()).into()))
    }

    /// The stream of a number: used for faults and for the seeds that the server invents.
    pub(crate) fn from_number(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// A number in `0..bound`; 0 for a bound of 0. Multiply and shift: the bias is below 2⁻³².
    pub(crate) fn below(&mut self, bound: u32) -> u32 {
        let high = self.0.next_u64() >> 32;
        // The product of two 32-bit numbers shifted right by 32 fits in 32 bits.
        u32::try_from((high * u64::from(bound)) >> 32).unwrap_or(0)
    }

    /// A number in `min..=max`, for spans up to 2⁴⁸ (epoch milliseconds).
    pub(crate) fn between(&mut self, min: i64, max: i64) -> i64 {
        let span = u128::from(max.abs_diff(min)) + 1;
        let offset = (u128::from(self.0.next_u64()) * span) >> 64;
        min + i64::try_from(offset).unwrap_or(0)
    }

    /// A number in `0.0..1.0`.
    pub(crate) fn fraction(&mut self) -> f64 {
        unit(self.0.next_u64())
    }

    /// One of `items`, which must not be empty: lists are checked when they are loaded.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.below(u32::try_from(items.len()).unwrap_or(u32::MAX)) as usize]
    }

    /// One of the words, of which there must be some.
    pub(crate) fn word<'a>(&mut self, words: &'a [String]) -> &'a str {
        self.pick::<String>(words)
    }

    /// A decimal digit as an ASCII byte.
    pub(crate) fn digit(&mut self) -> u8 {
        *self.pick(b"0123456789")
    }

    /// True once in `times` on average.
    pub(crate) fn once_in(&mut self, times: u32) -> bool {
        self.below(times) == 0
    }

    /// 128 random bits.
    pub(crate) fn bits128(&mut self) -> u128 {
        (u128::from(self.0.next_u64()) << 64) | u128::from(self.0.next_u64())
    }
}

/// The upper 53 bits as a number in `0.0..1.0`.
fn unit(bits: u64) -> f64 {
    const SCALE: f64 = 1.0 / (1u64 << 53) as f64;
    (bits >> 11) as f64 * SCALE
}

/// A number in `0.0..1.0` that depends on the two inputs only (the finaliser of SplitMix64, Steele et al. 2014).
pub(crate) fn hash_fraction(seed: u64, value: u128) -> f64 {
    let mut bits = seed;
    for half in [value >> 64, value & u128::from(u64::MAX)] {
        let word = u64::try_from(half).unwrap_or(0);
        bits = (bits ^ word).wrapping_add(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
    }
    unit(bits)
}
