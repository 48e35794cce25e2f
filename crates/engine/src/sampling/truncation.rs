//! Stages that cut off unlikely tokens: top-n-sigma, top-k, typical-p, top-p, min-p.
//!
//! Each sees the distribution that the ones before it left, renormalised.

use super::candidates::{Candidate, Candidates};
use super::math;
use super::params::SamplingParams;

/// Top-nσ (Tang et al. 2024): keeps logits within `n` standard deviations of the best.
#[derive(Debug)]
pub(super) struct TopNSigma(pub(super) f32);

impl TopNSigma {
    /// The smallest logit that stays.
    pub(super) fn threshold(&self, logits: &[f32], max: f32) -> f32 {
        let possible = || {
            logits
                .iter()
                .filter(|logit| **logit > f32::NEG_INFINITY)
                .map(|&logit| f64::from(logit))
        };
        let (count, sum) =
            possible().fold((0u32, 0.0), |(count, sum), logit| (count + 1, sum + logit));
        let mean = sum / f64::from(count);
        let variance =
            possible().map(|logit| (logit - mean).powi(2)).sum::<f64>() / f64::from(count);
        max - self.0 * variance.sqrt() as f32
    }
}

/// The truncations that work on a list of candidates, in their order.
#[derive(Debug)]
pub(super) struct Truncation;

impl Truncation {
    /// Whether the settings keep every possible token.
    pub(super) fn keeps_all(params: &SamplingParams, vocab_size: usize) -> bool {
        params.top_n_sigma.is_none()
            && params.top_k.is_none_or(|k| k >= vocab_size)
            && params.typical_p >= 1.0
            && params.top_p >= 1.0
            && params.min_p <= 0.0
    }

    /// Lists what of `logits` these settings can keep, and cuts it down.
    pub(super) fn apply(
        &self,
        params: &SamplingParams,
        logits: &[f32],
        scale: f32,
        candidates: &mut Candidates,
    ) {
        self.gather(params, logits, scale, candidates);
        if params.typical_p < 1.0 {
            typical_p(candidates, params.typical_p);
        }
        if params.top_p < 1.0 {
            candidates.keep_best_weighing(f64::from(params.top_p) * candidates.total);
            candidates.renormalise();
        }
        if params.min_p > 0.0 {
            // The best token weighs 1 unless typical-p has removed it.
            let best = candidates
                .list
                .iter()
                .fold(0.0, |best: f32, candidate| best.max(candidate.weight));
            candidates
                .list
                .retain(|candidate| candidate.weight >= params.min_p * best);
        }
        candidates.renormalise();
    }

    /// Top-n-sigma and top-k say at once what to list. Otherwise the most likely tokens are listed
    /// down to where the stages that follow are bound to cut.
    fn gather(
        &self,
        params: &SamplingParams,
        logits: &[f32],
        scale: f32,
        candidates: &mut Candidates,
    ) {
        let max = math::max(logits);
        let top_k = params.top_k.filter(|&k| k < logits.len());
        match (params.top_n_sigma, top_k) {
            (Some(n), top_k) => {
                candidates.gather_from(logits, TopNSigma(n).threshold(logits, max));
                candidates.keep_best(top_k.unwrap_or(usize::MAX));
            }
            (None, Some(k)) => candidates.gather_top_k(logits, k),
            (None, None)
                if params.typical_p < 1.0 || (params.top_p >= 1.0 && params.min_p <= 0.0) =>
            {
                candidates.gather_from(logits, f32::NEG_INFINITY);
            }
            (None, None) => return self.gather_likely(params, logits, max, scale, candidates),
        }
        candidates.weigh(max, scale);
        candidates.renormalise();
    }

    /// For top-p, min-p or both on the whole vocabulary. With min-p, what it would drop need not be
    /// listed: if top-p's nucleus ends within the list it is found there, else top-p drops nothing
    /// that min-p keeps. Without, the list grows until it holds the nucleus.
    fn gather_likely(
        &self,
        params: &SamplingParams,
        logits: &[f32],
        max: f32,
        scale: f32,
        candidates: &mut Candidates,
    ) {
        let total = math::sum_exp(logits, max, scale);
        // Depth below the best logit, in units of the temperature. e^-8: at 128,000 equal tokens
        // nearly all weight may lie below, with the peaked distributions of real text hardly any.
        let mut depth = if params.min_p > 0.0 {
            1e-3 - params.min_p.ln()
        } else {
            8.0
        };
        loop {
            candidates.gather_from(logits, max - depth / scale);
            candidates.weigh(max, scale);
            let enough = params.min_p > 0.0
                || depth > 88.0
                || candidates.listed_weight() >= f64::from(params.top_p) * total;
            if enough {
                break;
            }
            depth *= 2.0;
        }
        candidates.total = total;
    }
}

/// Locally typical sampling (Meister et al. 2022): keeps the tokens whose surprise is nearest to the
/// entropy and that together reach probability `p`.
fn typical_p(candidates: &mut Candidates, p: f32) {
    let total = candidates.total;
    let surprise = |candidate: &Candidate| -(f64::from(candidate.weight) / total).ln();
    let entropy: f64 = candidates
        .list
        .iter()
        .filter(|candidate| candidate.weight > 0.0)
        .map(|candidate| f64::from(candidate.weight) / total * surprise(candidate))
        .sum();
    candidates.keep_smallest_weighing(f64::from(p) * total, |candidate| {
        (surprise(candidate) - entropy).abs()
    });
    candidates.renormalise();
}
