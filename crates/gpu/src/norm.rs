//! Root-mean-square normalisation: `x / √(mean(x²) + ε) · weight`, row by row or head by head.
//!
//! The bits of a row follow from its own elements: each has a workgroup, whose lanes sum in a fixed order.

use crate::error::GpuError;
use crate::grid::grid;
use crate::stream::{Binding, Call, Stream};
use crate::template::Template;
use crate::tensor::{Tensor, Vector};

/// Lanes to a row.
const ROW_WIDTH: usize = 256;
/// Lanes to a head, of which most are no longer than 128.
const HEAD_WIDTH: usize = 64;

/// What a norm does beside norming.
struct Variant {
    key: &'static str,
    flag: &'static str,
    width: usize,
}

const ROWS: Variant = Variant {
    key: "norm-rows",
    flag: "ROWS",
    width: ROW_WIDTH,
};
const ADD: Variant = Variant {
    key: "norm-add",
    flag: "ADD",
    width: ROW_WIDTH,
};
const HEADS: Variant = Variant {
    key: "norm-heads",
    flag: "HEADS",
    width: HEAD_WIDTH,
};

/// Where rows or heads lie in a tensor.
struct Part {
    columns: usize,
    stride: usize,
    first: usize,
    heads: usize,
    count: usize,
}

impl Part {
    fn rows(x: &Tensor) -> Self {
        Self {
            columns: x.columns(),
            stride: x.columns(),
            first: 0,
            heads: 1,
            count: x.rows(),
        }
    }
}

impl Stream {
    /// `rms_norm(x) · weight` for each row of `x`.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// `weight` has not as many elements as `x` has columns.
    pub fn rms_norm(&self, x: &Tensor, weight: &Vector, eps: f32) -> Result<Tensor, GpuError> {
        assert_eq!(weight.len(), x.columns(), "elements of the norm's weight");
        let out = self.tensor(x.rows(), x.columns())?;
        let buffers = [
            Binding::Read(&x.buffer),
            Binding::Read(&weight.buffer),
            Binding::Write(&out.buffer),
        ];
        self.norm(&ROWS, &buffers, Part::rows(x), eps)?;
        Ok(out)
    }

    /// `residual += delta`, then `rms_norm(residual) · weight`: the bits of [`add`](Self::add) and
    /// [`rms_norm`](Self::rms_norm) one after the other.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The shapes differ.
    pub fn add_rms_norm(
        &self,
        residual: &Tensor,
        delta: &Tensor,
        weight: &Vector,
        eps: f32,
    ) -> Result<Tensor, GpuError> {
        assert_eq!(residual.shape(), delta.shape(), "shapes of the operands");
        assert_eq!(
            weight.len(),
            residual.columns(),
            "elements of the norm's weight"
        );
        let out = self.tensor(residual.rows(), residual.columns())?;
        let buffers = [
            Binding::Write(&residual.buffer),
            Binding::Read(&weight.buffer),
            Binding::Read(&delta.buffer),
            Binding::Write(&out.buffer),
        ];
        self.norm(&ADD, &buffers, Part::rows(residual), eps)?;
        Ok(out)
    }

    /// Norms `heads` neighbouring heads of `weight.len()` elements in each row of `fused`, each on its own
    /// and in place; the first begins at column `first`.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The heads lie beyond the row.
    pub fn norm_heads(
        &self,
        fused: &Tensor,
        first: usize,
        heads: usize,
        weight: &Vector,
        eps: f32,
    ) -> Result<(), GpuError> {
        let columns = weight.len();
        assert!(
            first + heads * columns <= fused.columns(),
            "{heads} heads of {columns} from column {first} are beyond {}",
            fused.columns()
        );
        let part = Part {
            columns,
            stride: fused.columns(),
            first,
            heads,
            count: fused.rows() * heads,
        };
        let buffers = [Binding::Write(&fused.buffer), Binding::Read(&weight.buffer)];
        self.norm(&HEADS, &buffers, part, eps)
    }

    fn norm(
        &self,
        variant: &Variant,
        buffers: &[Binding<'_>],
        part: Part,
        eps: f32,
    ) -> Result<(), GpuError> {
        if part.count == 0 {
            return Ok(());
        }
        let source = || {
            let template = Template::default()
                .flag(variant.flag)
                .set("WIDTH", variant.width);
            template.expand(include_str!("shaders/norm.wgsl"))
        };
        self.run(Call {
            key: variant.key,
            source: &source,
            buffers,
            immediates: &[
                part.columns as u32,
                part.stride as u32,
                part.first as u32,
                part.heads as u32,
                part.count as u32,
                eps.to_bits(),
            ],
            groups: grid(part.count, 1),
        })
    }
}
