//! What sets each family of models apart.
//!
//! All of them are the decoder of [`crate::decoder`]; a family's file says in which particulars it
//! differs from Llama. To add one: its file here, its line in [`crate::registry`], its checkpoint
//! in the parity tests.

pub(crate) mod gemma3;
pub(crate) mod granite;
pub(crate) mod llama;
pub(crate) mod mixtral;
pub(crate) mod phi3;
pub(crate) mod qwen;

use crate::backend::Activation;
use crate::config::ModelConfig;
use crate::error::{ModelError, Result};

/// The particulars of a decoder, beyond the numbers in its [`ModelConfig`].
#[derive(Debug, Clone)]
pub(crate) struct Architecture {
    /// Biases of the queries', keys' and values' projections.
    pub(crate) qkv_bias: bool,
    /// Bias of attention's output projection.
    pub(crate) output_bias: bool,
    /// Biases of the feed-forward part.
    pub(crate) mlp_bias: bool,
    /// The files have `qkv_proj` and `gate_up_proj` in place of separate matrices.
    pub(crate) fused_projections: bool,
    /// Norms of each head's queries and keys.
    pub(crate) head_norms: bool,
    /// Norms of the output of attention and of the feed-forward part, beside those of the input.
    pub(crate) output_norms: bool,
    /// What norm weights are short of.
    pub(crate) norm_weight_offset: f32,
    /// Function of the feed-forward gate.
    pub(crate) activation: Activation,
    /// Experts in all and for each token, if the feed-forward part is sparse.
    pub(crate) experts: Option<(usize, usize)>,
    /// Factor on the embeddings.
    pub(crate) embedding_scale: f32,
    /// Factor on what attention and the feed-forward part add to the residual stream.
    pub(crate) residual_scale: f32,
    /// Factor on the products of queries and keys.
    pub(crate) attention_scale: f32,
    /// Bound of the attention scores, approached by tanh.
    pub(crate) attention_softcap: Option<f32>,
    /// Factor on the logits.
    pub(crate) logit_scale: f32,
    /// Bound of the logits, approached by tanh.
    pub(crate) logit_softcap: Option<f32>,
}

/// The activation that a config names.
fn activation(config: &ModelConfig) -> Result<Activation> {
    match config.hidden_act.as_str() {
        "silu" | "swish" => Ok(Activation::Silu),
        "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
        other => Err(ModelError::UnsupportedArchitecture {
            architecture: format!("{} with hidden_act {other:?}", config.architecture),
            supported: "silu, gelu_pytorch_tanh".to_owned(),
        }),
    }
}
