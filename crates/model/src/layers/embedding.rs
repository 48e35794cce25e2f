//! The lookup of token embeddings, and the head that may share its table.

use super::Linear;
use crate::backend::Backend;
use crate::error::Result;
use crate::loader::Loader;

/// A table of `[vocab_size, hidden_size]`.
pub(crate) struct Embedding<B: Backend> {
    table: B::Matrix,
    shape: (usize, usize),
}

impl<B: Backend> Embedding<B> {
    /// Loads `module.weight`.
    pub(crate) fn load(
        backend: &B,
        loader: &Loader<'_>,
        module: &str,
        shape: (usize, usize),
    ) -> Result<Self> {
        let name = format!("{module}.weight");
        let table = backend.load_table(loader, &name, shape.0, shape.1)?;
        Ok(Self { table, shape })
    }

    /// The output layer `module` that uses this table.
    pub(crate) fn tied_head(&self, loader: &Loader<'_>, module: &str) -> Linear<B> {
        Linear::tied(loader, module, self.shape, self.table.clone())
    }

    /// `[tokens]` ids to `[tokens, hidden_size]`.
    pub(crate) fn forward(&self, backend: &B, ids: &[u32]) -> Result<B::Tensor> {
        backend.embed(&self.table, ids)
    }
}
