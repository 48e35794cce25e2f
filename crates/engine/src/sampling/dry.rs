//! DRY ("don't repeat yourself"): penalises tokens that would prolong a repetition.

use super::params::SamplingParams;

/// The DRY penalty (p-e-w, <https://github.com/oobabooga/text-generation-webui/pull/5677>).
///
/// If the last `n` tokens occurred before, the token that followed them then is penalised by
/// `multiplier * base^(n - allowed_length)`, once `n` reaches `allowed_length`. Repetitions are not
/// followed across sequence breakers.
#[derive(Debug)]
pub(super) struct Dry;

/// Scratch space of [`Dry`].
#[derive(Debug, Default)]
pub(super) struct DryScratch {
    match_lengths: Vec<u32>,
    /// Token and length of the repetition it would prolong.
    repeats: Vec<(u32, u32)>,
}

impl Dry {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (params.dry_multiplier > 0.0).then_some(Self)
    }

    pub(super) fn apply(
        &self,
        params: &SamplingParams,
        tokens: &[u32],
        logits: &mut [f32],
        scratch: &mut DryScratch,
    ) {
        let window = params
            .dry_penalty_last_n
            .unwrap_or(tokens.len())
            .min(tokens.len());
        let tokens = &tokens[tokens.len() - window..];
        let is_breaker = |token: &u32| params.dry_sequence_breaker_ids.contains(token);
        let longest = tokens
            .iter()
            .rev()
            .take_while(|token| !is_breaker(token))
            .count();
        if longest < params.dry_allowed_length.max(1) {
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
            if length >= params.dry_allowed_length.max(1) && !is_breaker(&next) {
                repeats.push((next, length as u32));
            }
        }
        // Longest repetition of each token first.
        repeats.sort_unstable_by_key(|&(token, length)| (token, std::cmp::Reverse(length)));
        repeats.dedup_by_key(|(token, _)| *token);
        for &(token, length) in &*repeats {
            let excess = length as f32 - params.dry_allowed_length as f32;
            let penalty = params.dry_multiplier * params.dry_base.powf(excess);
            logits[token as usize] -= penalty.min(f32::MAX);
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
