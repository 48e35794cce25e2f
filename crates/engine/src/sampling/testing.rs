//! Distributions for the tests of the stages.

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
