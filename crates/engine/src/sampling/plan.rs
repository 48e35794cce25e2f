//! What the answers to a request have in common in their sampling: made once, by whoever asks, and
//! shared.

use std::sync::Arc;

use super::constraints::{BannedSequences, LogitBias, TokenMask};
use super::dry::Dry;
use super::params::SamplingParams;
use super::token_set::TokenSet;

/// The parameters of a request, made ready for each of its answers.
#[derive(Debug, Clone)]
pub(crate) struct SamplingPlan {
    pub(crate) params: Arc<SamplingParams>,
    pub(super) mask: Option<Arc<TokenMask>>,
    pub(super) banned: Option<Arc<BannedSequences>>,
    pub(super) bias: Option<Arc<LogitBias>>,
    pub(super) dry: Option<Arc<Dry>>,
    /// The tokens that end an answer.
    stop: Arc<TokenSet>,
}

impl SamplingPlan {
    /// Makes the parameters ready. They have been [validated](SamplingParams::validate).
    pub(crate) fn new(params: SamplingParams) -> Self {
        let eos = params.eos_token_ids.iter().filter(|_| !params.ignore_eos);
        Self {
            mask: TokenMask::from_params(&params).map(Arc::new),
            banned: BannedSequences::from_params(&params).map(Arc::new),
            bias: LogitBias::from_params(&params).map(Arc::new),
            dry: Dry::from_params(&params).map(Arc::new),
            stop: Arc::new(params.stop_token_ids.iter().chain(eos).collect()),
            params: Arc::new(params),
        }
    }

    /// Whether `token` ends an answer.
    pub(crate) fn is_stop_token(&self, token: u32) -> bool {
        self.stop.contains(&token)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(params: &SamplingParams) -> SamplingPlan {
        SamplingPlan::new(params.clone())
    }

    #[test]
    fn end_tokens_stop_unless_ignored_and_stop_tokens_always_do() {
        let mut params = SamplingParams {
            eos_token_ids: vec![2],
            stop_token_ids: vec![7],
            ..Default::default()
        };
        assert!(
            plan(&params).is_stop_token(2)
                && plan(&params).is_stop_token(7)
                && !plan(&params).is_stop_token(3)
        );
        params.ignore_eos = true;
        assert!(!plan(&params).is_stop_token(2) && plan(&params).is_stop_token(7));
    }
}
