//! Mirostat 2.0: steers the surprise of the text to a target.

use super::candidates::{Candidate, Candidates};
use super::params::MirostatParams;

/// Mirostat 2.0 (Basu et al. 2021, "Mirostat: a neural text decoding algorithm that directly
/// controls perplexity"): tokens more surprising than a limit are cut off, and the limit follows
/// the difference between observed and wanted surprise. Surprise is in bits.
#[derive(Debug)]
pub(super) struct Mirostat {
    params: MirostatParams,
    limit: f64,
}

impl Mirostat {
    pub(super) fn new(params: MirostatParams) -> Self {
        Self {
            params,
            limit: 2.0 * f64::from(params.tau),
        }
    }

    /// Cuts off what is too surprising; the best token always stays. The total is left as it was
    /// for [`Self::observe`].
    pub(super) fn truncate(&self, candidates: &mut Candidates) {
        let best = candidates.heaviest();
        let least = (candidates.total * (-self.limit).exp2()).min(f64::from(best));
        candidates
            .list
            .retain(|candidate| f64::from(candidate.weight) >= least);
    }

    /// Learns from the token chosen, by its probability before the cut.
    pub(super) fn observe(&mut self, chosen: &Candidate, total: f64) {
        let surprise = -(f64::from(chosen.weight) / total).log2();
        self.limit -= f64::from(self.params.eta) * (surprise - f64::from(self.params.tau));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::testing::{logits, softmax};

    #[test]
    fn limit_and_cut_follow_the_paper() {
        let params = MirostatParams { tau: 3.0, eta: 0.1 };
        let mut mirostat = Mirostat::new(params);
        let mut limit = 6.0;
        for seed in 0..100 {
            let logits = logits(200, seed);
            let mut candidates = Candidates::new(matou_kernels::Isa::detect());
            candidates.gather_from(&logits, f32::NEG_INFINITY);
            candidates.weigh(0.0);
            candidates.renormalise();
            mirostat.truncate(&mut candidates);

            let probabilities = softmax(&logits);
            let best = probabilities.iter().copied().fold(0.0, f64::max);
            let expected: Vec<u32> = (0..200)
                .filter(|&token| {
                    let p = probabilities[token as usize];
                    -p.log2() <= limit || p == best
                })
                .collect();
            let kept: Vec<u32> = candidates
                .list
                .iter()
                .map(|candidate| candidate.token)
                .collect();
            assert_eq!(kept, expected, "seed {seed}");

            let chosen = candidates.list[seed as usize % candidates.list.len()];
            mirostat.observe(&chosen, candidates.total);
            let surprise = -probabilities[chosen.token as usize].log2();
            limit -= f64::from(params.eta) * (surprise - f64::from(params.tau));
            assert!((mirostat.limit - limit).abs() < 1e-4);
        }
    }
}
