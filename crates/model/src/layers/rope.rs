//! Rotary position embeddings: dimension `i` of a head rotates with dimension `i + rotary_dim / 2`.

use std::f64::consts::TAU;

use crate::backend::{Backend, HeadLayout};
use crate::config::{Llama4Scaling, RopeParameters, RopeScaling};
use crate::error::Result;

/// Rotates queries and keys; one serves all layers with the same parameters.
pub(crate) struct Rope<B: Backend> {
    table: B::Rope,
    llama_4_scaling: Option<Llama4Scaling>,
}

impl<B: Backend> Rope<B> {
    pub(crate) fn new(backend: &B, parameters: &RopeParameters, head_dim: usize) -> Result<Self> {
        let (inv_freq, magnitude) = frequencies(parameters, head_dim);
        Ok(Self {
            table: backend.rope(inv_freq, magnitude)?,
            llama_4_scaling: parameters.llama_4_scaling,
        })
    }

    /// Makes ready for a step with these positions.
    pub(crate) fn begin_step(&mut self, backend: &B, positions: &[u32]) -> Result<()> {
        backend.begin_rope(&mut self.table, positions)
    }

    /// Rotates queries and keys of each row of a fused projection `[tokens, width]` by the step's
    /// positions; the queries are scaled too, if the model does that.
    pub(crate) fn forward(
        &self,
        backend: &B,
        fused: &mut B::Tensor,
        layout: HeadLayout,
        positions: &[u32],
    ) -> Result<()> {
        backend.rotate(&self.table, fused, layout, positions)?;
        let Some(scaling) = self.llama_4_scaling else {
            return Ok(());
        };
        let factor = |position: &u32| {
            let periods = (f64::from(*position) / scaling.original_max_position_embeddings).floor();
            (1.0 + scaling.beta * periods.ln_1p()) as f32
        };
        let factors: Vec<f32> = positions.iter().map(factor).collect();
        backend.scale_rows(fused, layout.queries * layout.head_dim, &factors)
    }
}

/// Inverse frequencies, and the factor on cosines and sines.
fn frequencies(parameters: &RopeParameters, head_dim: usize) -> (Vec<f32>, f64) {
    let dim = parameters.rotary_dim(head_dim) as f64;
    let theta = parameters.theta;
    let plain = (0..parameters.rotary_dim(head_dim) / 2).map(|i| theta.powf(-2.0 * i as f64 / dim));
    match &parameters.scaling {
        RopeScaling::Default | RopeScaling::Long { .. } | RopeScaling::Dynamic { .. } => {
            (plain.map(|f| f as f32).collect(), 1.0)
        }
        RopeScaling::Linear { factor } => (plain.map(|f| (f / factor) as f32).collect(), 1.0),
        RopeScaling::Factors {
            factors,
            attention_factor,
        } => {
            let scaled = plain
                .zip(factors)
                .map(|(f, factor)| (f / f64::from(*factor)) as f32);
            (scaled.collect(), *attention_factor)
        }
        RopeScaling::Llama3 {
            factor,
            low_freq_factor,
            high_freq_factor,
            original_max_position_embeddings,
        } => {
            // Wavelengths above the longer bound are stretched, below the shorter one kept.
            let scaled = plain.map(|f| {
                let periods = original_max_position_embeddings * f / TAU;
                let kept = ((periods - low_freq_factor) / (high_freq_factor - low_freq_factor))
                    .clamp(0.0, 1.0);
                (f / factor * (1.0 - kept) + f * kept) as f32
            });
            (scaled.collect(), 1.0)
        }
        RopeScaling::Yarn {
            factor,
            beta_fast,
            beta_slow,
            original_max_position_embeddings,
            attention_factor,
            truncate,
        } => {
            // The dimension that rotates so often over the original context.
            let dimension = |rotations: f64| {
                dim * (original_max_position_embeddings / (rotations * TAU)).ln()
                    / (2.0 * theta.ln())
            };
            let (mut low, mut high) = (dimension(*beta_fast), dimension(*beta_slow));
            if *truncate {
                (low, high) = (low.floor(), high.ceil());
            }
            let (low, high) = (low.max(0.0), high.min(dim - 1.0));
            let width = if low == high { 0.001 } else { high - low };
            let scaled = plain.enumerate().map(|(i, f)| {
                let stretched = ((i as f64 - low) / width).clamp(0.0, 1.0);
                (f / factor * stretched + f * (1.0 - stretched)) as f32
            });
            (scaled.collect(), *attention_factor)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaled(scaling: RopeScaling) -> (Vec<f32>, f64) {
        let parameters = RopeParameters {
            theta: 10_000.0,
            partial_rotary_factor: 1.0,
            scaling,
            llama_4_scaling: None,
        };
        frequencies(&parameters, 64)
    }

    fn assert_ratio(scaled: f32, plain: f32, expected: f32) {
        assert!(
            (scaled / plain - expected).abs() < 1e-5,
            "{scaled} is not {expected} times {plain}"
        );
    }

    #[test]
    fn frequencies_fall_from_one_by_powers_of_the_base() {
        let (plain, magnitude) = scaled(RopeScaling::Default);
        assert_eq!((plain.len(), plain[0], magnitude), (32, 1.0, 1.0));
        assert_ratio(plain[16], plain[0], 0.01);
    }

    #[test]
    fn scaling_by_parts_keeps_high_frequencies_and_divides_low_ones() {
        let (plain, _) = scaled(RopeScaling::Default);
        let llama3 = scaled(RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_position_embeddings: 64.0,
        });
        let yarn = scaled(RopeScaling::Yarn {
            factor: 8.0,
            beta_fast: 32.0,
            beta_slow: 1.0,
            original_max_position_embeddings: 4096.0,
            attention_factor: 1.2,
            truncate: true,
        });
        assert_eq!((llama3.1, yarn.1), (1.0, 1.2));
        for (frequencies, _) in [llama3, yarn] {
            assert_ratio(frequencies[0], plain[0], 1.0);
            assert_ratio(frequencies[31], plain[31], 1.0 / 8.0);
            let ratios: Vec<f32> = frequencies.iter().zip(&plain).map(|(f, p)| f / p).collect();
            assert!(
                ratios.windows(2).all(|pair| pair[1] <= pair[0] + 1e-5),
                "{ratios:?}"
            );
        }
    }

    #[test]
    fn linear_scaling_and_factors_divide() {
        let (plain, _) = scaled(RopeScaling::Default);
        let (linear, _) = scaled(RopeScaling::Linear { factor: 4.0 });
        let (factors, _) = scaled(RopeScaling::Factors {
            factors: (1..=32).map(|i| i as f32).collect(),
            attention_factor: 1.0,
        });
        assert_ratio(linear[7], plain[7], 0.25);
        assert_ratio(factors[7], plain[7], 0.125);
    }
}
