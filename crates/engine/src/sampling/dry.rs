//! DRY ("don't repeat yourself"): penalises tokens that would prolong a repetition.

use std::cmp::Reverse;

use super::params::{FARTHEST, SamplingParams};
use super::token_set::TokenSet;

/// The DRY penalty (p-e-w, <https://github.com/oobabooga/text-generation-webui/pull/5677>).
///
/// If the last `n` tokens occurred before, the token that followed them then is penalised by
/// `multiplier * base^(n - allowed_length)`, once `n` reaches `allowed_length`. Repetitions are not
/// followed across sequence breakers.
#[derive(Debug)]
pub(super) struct Dry {
    multiplier: f32,
    base: f32,
    allowed_length: usize,
    last_n: Option<usize>,
    breakers: TokenSet,
}

/// Scratch space of [`Dry`].
#[derive(Debug, Default)]
pub(super) struct DryScratch {
    match_lengths: Vec<u32>,
    /// Token and length of the repetition it would prolong.
    repeats: Vec<(u32, u32)>,
}

impl Dry {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (params.dry_multiplier > 0.0).then(|| Self {
            multiplier: params.dry_multiplier,
            base: params.dry_base,
            // A repetition begins with one token, whatever is allowed.
            allowed_length: params.dry_allowed_length.max(1),
            last_n: params.dry_penalty_last_n,
            breakers: params.dry_sequence_breaker_ids.iter().collect(),
        })
    }

    pub(super) fn apply(&self, tokens: &[u32], logits: &mut [f32], scratch: &mut DryScratch) {
        let window = self.last_n.unwrap_or(tokens.len()).min(tokens.len());
        let tokens = &tokens[tokens.len() - window..];
        let is_breaker = |token: &u32| self.breakers.contains(token);
        let longest = tokens
            .iter()
            .rev()
            .take_while(|token| !is_breaker(token))
            .count();
        if longest < self.allowed_length {
            return;
        }
        let DryScratch {
            match_lengths,
            repeats,
        } = scratch;
        common_suffix_lengths(tokens, match_lengths);
        repeats.clear();
        for distance in 1..tokens.len() {
            let length = (match_lengths[distance] as usize).min(longest);
            let next = tokens[tokens.len() - distance];
            if length >= self.allowed_length && !is_breaker(&next) {
                repeats.push((next, length as u32));
            }
        }
        // Of each token, the longest repetition counts.
        repeats.sort_unstable_by_key(|&(token, length)| (token, Reverse(length)));
        repeats.dedup_by_key(|(token, _)| *token);
        for &(token, length) in &*repeats {
            let excess = length as f32 - self.allowed_length as f32;
            let penalty = self.multiplier * self.base.powf(excess);
            let logit = &mut logits[token as usize];
            if *logit > f32::NEG_INFINITY {
                *logit = (*logit - penalty).max(-FARTHEST);
            }
        }
    }
}

/// `lengths[d]`: how many of the last tokens agree with those `d` places before them.
///
/// The Z algorithm on the reversed tokens: linear time, whatever repeats.
fn common_suffix_lengths(tokens: &[u32], lengths: &mut Vec<u32>) {
    let n = tokens.len();
    let reversed = |i: usize| tokens[n - 1 - i];
    lengths.clear();
    lengths.resize(n, 0);
    // reversed[left..right] is the rightmost stretch known to equal a beginning of `reversed`.
    let (mut left, mut right) = (0, 0);
    for i in 1..n {
        let mut length = if i < right {
            (right - i).min(lengths[i - left] as usize)
        } else {
            0
        };
        while i + length < n && reversed(length) == reversed(i + length) {
            length += 1;
        }
        lengths[i] = length as u32;
        if i + length > right {
            (left, right) = (i, i + length);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    /// The algorithm as its author published it: extends every match token by token.
    fn reference(dry: &Dry, tokens: &[u32], logits: &mut [f32]) {
        let Some((last, before)) = tokens.split_last() else {
            return;
        };
        if dry.breakers.contains(last) {
            return;
        }
        let mut match_lengths: HashMap<u32, usize> = HashMap::new();
        for i in (0..before.len()).filter(|&i| tokens[i] == *last) {
            let next = tokens[i + 1];
            if dry.breakers.contains(&next) {
                continue;
            }
            let mut length = 1;
            while length <= i {
                let previous = tokens[tokens.len() - 1 - length];
                if tokens[i - length] != previous || dry.breakers.contains(&previous) {
                    break;
                }
                length += 1;
            }
            let longest = match_lengths.entry(next).or_default();
            *longest = length.max(*longest);
        }
        for (token, length) in match_lengths {
            if length >= dry.allowed_length {
                logits[token as usize] -=
                    dry.multiplier * dry.base.powi((length - dry.allowed_length) as i32);
            }
        }
    }

    #[test]
    fn the_penalty_is_that_of_the_published_algorithm() {
        let mut state = 1u32;
        let mut scratch = DryScratch::default();
        for case in 0..300 {
            // A small alphabet repeats itself often.
            let tokens: Vec<u32> = (0..case % 60)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 16) % 4
                })
                .collect();
            let params = SamplingParams {
                dry_multiplier: 0.8,
                dry_allowed_length: case % 4,
                dry_sequence_breaker_ids: if case % 2 == 0 { vec![3] } else { vec![] },
                ..SamplingParams::default()
            };
            let dry = Dry::from_params(&params).unwrap();
            let (mut found, mut expected) = ([1.0; 4], [1.0; 4]);
            dry.apply(&tokens, &mut found, &mut scratch);
            reference(&dry, &tokens, &mut expected);
            for (found, expected) in found.iter().zip(&expected) {
                let tolerance = 1e-5 * expected.abs().max(1.0);
                assert!(
                    (found - expected).abs() <= tolerance,
                    "{tokens:?}: {found} is not {expected}"
                );
            }
        }
    }

    #[test]
    fn only_the_last_n_tokens_are_looked_at() {
        let params = SamplingParams {
            dry_multiplier: 1.0,
            dry_penalty_last_n: Some(3),
            ..SamplingParams::default()
        };
        let dry = Dry::from_params(&params).unwrap();
        let mut logits = [0.0; 10];
        dry.apply(&[1, 2, 3, 4, 1, 2], &mut logits, &mut DryScratch::default());
        assert_eq!(logits, [0.0; 10]);
    }

    #[test]
    fn an_endless_repetition_is_as_good_as_excluded_but_finite() {
        let params = SamplingParams {
            dry_multiplier: 1.0,
            ..SamplingParams::default()
        };
        let mut logits = [0.0; 10];
        Dry::from_params(&params).unwrap().apply(
            &[7; 5000],
            &mut logits,
            &mut DryScratch::default(),
        );
        assert_eq!((logits[7], logits[6]), (-FARTHEST, 0.0));
    }
}
