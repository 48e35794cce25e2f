//! Ollama's JSON, field by field. Options that are sampling parameters are those of
//! [`SamplingFields`].

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::dialects::shared::union::TextOr;
use crate::dialects::shared::wire::{SamplingFields, ToolDefinition};

/// `POST /api/chat` and `POST /api/generate`: the fields that both have.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct CommonFields {
    /// Name of the model; the served one if missing.
    pub model: Option<String>,
    /// Whether the answer is streamed; true if missing.
    pub stream: Option<bool>,
    /// `json`, or a JSON schema.
    pub format: Option<Value>,
    /// How to choose tokens.
    #[schema(value_type = Option<Options>)]
    pub options: Option<Map<String, Value>>,
    /// Whether the model thinks before it answers: a truth value, or `low`, `medium`, `high`.
    pub think: Option<Value>,
    /// How long to keep the model after this request: seconds, or a duration such as `5m`; 0 lets it go, a
    /// negative one keeps it until its memory is needed.
    #[expect(dead_code, reason = "read at the door")]
    pub keep_alive: Option<Value>,
    /// Whether to return the log-probability of each token.
    pub logprobs: Option<bool>,
    /// Number of most likely tokens to return at each position, 0 to 20.
    pub top_logprobs: Option<i64>,
}

/// What is among the options.
#[derive(Debug, Clone, Default, ToSchema)]
pub(crate) struct Options {
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// How long things are.
    #[serde(flatten)]
    pub runner: RunnerOptions,
}

/// Options about the length of things.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct RunnerOptions {
    /// Largest number of tokens to generate; 0 or less for as many as fit.
    pub num_predict: Option<i64>,
    /// Length that the context may have; the model's own is fixed when the server starts.
    #[expect(
        dead_code,
        reason = "accepted: no context is ever longer than the server's"
    )]
    pub num_ctx: Option<i64>,
}

/// The other fields of `POST /api/chat`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ChatFields {
    /// The conversation so far.
    pub messages: Option<Vec<Message>>,
    /// The functions that may be called.
    pub tools: Option<Vec<ToolDefinition>>,
}

/// One message of a conversation.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = OllamaMessage)]
pub(crate) struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: Option<String>,
    /// The text.
    pub content: Option<String>,
    /// What the assistant thought before it answered.
    pub thinking: Option<String>,
    /// The calls that the assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The function whose result a tool message is.
    #[serde(alias = "name")]
    pub tool_name: Option<String>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// Images, which this server cannot read.
    pub images: Option<Vec<Value>>,
}

/// A call that the assistant made.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = OllamaToolCall)]
pub(crate) struct ToolCall {
    /// Names the call.
    pub id: Option<String>,
    /// The function.
    pub function: CalledFunction,
}

/// The function of a call.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct CalledFunction {
    /// Its name.
    pub name: Option<String>,
    /// Its arguments: an object.
    #[schema(value_type = Option<Object>)]
    pub arguments: Option<Map<String, Value>>,
}

/// The other fields of `POST /api/generate`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct GenerateFields {
    /// What the user says.
    pub prompt: Option<String>,
    /// What the model is told first.
    pub system: Option<String>,
    /// Whether the prompt goes to the model as it is.
    pub raw: Option<bool>,
    /// Text after the gap that the answer fills, for models that were trained to.
    pub suffix: Option<String>,
}

/// `POST /api/embed`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct EmbedRequest {
    /// Name of the model; the served one if missing.
    pub model: Option<String>,
    /// A text, or several.
    pub input: Option<TextOr<String>>,
    /// Length of the embeddings; the model's own.
    pub dimensions: Option<i64>,
    /// Whether a text that is too long is cut, which this server does not do.
    #[expect(
        dead_code,
        reason = "accepted: too long a text is told by an error either way"
    )]
    pub truncate: Option<bool>,
    /// As for answers; how tokens are chosen means nothing here.
    #[schema(value_type = Option<Options>)]
    pub options: Option<Map<String, Value>>,
    /// How long to keep the model after this request: seconds, or a duration such as `5m`; 0 lets it go, a
    /// negative one keeps it until its memory is needed.
    #[expect(dead_code, reason = "read at the door")]
    pub keep_alive: Option<Value>,
}

/// `POST /api/embeddings`, the older form.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = OllamaEmbeddingsRequest)]
pub(crate) struct EmbeddingsRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// A text.
    pub prompt: Option<String>,
    /// As for answers; how tokens are chosen means nothing here.
    #[schema(value_type = Option<Options>)]
    pub options: Option<Map<String, Value>>,
    /// How long to keep the model after this request: seconds, or a duration such as `5m`; 0 lets it go, a
    /// negative one keeps it until its memory is needed.
    #[expect(dead_code, reason = "read at the door")]
    pub keep_alive: Option<Value>,
}

/// `POST /api/show`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ShowRequest {
    /// Name of the model.
    pub model: Option<String>,
    /// The same, as older clients call it.
    pub name: Option<String>,
}

/// `POST /api/pull`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct PullRequest {
    /// A name of the catalogue, or hf:owner/repo[/file][:QUANT].
    pub model: Option<String>,
    /// The same, as older clients call it.
    pub name: Option<String>,
    /// Whether progress is streamed; true if missing.
    pub stream: Option<bool>,
    /// Whether to fetch without TLS, which this server does not.
    #[expect(dead_code, reason = "accepted: it permits what is never done")]
    pub insecure: Option<bool>,
}

/// `DELETE /api/delete`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct DeleteRequest {
    /// Name of the model.
    pub model: Option<String>,
    /// The same, as older clients call it.
    pub name: Option<String>,
}
