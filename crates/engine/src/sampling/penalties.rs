//! Penalties on tokens that have occurred. They touch those tokens alone, not the vocabulary.

use std::collections::HashMap;
use std::ops::Range;

use super::params::{FARTHEST, SamplingParams};
use super::sequence_tokens::SequenceTokens;

/// Counts of the tokens that occurred in a sequence, or in its newest part.
#[derive(Debug, Default)]
struct TokenCounts {
    /// Each token once, in order of first occurrence.
    counts: Vec<TokenCount>,
    place: HashMap<u32, usize>,
    /// The tokens of the sequence that are counted.
    counted: Range<usize>,
}

#[derive(Debug)]
struct TokenCount {
    token: u32,
    /// In prompt and answer.
    anywhere: u32,
    in_answer: u32,
}

impl TokenCounts {
    /// Counts the tokens that came since the last call, and forgets all but the newest `last_n`.
    fn update(&mut self, context: SequenceTokens<'_>, last_n: Option<usize>) {
        let SequenceTokens {
            token_ids,
            num_prompt_tokens,
        } = context;
        let end = token_ids.len();
        let begin = end.saturating_sub(last_n.unwrap_or(end));
        for (i, &token) in token_ids.iter().enumerate().skip(self.counted.end) {
            let place = *self.place.entry(token).or_insert(self.counts.len());
            if place == self.counts.len() {
                self.counts.push(TokenCount {
                    token,
                    anywhere: 0,
                    in_answer: 0,
                });
            }
            self.counts[place].anywhere += 1;
            self.counts[place].in_answer += u32::from(i >= num_prompt_tokens);
        }
        let left = token_ids[..begin].iter().enumerate();
        for (i, token) in left.skip(self.counted.start) {
            let count = &mut self.counts[self.place[token]];
            count.anywhere -= 1;
            count.in_answer -= u32::from(i >= num_prompt_tokens);
        }
        self.counted = begin..end;
    }
}

/// Repetition penalty (CTRL, Keskar et al. 2019) over prompt and answer; presence and frequency
/// penalty (OpenAI) over the answer.
#[derive(Debug)]
pub(super) struct Penalties {
    repetition: f32,
    presence: f32,
    frequency: f32,
    last_n: Option<usize>,
    counts: TokenCounts,
}

impl Penalties {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        let penalties = Self {
            repetition: params.repetition_penalty,
            presence: params.presence_penalty,
            frequency: params.frequency_penalty,
            last_n: params.penalty_last_n,
            counts: TokenCounts::default(),
        };
        let any = (
            penalties.repetition,
            penalties.presence,
            penalties.frequency,
        ) != (1.0, 0.0, 0.0);
        (any && penalties.last_n != Some(0)).then_some(penalties)
    }

    pub(super) fn apply(&mut self, context: SequenceTokens<'_>, logits: &mut [f32]) {
        self.counts.update(context, self.last_n);
        for count in &self.counts.counts {
            let logit = &mut logits[count.token as usize];
            if *logit == f32::NEG_INFINITY || count.anywhere == 0 {
                continue;
            }
            if *logit > 0.0 {
                *logit /= self.repetition;
            } else {
                *logit *= self.repetition;
            }
            if count.in_answer > 0 {
                *logit -= self.presence + self.frequency * count.in_answer as f32;
            }
            *logit = logit.clamp(-FARTHEST, FARTHEST);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::testing::logits;

    /// The definitions, over the whole vocabulary.
    fn reference(params: &SamplingParams, context: SequenceTokens<'_>, logits: &mut [f32]) {
        let output = &context.token_ids[context.num_prompt_tokens..];
        for (token, logit) in logits.iter_mut().enumerate() {
            if context.token_ids.contains(&(token as u32)) {
                let repetition = params.repetition_penalty;
                *logit = if *logit > 0.0 {
                    *logit / repetition
                } else {
                    *logit * repetition
                };
            }
            let count = output
                .iter()
                .filter(|&&other| other as usize == token)
                .count();
            *logit -= params.frequency_penalty * count as f32;
            *logit -= if count > 0 {
                params.presence_penalty
            } else {
                0.0
            };
        }
    }

    #[test]
    fn penalties_follow_their_definitions_as_the_answer_grows() {
        for penalty_last_n in [None, Some(1), Some(3), Some(6), Some(100)] {
            let params = SamplingParams {
                repetition_penalty: 1.3,
                presence_penalty: 0.4,
                frequency_penalty: -0.2,
                penalty_last_n,
                ..SamplingParams::default()
            };
            let mut penalties = Penalties::from_params(&params).unwrap();
            let tokens = [3, 9, 3, 7, 7, 20, 3, 9, 7, 41, 41, 41];
            for len in 5..tokens.len() {
                let context = SequenceTokens {
                    token_ids: &tokens[..len],
                    num_prompt_tokens: 5,
                };
                let mut found = logits(50, len as u64);
                let mut expected = found.clone();
                penalties.apply(context, &mut found);
                // What lies further back is as if it were not there.
                let begin = len - penalty_last_n.unwrap_or(len).min(len);
                let newest = SequenceTokens {
                    token_ids: &tokens[begin..len],
                    num_prompt_tokens: 5usize.saturating_sub(begin),
                };
                reference(&params, newest, &mut expected);
                for (found, expected) in found.iter().zip(&expected) {
                    assert!((found - expected).abs() < 1e-5, "{found} is not {expected}");
                }
            }
        }
    }

    #[test]
    fn penalties_on_nothing_are_none() {
        let params = SamplingParams {
            repetition_penalty: 1.3,
            penalty_last_n: Some(0),
            ..SamplingParams::default()
        };
        assert!(Penalties::from_params(&params).is_none());
    }

    #[test]
    fn an_excluded_token_stays_excluded() {
        let params = SamplingParams {
            repetition_penalty: 0.5,
            frequency_penalty: -2.0,
            ..SamplingParams::default()
        };
        let mut logits = [f32::NEG_INFINITY; 3];
        let context = SequenceTokens {
            token_ids: &[1, 1],
            num_prompt_tokens: 0,
        };
        Penalties::from_params(&params)
            .unwrap()
            .apply(context, &mut logits);
        assert_eq!(logits, [f32::NEG_INFINITY; 3]);
    }
}
