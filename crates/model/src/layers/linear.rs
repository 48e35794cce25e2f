//! Linear layers, several of which may share one input.

use crate::adapter::{AdapterRows, TargetLinear, TargetPart};
use crate::backend::Backend;
use crate::cost::WeightCost;
use crate::error::Result;
use crate::loader::Loader;

/// `y = x Wᵀ + b`, where `W` may be several matrices on top of each other: the queries', keys' and
/// values' projections, or gate and up. Their outputs come side by side, `[tokens, Σ rows]`.
pub(crate) struct Linear<B: Backend> {
    /// By which adapters find the layer.
    number: usize,
    weight: B::Matrix,
    bias: Option<B::Vector>,
    /// Whether the input's rounding matters too much, see [`Backend::linear_fine`].
    is_fine: bool,
}

impl<B: Backend> Linear<B> {
    /// Loads `module.weight` of `rows` rows for each of `modules`, and `module.bias` if asked for.
    pub(crate) fn load(
        backend: &B,
        loader: &Loader<'_>,
        modules: &[(String, usize)],
        columns: usize,
        bias: bool,
    ) -> Result<Self> {
        let names: Vec<_> = modules
            .iter()
            .map(|(module, rows)| (format!("{module}.weight"), *rows))
            .collect();
        let weight = backend.load_matrix(loader, &names, columns)?;
        let mut values = Vec::new();
        if bias {
            for (module, rows) in modules {
                values.extend(loader.vector(&format!("{module}.bias"), *rows)?);
            }
        }
        let part = |(index, (module, rows)): (usize, &(String, usize))| TargetPart {
            module: module.clone(),
            rows: *rows,
            weight: B::target_weight(&weight, index),
        };
        let number = loader.add_linear(TargetLinear {
            columns,
            parts: modules.iter().enumerate().map(part).collect(),
            bias: bias.then(|| values.clone()),
        });
        Ok(Self {
            number,
            weight,
            bias: match bias {
                true => Some(backend.vector(values)?),
                false => None,
            },
            is_fine: false,
        })
    }

    /// The output layer `module`, whose weight is that of the embedding.
    pub(crate) fn tied(
        loader: &Loader<'_>,
        module: &str,
        (rows, columns): (usize, usize),
        weight: B::Matrix,
    ) -> Self {
        let part = TargetPart {
            module: module.to_owned(),
            rows,
            weight: B::target_weight(&weight, 0),
        };
        let number = loader.add_linear(TargetLinear {
            columns,
            parts: vec![part],
            bias: None,
        });
        Self {
            number,
            weight,
            bias: None,
            is_fine: false,
        }
    }

    /// The same layer, which has no bias, with the rounding of its input all but undone.
    pub(crate) fn fine(self) -> Self {
        Self {
            is_fine: true,
            ..self
        }
    }

    /// What a token costs, where that is known.
    pub(crate) fn cost(&self) -> Option<WeightCost> {
        B::cost(&self.weight)
    }

    /// `[tokens, columns]` to `[tokens, Σ rows]`, where some rows have an adapter.
    pub(crate) fn forward(
        &self,
        backend: &B,
        x: &B::Tensor,
        adapters: &AdapterRows,
    ) -> Result<B::Tensor> {
        let y = match self.is_fine {
            true => backend.linear_fine(&self.weight, x)?,
            false => backend.linear(&self.weight, self.bias.as_ref(), x)?,
        };
        adapters.apply(backend, self.number, x, y)
    }
}
