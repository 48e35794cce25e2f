//! Which tokens can be chosen at all, and a thumb on the scale for some.

use super::params::SamplingParams;
use crate::error::InvalidParam;

/// Makes tokens impossible: those banned, those not on the list of allowed ones, and stop tokens
/// before `min_tokens`.
#[derive(Debug)]
pub(super) struct TokenMask {
    allowed: Option<Vec<u32>>,
    banned: Vec<u32>,
    min_tokens: usize,
    /// Banned before `min_tokens`.
    stop: Vec<u32>,
}

impl TokenMask {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        let mask = Self {
            allowed: params.allowed_token_ids.clone(),
            banned: params.banned_token_ids.clone(),
            min_tokens: params.min_tokens,
            stop: [params.stop_token_ids.as_slice(), &params.eos_token_ids].concat(),
        };
        (mask.allowed.is_some() || !mask.banned.is_empty() || mask.min_tokens > 0).then_some(mask)
    }

    /// `spared` is scratch space.
    pub(super) fn apply(
        &self,
        num_output_tokens: usize,
        logits: &mut [f32],
        spared: &mut Vec<f32>,
    ) {
        if let Some(allowed) = &self.allowed {
            spared.clear();
            spared.extend(allowed.iter().map(|&token| logits[token as usize]));
            logits.fill(f32::NEG_INFINITY);
            for (&token, &logit) in allowed.iter().zip(&*spared) {
                logits[token as usize] = logit;
            }
        }
        exclude(logits, &self.banned);
        if num_output_tokens < self.min_tokens {
            exclude(logits, &self.stop);
        }
    }

    /// The fields that exclude tokens at this place.
    pub(super) fn excluding(&self, num_output_tokens: usize) -> Vec<&'static str> {
        [
            ("allowed_token_ids", self.allowed.is_some()),
            ("banned_token_ids", !self.banned.is_empty()),
            ("min_tokens", num_output_tokens < self.min_tokens),
        ]
        .into_iter()
        .filter_map(|(field, excludes)| excludes.then_some(field))
        .collect()
    }
}

/// Makes the last token of a banned sequence impossible where the others have just been chosen.
#[derive(Debug)]
pub(super) struct BannedSequences(Vec<Vec<u32>>);

impl BannedSequences {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (!params.banned_sequences.is_empty()).then(|| Self(params.banned_sequences.clone()))
    }

    /// `answer` is what has been chosen so far.
    pub(super) fn apply(&self, answer: &[u32], logits: &mut [f32]) {
        for token in self.reached(answer) {
            exclude(logits, &[token]);
        }
    }

    /// The tokens that cannot come after `answer`.
    pub(super) fn reached(&self, answer: &[u32]) -> impl Iterator<Item = u32> {
        self.0.iter().filter_map(|sequence| {
            let (last, before) = sequence.split_last()?;
            answer.ends_with(before).then_some(*last)
        })
    }
}

/// What is wrong with a request whose field `first`, with the `others`, leaves no token to choose
/// after `num_output_tokens`.
pub(super) fn contradiction(
    first: &'static str,
    others: &[&str],
    has_grammar: bool,
    num_output_tokens: usize,
) -> InvalidParam {
    let others = match others {
        [] => String::new(),
        others => format!(", with `{}`,", others.join("` and `")),
    };
    let which = match has_grammar {
        true => "every token with which the grammar can go on",
        false => "every token",
    };
    InvalidParam {
        param: first,
        message: format!("excludes{others} {which} after {num_output_tokens} tokens of the answer"),
    }
}

fn exclude(logits: &mut [f32], tokens: &[u32]) {
    for &token in tokens {
        // A tokenizer may name a token that this model has no logit for.
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Adds to the logits of single tokens.
#[derive(Debug)]
pub(super) struct LogitBias(Vec<(u32, f32)>);

impl LogitBias {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (!params.logit_bias.is_empty()).then(|| Self(params.logit_bias.clone()))
    }

    pub(super) fn apply(&self, logits: &mut [f32]) {
        for &(token, bias) in &self.0 {
            logits[token as usize] += bias;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXCLUDED: f32 = f32::NEG_INFINITY;

    fn masked(num_output_tokens: usize, params: &SamplingParams) -> Vec<f32> {
        let mut logits = vec![0.0, 1.0, 2.0, 3.0];
        TokenMask::from_params(params).unwrap().apply(
            num_output_tokens,
            &mut logits,
            &mut Vec::new(),
        );
        logits
    }

    #[test]
    fn only_allowed_tokens_that_are_not_banned_are_left() {
        let params = SamplingParams {
            allowed_token_ids: Some(vec![3, 1, 3]),
            banned_token_ids: vec![1],
            ..SamplingParams::default()
        };
        assert_eq!(masked(0, &params), [EXCLUDED, EXCLUDED, EXCLUDED, 3.0]);
    }

    #[test]
    fn stop_tokens_are_impossible_until_there_are_min_tokens() {
        let params = SamplingParams {
            min_tokens: 2,
            eos_token_ids: vec![0, 900],
            stop_token_ids: vec![2],
            ..SamplingParams::default()
        };
        assert_eq!(masked(1, &params), [EXCLUDED, 1.0, EXCLUDED, 3.0]);
        assert_eq!(masked(2, &params), [0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn the_last_token_of_a_banned_sequence_is_impossible_behind_the_others() {
        let params = SamplingParams {
            banned_sequences: vec![vec![0], vec![2, 1, 3], vec![1, 1], vec![2, 900], vec![]],
            ..SamplingParams::default()
        };
        let banned = BannedSequences::from_params(&params).unwrap();
        let after = |answer: &[u32]| {
            let mut logits = [0.0, 1.0, 2.0, 3.0];
            banned.apply(answer, &mut logits);
            logits
        };
        assert_eq!(after(&[]), [EXCLUDED, 1.0, 2.0, 3.0]);
        assert_eq!(after(&[2]), [EXCLUDED, 1.0, 2.0, 3.0]);
        assert_eq!(after(&[1]), [EXCLUDED, EXCLUDED, 2.0, 3.0]);
        assert_eq!(after(&[0, 2, 1]), [EXCLUDED, EXCLUDED, 2.0, EXCLUDED]);
        assert_eq!(after(&[2, 1, 0]), [EXCLUDED, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn a_contradiction_names_all_fields_that_have_a_part_in_it() {
        let said = |others: &[&str], has_grammar| {
            contradiction("min_tokens", others, has_grammar, 7).to_string()
        };
        assert_eq!(
            said(&[], false),
            "min_tokens: excludes every token after 7 tokens of the answer"
        );
        assert_eq!(
            said(&["a", "b"], true),
            "min_tokens: excludes, with `a` and `b`, every token with which the grammar can go on \
             after 7 tokens of the answer"
        );
    }

    #[test]
    fn without_constraints_there_is_no_stage() {
        assert!(TokenMask::from_params(&SamplingParams::default()).is_none());
        assert!(BannedSequences::from_params(&SamplingParams::default()).is_none());
        assert!(LogitBias::from_params(&SamplingParams::default()).is_none());
    }

    #[test]
    fn a_bias_is_added() {
        let params = SamplingParams {
            logit_bias: vec![(1, -4.0), (3, 0.5)],
            ..SamplingParams::default()
        };
        let mut logits = vec![0.0, 1.0, 2.0, 3.0];
        LogitBias::from_params(&params).unwrap().apply(&mut logits);
        assert_eq!(logits, [0.0, -3.0, 2.0, 3.5]);
    }
}
