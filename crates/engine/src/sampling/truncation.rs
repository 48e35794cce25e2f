//! Stages that cut off unlikely tokens: top-nσ, top-k, typical-p, top-p, min-p.
//!
//! Each sees the distribution that the ones before it left, renormalised.

use matou_kernels::vector;

use super::candidates::{Candidate, Candidates};
use super::params::SamplingParams;

/// Top-nσ (Tang et al. 2024): keeps logits within `n` standard deviations of the best.
#[derive(Debug)]
struct TopNSigma(f32);

impl TopNSigma {
    /// The smallest logit that stays.
    fn threshold(&self, logits: &[f32], max: f32) -> f32 {
        let is_possible = |logit: &&f32| **logit > f32::NEG_INFINITY;
        let possible = || {
            logits
                .iter()
                .filter(is_possible)
                .map(|&logit| f64::from(logit))
        };
        let count = possible().count() as f64;
        let mean = possible().sum::<f64>() / count;
        let variance = possible().map(|logit| (logit - mean).powi(2)).sum::<f64>() / count;
        max - self.0 * variance.sqrt() as f32
    }
}

/// Locally typical sampling (Meister et al. 2022): keeps the tokens whose surprise is nearest to the
/// entropy and that together reach this probability.
#[derive(Debug)]
struct TypicalP(f32);

impl TypicalP {
    fn apply(&self, candidates: &mut Candidates) {
        let total = candidates.total;
        let surprise = |candidate: &Candidate| -(f64::from(candidate.weight) / total).ln();
        let possible = candidates
            .list
            .iter()
            .filter(|candidate| candidate.weight > 0.0);
        let entropy: f64 = possible
            .map(|candidate| f64::from(candidate.weight) / total * surprise(candidate))
            .sum();
        let distance = |candidate: &Candidate| (surprise(candidate) - entropy).abs();
        candidates.keep_smallest_weighing(f64::from(self.0) * total, distance);
        candidates.renormalise();
    }
}

/// Nucleus sampling (Holtzman et al. 2020): keeps the fewest best tokens that together reach this
/// probability.
#[derive(Debug)]
struct TopP(f32);

impl TopP {
    fn apply(&self, candidates: &mut Candidates) {
        candidates.keep_best_weighing(f64::from(self.0) * candidates.total);
        candidates.renormalise();
    }
}

/// Min-p (Nguyen et al. 2024): keeps tokens at least this fraction as likely as the best.
#[derive(Debug)]
struct MinP(f32);

impl MinP {
    fn apply(&self, candidates: &mut Candidates) {
        let least = self.0 * candidates.heaviest();
        candidates
            .list
            .retain(|candidate| candidate.weight >= least);
        candidates.renormalise();
    }
}

/// The truncations a request uses, in their order.
#[derive(Debug)]
pub(super) struct Truncation {
    top_n_sigma: Option<TopNSigma>,
    top_k: Option<usize>,
    typical_p: Option<TypicalP>,
    top_p: Option<TopP>,
    min_p: Option<MinP>,
}

impl Truncation {
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        let truncation = Self {
            top_n_sigma: params.top_n_sigma.map(TopNSigma),
            top_k: params.top_k,
            typical_p: (params.typical_p < 1.0).then_some(TypicalP(params.typical_p)),
            top_p: (params.top_p < 1.0).then_some(TopP(params.top_p)),
            min_p: (params.min_p > 0.0).then_some(MinP(params.min_p)),
        };
        let any = truncation.top_n_sigma.is_some()
            || truncation.top_k.is_some()
            || truncation.typical_p.is_some()
            || truncation.top_p.is_some()
            || truncation.min_p.is_some();
        any.then_some(truncation)
    }

    /// Lists the tokens of `logits` that are kept.
    pub(super) fn apply(&self, logits: &[f32], candidates: &mut Candidates) {
        self.gather(logits, candidates);
        if let Some(typical_p) = &self.typical_p {
            typical_p.apply(candidates);
        }
        if let Some(top_p) = &self.top_p {
            top_p.apply(candidates);
        }
        if let Some(min_p) = &self.min_p {
            min_p.apply(candidates);
        }
    }

    /// Lists what is worth listing: top-nσ, top-k and min-p say at once what to keep, top-p where
    /// it is bound to cut. Only typical-p looks at every token.
    fn gather(&self, logits: &[f32], candidates: &mut Candidates) {
        let max = vector::max(candidates.isa, logits);
        match (&self.top_n_sigma, self.top_k) {
            (Some(top_n_sigma), top_k) => {
                candidates.gather_from(logits, top_n_sigma.threshold(logits, max));
                candidates.keep_best(top_k.unwrap_or(usize::MAX));
            }
            (None, Some(k)) => candidates.gather_top_k(logits, k),
            (None, None) if self.typical_p.is_some() => return candidates.gather_all(logits),
            (None, None) => match &self.top_p {
                Some(top_p) => return self.gather_nucleus(top_p, logits, max, candidates),
                None => candidates.gather_from(logits, max - self.min_p_depth().unwrap_or(BOTTOM)),
            },
        }
        candidates.weigh(max);
        candidates.renormalise();
    }

    /// For top-p on the whole vocabulary: lists the most likely tokens, and more of them until they
    /// hold the nucleus. With min-p, what that would drop need not be listed: either the nucleus
    /// ends within the list, or top-p drops nothing that min-p keeps.
    fn gather_nucleus(
        &self,
        TopP(p): &TopP,
        logits: &[f32],
        max: f32,
        candidates: &mut Candidates,
    ) {
        candidates.total = f64::from(vector::sum_exp(candidates.isa, logits, max));
        let nucleus = f64::from(*p) * candidates.total;
        let mut depth = self.min_p_depth().unwrap_or(8.0);
        loop {
            candidates.gather_from(logits, max - depth);
            candidates.weigh(max);
            let complete = depth >= BOTTOM || candidates.listed_weight() >= nucleus;
            if complete || self.min_p.is_some() {
                break;
            }
            depth *= 2.0;
        }
    }

    /// How far below the best logit min-p keeps tokens; a little more, so that rounding cannot
    /// matter.
    fn min_p_depth(&self) -> Option<f32> {
        self.min_p.as_ref().map(|MinP(p)| 0.01 - p.ln())
    }
}

/// Tokens further below the best logit than this weigh nothing in f32.
const BOTTOM: f32 = 104.0;

#[cfg(test)]
mod tests {
    use matou_kernels::Isa;

    use super::*;
    use crate::sampling::testing::{logits, softmax};

    /// Tokens with their probabilities, and a straightforward version of each stage on them.
    #[derive(Clone)]
    struct Reference(Vec<(u32, f64)>);

    impl Reference {
        fn new(logits: &[f32]) -> Self {
            let mut tokens: Vec<_> = (0..)
                .zip(softmax(logits))
                .filter(|(_, p)| *p > 0.0)
                .collect();
            tokens.sort_by(|a, b| b.1.total_cmp(&a.1));
            Self(tokens)
        }

        fn normalise(mut self) -> Self {
            let total: f64 = self.0.iter().map(|(_, p)| p).sum();
            self.0.iter_mut().for_each(|(_, p)| *p /= total);
            self
        }

        fn until(mut self, p: f64) -> Self {
            let mut sum = 0.0;
            let kept = self
                .0
                .iter()
                .take_while(|(_, q)| {
                    let before = sum;
                    sum += q;
                    before < p
                })
                .count();
            self.0.truncate(kept);
            self.normalise()
        }

        fn top_n_sigma(mut self, logits: &[f32], n: f64) -> Self {
            let count = logits.len() as f64;
            let mean = logits.iter().map(|&x| f64::from(x)).sum::<f64>() / count;
            let sigma = (logits
                .iter()
                .map(|&x| (f64::from(x) - mean).powi(2))
                .sum::<f64>()
                / count)
                .sqrt();
            let max = f64::from(logits[self.0[0].0 as usize]);
            self.0
                .retain(|(token, _)| f64::from(logits[*token as usize]) >= max - n * sigma);
            self.normalise()
        }

        fn top_k(mut self, k: usize) -> Self {
            self.0.truncate(k);
            self.normalise()
        }

        fn typical_p(mut self, p: f64) -> Self {
            let entropy: f64 = self.0.iter().map(|(_, p)| -p * p.ln()).sum();
            self.0.sort_by(|a, b| {
                (-a.1.ln() - entropy)
                    .abs()
                    .total_cmp(&(-b.1.ln() - entropy).abs())
            });
            self.until(p)
        }

        fn top_p(mut self, p: f64) -> Self {
            self.0.sort_by(|a, b| b.1.total_cmp(&a.1));
            self.until(p)
        }

        fn min_p(mut self, p: f64) -> Self {
            let best = self.0.iter().map(|(_, p)| *p).fold(0.0, f64::max);
            self.0.retain(|(_, q)| *q >= p * best);
            self.normalise()
        }
    }

    /// What is kept of `logits`, with probabilities, by token.
    fn kept(isa: Isa, params: &SamplingParams, logits: &[f32]) -> Vec<(u32, f64)> {
        let mut candidates = Candidates::new(isa);
        Truncation::from_params(params)
            .unwrap()
            .apply(logits, &mut candidates);
        let total = candidates.total;
        let mut kept: Vec<_> = candidates
            .list
            .iter()
            .map(|candidate| (candidate.token, f64::from(candidate.weight) / total))
            .collect();
        kept.sort_by_key(|(token, _)| *token);
        kept
    }

    fn check(params: SamplingParams, reference: impl Fn(Reference, &[f32]) -> Reference) {
        let isas = Isa::available();
        for (isa, seed) in (0..40).flat_map(|seed| isas.iter().map(move |isa| (*isa, seed))) {
            // From nearly flat to sharply peaked.
            let mut logits = logits(64 + 200 * (seed as usize % 5), seed);
            vector::scale(isa, &mut logits, [0.1, 0.5, 1.0, 3.0][seed as usize % 4]);
            let mut expected = reference(Reference::new(&logits), &logits).0;
            expected.sort_by_key(|(token, _)| *token);
            let found = kept(isa, &params, &logits);
            let tokens =
                |list: &[(u32, f64)]| list.iter().map(|(token, _)| *token).collect::<Vec<_>>();
            assert_eq!(
                tokens(&found),
                tokens(&expected),
                "seed {seed} of {params:?} with {}",
                isa.name()
            );
            for (found, expected) in found.iter().zip(&expected) {
                assert!(
                    (found.1 - expected.1).abs() < 1e-5,
                    "seed {seed} of {params:?} with {}",
                    isa.name()
                );
            }
        }
    }

    fn params(change: impl FnOnce(&mut SamplingParams)) -> SamplingParams {
        let mut params = SamplingParams::default();
        change(&mut params);
        params
    }

    #[test]
    fn top_n_sigma_keeps_logits_within_n_deviations() {
        check(params(|p| p.top_n_sigma = Some(1.5)), |all, logits| {
            all.top_n_sigma(logits, 1.5)
        });
    }

    #[test]
    fn top_k_keeps_the_k_best() {
        check(params(|p| p.top_k = Some(40)), |all, _| all.top_k(40));
        check(params(|p| p.top_k = Some(5000)), |all, _| all.top_k(5000));
    }

    #[test]
    fn typical_p_keeps_what_is_as_surprising_as_expected() {
        check(params(|p| p.typical_p = 0.8), |all, _| {
            all.typical_p(f64::from(0.8f32))
        });
    }

    #[test]
    fn top_p_keeps_the_nucleus() {
        check(params(|p| p.top_p = 0.9), |all, _| {
            all.top_p(f64::from(0.9f32))
        });
        check(params(|p| p.top_p = 0.3), |all, _| {
            all.top_p(f64::from(0.3f32))
        });
        check(params(|p| p.top_p = 0.999), |all, _| {
            all.top_p(f64::from(0.999f32))
        });
    }

    #[test]
    fn min_p_keeps_what_is_near_the_best() {
        check(params(|p| p.min_p = 0.05), |all, _| {
            all.min_p(f64::from(0.05f32))
        });
        check(params(|p| p.min_p = 1.0), |all, _| all.min_p(1.0));
    }

    #[test]
    fn truncations_compose_in_their_documented_order() {
        check(
            params(|p| {
                p.top_p = 0.9;
                p.min_p = 0.05;
            }),
            |all, _| all.top_p(f64::from(0.9f32)).min_p(f64::from(0.05f32)),
        );
        check(
            params(|p| {
                p.top_n_sigma = Some(2.0);
                p.top_k = Some(50);
                p.typical_p = 0.9;
                p.top_p = 0.8;
                p.min_p = 0.1;
            }),
            |all, logits| {
                let list = all
                    .top_n_sigma(logits, 2.0)
                    .top_k(50)
                    .typical_p(f64::from(0.9f32));
                list.top_p(f64::from(0.8f32)).min_p(f64::from(0.1f32))
            },
        );
    }
}
