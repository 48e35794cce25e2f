//! The frame of operations on single elements, and the smallest of them.

use crate::error::GpuError;
use crate::grid::grid;
use crate::stream::{Binding, Call, Stream};
use crate::template::Template;
use crate::tensor::Tensor;

/// An operation on each of some elements, as text for the shader of all of them.
pub(crate) struct Elementwise {
    /// Names the pipeline.
    pub(crate) key: &'static str,
    /// Members of the parameters after `count`, such as `factor: f32,`.
    pub(crate) params: &'static str,
    /// What the buffers are called, and whether they are written: bindings in this order.
    pub(crate) buffers: &'static [Operand],
    /// What happens to element `i`; `p` holds the parameters.
    pub(crate) body: &'static str,
}

/// A buffer of an [`Elementwise`] operation.
pub(crate) enum Operand {
    /// Numbers that are read.
    Floats(&'static str),
    /// Integers that are read.
    Words(&'static str),
    /// Numbers that are written, and may be read.
    Result(&'static str),
}

impl Elementwise {
    fn source(&self) -> String {
        let declare = |(binding, operand): (usize, &Operand)| {
            let (access, name, element) = match operand {
                Operand::Floats(name) => ("read", name, "f32"),
                Operand::Words(name) => ("read", name, "u32"),
                Operand::Result(name) => ("read_write", name, "f32"),
            };
            format!(
                "@group(0) @binding({binding}) var<storage, {access}> {name}: array<{element}>;\n"
            )
        };
        let bindings: String = self.buffers.iter().enumerate().map(declare).collect();
        let template = Template::default()
            .set("PARAMS", self.params)
            .set("BINDINGS", bindings)
            .set("BODY", self.body);
        let frame = template.expand(include_str!("shaders/elementwise.wgsl"));
        format!("{}\n{frame}", include_str!("shaders/exp.wgsl"))
    }
}

impl Stream {
    /// Runs an operation on `count` elements; `params` are those after the count.
    pub(crate) fn elementwise(
        &self,
        operation: &Elementwise,
        count: usize,
        buffers: &[Binding<'_>],
        params: &[u32],
    ) -> Result<(), GpuError> {
        if count == 0 {
            return Ok(());
        }
        // A buffer is smaller than 16 GiB, so that its elements can be counted.
        let mut immediates = vec![count as u32];
        immediates.extend_from_slice(params);
        self.run(Call {
            key: operation.key,
            source: &|| operation.source(),
            buffers,
            immediates: &immediates,
            groups: grid(count, 256),
        })
    }

    /// `x[i] *= factor`, in place.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    pub fn scale(&self, x: &Tensor, factor: f32) -> Result<(), GpuError> {
        const SCALE: Elementwise = Elementwise {
            key: "scale",
            params: "factor: f32,",
            buffers: &[Operand::Result("x")],
            body: "x[i] = x[i] * p.factor;",
        };
        let buffers = [Binding::Write(&x.buffer)];
        self.elementwise(
            &SCALE,
            x.rows() * x.columns(),
            &buffers,
            &[factor.to_bits()],
        )
    }

    /// Multiplies the first `columns` columns of row i of `x` by `factors[i]`, in place.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// There are fewer columns, or not as many factors (`[rows, 1]`) as rows.
    pub fn scale_rows(&self, x: &Tensor, columns: usize, factors: &Tensor) -> Result<(), GpuError> {
        const SCALE_ROWS: Elementwise = Elementwise {
            key: "scale-rows",
            params: "columns: u32, stride: u32,",
            buffers: &[Operand::Result("x"), Operand::Floats("factors")],
            body: "let row = i / p.columns;
                   let at = row * p.stride + i % p.columns;
                   x[at] = x[at] * factors[row];",
        };
        assert!(columns <= x.columns(), "{columns} of {}", x.columns());
        assert_eq!(factors.shape(), (x.rows(), 1), "shape of the factors");
        let buffers = [Binding::Write(&x.buffer), Binding::Read(&factors.buffer)];
        let params = [columns as u32, x.columns() as u32];
        self.elementwise(&SCALE_ROWS, x.rows() * columns, &buffers, &params)
    }

    /// `x[i] += y[i]`, in place.
    ///
    /// # Errors
    /// The device is lost or out of memory.
    ///
    /// # Panics
    /// The shapes differ.
    pub fn add(&self, x: &Tensor, y: &Tensor) -> Result<(), GpuError> {
        const ADD: Elementwise = Elementwise {
            key: "add",
            params: "",
            buffers: &[Operand::Result("x"), Operand::Floats("y")],
            body: "x[i] = x[i] + y[i];",
        };
        assert_eq!(x.shape(), y.shape(), "shapes of the operands");
        let buffers = [Binding::Write(&x.buffer), Binding::Read(&y.buffer)];
        self.elementwise(&ADD, x.rows() * x.columns(), &buffers, &[])
    }
}
