//! Mistral's own layout: `consolidated.safetensors` with the names of its reference code, read under
//! Hugging Face names and in Hugging Face order (see [`super::rows`]).

use std::path::Path;

use super::rows::deinterleave_attention;
use super::{TensorInfo, TensorSource, TensorView};
use crate::error::{ModelError, Result};

/// Weights under Mistral's names.
pub(crate) struct MistralSource {
    inner: Box<dyn TensorSource>,
    heads: usize,
    kv_heads: usize,
}

impl MistralSource {
    /// Wraps the weights of a model with so many heads of queries, and of keys and values.
    pub(crate) fn new(inner: Box<dyn TensorSource>, heads: usize, kv_heads: usize) -> Self {
        Self {
            inner,
            heads,
            kv_heads,
        }
    }
}

impl TensorSource for MistralSource {
    fn own_name(&self, name: &str) -> String {
        let names = mistral_names(name).into_iter();
        names.last().unwrap_or_else(|| name.to_owned())
    }

    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        let mut found = None;
        for name in mistral_names(name) {
            found = self.inner.get(&name)?;
            if found.is_some() {
                break;
            }
        }
        if let Some(view) = &mut found {
            deinterleave_attention(name, self.heads, self.kv_heads, view).map_err(|error| {
                ModelError::InvalidFile {
                    path: self.path().to_owned(),
                    message: format!("tensor {name} {error}"),
                }
            })?;
        }
        Ok(found)
    }

    fn release(&self) {
        self.inner.release();
    }

    fn path(&self) -> &Path {
        self.inner.path()
    }

    fn total_bytes(&self) -> u64 {
        self.inner.total_bytes()
    }

    fn tensors(&self) -> Result<Vec<TensorInfo>> {
        self.inner.tensors()
    }
}

/// The names that a Hugging Face tensor may have.
fn mistral_names(name: &str) -> Vec<String> {
    let Some((module, parameter)) = name.rsplit_once('.') else {
        return Vec::new();
    };
    match module {
        "model.embed_tokens" => return vec![format!("tok_embeddings.{parameter}")],
        "model.norm" => return vec![format!("norm.{parameter}")],
        "lm_head" => return vec![format!("output.{parameter}")],
        _ => {}
    }
    let Some((layer, module)) = module
        .strip_prefix("model.layers.")
        .and_then(|rest| rest.split_once('.'))
    else {
        return Vec::new();
    };
    let name = |module: &str| format!("layers.{layer}.{module}.{parameter}");
    let module = match module {
        "input_layernorm" => "attention_norm",
        "post_attention_layernorm" => "ffn_norm",
        "self_attn.q_proj" => "attention.wq",
        "self_attn.k_proj" => "attention.wk",
        "self_attn.v_proj" => "attention.wv",
        "self_attn.o_proj" => "attention.wo",
        "mlp.gate_proj" => "feed_forward.w1",
        "mlp.down_proj" => "feed_forward.w2",
        "mlp.up_proj" => "feed_forward.w3",
        // Older files have Hugging Face's name for the experts, newer ones another.
        _ => {
            let Some(moe) = module.strip_prefix("block_sparse_moe.") else {
                return Vec::new();
            };
            return vec![name(module), name(&format!("feed_forward.{moe}"))];
        }
    };
    vec![name(module)]
}
