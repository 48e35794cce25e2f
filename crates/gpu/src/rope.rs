//! Rotary position embedding in the "NeoX" layout: element i of a head rotates with element i + half.

use crate::elementwise::{Elementwise, Operand};
use crate::error::GpuError;
use crate::stream::{Binding, Stream};
use crate::tensor::Tensor;

const ROTATE: Elementwise = Elementwise {
    key: "rotate",
    params: "half: u32, heads: u32, head_dim: u32, stride: u32,",
    buffers: &[
        Operand::Result("x"),
        Operand::Floats("cosines"),
        Operand::Floats("sines"),
    ],
    body: "let dim = i % p.half;
           let head = i / p.half % p.heads;
           let row = i / (p.half * p.heads);
           let at = row * p.stride + head * p.head_dim + dim;
           let cosine = cosines[row * p.half + dim];
           let sine = sines[row * p.half + dim];
           let a = x[at];
           let b = x[at + p.half];
           x[at] = a * cosine - b * sine;
           x[at + p.half] = b * cosine + a * sine;",
};

impl Stream {
    /// Rotates the first `heads` heads of `head_dim` elements in each row of `fused`, in place. Row i has
    /// the angles whose cosines and sines are row i of `cos` and `sin`: `[rows, half]`, half of the
    /// elements that are rotated. Elements of a head from 2 · half on stay.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The shapes do not fit each other.
    pub fn rotate(
        &self,
        fused: &Tensor,
        heads: usize,
        head_dim: usize,
        cos: &Tensor,
        sin: &Tensor,
    ) -> Result<(), GpuError> {
        let half = cos.columns();
        assert_eq!(cos.shape(), sin.shape(), "shapes of cosines and sines");
        assert_eq!(cos.rows(), fused.rows(), "rows of angles");
        assert!(2 * half <= head_dim, "{} of {head_dim} elements", 2 * half);
        assert!(
            heads * head_dim <= fused.columns(),
            "{heads} heads of {head_dim} are beyond {}",
            fused.columns()
        );
        let buffers = [
            Binding::Write(&fused.buffer),
            Binding::Read(&cos.buffer),
            Binding::Read(&sin.buffer),
        ];
        let params = [half, heads, head_dim, fused.columns()].map(|n| n as u32);
        self.elementwise(&ROTATE, fused.rows() * heads * half, &buffers, &params)
    }
}
