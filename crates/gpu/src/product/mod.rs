//! Products with matrices of weights.
//!
//! A workgroup computes the 16 rows of a strip (of four, for many rows of inputs) for up to 16 rows of inputs:
//! 16 × 8 invocations, of which eight share a row of the strip. Columns are cut into groups of 32, and the split `s` of a row takes the
//! groups `s`, `s + 8`, `s + 16`, … in this order; the eight sums are then added in the order of splits.
//! For each group
//!
//! ```text
//! quantised  sum += (f32(dot) · scale [+ minimum · f32(sum of inputs)]) · scale of the inputs
//!            with two scales, dot · scale of both halves is added first, then both minima
//! floats     sum += x₀·w₀ + x₁·w₁ + …, from zero, in the order of columns
//! ```
//!
//! where `dot` is an exact integer and no operation is fused with another. So a row of outputs depends on its
//! row of inputs alone: it has the same bits with one row of inputs or a thousand, and in each variant of the
//! kernel, on one device and driver. They are not the bits of the CPU's kernels.
//!
//! The inputs of quantised matrices are rounded to 8 bits for each 32 columns first, as the CPU's are, once
//! for all matrices side by side.

use matou_kernels::{Format, StripLayout};

use crate::buffer::Buffer;
use crate::error::GpuError;
use crate::grid::grid;
use crate::matrix::{Matrix, Piece, STRIP_ROWS, Stack};
use crate::stream::{Binding, Call, Stream};
use crate::strips;
use crate::template::Template;
use crate::tensor::{Indices, Tensor, Vector};

/// Columns that share a scale of the inputs.
const GROUP: usize = 32;
/// Words of a group of inputs in 8 bits: codes, scale, sum, sums of the halves.
const RECORD_WORDS: usize = GROUP / 4 + 4;
/// Records of a workgroup of the kernel that makes them.
const RECORDS_OF_GROUP: usize = 8;
/// Invocations of a workgroup of the kernel that reads rows.
const EMBED_LANES: usize = 64;
/// Splits of the columns.
const SPLITS: usize = 8;
/// Rows of inputs above which a workgroup takes several strips.
const MANY_TOKENS: usize = 32;

/// Numbers of rows of inputs for which products take every kernel that they have: who runs them all once
/// has compiled them.
pub const WARM_UP_ROWS: &[usize] = &[1, 2, 4, 8, 16, MANY_TOKENS + 1];

/// What a workgroup computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Tile {
    /// Rows of inputs.
    tokens: usize,
    strips: usize,
}

/// The rows of a product's outputs.
#[derive(Clone, Copy)]
struct Rows {
    count: usize,
    /// To each row of inputs.
    copies: usize,
    tile: Tile,
}

/// What the kernel does with its outputs, or which weights it takes.
#[derive(Clone, Copy)]
enum Extra<'a> {
    Nothing,
    Bias(&'a Vector),
    /// For each row of outputs its matrix of a stack.
    Stack(&'a Indices),
}

/// Strips to be multiplied.
struct Strips<'a> {
    format: Format,
    buffer: &'a Buffer,
    rows: usize,
    strip_bytes: usize,
    columns: usize,
    /// Of the output: where these rows begin, and how many columns there are.
    first: usize,
    width: usize,
    /// The first matrix of a stack that is in the buffer, and how many are.
    matrices: (usize, usize),
}

impl Stream {
    /// `x · Wᵀ [+ bias]`: `[tokens, columns]` to `[tokens, rows]`, the rows of all matrices side by side.
    ///
    /// # Errors
    /// If the device is lost or out of memory.
    ///
    /// # Panics
    /// If `x` has not as many columns as the matrix, or `bias` not as many elements as it has rows.
    pub fn linear(
        &self,
        matrix: &Matrix,
        x: &Tensor,
        bias: Option<&Vector>,
    ) -> Result<Tensor, GpuError> {
        let extra = bias.map_or(Extra::Nothing, Extra::Bias);
        let quantized = matrix.pieces.iter().any(Piece::is_quantized);
        let records = if quantized {
            Some(self.quantize(matrix.columns, x, false)?)
        } else {
            None
        };
        let y = self.tensor(x.rows, matrix.rows)?;
        self.products(matrix, x, records.as_ref(), &y, extra)?;
        Ok(y)
    }

    /// The same without bias, with the rounding of the inputs to 8 bits all but undone: they become two
    /// rows, what 8 bits hold and what those leave, and both products are added. For heads, whose rounding
    /// goes straight into the logits. Matrices of floats round no inputs: what they give is what
    /// [`linear`](Self::linear) does, also beside others.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    ///
    /// # Panics
    /// As [`linear`](Self::linear).
    pub fn linear_split(&self, matrix: &Matrix, x: &Tensor) -> Result<Tensor, GpuError> {
        if !matrix.pieces.iter().any(Piece::is_quantized) {
            return self.linear(matrix, x, None);
        }
        let records = self.quantize(matrix.columns, x, true)?;
        let y = if matrix.is_quantized() {
            self.tensor(records.rows, matrix.rows)?
        } else {
            // Floats have nothing to add in the second half.
            self.zeros(records.rows, matrix.rows)?
        };
        self.products(matrix, x, Some(&records), &y, Extra::Nothing)?;
        let count = x.rows * matrix.rows;
        self.run(Call {
            key: "add-halves",
            source: &|| include_str!("../shaders/add_halves.wgsl").to_owned(),
            buffers: &[Binding::Write(&y.buffer)],
            immediates: &[count as u32],
            groups: grid(count, 64),
        })?;
        Ok(y.reshape(x.rows, matrix.rows))
    }

    /// `x[t / k] · W[matrix_of[t]]ᵀ` for each `t`: `[tokens, columns]` to `[tokens · k, rows]`, where `k`
    /// is how many matrices of the stack each row of inputs has. Each row has the bits that
    /// [`linear`](Self::linear) gives it.
    ///
    /// # Errors
    /// As [`linear`](Self::linear).
    ///
    /// # Panics
    /// If `x` has not as many columns as the matrices, or `matrix_of` is not the same number for each row.
    pub fn linear_of(
        &self,
        stack: &Stack,
        x: &Tensor,
        matrix_of: &Indices,
    ) -> Result<Tensor, GpuError> {
        let rows = matrix_of.len();
        let copies = rows / x.rows.max(1);
        assert_eq!(rows, copies * x.rows, "matrices for {} rows", x.rows);
        assert_eq!(x.columns, stack.columns, "columns of the inputs");
        let records = match stack.format.strip() {
            StripLayout::Quantized(_) => Some(self.quantize(stack.columns, x, false)?),
            StripLayout::Floats(_) => None,
        };
        let y = self.tensor(rows, stack.rows)?;
        for piece in &stack.pieces {
            let strips = Strips {
                format: stack.format,
                buffer: &piece.buffer,
                rows: stack.rows,
                strip_bytes: stack.strip_bytes,
                columns: stack.columns,
                first: 0,
                width: stack.rows,
                matrices: (piece.first_matrix, piece.matrices),
            };
            let inputs = records.as_ref().unwrap_or(x);
            // One at a time: neighbouring rows have different matrices.
            let rows = Rows {
                count: rows,
                copies,
                tile: Tile::of(1),
            };
            self.product(&strips, inputs, &y, rows, Extra::Stack(matrix_of))?;
        }
        Ok(y)
    }

    /// Multiplies all matrices with `records`, or with `x` where their formats are floats, into the leading
    /// rows of `y`.
    fn products(
        &self,
        matrix: &Matrix,
        x: &Tensor,
        records: Option<&Tensor>,
        y: &Tensor,
        extra: Extra<'_>,
    ) -> Result<(), GpuError> {
        assert_eq!(x.columns, matrix.columns, "columns of the inputs");
        if let Extra::Bias(bias) = extra {
            assert_eq!(bias.len(), matrix.rows, "elements of the bias");
        }
        for piece in &matrix.pieces {
            let strips = Strips {
                format: piece.format,
                buffer: &piece.buffer,
                rows: piece.rows,
                strip_bytes: piece.strip_bytes,
                columns: matrix.columns,
                first: piece.first,
                width: matrix.rows,
                matrices: (0, 1),
            };
            let inputs = match records {
                Some(records) if piece.is_quantized() => records,
                _ => x,
            };
            let rows = Rows {
                count: inputs.rows,
                copies: 1,
                tile: Tile::of(inputs.rows),
            };
            self.product(&strips, inputs, y, rows, extra)?;
        }
        Ok(())
    }

    /// Multiplies strips with all rows of `inputs`.
    fn product(
        &self,
        strips: &Strips<'_>,
        inputs: &Tensor,
        y: &Tensor,
        rows: Rows,
        extra: Extra<'_>,
    ) -> Result<(), GpuError> {
        let (name, flag, binding) = match extra {
            Extra::Nothing => ("", None, None),
            Extra::Bias(bias) => (" bias", Some("BIAS"), Some(&bias.buffer)),
            Extra::Stack(matrices) => (" stack", Some("STACK"), Some(&matrices.buffer)),
        };
        let mut buffers = vec![
            Binding::Read(strips.buffer),
            Binding::Read(&inputs.buffer),
            Binding::Write(&y.buffer),
        ];
        buffers.extend(binding.map(Binding::Read));
        let tile = rows.tile;
        let source = || {
            let ahead = tile.ahead(strips.format);
            let mut template = template(strips.format)
                .set("T", tile.tokens)
                .set("R", tile.strips)
                .set("AHEAD", ahead)
                .set("SPLITS", SPLITS)
                .set("RECORD_VECTORS", RECORD_WORDS / 4);
            if ahead > 1 {
                template = template.flag("SEVERAL");
            }
            if let Some(flag) = flag {
                template = template.flag(flag);
            }
            template.expand(include_str!("../shaders/product.wgsl"))
        };
        let count = strips.rows.div_ceil(STRIP_ROWS);
        let key = format!(
            "product {} {}x{}{name}",
            strips.format, tile.strips, tile.tokens
        );
        let work = (count * strips.strip_bytes) as u64 * rows.count as u64;
        let call = Call {
            key: &key,
            source: &source,
            buffers: &buffers,
            immediates: &[
                count as u32,
                strips.rows as u32,
                (strips.strip_bytes / 4) as u32,
                strips.columns as u32,
                rows.count as u32,
                strips.width as u32,
                strips.first as u32,
                rows.copies as u32,
                strips.matrices.0 as u32,
                strips.matrices.1 as u32,
            ],
            groups: tile.grid(rows.count, count),
        };
        self.run_weighted(call, work)
    }

    /// Rounds rows to 8 bits for each 32 columns: `[tokens, words of records]`. To split a row gives
    /// twice as many rows, the rests after all others.
    fn quantize(&self, columns: usize, x: &Tensor, split: bool) -> Result<Tensor, GpuError> {
        assert_eq!(x.columns, columns, "columns of the inputs");
        let groups = columns / GROUP;
        assert_eq!(groups * GROUP, columns, "quantised inputs come in groups");
        let rows = if split { 2 * x.rows } else { x.rows };
        let records = self.tensor(rows, groups * RECORD_WORDS)?;
        let count = x.rows * groups;
        let source = || {
            let mut template = Template::default()
                .set("GROUP", GROUP)
                .set("RECORD_WORDS", RECORD_WORDS)
                .set("RECORDS", RECORDS_OF_GROUP);
            if split {
                template = template.flag("SPLIT");
            }
            template.expand(include_str!("../shaders/quantize.wgsl"))
        };
        self.run(Call {
            key: if split { "quantize split" } else { "quantize" },
            source: &source,
            buffers: &[Binding::Read(&x.buffer), Binding::Write(&records.buffer)],
            immediates: &[count as u32],
            groups: grid(count, RECORDS_OF_GROUP),
        })?;
        Ok(records)
    }

    /// Rows `ids` of a matrix as floats, with the bits of `PackedMatrix::row`: `[ids, columns]`. The row of
    /// an id that the matrix does not have is undefined.
    ///
    /// # Errors
    /// If the device is lost or out of memory.
    pub fn embed(&self, matrix: &Matrix, ids: &Indices) -> Result<Tensor, GpuError> {
        let y = self.tensor(ids.len(), matrix.columns)?;
        let invocations = ids.len() * matrix.columns.div_ceil(GROUP);
        for piece in &matrix.pieces {
            let key = format!("embed {}", piece.format);
            self.run(Call {
                key: &key,
                source: &|| {
                    template(piece.format)
                        .set("VECTORS", GROUP / 8)
                        .set("LANES", EMBED_LANES)
                        .expand(include_str!("../shaders/embed.wgsl"))
                },
                buffers: &[
                    Binding::Read(&piece.buffer),
                    Binding::Read(&ids.buffer),
                    Binding::Write(&y.buffer),
                ],
                immediates: &[
                    ids.len() as u32,
                    matrix.columns as u32,
                    (piece.strip_bytes / 4) as u32,
                    piece.first as u32,
                    piece.rows as u32,
                ],
                groups: grid(invocations, EMBED_LANES),
            })?;
        }
        Ok(y)
    }
}

impl Tile {
    /// For so many rows of inputs. Few do not pay for the registers of many; of many, an invocation
    /// takes fewer rows times more strips, because to load inputs is then most of its work.
    fn of(tokens: usize) -> Self {
        if tokens > MANY_TOKENS {
            return Self {
                tokens: 8,
                strips: 4,
            };
        }
        Self {
            tokens: tokens.next_power_of_two().min(16),
            strips: 1,
        }
    }

    /// How much an invocation loads before it uses the first of it: groups of quantised weights, columns of
    /// floats. With few rows of inputs, and few workgroups, that is what keeps memory busy; with many it
    /// would only take registers.
    fn ahead(self, format: Format) -> usize {
        match (format.strip(), self.tokens) {
            (StripLayout::Floats(_), 1 | 2) => 16,
            (StripLayout::Floats(_), _) => 8,
            (StripLayout::Quantized(_), 1) => 4,
            (StripLayout::Quantized(_), 2) => 2,
            (StripLayout::Quantized(_), _) => 1,
        }
    }

    /// The workgroups for so many rows of outputs and strips: the shader numbers them, tiles of rows
    /// first, and takes the numbers apart again. There may be more rows than a dimension takes.
    fn grid(self, rows: usize, strips: usize) -> [u32; 3] {
        grid(rows.div_ceil(self.tokens) * strips.div_ceil(self.strips), 1)
    }
}

/// A shader with the text that reads strips of `format`.
fn template(format: Format) -> Template {
    let template = Template::default()
        .set("GROUP", GROUP)
        .set("STRIP_ROWS", STRIP_ROWS);
    match format.strip() {
        StripLayout::Floats(floats) => template.set("WEIGHTS", strips::floats(floats)),
        StripLayout::Quantized(strip) => {
            let mut template = template
                .flag("QUANTIZED")
                .set("WEIGHTS", strips::quantized(&strip));
            if strip.scales_of_group == 2 {
                template = template.flag("HALVES");
            }
            if strip.scales.has_minima() {
                template = template.flag("MINIMA");
            }
            template
        }
    }
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
