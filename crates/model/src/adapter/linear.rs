//! What an adapter changes of one linear layer.

use super::matrix::AdapterMatrix;

/// An adapter of a linear layer, and the rows of the step that have it, which ascend.
pub(crate) type Adapted<'a> = (&'a LinearAdapter, &'a [u32]);

/// The changes of one linear layer, which may be several modules side by side.
pub(crate) struct LinearAdapter {
    /// By where they begin.
    pub(crate) parts: Vec<Part>,
}

/// The changes of one module.
pub(crate) struct Part {
    /// Where the module's outputs begin among those of the layer.
    pub(crate) start: usize,
    /// Number of the module's outputs.
    pub(crate) rows: usize,
    /// A weight in place of the base's.
    pub(crate) replaced: Option<AdapterMatrix>,
    /// What is added to the weight.
    pub(crate) low_rank: Option<LowRank>,
    /// `[rows]`, what is added to the outputs.
    pub(crate) bias: Option<Vec<f32>>,
    /// What the rows of the weight are stretched by.
    pub(crate) stretch: Option<Stretch>,
}

/// `scale · B A`.
pub(crate) struct LowRank {
    /// `[rank, columns]`
    pub(crate) a: AdapterMatrix,
    /// `[rows, rank]`
    pub(crate) b: AdapterMatrix,
    pub(crate) rank: usize,
    pub(crate) scale: f32,
}

/// DoRA (Liu et al. 2024, <https://arxiv.org/abs/2402.09353>): the rows of the sum of both weights are
/// brought to a length that was learned. The base's bias is not stretched.
pub(crate) struct Stretch {
    /// `[rows]` learned length over the length that the row has.
    pub(crate) factors: Vec<f32>,
    /// `[rows]`; empty if there is none.
    pub(crate) base_bias: Vec<f32>,
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
        self.replaced.as_ref().map_or(0, AdapterMatrix::bytes)
            + self.low_rank.as_ref().map_or(0, low_rank)
            + (floats * size_of::<f32>()) as u64
    }
}
