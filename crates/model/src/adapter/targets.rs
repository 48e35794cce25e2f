//! The linear layers of a model, as an adapter finds them.

use std::sync::Arc;

use matou_kernels::Format;

use super::files::AdapterFiles;
use super::linear::{LinearAdapter, LowRank, Part, Stretch};
use super::loaded::{Adapter, next_id};
use super::math::{AdapterMath, TargetWeight};
use super::matrix::{AdapterMatrix, floats, halved};
use super::modules::ModuleTensors;
use crate::error::{ModelError, Result};
use crate::weights::TensorView;

/// Ranks that are accepted: many times those in use, and a bound on what an adapter costs.
const MAX_RANK: usize = 256;

/// What adapters of a model can change: its linear layers, by name.
pub struct AdapterTargets {
    /// Tells the model from others.
    model: u64,
    /// Where the model computes.
    math: Arc<dyn AdapterMath>,
    /// Heads of queries, and of keys and values.
    heads: (usize, usize),
    linears: Vec<TargetLinear>,
}

/// Collects the linear layers of a model that is being built.
#[derive(Default)]
pub(crate) struct TargetsBuilder {
    linears: Vec<TargetLinear>,
}

/// A linear layer: modules side by side.
pub(crate) struct TargetLinear {
    pub(crate) columns: usize,
    pub(crate) parts: Vec<TargetPart>,
    /// `[Σ rows]`
    pub(crate) bias: Option<Vec<f32>>,
}

/// A module of a linear layer.
pub(crate) struct TargetPart {
    /// Its name on Hugging Face.
    pub(crate) module: String,
    pub(crate) rows: usize,
    pub(crate) weight: TargetWeight,
}

impl TargetsBuilder {
    /// Takes a layer in, and numbers it.
    pub(crate) fn add(&mut self, linear: TargetLinear) -> usize {
        self.linears.push(linear);
        self.linears.len() - 1
    }

    /// All of a model with so many heads of queries, and of keys and values.
    pub(crate) fn build(self, math: Arc<dyn AdapterMath>, heads: (usize, usize)) -> AdapterTargets {
        AdapterTargets {
            model: next_id(),
            math,
            heads,
            linears: self.linears,
        }
    }
}

impl AdapterTargets {
    /// Loads an adapter for this model.
    ///
    /// # Errors
    ///
    /// When it changes what this model does not have, when shapes do not fit, and when there is
    /// anything in it that could not be applied: it is applied whole, or not at all.
    pub fn load(&self, files: &AdapterFiles) -> Result<Adapter> {
        let names: Vec<&str> = self.modules().map(|(module, _)| module).collect();
        let mut modules = files.modules(&names, self.heads)?;
        if modules.is_empty() {
            return Err(invalid(
                files,
                "there is nothing in this adapter".to_owned(),
            ));
        }
        let mut rank = 0;
        let mut linears = Vec::with_capacity(self.linears.len());
        for linear in &self.linears {
            let mut parts = Vec::new();
            let mut start = 0;
            for part in &linear.parts {
                if let Some(tensors) = modules.remove(&part.module) {
                    let place = Place {
                        targets: self,
                        files,
                        linear,
                        part,
                        start,
                    };
                    let loaded = place.load(&tensors)?;
                    rank = rank.max(loaded.low_rank.as_ref().map_or(0, |it| it.rank));
                    parts.push(loaded);
                }
                start += part.rows;
            }
            linears.push((!parts.is_empty()).then_some(LinearAdapter { parts }));
        }
        if let Some(module) = modules.keys().next() {
            return Err(invalid(
                files,
                format!(
                    "it changes `{module}`, which this model does not have or which cannot be adapted \
                     (linear layers can): it was made for {}",
                    files.base().unwrap_or("another model")
                ),
            ));
        }
        Ok(Adapter::new(self.model, linears, rank))
    }

    /// The modules that can be adapted, by their names on Hugging Face, and the rows and columns of their
    /// weights.
    pub fn modules(&self) -> impl Iterator<Item = (&str, [usize; 2])> {
        self.linears.iter().flat_map(|linear| {
            let parts = linear.parts.iter();
            parts.map(|part| (part.module.as_str(), [part.rows, linear.columns]))
        })
    }

    /// Whether `adapter` was loaded for this model.
    pub fn fit(&self, adapter: &Adapter) -> bool {
        adapter.model == self.model
    }
}

impl std::fmt::Debug for AdapterTargets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("AdapterTargets")
            .field("linears", &self.linears.len())
            .finish_non_exhaustive()
    }
}

/// A module, and what is to be loaded for it.
struct Place<'a> {
    targets: &'a AdapterTargets,
    files: &'a AdapterFiles,
    linear: &'a TargetLinear,
    part: &'a TargetPart,
    start: usize,
}

impl Place<'_> {
    fn load(&self, tensors: &ModuleTensors<'_>) -> Result<Part> {
        let (rows, columns) = (self.part.rows, self.linear.columns);
        let base_bias = self.base_bias();
        let pair = match (&tensors.a, &tensors.b) {
            (Some(a), Some(b)) => Some((a, b)),
            (None, None) => None,
            _ => return Err(self.invalid("has one of A and B, and not the other")),
        };
        let low_rank = pair.map(|(a, b)| self.low_rank(tensors.scale, a, b));
        let low_rank = low_rank.transpose()?;
        if tensors.b_bias.is_some() && low_rank.is_none() {
            return Err(self.invalid("has a bias of B, and no B"));
        }
        let bias = self.bias(tensors, &base_bias)?;
        let replaced = match &tensors.weight {
            Some(view) => {
                self.check_shape("weight", view, &[rows, columns])?;
                Some(self.matrix(view)?)
            }
            None => None,
        };
        let stretch = match (&tensors.magnitude, pair) {
            (Some(view), Some(pair)) => {
                if replaced.is_some() || tensors.b_bias.is_some() {
                    return Err(self.invalid("has a magnitude beside what cannot be stretched"));
                }
                let magnitude = self.vector("lora_magnitude_vector", view, rows)?;
                Some(self.stretch(&magnitude, pair, tensors.scale, base_bias)?)
            }
            (Some(_), None) => return Err(self.invalid("has a magnitude, and no A and B")),
            (None, _) => None,
        };
        Ok(Part {
            start: self.start,
            rows,
            replaced,
            low_rank,
            bias,
            stretch,
        })
    }

    /// A and B as they are computed with.
    fn low_rank(&self, scale: f32, a: &TensorView<'_>, b: &TensorView<'_>) -> Result<LowRank> {
        let rank = a.shape.first().copied().unwrap_or(0);
        if rank == 0 || rank > MAX_RANK {
            let message = format!("has rank {rank}; ranks from 1 to {MAX_RANK} are supported");
            return Err(self.invalid(&message));
        }
        self.check_shape("lora_A", a, &[rank, self.linear.columns])?;
        self.check_shape("lora_B", b, &[self.part.rows, rank])?;
        if !scale.is_finite() {
            return Err(self.invalid("has a scale that is no number"));
        }
        let ((a, a_factor), (b, b_factor)) = (self.factor(a)?, self.factor(b)?);
        Ok(LowRank {
            a,
            b,
            rank,
            scale: scale * a_factor * b_factor,
        })
    }

    /// A or B as it is computed with, and what its products are multiplied with: beside weights that are
    /// narrower than f32 it is so too.
    fn factor(&self, view: &TensorView<'_>) -> Result<(AdapterMatrix, f32)> {
        let half = match self.is_narrow() {
            true => halved(&self.part.module, view)?,
            false => None,
        };
        match half {
            Some((half, factor)) => Ok((self.matrix(&half)?, factor)),
            None => Ok((self.matrix(view)?, 1.0)),
        }
    }

    /// A matrix, where the model computes.
    fn matrix(&self, view: &TensorView<'_>) -> Result<AdapterMatrix> {
        self.targets.math.matrix(&self.part.module, view)
    }

    /// What is added to the outputs, if anything is.
    fn bias(&self, tensors: &ModuleTensors<'_>, base: &[f32]) -> Result<Option<Vec<f32>>> {
        let rows = self.part.rows;
        let mut sum = vec![0.0; rows];
        let mut add = |values: &[f32], factor: f32| {
            let pairs = sum.iter_mut().zip(values);
            pairs.for_each(|(sum, value)| *sum += value * factor);
        };
        if let Some(view) = &tensors.b_bias {
            add(&self.vector("lora_B.bias", view, rows)?, tensors.scale);
        }
        if let Some(view) = &tensors.bias {
            add(&self.vector("bias", view, rows)?, 1.0);
            add(base, -1.0);
        }
        if tensors.weight.is_some() {
            // It stands for the product alone: the base's bias went with its outputs.
            add(base, 1.0);
        }
        let is_any = tensors.b_bias.is_some() || tensors.bias.is_some();
        let is_kept = tensors.weight.is_some() && !base.is_empty();
        Ok((is_any || is_kept).then_some(sum))
    }

    /// Whether the weights are narrower than f32 already.
    fn is_narrow(&self) -> bool {
        match &self.part.weight {
            TargetWeight::Packed(matrix) => matrix.format() != Format::F32,
            TargetWeight::Elsewhere => false,
        }
    }

    fn stretch(
        &self,
        magnitude: &[f32],
        (a, b): (&TensorView<'_>, &TensorView<'_>),
        scale: f32,
        base_bias: Vec<f32>,
    ) -> Result<Stretch> {
        let (a, b) = (floats(&self.part.module, a)?, floats(&self.part.module, b)?);
        let math = &self.targets.math;
        let Some(lengths) = math.row_lengths(&self.part.weight, (&a, &b), scale) else {
            return Err(self.invalid("has a magnitude: DoRA works on the CPU only"));
        };
        let factors = magnitude.iter().zip(lengths).map(|(magnitude, length)| {
            // A row of zeros has no direction to be brought to a length in.
            if length > 0.0 {
                magnitude / length
            } else {
                0.0
            }
        });
        Ok(Stretch {
            factors: factors.collect(),
            base_bias,
        })
    }

    /// The base's own bias; empty if there is none.
    fn base_bias(&self) -> Vec<f32> {
        let own = |bias: &Vec<f32>| bias[self.start..][..self.part.rows].to_vec();
        self.linear.bias.as_ref().map(own).unwrap_or_default()
    }

    fn vector(&self, what: &str, view: &TensorView<'_>, len: usize) -> Result<Vec<f32>> {
        self.check_shape(what, view, &[len])?;
        floats(&self.part.module, view)
    }

    fn check_shape(&self, what: &str, view: &TensorView<'_>, expected: &[usize]) -> Result<()> {
        if view.shape == expected {
            return Ok(());
        }
        Err(self.invalid(&format!(
            "has {what} of the shape {:?}, where this model takes {expected:?}: the adapter was made for {}",
            view.shape,
            self.files.base().unwrap_or("another model"),
        )))
    }

    fn invalid(&self, message: &str) -> ModelError {
        invalid(self.files, format!("`{}` {message}", self.part.module))
    }
}

fn invalid(files: &AdapterFiles, message: String) -> ModelError {
    ModelError::InvalidFile {
        path: files.path().to_owned(),
        message,
    }
}
