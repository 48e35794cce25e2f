//! Which tokens can be chosen at all, and a thumb on the scale for some.

use super::params::SamplingParams;

/// Makes tokens impossible: those banned, those not on the list of allowed ones, and stop tokens
/// before `min_tokens`.
#[derive(Debug)]
pub(super) struct TokenMask;

impl TokenMask {
    /// `spared` is scratch space.
    pub(super) fn apply(
        &self,
        params: &SamplingParams,
        num_output_tokens: usize,
        logits: &mut [f32],
        spared: &mut Vec<f32>,
    ) {
        if let Some(allowed) = &params.allowed_token_ids {
            spared.clear();
            spared.extend(allowed.iter().map(|&token| logits[token as usize]));
            logits.fill(f32::NEG_INFINITY);
            for (&token, &logit) in allowed.iter().zip(&*spared) {
                logits[token as usize] = logit;
            }
        }
        exclude(logits, &params.banned_token_ids);
        if num_output_tokens < params.min_tokens {
            exclude(logits, &params.stop_token_ids);
            exclude(logits, &params.eos_token_ids);
        }
    }
}

fn exclude(logits: &mut [f32], tokens: &[u32]) {
    for &token in tokens {
        // A tokenizer may name an end token that this model has no logit for.
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Adds to the logits of single tokens.
#[derive(Debug)]
pub(super) struct LogitBias;

impl LogitBias {
    pub(super) fn apply(&self, params: &SamplingParams, logits: &mut [f32]) {
        for &(token, bias) in &params.logit_bias {
            logits[token as usize] += bias;
        }
    }
}
