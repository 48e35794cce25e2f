//! Distributions for the tests of the stages.

use matou_kernels::Isa;

use super::{Sampler, SamplingParams, SequenceTokens, Workspace};

/// Logits like a model's: roughly normal, with a standard deviation of about 2.3.
pub(super) fn logits(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = || {
        // xorshift64* (Vigna 2016)
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 40) as f32 / (1 << 24) as f32
    };
    (0..n)
        .map(|_| (0..4).map(|_| uniform() - 0.5).sum::<f32>() * 4.0)
        .collect()
}

/// Probabilities, by the definition.
pub(super) fn softmax(logits: &[f32]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
    logits
        .iter()
        .map(|&logit| f64::from(logit).exp() / total)
        .collect()
}

/// How many tokens the answers of [`drawn`] have.
pub(super) const DRAWS: usize = 20_000;

/// How often each token is drawn from `logits` by one answer of `DRAWS` tokens.
pub(super) fn drawn(params: &SamplingParams, logits: &[f32]) -> Vec<usize> {
    let mut sampler = Sampler::new(params, 0);
    let mut workspace = Workspace::new(Isa::detect());
    let tokens = vec![0; DRAWS];
    let mut counts = vec![0; logits.len()];
    for position in 0..DRAWS {
        let context = SequenceTokens {
            token_ids: &tokens[..position],
            num_prompt_tokens: 0,
        };
        let sampled = sampler
            .sample(&mut logits.to_vec(), context, &mut workspace)
            .unwrap();
        counts[sampled.token_id as usize] += 1;
    }
    counts
}

/// Pearson's test at the 99.9 % level; tokens expected fewer than 5 times are counted together.
pub(super) fn assert_drawn_from(probabilities: &[f64], counts: &[usize]) {
    let (mut statistic, mut cells, mut rare) = (0.0, 0u32, (0.0, 0.0));
    for (p, &count) in probabilities.iter().zip(counts) {
        assert!(*p > 0.0 || count == 0, "an impossible token was drawn");
        let expected = p * DRAWS as f64;
        if expected < 5.0 {
            rare = (rare.0 + expected, rare.1 + count as f64);
        } else {
            statistic += (count as f64 - expected).powi(2) / expected;
            cells += 1;
        }
    }
    if rare.0 >= 5.0 {
        statistic += (rare.1 - rare.0).powi(2) / rare.0;
        cells += 1;
    }
    // Wilson and Hilferty's approximation of the chi-square quantile.
    let freedom = f64::from(cells.max(2) - 1);
    let limit =
        freedom * (1.0 - 2.0 / (9.0 * freedom) + 3.09 * (2.0 / (9.0 * freedom)).sqrt()).powi(3);
    assert!(
        statistic < limit,
        "chi-square {statistic} exceeds {limit} at {freedom} degrees of freedom"
    );
}
