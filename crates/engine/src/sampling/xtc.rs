//! XTC: now and then, leave out the obvious.

use super::candidates::Candidates;
use super::params::SamplingParams;

/// Exclude top choices (p-e-w, <https://github.com/oobabooga/text-generation-webui/pull/6335>): with
/// probability `xtc_probability`, of the tokens at least as likely as `xtc_threshold` all but the
/// least likely are dropped.
#[derive(Debug)]
pub(super) struct Xtc;

impl Xtc {
    /// A threshold above one half leaves no two tokens to choose between.
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (params.xtc_probability > 0.0 && params.xtc_threshold <= 0.5).then_some(Self)
    }

    /// `draw` is uniform in 0..1.
    pub(super) fn apply(&self, params: &SamplingParams, draw: f64, candidates: &mut Candidates) {
        if draw >= f64::from(params.xtc_probability) {
            return;
        }
        let threshold = f64::from(params.xtc_threshold) * candidates.total;
        let is_top = |weight: f32| f64::from(weight) >= threshold;
        let least = candidates
            .list
            .iter()
            .filter(|candidate| is_top(candidate.weight))
            .min_by(|a, b| a.weight.total_cmp(&b.weight).then(b.token.cmp(&a.token)))
            .map(|candidate| candidate.token);
        if let Some(least) = least {
            candidates
                .list
                .retain(|candidate| !is_top(candidate.weight) || candidate.token == least);
            candidates.renormalise();
        }
    }
}
