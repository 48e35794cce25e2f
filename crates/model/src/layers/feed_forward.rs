//! The feed-forward part of a layer: gated, dense or of sparse experts.

use matou_kernels::vector::softmax;

use super::Linear;
use crate::adapter::AdapterRows;
use crate::backend::{Activation, Backend, Experts};
use crate::cost::WeightCost;
use crate::error::Result;

/// Either kind of feed-forward part.
pub(crate) enum FeedForward<B: Backend> {
    Dense(Mlp<B>),
    Sparse(SparseMoe<B>),
    /// Sparse, where the backend chooses and computes experts itself.
    Stacked(StackedMoe<B>),
}

impl<B: Backend> FeedForward<B> {
    /// What a token costs, where that is known.
    pub(crate) fn cost(&self) -> Option<WeightCost> {
        match self {
            Self::Dense(mlp) => mlp.cost(),
            Self::Sparse(moe) => {
                let experts = moe.experts.first()?.cost()? * moe.experts_per_token as u64;
                Some(moe.router.cost()? + experts)
            }
            Self::Stacked(StackedMoe { router, experts }) => {
                let expert = B::stack_cost(&experts.gate_up) + B::stack_cost(&experts.down);
                Some(router.cost()? + expert * experts.per_token as u64)
            }
        }
    }

    /// `[tokens, hidden]` to the same.
    pub(crate) fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        adapters: &AdapterRows,
    ) -> Result<B::Tensor> {
        match self {
            Self::Dense(mlp) => mlp.forward(backend, x, adapters),
            Self::Sparse(moe) => moe.forward(backend, x, adapters),
            Self::Stacked(StackedMoe { router, experts }) => {
                let logits = router.forward(backend, x, adapters)?;
                backend.experts(experts, &logits, x)
            }
        }
    }
}

/// `down(activation(gate(x)) · up(x))`.
pub(crate) struct Mlp<B: Backend> {
    /// Gate, then up.
    pub(crate) gate_up: Linear<B>,
    pub(crate) down: Linear<B>,
    pub(crate) intermediate_size: usize,
    pub(crate) activation: Activation,
}

impl<B: Backend> Mlp<B> {
    fn cost(&self) -> Option<WeightCost> {
        Some(self.gate_up.cost()? + self.down.cost()?)
    }

    fn forward(&self, backend: &B, x: &B::Tensor, adapters: &AdapterRows) -> Result<B::Tensor> {
        let gate_up = self.gate_up.forward(backend, x, adapters)?;
        let gated = backend.gate(&gate_up, self.intermediate_size, self.activation)?;
        drop(gate_up);
        self.down.forward(backend, &gated, adapters)
    }
}

/// Sparse mixture of experts: a router picks the best experts of each token, their outputs are
/// added with the router's weights. Only chosen experts are computed, each once for all of the
/// batch's tokens that chose it.
pub(crate) struct SparseMoe<B: Backend> {
    pub(crate) router: Linear<B>,
    pub(crate) experts: Vec<Mlp<B>>,
    pub(crate) experts_per_token: usize,
}

/// The same in stacks.
pub(crate) struct StackedMoe<B: Backend> {
    pub(crate) router: Linear<B>,
    pub(crate) experts: Experts<B>,
}

/// The tokens that chose an expert, ascending, and its weight for each.
#[derive(Clone, Default)]
struct Chosen {
    rows: Vec<u32>,
    weights: Vec<f32>,
}

impl<B: Backend> SparseMoe<B> {
    /// Adds up the outputs of the chosen experts, a token's in the order of their numbers, whoever
    /// else chose them.
    fn forward(&self, backend: &B, x: &B::Tensor, adapters: &AdapterRows) -> Result<B::Tensor> {
        let chosen = self.route(backend, x, adapters)?;
        let (tokens, columns) = B::shape(x);
        let mut y = backend.zeros(tokens, columns)?;
        for (expert, Chosen { rows, weights }) in self.experts.iter().zip(&chosen) {
            if rows.is_empty() {
                continue;
            }
            let input = backend.select_rows(x, rows)?;
            let output = expert.forward(backend, &input, &adapters.select(rows))?;
            backend.add_weighted_rows(&mut y, &output, rows, weights)?;
        }
        Ok(y)
    }

    /// Which tokens chose each of the experts.
    fn route(&self, backend: &B, x: &B::Tensor, adapters: &AdapterRows) -> Result<Vec<Chosen>> {
        let logits = self.router.forward(backend, x, adapters)?;
        let mut logits = backend.read(&logits)?;
        let mut chosen = vec![Chosen::default(); self.experts.len()];
        let rows = logits.chunks_exact_mut(self.experts.len());
        for (row, weights) in rows.enumerate() {
            softmax(backend.isa(), weights);
            for (expert, weight) in self.choose(weights) {
                chosen[expert].rows.push(row as u32);
                chosen[expert].weights.push(weight);
            }
        }
        Ok(chosen)
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
