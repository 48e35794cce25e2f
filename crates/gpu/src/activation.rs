//! Gated activations: `activation(gate) · up`.
//!
//! silu(x) = x · σ(x); gelu's tanh form is x · σ(2y) with y = √(2/π) · (x + 0.044715 · x³). σ is made of
//! exp(-|x|), so that large arguments saturate and small results keep their relative accuracy.

use crate::elementwise::{Elementwise, Operand};
use crate::error::GpuError;
use crate::stream::{Binding, Stream};
use crate::tensor::Tensor;

/// The function of the gate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// `x · sigmoid(x)`
    Silu,
    /// gelu in its tanh form.
    GeluTanh,
}

const SILU: Elementwise = Elementwise {
    key: "gate-silu",
    params: "size: u32,",
    buffers: &[Operand::Floats("gate_up"), Operand::Result("out")],
    body: "let at = i / p.size * (2u * p.size) + i % p.size;
           let x = gate_up[at];
           out[i] = (x * sigmoid(x)) * gate_up[at + p.size];",
};

const GELU_TANH: Elementwise = Elementwise {
    key: "gate-gelu-tanh",
    // The factors are 2·√(2/π) and 0.044715 times that.
    body: "let at = i / p.size * (2u * p.size) + i % p.size;
           let x = gate_up[at];
           let y = x * ((x * x) * 0.07135481627 + 1.5957691216);
           out[i] = (x * sigmoid(y)) * gate_up[at + p.size];",
    ..SILU
};

impl Stream {
    /// `activation(gate) · up` of rows `[gate | up]`, `size` columns each: `[rows, size]`.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// `gate_up` has not 2 · `size` columns.
    pub fn gate(
        &self,
        gate_up: &Tensor,
        size: usize,
        activation: Activation,
    ) -> Result<Tensor, GpuError> {
        assert_eq!(gate_up.columns(), 2 * size, "columns of gate and up");
        let out = self.tensor(gate_up.rows(), size)?;
        let operation = match activation {
            Activation::Silu => &SILU,
            Activation::GeluTanh => &GELU_TANH,
        };
        let buffers = [Binding::Read(&gate_up.buffer), Binding::Write(&out.buffer)];
        self.elementwise(operation, gate_up.rows() * size, &buffers, &[size as u32])?;
        Ok(out)
    }
}
