//! The feed-forward part of a layer: gated, dense or of sparse experts.

use candle_core::{DType, Tensor};
use matou_kernels::Context;
use matou_kernels::activation::{geglu_tanh, swiglu};
use matou_kernels::rows::for_row_part;
use matou_kernels::vector::softmax;

use super::Linear;
use crate::adapter::AdapterRows;
use crate::compute::{Compute, Cpu, read, write};
use crate::cost::WeightCost;
use crate::error::Result;
use crate::loader::Loader;

/// The function of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Activation {
    /// `x · sigmoid(x)`
    Silu,
    /// gelu in its tanh form.
    GeluTanh,
}

/// Either kind of feed-forward part.
pub(crate) enum FeedForward {
    Dense(Mlp),
    Sparse(SparseMoe),
}

impl FeedForward {
    /// What a token costs, where the kernels compute it.
    pub(crate) fn cost(&self) -> Option<WeightCost> {
        match self {
            Self::Dense(mlp) => mlp.cost(),
            Self::Sparse(moe) => {
                let experts = moe.experts.first()?.cost()? * moe.experts_per_token as u64;
                Some(moe.router.cost()? + experts)
            }
        }
    }

    /// `[tokens, hidden]` to the same; the input is used up.
    pub(crate) fn forward(&self, x: Tensor, adapters: &AdapterRows) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x, adapters),
            Self::Sparse(moe) => moe.forward(x, adapters),
        }
    }
}

/// `down(activation(gate(x)) · up(x))`.
pub(crate) struct Mlp {
    compute: Compute,
    /// Gate, then up.
    gate_up: Linear,
    down: Linear,
    intermediate_size: usize,
    activation: Activation,
}

impl Mlp {
    pub(crate) fn new(
        loader: &Loader<'_>,
        gate_up: Linear,
        down: Linear,
        intermediate_size: usize,
        activation: Activation,
    ) -> Self {
        Self {
            compute: loader.compute().clone(),
            gate_up,
            down,
            intermediate_size,
            activation,
        }
    }

    fn cost(&self) -> Option<WeightCost> {
        Some(self.gate_up.cost()? + self.down.cost()?)
    }

    fn forward(&self, x: Tensor, adapters: &AdapterRows) -> Result<Tensor> {
        let gate_up = self.gate_up.forward(&x, adapters)?;
        let gated = self.activate(&gate_up)?;
        let y = self.down.forward(&gated, adapters)?;
        if let Compute::Kernels(cpu) = &self.compute {
            [x, gate_up, gated]
                .into_iter()
                .try_for_each(|used| cpu.recycle(used))?;
        }
        Ok(y)
    }

    fn activate(&self, gate_up: &Tensor) -> Result<Tensor> {
        let size = self.intermediate_size;
        match &self.compute {
            Compute::Kernels(cpu) => cpu.produce((gate_up.dim(0)?, size), |out| {
                read(gate_up, |gate_up| match self.activation {
                    Activation::Silu => swiglu(&cpu.context, gate_up, size, out),
                    Activation::GeluTanh => geglu_tanh(&cpu.context, gate_up, size, out),
                })
            }),
            Compute::Candle { .. } => {
                let gate = gate_up.narrow(1, 0, size)?;
                let up = gate_up.narrow(1, size, size)?;
                let gate = match self.activation {
                    Activation::Silu => gate.silu()?,
                    Activation::GeluTanh => gate.gelu()?,
                };
                Ok((gate * up)?)
            }
        }
    }
}

/// Sparse mixture of experts: a router picks the best experts of each token, their outputs are
/// added with the router's weights. Only chosen experts are computed, each once for all of the
/// batch's tokens that chose it.
pub(crate) struct SparseMoe {
    compute: Compute,
    router: Linear,
    experts: Vec<Mlp>,
    experts_per_token: usize,
}

/// The tokens that chose an expert, ascending, and its weight for each.
#[derive(Clone, Default)]
struct Chosen {
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl SparseMoe {
    pub(crate) fn new(
        compute: Compute,
        router: Linear,
        experts: Vec<Mlp>,
        experts_per_token: usize,
    ) -> Self {
        Self {
            compute,
            router,
            experts,
            experts_per_token,
        }
    }

    fn forward(&self, x: Tensor, adapters: &AdapterRows) -> Result<Tensor> {
        let chosen = self.route(&x, adapters)?;
        match &self.compute {
            Compute::Kernels(cpu) => self.run_experts(cpu, x, &chosen, adapters),
            Compute::Candle { .. } => self.run_experts_on_device(&x, &chosen, adapters),
        }
    }

    /// Which tokens chose each of the experts.
    fn route(&self, x: &Tensor, adapters: &AdapterRows) -> Result<Vec<Chosen>> {
        let router_logits = self.router.forward(x, adapters)?;
        let router_logits: Vec<Vec<f32>> = router_logits.to_dtype(DType::F32)?.to_vec2()?;
        let mut chosen = vec![Chosen::default(); self.experts.len()];
        for (row, mut weights) in router_logits.into_iter().enumerate() {
            softmax(self.compute.isa(), &mut weights);
            for (expert, weight) in self.choose(&weights) {
                chosen[expert].rows.push(row as u32);
                chosen[expert].weights.push(weight);
            }
        }
        Ok(chosen)
    }

    /// Adds up the outputs of the chosen experts, a token's in the order of their numbers, whoever
    /// else chose them. The input is used up.
    fn run_experts(
        &self,
        cpu: &Cpu,
        x: Tensor,
        chosen: &[Chosen],
        adapters: &AdapterRows,
    ) -> Result<Tensor> {
        let (tokens, columns) = x.dims2()?;
        let y = cpu.produce((tokens, columns), |y| {
            y.fill(0.0);
            Ok(())
        })?;
        for (expert, chosen) in self.experts.iter().zip(chosen) {
            if chosen.rows.is_empty() {
                continue;
            }
            let input = cpu.gather(&x, &chosen.rows)?;
            let output = expert.forward(input, &adapters.select(&chosen.rows))?;
            write(&y, |y| {
                read(&output, |output| {
                    add_weighted_rows(&cpu.context, y, columns, chosen, output);
                })
            })??;
            cpu.recycle(output)?;
        }
        cpu.recycle(x)?;
        Ok(y)
    }

    fn run_experts_on_device(
        &self,
        x: &Tensor,
        chosen: &[Chosen],
        adapters: &AdapterRows,
    ) -> Result<Tensor> {
        let mut y = x.zeros_like()?;
        for (expert, Chosen { rows, weights }) in self.experts.iter().zip(chosen) {
            if rows.is_empty() {
                continue;
            }
            let weights = Tensor::new(weights.as_slice(), x.device())?.unsqueeze(1)?;
            let adapters = adapters.select(rows);
            let rows = Tensor::new(rows.as_slice(), x.device())?;
            let output = expert.forward(x.index_select(&rows, 0)?, &adapters)?;
            y = y.index_add(
                &rows,
                &output.broadcast_mul(&weights.to_dtype(x.dtype())?)?,
                0,
            )?;
        }
        Ok(y)
    }

    /// The best experts of one token with their shares, which add up to one.
    fn choose(&self, probabilities: &[f32]) -> Vec<(usize, f32)> {
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|&a, &b| probabilities[b].total_cmp(&probabilities[a]));
        order.truncate(self.experts_per_token);
        let total: f32 = order.iter().map(|&expert| probabilities[expert]).sum();
        order
            .into_iter()
            .map(|expert| (expert, probabilities[expert] / total))
            .collect()
    }
}

/// Adds to each of the chosen rows of `y` its row of `output` times its weight.
fn add_weighted_rows(
    context: &Context,
    y: &mut [f32],
    columns: usize,
    Chosen { rows, weights }: &Chosen,
    output: &[f32],
) {
    for_row_part(context, y.len() / columns, (y, columns), |part, y| {
        let place = |row: usize| rows.partition_point(|&chosen| (chosen as usize) < row);
        for i in place(part.start)..place(part.end) {
            let y = &mut y[(rows[i] as usize - part.start) * columns..][..columns];
            let output = &output[i * columns..][..columns];
            for (y, output) in y.iter_mut().zip(output) {
                // Rounded twice, as in the operations of other devices.
                *y += output * weights[i];
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use matou_kernels::Isa;

    use super::*;

    #[test]
    fn rows_are_gathered_and_added_alike_on_any_number_of_threads() {
        let (tokens, columns) = (100, 576);
        let x: Vec<f32> = (0..tokens * columns)
            .map(|i| (i as f32 * 0.37).sin())
            .collect();
        let rows: Vec<u32> = (0..tokens as u32).filter(|row| row % 3 != 1).collect();
        let weights = rows.iter().map(|row| 1.0 / (1.0 + *row as f32)).collect();
        let chosen = Chosen { rows, weights };
        let added = |threads| {
            let cpu = Cpu::new(Context::new(Isa::Scalar, threads));
            let input = Tensor::from_slice(&x, (tokens, columns), &Device::Cpu).unwrap();
            let gathered = cpu.gather(&input, &chosen.rows).unwrap();
            let mut y = vec![1.0; x.len()];
            read(&gathered, |gathered| {
                add_weighted_rows(&cpu.context, &mut y, columns, &chosen, gathered);
            })
            .unwrap();
            y
        };
        let expected = added(1);
        for (i, y) in expected.iter().enumerate() {
            let row = i / columns;
            let weight = if row % 3 == 1 {
                0.0
            } else {
                1.0 / (1.0 + row as f32)
            };
            assert_eq!(*y, 1.0 + x[i] * weight);
        }
        assert_eq!(added(2), expected);
        assert_eq!(added(3), expected);
    }
}
