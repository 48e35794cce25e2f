//! Log-probabilities of the model's own distribution.

use super::candidates::Candidates;
use super::math;
use crate::request::TokenLogprobs;

/// A row of raw logits, normalised.
#[derive(Debug)]
pub(super) struct RawDistribution<'a> {
    logits: &'a [f32],
    log_total: f64,
}

impl<'a> RawDistribution<'a> {
    pub(super) fn new(logits: &'a [f32]) -> Self {
        Self {
            logits,
            log_total: math::log_sum_exp(logits),
        }
    }

    /// The log-probability of `token` and the `k` best tokens with theirs. `scratch` is overwritten.
    pub(super) fn logprobs(&self, token: u32, k: usize, scratch: &mut Candidates) -> TokenLogprobs {
        let logprob = |logit: f32| (f64::from(logit) - self.log_total) as f32;
        let mut top = Vec::new();
        if k > 0 {
            scratch.gather_top_k(self.logits, k);
            scratch.sort();
            top.extend(
                scratch
                    .list
                    .iter()
                    .map(|candidate| (candidate.token, logprob(candidate.logit))),
            );
        }
        TokenLogprobs {
            logprob: logprob(self.logits[token as usize]),
            top,
        }
    }
}
