//! What a backend gives to load adapters with.

use std::sync::Arc;

use matou_kernels::PackedMatrix;

use super::matrix::AdapterMatrix;
use crate::error::Result;
use crate::weights::TensorView;

/// The weight of a module, as far as adapters have to know it.
pub(crate) enum TargetWeight {
    Packed(Arc<PackedMatrix>),
    Elsewhere,
}

/// How a backend takes adapters in.
pub(crate) trait AdapterMath: Send + Sync {
    /// Brings a matrix to where the model computes.
    fn matrix(&self, name: &str, view: &TensorView<'_>) -> Result<AdapterMatrix>;

    /// `[rows]` Euclidean lengths of the rows of `W + scale · B A`, of `low_rank` = (A, B); `None` where
    /// that cannot be told.
    fn row_lengths(
        &self,
        weight: &TargetWeight,
        low_rank: (&[f32], &[f32]),
        scale: f32,
    ) -> Option<Vec<f32>>;
}
