//! Rotary position embeddings: dimension `i` of a head rotates with dimension `i + rotary_dim / 2`.

use std::f64::consts::TAU;

use candle_core::{D, DType, Device, Tensor};
use matou_kernels::rope::{RopeTable, rope_neox};
use matou_kernels::rows::for_row_part;

use crate::compute::{Compute, write};
use crate::config::{Llama4Scaling, RopeParameters, RopeScaling};
use crate::error::Result;

/// Rotates queries and keys; one serves all layers with the same parameters.
pub(crate) struct Rope {
    table: Table,
    llama_4_scaling: Option<Llama4Scaling>,
}

enum Table {
    Kernels(RopeTable),
    /// Computed anew for the positions of each step.
    Candle {
        /// `[rotary_dim / 2]`
        inv_freq: Tensor,
        magnitude: f64,
        /// `[tokens, rotary_dim / 2]` cosines and sines of the step.
        cos_sin: Option<(Tensor, Tensor)>,
    },
}

impl Rope {
    pub(crate) fn new(
        compute: &Compute,
        parameters: &RopeParameters,
        head_dim: usize,
    ) -> Result<Self> {
        let (inv_freq, magnitude) = frequencies(parameters, head_dim);
        let table = match compute {
            Compute::Kernels(_) => Table::Kernels(RopeTable::new(inv_freq, magnitude as f32)),
            Compute::Candle { device, .. } => {
                let len = inv_freq.len();
                Table::Candle {
                    inv_freq: Tensor::from_vec(inv_freq, (1, len), device)?,
                    magnitude,
                    cos_sin: None,
                }
            }
        };
        Ok(Self {
            table,
            llama_4_scaling: parameters.llama_4_scaling,
        })
    }

    /// Makes ready for a step with these positions.
    pub(crate) fn begin_step(&mut self, positions: &[u32]) -> Result<()> {
        match &mut self.table {
            Table::Kernels(table) => {
                let last = positions.iter().max().copied().unwrap_or(0);
                table.grow_to(last as usize + 1);
            }
            Table::Candle {
                inv_freq,
                magnitude,
                cos_sin,
            } => {
                let angles = column(positions.iter().map(|&p| p as f32), inv_freq.device())?
                    .broadcast_mul(inv_freq)?;
                *cos_sin = Some(((angles.cos()? * *magnitude)?, (angles.sin()? * *magnitude)?));
            }
        }
        Ok(())
    }

    /// Rotates the first `heads` heads of each row of a fused projection `[tokens, width]` by the
    /// step's positions; the `queries` first of them are scaled too, if the model does that.
    pub(crate) fn forward(
        &self,
        compute: &Compute,
        fused: Tensor,
        shape: HeadLayout,
        positions: &[u32],
    ) -> Result<Tensor> {
        let rotated = match (&self.table, compute) {
            (Table::Kernels(table), Compute::Kernels(cpu)) => {
                let width = fused.dim(1)?;
                let heads = shape.queries + shape.keys;
                write(&fused, |fused| {
                    rope_neox(
                        &cpu.context,
                        table,
                        fused,
                        width,
                        heads,
                        shape.head_dim,
                        positions,
                    );
                })?;
                fused
            }
            (
                Table::Candle {
                    cos_sin: Some((cos, sin)),
                    ..
                },
                _,
            ) => rotate(&fused, shape, cos, sin)?,
            _ => {
                let message = "the step's rotations are not prepared".to_owned();
                return Err(crate::ModelError::Forward(message));
            }
        };
        match self.llama_4_scaling {
            Some(scaling) => scale_queries(compute, rotated, shape, scaling, positions),
            None => Ok(rotated),
        }
    }
}

/// How heads lie in a row of a fused projection: queries, then keys, then what does not rotate.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadLayout {
    pub(crate) queries: usize,
    pub(crate) keys: usize,
    pub(crate) head_dim: usize,
}

fn rotate(fused: &Tensor, shape: HeadLayout, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
    let (tokens, width) = fused.dims2()?;
    let heads = shape.queries + shape.keys;
    let half = cos.dim(1)?;
    let rotating = fused
        .narrow(1, 0, heads * shape.head_dim)?
        .reshape((tokens, heads, shape.head_dim))?
        .to_dtype(DType::F32)?;
    let (a, b) = (
        rotating.narrow(2, 0, half)?,
        rotating.narrow(2, half, half)?,
    );
    let (cos, sin) = (cos.unsqueeze(1)?, sin.unsqueeze(1)?);
    let rotated = Tensor::cat(
        &[
            (a.broadcast_mul(&cos)? - b.broadcast_mul(&sin)?)?,
            (b.broadcast_mul(&cos)? + a.broadcast_mul(&sin)?)?,
            rotating.narrow(2, 2 * half, shape.head_dim - 2 * half)?,
        ],
        D::Minus1,
    )?
    .reshape((tokens, heads * shape.head_dim))?
    .to_dtype(fused.dtype())?;
    let rest = fused.narrow(1, heads * shape.head_dim, width - heads * shape.head_dim)?;
    Ok(Tensor::cat(&[rotated, rest], 1)?)
}

/// Multiplies the queries of each row by the factor of its position.
fn scale_queries(
    compute: &Compute,
    fused: Tensor,
    shape: HeadLayout,
    scaling: Llama4Scaling,
    positions: &[u32],
) -> Result<Tensor> {
    let query_width = shape.queries * shape.head_dim;
    let factor = |position: &u32| {
        let periods = (f64::from(*position) / scaling.original_max_position_embeddings).floor();
        (1.0 + scaling.beta * periods.ln_1p()) as f32
    };
    let (_, width) = fused.dims2()?;
    if let Compute::Kernels(cpu) = compute {
        write(&fused, |fused| {
            for_row_part(
                &cpu.context,
                positions.len(),
                (fused, width),
                |rows, fused| {
                    for (row, position) in fused.chunks_exact_mut(width).zip(&positions[rows]) {
                        let factor = factor(position);
                        row[..query_width]
                            .iter_mut()
                            .for_each(|query| *query *= factor);
                    }
                },
            );
        })?;
        return Ok(fused);
    }
    let factors = column(positions.iter().map(factor), fused.device())?.to_dtype(fused.dtype())?;
    let queries = fused.narrow(1, 0, query_width)?.broadcast_mul(&factors)?;
    let rest = fused.narrow(1, query_width, width - query_width)?;
    Ok(Tensor::cat(&[queries, rest], 1)?)
}

fn column(values: impl Iterator<Item = f32>, device: &Device) -> Result<Tensor> {
    let values: Vec<f32> = values.collect();
    let rows = values.len();
    Ok(Tensor::from_vec(values, (rows, 1), device)?)
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
