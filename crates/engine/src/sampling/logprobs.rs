//! Log-probabilities of the model's own distribution.

use matou_kernels::vector;

use super::candidates::Candidates;

/// Log-probabilities of one position, of the model's own distribution: before temperature,
/// penalties and all other samplers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenLogprobs {
    /// Natural logarithm of the token's probability.
    pub logprob: f32,
    /// The token's place among all tokens, the most likely one's being 1.
    pub rank: usize,
    /// The most likely tokens with theirs, best first.
    pub top: Vec<(u32, f32)>,
}

/// The log-probability of `token` under raw `logits`, its rank, and the `k` best tokens with theirs.
/// The scratch space is overwritten.
pub(super) fn token_logprobs(
    logits: &[f32],
    token: u32,
    k: usize,
    scratch: &mut Candidates,
) -> TokenLogprobs {
    let log_total = vector::log_sum_exp(scratch.isa, logits);
    let mut top = Vec::new();
    if k > 0 {
        scratch.gather_top_k(logits, k);
        scratch.sort();
        top.extend(
            scratch
                .list
                .iter()
                .map(|candidate| (candidate.token, candidate.logit - log_total)),
        );
    }
    TokenLogprobs {
        logprob: logits[token as usize] - log_total,
        rank: rank(logits, token),
        top,
    }
}

/// The place of `token` in the order of the best, from 1: of equals, the lower id comes first.
fn rank(logits: &[f32], token: u32) -> usize {
    let (before, rest) = logits.split_at(token as usize);
    let logit = rest[0];
    let better = |logits: &[f32], is_better: fn(f32, f32) -> bool| {
        logits.iter().filter(|&&x| is_better(x, logit)).count()
    };
    1 + better(before, |x, y| x >= y) + better(rest, |x, y| x > y)
}

#[cfg(test)]
mod tests {
    use matou_kernels::Isa;

    use super::*;
    use crate::sampling::testing::{logits, softmax};

    #[test]
    fn log_probabilities_are_those_of_the_softmax_best_first() {
        let logits = logits(1000, 4);
        let probabilities = softmax(&logits);
        let found = token_logprobs(&logits, 123, 20, &mut Candidates::new(Isa::detect()));
        assert!((f64::from(found.logprob) - probabilities[123].ln()).abs() < 1e-5);
        let mut order: Vec<u32> = (0..1000).collect();
        order.sort_by(|&a, &b| probabilities[b as usize].total_cmp(&probabilities[a as usize]));
        let place = order.iter().position(|&token| token == 123);
        assert_eq!(Some(found.rank - 1), place);
        let tokens: Vec<u32> = found.top.iter().map(|(token, _)| *token).collect();
        assert_eq!(tokens, order[..20]);
        for (token, logprob) in found.top {
            assert!((f64::from(logprob) - probabilities[token as usize].ln()).abs() < 1e-5);
        }
        assert_eq!(
            token_logprobs(&logits, 1, 0, &mut Candidates::new(Isa::detect())).top,
            []
        );
    }

    #[test]
    fn of_equals_the_lower_id_ranks_first_as_in_the_list_of_the_best() {
        let logits = [1.0, 3.0, 1.0, 3.0, -1.0];
        let ranks = [3, 1, 4, 2, 5];
        for (token, rank) in (0..).zip(ranks) {
            let found = token_logprobs(&logits, token, 5, &mut Candidates::new(Isa::detect()));
            assert_eq!(found.rank, rank);
            assert_eq!(found.top[rank - 1].0, token);
        }
    }
}
