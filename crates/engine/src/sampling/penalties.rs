//! Penalties on tokens that have occurred. They touch those tokens alone, not the vocabulary.

use std::collections::HashMap;

use super::params::SamplingParams;

/// Counts of the tokens that occurred in one sequence.
#[derive(Debug, Default)]
pub(super) struct TokenCounts {
    /// Each token once, in order of first occurrence, with its occurrences in the answer.
    counts: Vec<(u32, u32)>,
    place: HashMap<u32, usize>,
    num_seen: usize,
}

impl TokenCounts {
    /// Counts the tokens that came since the last call.
    pub(super) fn update(&mut self, tokens: &[u32], num_prompt_tokens: usize) {
        for (i, &token) in tokens.iter().enumerate().skip(self.num_seen) {
            let place = *self.place.entry(token).or_insert(self.counts.len());
            if place == self.counts.len() {
                self.counts.push((token, 0));
            }
            self.counts[place].1 += u32::from(i >= num_prompt_tokens);
        }
        self.num_seen = tokens.len();
    }
}

/// Repetition penalty (CTRL, Keskar et al. 2019) over prompt and answer; presence and frequency
/// penalty (OpenAI) over the answer.
#[derive(Debug)]
pub(super) struct Penalties {
    counts: TokenCounts,
}

impl Penalties {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        let any = params.repetition_penalty != 1.0
            || params.presence_penalty != 0.0
            || params.frequency_penalty != 0.0;
        any.then(|| Self {
            counts: TokenCounts::default(),
        })
    }

    pub(super) fn apply(
        &mut self,
        params: &SamplingParams,
        tokens: &[u32],
        num_prompt_tokens: usize,
        logits: &mut [f32],
    ) {
        self.counts.update(tokens, num_prompt_tokens);
        for &(token, count) in &self.counts.counts {
            let logit = &mut logits[token as usize];
            if *logit > 0.0 {
                *logit /= params.repetition_penalty;
            } else {
                *logit *= params.repetition_penalty;
            }
            if count > 0 {
                *logit -= params.presence_penalty + params.frequency_penalty * count as f32;
            }
        }
    }
}
