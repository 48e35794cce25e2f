//! Embeddings on the wire.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::PromptElement;
use crate::dialects::shared::union::TextOr;

/// `POST /v1/embeddings`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct EmbeddingsRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// One text or several, as text or as token ids.
    pub input: Option<TextOr<PromptElement>>,
    /// `float` or `base64`.
    pub encoding_format: Option<String>,
    /// Length of an embedding: the model's own.
    pub dimensions: Option<i64>,
    /// The end user, for the log.
    pub user: Option<String>,
}

/// Embeddings, in the order of their texts.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct EmbeddingList {
    /// `list`.
    pub object: &'static str,
    /// One a text.
    pub data: Vec<Embedding>,
    /// The served model.
    pub model: String,
    /// Token counts.
    pub usage: EmbeddingUsage,
}

/// The embedding of a text.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Embedding {
    /// `embedding`.
    pub object: &'static str,
    /// Which text.
    pub index: usize,
    /// The numbers.
    pub embedding: EmbeddingVector,
}

/// The numbers of an embedding.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum EmbeddingVector {
    /// As they are.
    Floats(Vec<f32>),
    /// As little-endian 32-bit floats in base64.
    Base64(String),
}

/// Token counts of embeddings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct EmbeddingUsage {
    /// Tokens of all texts.
    pub prompt_tokens: usize,
    /// The same: nothing is generated.
    pub total_tokens: usize,
}
