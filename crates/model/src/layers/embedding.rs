//! The lookup of token embeddings, and the head that may share its table.

use std::sync::Arc;

use candle_core::Tensor;
use matou_kernels::PackedMatrix;
use matou_kernels::rows::for_row_part;

use super::Linear;
use crate::compute::{Compute, Cpu};
use crate::error::Result;
use crate::loader::Loader;

/// A table of `[vocab_size, hidden_size]`.
pub(crate) enum Embedding {
    /// For the kernels; rows are dequantised one by one.
    Packed { cpu: Cpu, table: Arc<PackedMatrix> },
    /// For any device.
    Dense(Tensor),
}

impl Embedding {
    /// Loads `module.weight`.
    pub(crate) fn load(
        loader: &Loader<'_>,
        module: &str,
        vocab_size: usize,
        hidden_size: usize,
    ) -> Result<Self> {
        let name = format!("{module}.weight");
        match loader.compute() {
            Compute::Kernels(cpu) => Ok(Self::Packed {
                cpu: cpu.clone(),
                table: loader.packed(&cpu.context, &name, vocab_size, hidden_size)?,
            }),
            Compute::Candle { device, dtype } => {
                let view = loader.matrix_view(&name, vocab_size, hidden_size)?;
                Ok(Self::Dense(loader.dense(&view, &name, device, *dtype)?))
            }
        }
    }

    /// The output layer `module` that uses this table.
    pub(crate) fn tied_head(&self, loader: &Loader<'_>, module: &str) -> Result<Linear> {
        match self {
            Self::Packed { cpu, table } => {
                let (cpu, table) = (cpu.clone(), table.clone());
                Ok(Linear::from_packed(loader, module, cpu, table))
            }
            Self::Dense(table) => Linear::from_dense(loader, module, table),
        }
    }

    /// `[tokens]` ids to `[tokens, hidden_size]`.
    pub(crate) fn forward(&self, ids: &[u32]) -> Result<Tensor> {
        match self {
            Self::Packed { cpu, table } => cpu.produce((ids.len(), table.cols()), |out| {
                let columns = table.cols();
                for_row_part(&cpu.context, ids.len(), (out, columns), |rows, out| {
                    for (&id, row) in ids[rows].iter().zip(out.chunks_exact_mut(columns)) {
                        table.row(id as usize, row);
                    }
                });
                Ok(())
            }),
            Self::Dense(table) => Ok(table.index_select(&Tensor::new(ids, table.device())?, 0)?),
        }
    }
}
