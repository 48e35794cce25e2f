//! How far the distribution is flattened or sharpened.

use matou_kernels::{Isa, vector};

use super::params::SamplingParams;

/// Temperatures below this are greedy: dividing by them would overflow.
const GREEDY_BELOW: f32 = 1e-5;

/// Divides the logits by a fixed temperature, or by one that follows the entropy of the
/// distribution (dynamic temperature, "DynaTemp", kalomaze 2023): `low + (high - low) * (H / ln
/// n)^exponent`, with `low` and `high` at `temperature ± range` and `n` possible tokens.
#[derive(Debug)]
pub(super) struct Temperature {
    temperature: f32,
    range: f32,
    exponent: f32,
}

impl Temperature {
    /// `None` means greedy.
    pub(super) fn from_params(params: &SamplingParams) -> Option<Self> {
        (params.temperature >= GREEDY_BELOW).then_some(Self {
            temperature: params.temperature,
            range: params.dynatemp_range,
            exponent: params.dynatemp_exponent,
        })
    }

    /// Whether the temperature depends on which tokens are possible.
    pub(super) fn is_dynamic(&self) -> bool {
        self.range > 0.0
    }

    pub(super) fn apply(&self, isa: Isa, logits: &mut [f32]) {
        let temperature = if self.is_dynamic() {
            let low = (self.temperature - self.range).max(0.0);
            let high = self.temperature + self.range;
            low + (high - low) * normalised_entropy(isa, logits).powf(self.exponent)
        } else {
            self.temperature
        };
        if temperature != 1.0 {
            vector::scale(isa, logits, 1.0 / temperature.max(GREEDY_BELOW));
        }
    }
}

/// Entropy as a fraction of what it would be if all possible tokens were equally likely.
fn normalised_entropy(isa: Isa, logits: &[f32]) -> f32 {
    let max = vector::max(isa, logits);
    let (mut total, mut weighted, mut possible) = (0.0, 0.0, 0u32);
    for &logit in logits.iter().filter(|logit| **logit > f32::NEG_INFINITY) {
        let weight = f64::from((logit - max).exp());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::testing::{logits, softmax};

    fn apply(params: SamplingParams, logits: &mut [f32]) {
        let temperature = Temperature::from_params(&params).unwrap();
        temperature.apply(Isa::detect(), logits);
    }

    #[test]
    fn a_fixed_temperature_divides() {
        let mut logits = vec![1.0, -3.0, f32::NEG_INFINITY];
        apply(
            SamplingParams {
                temperature: 0.5,
                ..SamplingParams::default()
            },
            &mut logits,
        );
        assert_eq!(logits, [2.0, -6.0, f32::NEG_INFINITY]);
    }

    #[test]
    fn a_temperature_near_zero_is_greedy() {
        assert!(Temperature::from_params(&SamplingParams::greedy()).is_none());
        let tiny = SamplingParams {
            temperature: 1e-6,
            ..SamplingParams::default()
        };
        assert!(Temperature::from_params(&tiny).is_none());
    }

    #[test]
    fn a_dynamic_temperature_follows_the_normalised_entropy() {
        for seed in 0..5 {
            let before = logits(400, seed);
            let entropy: f64 = softmax(&before).iter().map(|p| -p * p.ln()).sum();
            let temperature = 0.7 + (1.3 - 0.7) * (entropy / 400f64.ln()).powf(1.5);
            let mut after = before.clone();
            let params = SamplingParams {
                dynatemp_range: 0.3,
                dynatemp_exponent: 1.5,
                ..SamplingParams::default()
            };
            apply(params, &mut after);
            for (after, before) in after.iter().zip(&before) {
                assert!((f64::from(*after) - f64::from(*before) / temperature).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn equal_logits_are_the_hottest_and_a_single_one_the_coldest() {
        let params = SamplingParams {
            dynatemp_range: 0.5,
            ..SamplingParams::default()
        };
        let mut equal = vec![3.0; 10];
        apply(params.clone(), &mut equal);
        assert!((equal[0] - 2.0).abs() < 1e-5);
        let mut single = vec![f32::NEG_INFINITY, 3.0];
        apply(params, &mut single);
        assert_eq!(single[1], 6.0);
    }
}
