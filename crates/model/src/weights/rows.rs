//! Reordering the rows of Q and K.
//!
//! Meta's and Mistral's own files, and GGUF's for these architectures, store them so that the two
//! halves of a head that rotate together are neighbours; Hugging Face has them half a head apart.
//!
//! ```text
//! Hugging Face   a0 a1 a2 a3 b0 b1 b2 b3      (a_i rotates with b_i)
//! others         a0 b0 a1 b1 a2 b2 a3 b3
//! ```
//!
//! Undoing that at load leaves one style of rotation to the kernels. Blocks of quantised weights
//! never span rows, so quantised rows move just as well.

use std::borrow::Cow;

use super::TensorView;

/// Puts the rows of a tensor into the order of Hugging Face if it is one of those that are stored in
/// another. `name` is the one on Hugging Face.
///
/// # Errors
/// As for [`deinterleave_heads`].
pub(super) fn deinterleave_attention(
    name: &str,
    heads: usize,
    kv_heads: usize,
    view: &mut TensorView<'_>,
) -> Result<(), String> {
    if name.contains(".self_attn.q_proj.") {
        deinterleave_heads(heads, view)
    } else if name.contains(".self_attn.k_proj.") {
        deinterleave_heads(kv_heads, view)
    } else {
        Ok(())
    }
}

/// Puts the rows of each of `heads` heads into the order of Hugging Face.
///
/// # Errors
/// In words, if there are not that many heads of an even size.
fn deinterleave_heads(heads: usize, view: &mut TensorView<'_>) -> Result<(), String> {
    let rows = view.shape.first().copied().unwrap_or(0);
    let head_dim = rows.checked_div(heads).unwrap_or(0);
    let row_bytes = view.bytes.len().checked_div(rows).unwrap_or(0);
    let whole_rows = row_bytes > 0 && row_bytes * rows == view.bytes.len();
    if !whole_rows || head_dim == 0 || !head_dim.is_multiple_of(2) || head_dim * heads != rows {
        return Err(format!(
            "has {rows} rows in {} bytes, which is not {heads} heads of an even size",
            view.bytes.len()
        ));
    }
    let mut reordered = Vec::with_capacity(view.bytes.len());
    for head in view.bytes.chunks_exact(head_dim * row_bytes) {
        for half in 0..2 {
            for pair in head.chunks_exact(2 * row_bytes) {
                reordered.extend_from_slice(&pair[half * row_bytes..][..row_bytes]);
            }
        }
    }
    view.bytes = Cow::Owned(reordered);
    Ok(())
}
