//! From a tensor's name to memory that layers compute with.

use std::cell::RefCell;
use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use matou_kernels::{Format, PackedMatrix, dequantize};

use crate::adapter::{TargetLinear, TargetsBuilder};
use crate::error::{ModelError, Result};
use crate::quantize::{TargetFormats, convert};
use crate::weights::{TensorSource, TensorView};

/// Called with the bytes loaded so far and the bytes in all.
pub type Progress = dyn Fn(u64, u64) + Send + Sync;

/// Loads tensors of one model, checks their shapes, and counts what they take.
pub(crate) struct Loader<'a> {
    source: &'a dyn TensorSource,
    /// What matrices are converted to.
    target: TargetFormats,
    progress: Option<&'a Progress>,
    /// Bytes of all tensors in the files.
    total_bytes: u64,
    tally: RefCell<Tally>,
    /// The linear layers that there are so far.
    linears: RefCell<TargetsBuilder>,
}

/// What has been loaded.
#[derive(Debug, Default, Clone)]
pub(crate) struct Tally {
    /// Number of weights.
    pub(crate) parameters: u64,
    /// Memory that they take.
    pub(crate) memory_bytes: u64,
    /// Bytes read from the files.
    file_bytes: u64,
    /// Parameters of the matrices by format.
    by_format: BTreeMap<&'static str, u64>,
}

impl Tally {
    /// The format of most weights.
    pub(crate) fn main_format(&self) -> &'static str {
        self.by_format
            .iter()
            .max_by_key(|(_, parameters)| **parameters)
            .map_or("none", |(format, _)| format)
    }
}

impl<'a> Loader<'a> {
    pub(crate) fn new(
        source: &'a dyn TensorSource,
        target: TargetFormats,
        progress: Option<&'a Progress>,
    ) -> Self {
        Self {
            source,
            target,
            progress,
            total_bytes: source.total_bytes(),
            tally: RefCell::default(),
            linears: RefCell::default(),
        }
    }

    pub(crate) fn tally(&self) -> Tally {
        self.tally.borrow().clone()
    }

    /// Numbers a linear layer, by which adapters find it.
    pub(crate) fn add_linear(&self, linear: TargetLinear) -> usize {
        self.linears.borrow_mut().add(linear)
    }

    /// The linear layers that were loaded.
    pub(crate) fn take_linears(&self) -> TargetsBuilder {
        self.linears.take()
    }

    /// A vector (norm weight, bias) in f32.
    pub(crate) fn vector(&self, name: &str, len: usize) -> Result<Vec<f32>> {
        let view = self.view(name, &[len])?;
        let values = dequantized(name, &view)?;
        self.count(&view, size_of_val(values.as_slice()));
        Ok(values)
    }

    /// A matrix packed for the kernels on `context`.
    pub(crate) fn packed(
        &self,
        context: &matou_kernels::Context,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<PackedMatrix> {
        let view = self.matrix_view(name, rows, columns)?;
        let packed = PackedMatrix::pack(context, view.format, rows, columns, &view.bytes)
            .map_err(|error| pack_error(name, error))?;
        self.count(&view, packed.bytes());
        drop(view);
        self.source.release();
        Ok(packed)
    }

    /// The format that a matrix is to have.
    pub(crate) fn format(&self, name: &str, rows: usize, columns: usize) -> Result<Format> {
        let view = self.view(name, &[rows, columns])?;
        let target = &self.target;
        Ok(target.format_of(name, view.format, view.packed_as, columns))
    }

    /// Matrices of one format, `rows` each, packed for the kernels on `context` as one: each on top of
    /// the next.
    pub(crate) fn packed_together(
        &self,
        context: &matou_kernels::Context,
        names: &[String],
        rows: usize,
        columns: usize,
    ) -> Result<PackedMatrix> {
        let [name] = names else {
            let (mut bytes, mut views) = (Vec::new(), Vec::new());
            for name in names {
                let view = self.matrix_view(name, rows, columns)?;
                bytes.extend_from_slice(&view.bytes);
                views.push(view);
            }
            let (Some(name), Some(format)) = (names.first(), views.first().map(|it| it.format))
            else {
                return Err(ModelError::Forward("no matrices to pack".to_owned()));
            };
            let packed = PackedMatrix::pack(context, format, names.len() * rows, columns, &bytes)
                .map_err(|error| pack_error(name, error))?;
            for view in &views {
                self.count(view, packed.bytes() / views.len());
            }
            drop(views);
            self.source.release();
            return Ok(packed);
        };
        self.packed(context, name, rows, columns)
    }

    /// A matrix in the encoding it is to have, its shape checked.
    pub(crate) fn matrix_view(
        &self,
        name: &str,
        rows: usize,
        columns: usize,
    ) -> Result<TensorView<'a>> {
        let view = self.view(name, &[rows, columns])?;
        let format = self
            .target
            .format_of(name, view.format, view.packed_as, columns);
        if format == view.format {
            return Ok(view);
        }
        let bytes = convert(&view, format).map_err(|error| pack_error(name, error))?;
        Ok(TensorView {
            format,
            bytes: bytes.into(),
            ..view
        })
    }

    /// A matrix as a tensor of candle's.
    pub(crate) fn dense(&self, name: &str, view: &TensorView<'_>) -> Result<Tensor> {
        let values = dequantized(name, view)?;
        self.count(view, size_of_val(values.as_slice()));
        Ok(Tensor::from_vec(
            values,
            view.shape.as_slice(),
            &Device::Cpu,
        )?)
    }

    /// Adds a loaded tensor to the tally and reports progress.
    pub(crate) fn count(&self, view: &TensorView<'_>, memory_bytes: usize) {
        let parameters = view.shape.iter().product::<usize>() as u64;
        let mut tally = self.tally.borrow_mut();
        tally.parameters += parameters;
        tally.memory_bytes += memory_bytes as u64;
        tally.file_bytes += view.bytes.len() as u64;
        if view.shape.len() > 1 {
            *tally.by_format.entry(view.format.name()).or_default() += parameters;
        }
        if let Some(progress) = self.progress {
            progress(tally.file_bytes.min(self.total_bytes), self.total_bytes);
        }
    }

    fn view(&self, name: &str, shape: &[usize]) -> Result<TensorView<'a>> {
        let view = self
            .source
            .get(name)?
            .ok_or_else(|| ModelError::MissingTensor {
                name: self.source.own_name(name),
                path: self.source.path().to_owned(),
            })?;
        if view.shape != shape {
            return Err(ModelError::WrongShape {
                name: self.source.own_name(name),
                found: view.shape,
                expected: shape.to_vec(),
            });
        }
        Ok(view)
    }
}

fn dequantized(name: &str, view: &TensorView<'_>) -> Result<Vec<f32>> {
    let mut values = vec![0.0; view.shape.iter().product()];
    dequantize(view.format, &view.bytes, &mut values).map_err(|error| pack_error(name, error))?;
    Ok(values)
}

fn pack_error(name: &str, error: impl std::fmt::Display) -> ModelError {
    ModelError::Pack {
        name: name.to_owned(),
        message: error.to_string(),
    }
}
