//! Root-mean-square norms, alone and together with the residual addition before them.

use candle_core::{D, DType, Tensor};
use matou_kernels::norm::{add_rms_norm, rms_norm, rms_norm_heads};

use crate::compute::{Compute, read, write};
use crate::error::Result;
use crate::loader::Loader;

/// `y = x / sqrt(mean(x²) + eps) · w`.
pub(crate) struct RmsNorm {
    compute: Compute,
    /// In f32 on every device, as is the norm itself.
    weight: Tensor,
    eps: f32,
}

impl RmsNorm {
    /// Loads `module.weight` and adds `offset` to it (Gemma's weights count from one).
    pub(crate) fn load(
        loader: &Loader<'_>,
        module: &str,
        len: usize,
        eps: f32,
        offset: f32,
    ) -> Result<Self> {
        let mut weight = loader.vector(&format!("{module}.weight"), len)?;
        weight.iter_mut().for_each(|w| *w += offset);
        Ok(Self {
            compute: loader.compute().clone(),
            weight: Tensor::from_vec(weight, len, loader.compute().device())?,
            eps,
        })
    }

    /// Norms each row of `[tokens, len]`.
    pub(crate) fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match &self.compute {
            Compute::Kernels(cpu) => cpu.produce(x.dims2()?, |out| {
                read(x, |x| {
                    read(&self.weight, |weight| {
                        rms_norm(&cpu.context, x, weight, self.eps, out)
                    })
                })?
            }),
            Compute::Candle { .. } => {
                let wide = x.to_dtype(DType::F32)?;
                let mean_square = wide.sqr()?.mean_keepdim(D::Minus1)?;
                let scaled = wide.broadcast_div(&(mean_square + f64::from(self.eps))?.sqrt()?)?;
                Ok(scaled.broadcast_mul(&self.weight)?.to_dtype(x.dtype())?)
            }
        }
    }

    /// Adds `delta` to `residual` and norms the sum; returns both. Both arguments are used up.
    pub(crate) fn add_forward(&self, residual: Tensor, delta: Tensor) -> Result<(Tensor, Tensor)> {
        let Compute::Kernels(cpu) = &self.compute else {
            let sum = (residual + delta)?;
            let normed = self.forward(&sum)?;
            return Ok((sum, normed));
        };
        let normed = cpu.produce(residual.dims2()?, |out| {
            write(&residual, |residual| {
                read(&delta, |delta| {
                    read(&self.weight, |weight| {
                        add_rms_norm(&cpu.context, residual, delta, weight, self.eps, out);
                    })
                })?
            })?
        })?;
        cpu.recycle(delta)?;
        Ok((residual, normed))
    }

    /// Norms `heads` heads, each on its own, of every row of a fused projection `[tokens, width]`:
    /// those from column `first` on. The argument is used up.
    pub(crate) fn forward_heads(
        &self,
        fused: Tensor,
        first: usize,
        heads: usize,
    ) -> Result<Tensor> {
        let len = self.weight.dim(0)?;
        let (tokens, width) = fused.dims2()?;
        let Compute::Kernels(cpu) = &self.compute else {
            let part = fused
                .narrow(1, first, heads * len)?
                .reshape((tokens * heads, len))?;
            let normed = self.forward(&part)?.reshape((tokens, heads * len))?;
            let end = first + heads * len;
            let parts = [
                fused.narrow(1, 0, first)?,
                normed,
                fused.narrow(1, end, width - end)?,
            ];
            return Ok(Tensor::cat(&parts, 1)?);
        };
        write(&fused, |fused| {
            read(&self.weight, |weight| {
                let fused = &mut fused[first..];
                rms_norm_heads(&cpu.context, fused, width, heads, weight, self.eps);
            })
        })??;
        Ok(fused)
    }
}
