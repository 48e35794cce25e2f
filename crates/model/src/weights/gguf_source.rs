//! GGUF weights under Hugging Face names and in Hugging Face order.
//!
//! Two things differ between the worlds. Names: `model.layers.0.self_attn.q_proj.weight` is
//! `blk.0.attn_q.weight`. And for the Llama architectures the rows of Q and K, see [`super::rows`].

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::rows::deinterleave_attention;
use super::{GgufFile, TensorInfo, TensorSource, TensorView};
use crate::error::{ModelError, Result};

/// Architectures whose Q and K rows are interleaved. The list is llama.cpp's
/// (`llama_model_rope_type`: those of `LLAMA_ROPE_TYPE_NORM` that matou builds).
const INTERLEAVED: [&str; 4] = ["llama", "granite", "mistral3", "smollm3"];

/// A GGUF file read under Hugging Face names.
#[derive(Debug)]
pub(crate) struct GgufSource {
    file: Arc<GgufFile>,
    interleaved: bool,
    heads: usize,
    kv_heads: usize,
}

impl GgufSource {
    /// Wraps a file of an architecture with so many heads of queries, and of keys and values.
    pub(crate) fn new(
        file: Arc<GgufFile>,
        architecture: &str,
        heads: usize,
        kv_heads: usize,
    ) -> Self {
        Self {
            file,
            interleaved: INTERLEAVED.contains(&architecture),
            heads,
            kv_heads,
        }
    }

    /// The name that a Hugging Face tensor has in this file.
    fn gguf_name(&self, name: &str) -> Option<String> {
        let (module, parameter) = name.rsplit_once('.')?;
        let gguf_module = match module {
            "model.embed_tokens" => "token_embd",
            "model.norm" => "output_norm",
            "lm_head" => "output",
            _ => {
                let (layer, module) = module.strip_prefix("model.layers.")?.split_once('.')?;
                // Gemma norms the output of attention too; the norm before its feed-forward part,
                // which Llama calls `post_attention_layernorm`, then has a name of its own.
                let sandwiched = self
                    .file
                    .tensor("blk.0.post_attention_norm.weight")
                    .is_some();
                let gguf_module = match module {
                    "input_layernorm" => "attn_norm",
                    "self_attn.q_proj" => "attn_q",
                    "self_attn.k_proj" => "attn_k",
                    "self_attn.v_proj" => "attn_v",
                    "self_attn.qkv_proj" => "attn_qkv",
                    "self_attn.o_proj" => "attn_output",
                    "self_attn.q_norm" => "attn_q_norm",
                    "self_attn.k_norm" => "attn_k_norm",
                    "post_attention_layernorm" if sandwiched => "post_attention_norm",
                    "post_attention_layernorm" => "ffn_norm",
                    "pre_feedforward_layernorm" => "ffn_norm",
                    "post_feedforward_layernorm" => "post_ffw_norm",
                    "mlp.gate_proj" => "ffn_gate",
                    "mlp.up_proj" | "mlp.gate_up_proj" => "ffn_up",
                    "mlp.down_proj" => "ffn_down",
                    "block_sparse_moe.gate" => "ffn_gate_inp",
                    _ => return None,
                };
                return Some(format!("blk.{layer}.{gguf_module}.{parameter}"));
            }
        };
        Some(format!("{gguf_module}.{parameter}"))
    }

    /// Puts the rows of a tensor called `gguf_name` here, and `name` on Hugging Face, into the order
    /// that they have there.
    pub(crate) fn reorder(
        &self,
        name: &str,
        gguf_name: &str,
        view: &mut TensorView<'_>,
    ) -> Result<()> {
        if !self.interleaved {
            return Ok(());
        }
        deinterleave_attention(name, self.heads, self.kv_heads, view)
            .map_err(|error| self.invalid(format!("tensor {gguf_name} {error}")))
    }

    fn view(&self, gguf_name: &str) -> Result<Option<TensorView<'_>>> {
        let Some(tensor) = self.file.tensor(gguf_name) else {
            return Ok(None);
        };
        let (format, bytes) = self.file.data(gguf_name, tensor)?;
        Ok(Some(TensorView {
            format,
            shape: tensor.shape().to_vec(),
            bytes: Cow::Borrowed(bytes),
            packed_as: None,
        }))
    }

    /// One expert's matrix out of a merged tensor `[experts, rows, columns]`.
    fn expert(&self, merged_name: &str, expert: usize) -> Result<Option<TensorView<'_>>> {
        let Some(mut view) = self.view(merged_name)? else {
            return Ok(None);
        };
        let &[experts, rows, columns] = view.shape.as_slice() else {
            return Err(self.invalid(format!(
                "tensor {merged_name} has shape {:?}, not [experts, rows, columns]",
                view.shape
            )));
        };
        if expert >= experts {
            return Ok(None);
        }
        let len = view.bytes.len() / experts;
        view.shape = vec![rows, columns];
        if let Cow::Borrowed(bytes) = view.bytes {
            view.bytes = Cow::Borrowed(&bytes[expert * len..][..len]);
        }
        Ok(Some(view))
    }

    fn invalid(&self, message: String) -> ModelError {
        ModelError::InvalidFile {
            path: self.path().to_owned(),
            message,
        }
    }
}

impl TensorSource for GgufSource {
    fn own_name(&self, name: &str) -> String {
        self.gguf_name(name).unwrap_or_else(|| name.to_owned())
    }

    fn get(&self, name: &str) -> Result<Option<TensorView<'_>>> {
        if let Some((separate, merged, expert)) = expert_names(name) {
            return match self.view(&separate)? {
                Some(view) => Ok(Some(view)),
                None => self.expert(&merged, expert),
            };
        }
        let Some(gguf_name) = self.gguf_name(name) else {
            return Ok(None);
        };
        let mut view = self.view(&gguf_name)?;
        if let Some(view) = &mut view {
            self.reorder(name, &gguf_name, view)?;
        }
        Ok(view)
    }

    fn release(&self) {
        self.file.release();
    }

    fn path(&self) -> &Path {
        self.file.path()
    }

    fn total_bytes(&self) -> u64 {
        self.file
            .tensors()
            .filter_map(|(name, tensor)| self.file.data(name, tensor).ok())
            .map(|(_, bytes)| bytes.len() as u64)
            .sum()
    }

    fn tensors(&self) -> Result<Vec<TensorInfo>> {
        let mut tensors = Vec::new();
        for (name, tensor) in self.file.tensors() {
            match self.file.data(name, tensor) {
                Ok((format, _)) => tensors.push(TensorInfo {
                    name: name.to_owned(),
                    shape: tensor.shape().to_vec(),
                    format,
                    packed_as: None,
                }),
                // Perhaps of no use; if it is, loading says so.
                Err(ModelError::UnsupportedTensorType { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(tensors)
    }
}

/// For an expert's tensor: its name where each expert has tensors of its own, the name of the
/// merged tensor, and the expert's number.
fn expert_names(name: &str) -> Option<(String, String, usize)> {
    let (layer, rest) = name
        .strip_prefix("model.layers.")?
        .split_once(".block_sparse_moe.experts.")?;
    let (expert, parameter) = rest.split_once('.')?;
    let module = match parameter {
        "w1.weight" => "ffn_gate",
        "w2.weight" => "ffn_down",
        "w3.weight" => "ffn_up",
        _ => return None,
    };
    Some((
        format!("blk.{layer}.{module}.{expert}.weight"),
        format!("blk.{layer}.{module}_exps.weight"),
        expert.parse().ok()?,
    ))
}
