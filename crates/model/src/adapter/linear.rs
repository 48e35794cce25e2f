//! What an adapter changes of one linear layer.

use super::matrix::Matrix;

/// The changes of one linear layer, which may be several modules side by side.
pub(super) struct LinearAdapter {
    /// By where they begin.
    pub(super) parts: Vec<Part>,
}

/// The changes of one module.
pub(super) struct Part {
    /// Where the module's outputs begin among those of the layer.
    pub(super) start: usize,
    /// Number of the module's outputs.
    pub(super) rows: usize,
    /// A weight in place of the base's.
    pub(super) replaced: Option<Matrix>,
    /// What is added to the weight.
    pub(super) low_rank: Option<LowRank>,
    /// `[rows]`, what is added to the outputs.
    pub(super) bias: Option<Vec<f32>>,
    /// What the rows of the weight are stretched by.
    pub(super) stretch: Option<Stretch>,
}

/// `scale · B A`.
pub(super) struct LowRank {
    /// `[rank, columns]`
    pub(super) a: Matrix,
    /// `[rows, rank]`
    pub(super) b: Matrix,
    pub(super) rank: usize,
    pub(super) scale: f32,
}

/// DoRA (Liu et al. 2024, <https://arxiv.org/abs/2402.09353>): the rows of the sum of both weights are
/// brought to a length that was learned. The base's bias is not stretched.
pub(super) struct Stretch {
    /// `[rows]` learned length over the length that the row has.
    pub(super) factors: Vec<f32>,
    /// `[rows]`; empty if there is none.
    pub(super) base_bias: Vec<f32>,
}

impl LinearAdapter {
    /// Memory that it takes.
    pub(super) fn bytes(&self) -> u64 {
        self.parts.iter().map(Part::bytes).sum()
    }
}

impl Part {
    fn bytes(&self) -> u64 {
        let low_rank = |low_rank: &LowRank| low_rank.a.bytes() + low_rank.b.bytes();
        let floats = self.bias.as_ref().map_or(0, Vec::len)
            + self
                .stretch
                .as_ref()
                .map_or(0, |it| it.factors.len() + it.base_bias.len());
        self.replaced.as_ref().map_or(0, Matrix::bytes)
            + self.low_rank.as_ref().map_or(0, low_rank)
            + (floats * size_of::<f32>()) as u64
    }
}
