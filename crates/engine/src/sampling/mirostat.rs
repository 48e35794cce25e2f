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

    /// Cuts off what is too surprising; the best token always stays.
    pub(super) fn truncate(&self, candidates: &mut Candidates) {
        let least_weight = candidates.total * (-self.limit).exp2();
        let best = candidates
            .list
            .iter()
            .fold(0.0, |best: f32, candidate| best.max(candidate.weight));
        candidates.list.retain(|candidate| {
            f64::from(candidate.weight) >= least_weight || candidate.weight == best
        });
    }

    /// Learns from the token chosen, whose probability is taken before the cut (`total`).
    pub(super) fn observe(&mut self, chosen: &Candidate, total: f64) {
        let surprise = -(f64::from(chosen.weight) / total).log2();
        self.limit -= f64::from(self.params.eta) * (surprise - f64::from(self.params.tau));
    }
}
