//! What an adapter's files hold for each module, whatever format they are in.

use std::collections::BTreeMap;

use crate::weights::TensorView;

/// Modules by the names that they have on Hugging Face, such as `model.layers.0.self_attn.q_proj`.
pub(super) type Modules<'a> = BTreeMap<String, ModuleTensors<'a>>;

/// What is there for one module.
#[derive(Debug, Default)]
pub(super) struct ModuleTensors<'a> {
    /// `[rank, columns]`
    pub(super) a: Option<TensorView<'a>>,
    /// `[rows, rank]`
    pub(super) b: Option<TensorView<'a>>,
    /// `[rows]`, of B: scaled as its products are.
    pub(super) b_bias: Option<TensorView<'a>>,
    /// `[rows]`, in place of the base's bias.
    pub(super) bias: Option<TensorView<'a>>,
    /// `[rows]` lengths that the rows of the sum of both weights are brought to (DoRA).
    pub(super) magnitude: Option<TensorView<'a>>,
    /// `[rows, columns]`, in place of the base's weight.
    pub(super) weight: Option<TensorView<'a>>,
    /// What B A x is multiplied with.
    pub(super) scale: f32,
}

/// Bytes that a tensor of this shape takes at most once packed: strips have sixteen rows.
pub(super) fn packed_bytes(shape: &[usize], bytes: u64) -> u64 {
    match *shape {
        [rows, _] if rows > 0 => {
            let strips = (rows as u64).div_ceil(16);
            (bytes / rows as u64).saturating_mul(strips.saturating_mul(16))
        }
        _ => bytes,
    }
}
