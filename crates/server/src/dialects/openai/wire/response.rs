//! What the server answers.

use crate::label::Label;
use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::dialects::management::StatusObject;
use crate::dialects::shared::wire::ChatLogprobs;

/// The fields that open every completion and every chunk of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Header {
    /// The answer's id, the same in all its chunks.
    pub id: String,
    /// `chat.completion`, `chat.completion.chunk` or `text_completion`.
    pub object: &'static str,
    /// Unix time at which the answer began, in seconds.
    pub created: u64,
    /// The served model.
    pub model: String,
    /// Changes when the model or the build changes, and with it what a seed gives.
    pub system_fingerprint: String,
    /// That a model made the answer, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matou: Option<Label>,
}

/// A whole chat completion.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChatCompletion {
    /// What every answer opens with.
    #[serde(flatten)]
    pub header: Header,
    /// The answers, by index.
    pub choices: Vec<ChatChoice>,
    /// Token counts.
    pub usage: Usage,
    /// The one class of service there is.
    pub service_tier: &'static str,
    /// Log-probabilities of the prompt, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Option<BTreeMap<String, PromptLogprob>>>>)]
    pub prompt_logprobs: Option<PromptLogprobs>,
    /// How long it took, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<TimingsReport>,
}

/// One entry a token of the prompt: that token and the likeliest at its place, by token id; null for
/// the first token, which nothing predicts.
pub(crate) type PromptLogprobs = Vec<Option<BTreeMap<String, PromptLogprob>>>;

/// A token at a place of the prompt, as vLLM describes it.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct PromptLogprob {
    /// Natural logarithm of its probability, at least -9999.
    pub logprob: f32,
    /// Its place among all tokens, the likeliest one's being 1.
    pub rank: usize,
    /// Its text, lossy if it is part of a character.
    pub decoded_token: String,
}

/// How long an answer took, as llama.cpp tells it: times in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, ToSchema)]
pub(crate) struct TimingsReport {
    /// Tokens of the prompt that were found in the prefix cache.
    pub cache_n: usize,
    /// Tokens of the prompt that were computed.
    pub prompt_n: usize,
    /// Until the prompt was read, waiting included.
    pub prompt_ms: f64,
    /// Tokens of the prompt in a second.
    pub prompt_per_second: f64,
    /// Generated tokens, of all answers.
    pub predicted_n: usize,
    /// From then on.
    pub predicted_ms: f64,
    /// Generated tokens in a second.
    pub predicted_per_second: f64,
}

/// One answer of a chat completion.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ChatChoice {
    /// Which of `n`.
    pub index: usize,
    /// The answer.
    pub message: AssistantMessage,
    /// Log-probabilities, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why the answer ended.
    pub finish_reason: &'static str,
}

/// The assistant's message.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct AssistantMessage {
    /// `assistant`.
    pub role: &'static str,
    /// What the model thought before it answered, if it marks that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// The text; null if there are calls and nothing else.
    pub content: Option<String>,
    /// Always null: the model refuses in its own words.
    pub refusal: Option<String>,
    /// The calls, if there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallMessage>,
}

/// A chunk of a streamed chat completion.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChatCompletionChunk<'a> {
    /// What every answer opens with.
    #[serde(flatten)]
    pub header: &'a Header,
    /// One answer's news; empty in the chunk that brings the usage.
    pub choices: Vec<ChatChunkChoice>,
    /// Left out unless asked for; then null in all chunks but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<Option<Usage>>,
    /// How long it took, in the last chunk of an answer, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<TimingsReport>,
}

/// One answer's news in a chunk.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ChatChunkChoice {
    /// Which of `n`.
    pub index: usize,
    /// What is new.
    pub delta: Delta,
    /// Log-probabilities of the new tokens, if asked for.
    pub logprobs: Option<ChatLogprobs>,
    /// Why the answer ended, in its last chunk.
    pub finish_reason: Option<&'static str>,
}

/// What a chunk adds to a message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Delta {
    /// `assistant`, in an answer's first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<&'static str>,
    /// More reasoning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_content: Option<String>,
    /// More text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// The beginning of a call, or more of its arguments.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tool_calls: Vec<ToolCallDelta>,
}

/// A call that the assistant makes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ToolCallMessage {
    /// Names the call; the tool's answer repeats it.
    pub id: String,
    /// `function` or `custom`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The function and its arguments.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionCallMessage>,
    /// The custom tool and what it is given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomCallMessage>,
}

/// The function of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct FunctionCallMessage {
    /// Name of the function.
    pub name: String,
    /// JSON text of an object.
    pub arguments: String,
}

/// The custom tool of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct CustomCallMessage {
    /// Name of the tool.
    pub name: String,
    /// What it is given: text.
    pub input: String,
}

/// What a chunk adds to a call: id, type and name come first, then the arguments in fragments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct ToolCallDelta {
    /// Which call of the answer.
    pub index: usize,
    /// Names the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// `function` or `custom`.
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionCallDelta>,
    /// The custom tool and what it is given, in one piece.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub custom: Option<CustomCallMessage>,
}

/// What a chunk adds to the function of a call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct FunctionCallDelta {
    /// Name of the function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// A fragment of the arguments' JSON text.
    pub arguments: String,
}

/// A whole text completion, or a chunk of one: they look the same.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Completion<'a> {
    /// What every answer opens with.
    #[serde(flatten)]
    #[schema(value_type = Header)]
    pub header: &'a Header,
    /// The answers by index, or one answer's news.
    pub choices: Vec<CompletionChoice>,
    /// Token counts. In chunks: left out unless asked for, then null in all but the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Usage>)]
    pub usage: Option<Option<Usage>>,
    /// How long it took, if asked for; in chunks only in the last of an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<TimingsReport>,
}

/// One answer of a text completion, or its news.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct CompletionChoice {
    /// Prompt number times `n`, plus which of `n`.
    pub index: usize,
    /// The text.
    pub text: String,
    /// Log-probabilities, if asked for.
    pub logprobs: Option<CompletionLogprobs>,
    /// Why the answer ended; null in chunks before the last.
    pub finish_reason: Option<&'static str>,
    /// Log-probabilities of the prompt, if asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<Option<BTreeMap<String, PromptLogprob>>>>)]
    pub prompt_logprobs: Option<PromptLogprobs>,
}

/// Log-probabilities of a text completion: parallel lists, one entry a token.
#[derive(Debug, Clone, Default, Serialize, ToSchema)]
pub(crate) struct CompletionLogprobs {
    /// Each token's text, or `bytes:\x..` for a part of a character.
    pub tokens: Vec<String>,
    /// Null for the first token of a prompt, which nothing predicts.
    pub token_logprobs: Vec<Option<f32>>,
    /// The likeliest tokens at each place, the chosen one among them.
    pub top_logprobs: Vec<Option<BTreeMap<String, f32>>>,
    /// Where each token begins in the text, in characters.
    pub text_offset: Vec<usize>,
}

impl CompletionLogprobs {
    /// Adds what follows.
    pub(crate) fn append(&mut self, mut next: Self) {
        self.tokens.append(&mut next.tokens);
        self.token_logprobs.append(&mut next.token_logprobs);
        self.top_logprobs.append(&mut next.top_logprobs);
        self.text_offset.append(&mut next.text_offset);
    }
}

/// Token counts of one HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens of the prompts, each prompt counted once whatever `n` is.
    pub prompt_tokens: usize,
    /// Generated tokens of all answers, end-of-text tokens included.
    pub completion_tokens: usize,
    /// Their sum.
    pub total_tokens: usize,
    /// How much of the prompts was not computed again.
    pub prompt_tokens_details: PromptTokensDetails,
}

/// Details of the prompt's token count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct PromptTokensDetails {
    /// Tokens found in the prefix cache.
    pub cached_tokens: usize,
}

/// `GET /v1/models`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// `list`.
    pub object: &'static str,
    /// One entry for each name that is served.
    pub data: Vec<Model>,
}

/// A served model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Model {
    /// Its name.
    pub id: String,
    /// `model`.
    pub object: &'static str,
    /// Unix time at which it was loaded, in seconds.
    pub created: u64,
    /// `matou`.
    pub owned_by: &'static str,
    /// Largest number of tokens of prompt and answer together.
    pub max_model_len: usize,
    /// The same, as routers and editors call it.
    pub context_length: usize,
    /// The same again.
    pub context_window: usize,
    /// The model's own name; of an adapter, what its folder or file is called.
    pub root: String,
    /// What it stands on: an adapter's model, a persona's adapter or model (vLLM).
    pub parent: Option<String>,
    /// `model`, `adapter` or `persona`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// What llama.cpp tells of a model.
    pub meta: ModelMeta,
    /// Whether it is in memory, as llama.cpp's router tells it.
    pub status: StatusObject,
}

/// What llama.cpp tells of a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelMeta {
    /// Tokens in the vocabulary.
    pub n_vocab: usize,
    /// Length of the context.
    pub n_ctx: usize,
    /// Width of a hidden state.
    pub n_embd: usize,
    /// Parameters.
    pub n_params: u64,
    /// Bytes that the weights take.
    pub size: u64,
}

/// `POST /tokenize`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TokenizeResponse {
    /// Number of tokens.
    pub count: usize,
    /// Largest number of tokens of prompt and answer together.
    pub max_model_len: usize,
    /// The token ids.
    pub tokens: Vec<u32>,
    /// The text of each token, if asked for.
    pub token_strs: Option<Vec<String>>,
}

/// `POST /detokenize`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct DetokenizeResponse {
    /// The text.
    pub prompt: String,
}
