//! Random numbers that depend on nothing but the request.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// Draws of one answer, addressed by position: `ChaCha8(key = seed, stream = index, block =
/// position)`. A sequence that is preempted and computed again, or shares its batch with others,
/// gets the same numbers.
#[derive(Debug, Clone)]
pub(super) struct PositionRng {
    seed: u64,
    index: u64,
}

/// The draws of one position. Each stage that needs chance takes its own.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Draws {
    pub(super) token: f64,
    pub(super) xtc: f64,
    /// For the token, where the one before was refused.
    pub(super) again: [f64; 3],
}

impl PositionRng {
    pub(super) fn new(seed: u64, index: usize) -> Self {
        Self {
            seed,
            index: index as u64,
        }
    }

    /// Numbers in `0..1` for the output token at `position`.
    pub(super) fn at(&self, position: usize) -> Draws {
        const WORDS_PER_BLOCK: u128 = 16;
        let mut rng = ChaCha8Rng::seed_from_u64(self.seed);
        rng.set_stream(self.index);
        rng.set_word_pos(position as u128 * WORDS_PER_BLOCK);
        let mut uniform = || (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64;
        Draws {
            token: uniform(),
            xtc: uniform(),
            again: std::array::from_fn(|_| uniform()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_depend_on_seed_index_and_position_alone() {
        let draws = |seed, index, position| PositionRng::new(seed, index).at(position);
        assert_eq!(draws(1, 2, 3), draws(1, 2, 3));
        let others = [draws(2, 2, 3), draws(1, 3, 3), draws(1, 2, 4)];
        assert!(others.iter().all(|other| *other != draws(1, 2, 3)));
    }

    #[test]
    fn draws_are_uniform() {
        let rng = PositionRng::new(7, 0);
        let mut buckets = [0u32; 20];
        for position in 0..20_000 {
            buckets[(rng.at(position).token * 20.0) as usize] += 1;
        }
        let chi_square: f64 = buckets
            .iter()
            .map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0)
            .sum();
        assert!(
            chi_square < 43.8,
            "{chi_square} (99.9 % of samples are below 43.8)"
        );
    }
}
