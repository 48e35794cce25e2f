//! Root-mean-square norms, alone and together with the residual addition before them.

use crate::backend::Backend;
use crate::error::Result;
use crate::loader::Loader;

/// `y = x / sqrt(mean(x²) + eps) · w`.
pub(crate) struct RmsNorm<B: Backend> {
    weight: B::Vector,
    eps: f32,
}

impl<B: Backend> RmsNorm<B> {
    /// Loads `module.weight` and adds `offset` to it (Gemma's weights count from one).
    pub(crate) fn load(
        backend: &B,
        loader: &Loader<'_>,
        module: &str,
        len: usize,
        (eps, offset): (f32, f32),
    ) -> Result<Self> {
        let mut weight = loader.vector(&format!("{module}.weight"), len)?;
        weight.iter_mut().for_each(|w| *w += offset);
        Ok(Self {
            weight: backend.vector(weight)?,
            eps,
        })
    }

    /// Norms each row of `[tokens, len]`.
    pub(crate) fn forward(&self, backend: &B, x: &B::Tensor) -> Result<B::Tensor> {
        backend.rms_norm(x, &self.weight, self.eps)
    }

    /// Adds `delta` to `residual` and norms the sum.
    pub(crate) fn add_forward(
        &self,
        backend: &B,
        residual: &mut B::Tensor,
        delta: B::Tensor,
    ) -> Result<B::Tensor> {
        backend.add_rms_norm(residual, delta, &self.weight, self.eps)
    }

    /// Norms `heads` heads, each on its own, of every row of a fused projection `[tokens, width]`:
    /// those from column `first` on.
    pub(crate) fn forward_heads(
        &self,
        backend: &B,
        fused: &mut B::Tensor,
        first: usize,
        heads: usize,
    ) -> Result<()> {
        backend.norm_heads(fused, (first, heads), &self.weight, self.eps)
    }
}
