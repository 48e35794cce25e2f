//! How far the distribution is flattened or sharpened.

use super::math;
use super::params::SamplingParams;

/// Temperatures below this are greedy: dividing by them would overflow.
const GREEDY_BELOW: f32 = 1e-5;

/// A fixed temperature, or one that follows the entropy of the distribution (dynamic temperature,
/// "DynaTemp", kalomaze 2023): `low + (high - low) * (H / ln n)^exponent` with
/// `low = temperature - range`, `high = temperature + range`, and `n` tokens possible.
#[derive(Debug)]
pub(super) struct Temperature;

impl Temperature {
    pub(super) fn is_greedy(params: &SamplingParams) -> bool {
        params.temperature < GREEDY_BELOW
    }

    /// The factor that logits are multiplied by: one over the temperature.
    pub(super) fn scale(&self, params: &SamplingParams, logits: &[f32]) -> f32 {
        let temperature = if params.dynatemp_range > 0.0 {
            let low = (params.temperature - params.dynatemp_range).max(0.0);
            let high = params.temperature + params.dynatemp_range;
            low + (high - low) * normalised_entropy(logits).powf(params.dynatemp_exponent)
        } else {
            params.temperature
        };
        1.0 / temperature.max(GREEDY_BELOW)
    }
}

/// Entropy as a fraction of what it would be if all possible tokens were equally likely.
fn normalised_entropy(logits: &[f32]) -> f32 {
    let max = math::max(logits);
    let (mut total, mut weighted, mut possible) = (0.0, 0.0, 0u32);
    for &logit in logits.iter().filter(|logit| **logit > f32::NEG_INFINITY) {
        let weight = f64::from(math::exp(logit - max));
        total += weight;
        weighted += weight * f64::from(logit - max);
        possible += 1;
    }
    if possible < 2 {
        return 0.0;
    }
    let entropy = total.ln() - weighted / total;
    (entropy / f64::from(possible).ln()).clamp(0.0, 1.0) as f32
}
