//! The feed-forward part of a layer: gated, dense or of sparse experts.

use candle_core::{DType, Tensor};
use matou_kernels::Isa;
use matou_kernels::activation::{geglu_tanh, swiglu};
use matou_kernels::vector::softmax;

use super::Linear;
use crate::compute::{Compute, read};
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
    pub(crate) fn forward(&self, x: Tensor) -> Result<Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(x),
            Self::Sparse(moe) => moe.forward(&x),
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

    fn forward(&self, x: Tensor) -> Result<Tensor> {
        let gate_up = self.gate_up.forward(&x)?;
        let gated = self.activate(&gate_up)?;
        let y = self.down.forward(&gated)?;
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
    isa: Isa,
    router: Linear,
    experts: Vec<Mlp>,
    experts_per_token: usize,
}

impl SparseMoe {
    pub(crate) fn new(
        isa: Isa,
        router: Linear,
        experts: Vec<Mlp>,
        experts_per_token: usize,
    ) -> Self {
        Self {
            isa,
            router,
            experts,
            experts_per_token,
        }
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let router_logits: Vec<Vec<f32>> =
            self.router.forward(x)?.to_dtype(DType::F32)?.to_vec2()?;
        let mut rows_of = vec![(Vec::new(), Vec::new()); self.experts.len()];
        for (row, mut weights) in router_logits.into_iter().enumerate() {
            softmax(self.isa, &mut weights);
            for (expert, weight) in self.choose(&weights) {
                let (rows, row_weights): &mut (Vec<u32>, Vec<f32>) = &mut rows_of[expert];
                rows.push(row as u32);
                row_weights.push(weight);
            }
        }
        // A token's experts are added in the order of their numbers, whoever else chose them.
        let mut y = x.zeros_like()?;
        for (expert, (rows, weights)) in self.experts.iter().zip(rows_of) {
            if rows.is_empty() {
                continue;
            }
            let weights = Tensor::new(weights.as_slice(), x.device())?.unsqueeze(1)?;
            let rows = Tensor::new(rows.as_slice(), x.device())?;
            let output = expert.forward(x.index_select(&rows, 0)?)?;
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
