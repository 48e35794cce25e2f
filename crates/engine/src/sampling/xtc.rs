//! XTC: now and then, leave out the obvious.

use super::candidates::Candidates;
use super::params::SamplingParams;

/// Exclude top choices (p-e-w, <https://github.com/oobabooga/text-generation-webui/pull/6335>): with
/// this probability, of the tokens at least as likely as the threshold all but the least likely are
/// dropped.
#[derive(Debug)]
pub(super) struct Xtc {
    probability: f32,
    threshold: f32,
}

impl Xtc {
    /// A threshold above one half leaves no two tokens to choose between.
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (params.xtc_probability > 0.0 && params.xtc_threshold <= 0.5).then_some(Self {
            probability: params.xtc_probability,
            threshold: params.xtc_threshold,
        })
    }

    /// `draw` is uniform in 0..1.
    pub(super) fn apply(&self, draw: f64, candidates: &mut Candidates) {
        if draw >= f64::from(self.probability) {
            return;
        }
        let threshold = f64::from(self.threshold) * candidates.total;
        let is_top = |weight: f32| f64::from(weight) >= threshold;
        let top = candidates
            .list
            .iter()
            .filter(|candidate| is_top(candidate.weight));
        let least = top.min_by(|a, b| a.weight.total_cmp(&b.weight).then(b.token.cmp(&a.token)));
        if let Some(least) = least.map(|candidate| candidate.token) {
            candidates
                .list
                .retain(|candidate| !is_top(candidate.weight) || candidate.token == least);
            candidates.renormalise();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::testing::logits;

    fn excluded(probability: f32, threshold: f32, draw: f64, probabilities: &[f32]) -> Vec<u32> {
        let logits: Vec<f32> = probabilities.iter().map(|p| p.ln()).collect();
        let mut candidates = Candidates::new(matou_kernels::Isa::detect());
        candidates.gather_from(&logits, f32::NEG_INFINITY);
        candidates.weigh(0.0);
        candidates.renormalise();
        let params = SamplingParams {
            xtc_probability: probability,
            xtc_threshold: threshold,
            ..SamplingParams::default()
        };
        if let Some(xtc) = Xtc::from_params(&params) {
            xtc.apply(draw, &mut candidates);
        }
        let kept: Vec<u32> = candidates
            .list
            .iter()
            .map(|candidate| candidate.token)
            .collect();
        (0..probabilities.len() as u32)
            .filter(|token| !kept.contains(token))
            .collect()
    }

    #[test]
    fn all_top_choices_but_the_least_likely_are_dropped() {
        let probabilities = [0.15, 0.4, 0.05, 0.3, 0.1];
        assert_eq!(excluded(0.5, 0.12, 0.49, &probabilities), [1, 3]);
        assert_eq!(excluded(0.5, 0.12, 0.51, &probabilities), [0; 0]);
        assert_eq!(excluded(1.0, 0.35, 0.0, &probabilities), [0; 0]);
        assert_eq!(excluded(1.0, 0.45, 0.0, &probabilities), [0; 0]);
        assert_eq!(excluded(1.0, 0.6, 0.0, &probabilities), [0; 0]);
    }

    #[test]
    fn of_random_distributions_the_same_is_left_as_by_sorting() {
        for seed in 0..50 {
            let weights: Vec<f32> = logits(40, seed).iter().map(|logit| logit.exp()).collect();
            let total: f32 = weights.iter().sum();
            let probabilities: Vec<f32> = weights.iter().map(|weight| weight / total).collect();
            let mut top: Vec<u32> = (0..40)
                .filter(|&token| probabilities[token as usize] >= 0.04)
                .collect();
            top.sort_by(|&a, &b| probabilities[b as usize].total_cmp(&probabilities[a as usize]));
            top.pop();
            top.sort_unstable();
            assert_eq!(excluded(1.0, 0.04, 0.3, &probabilities), top);
        }
    }
}
