//! What clients send.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::dialects::personas::SceneFields;
use crate::dialects::shared::union::TextOr;
use crate::dialects::shared::wire::ToolDefinition;

/// `POST /v1/chat/completions`, without the fields of [`SharedFields`](crate::dialects::shared::wire::SharedFields).
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ChatCompletionRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// The conversation so far.
    pub messages: Option<Vec<ChatMessage>>,
    /// Largest number of tokens to generate; the older name.
    pub max_tokens: Option<i64>,
    /// Largest number of tokens to generate.
    pub max_completion_tokens: Option<i64>,
    /// Whether to return the log-probability of each token.
    pub logprobs: Option<bool>,
    /// Number of most likely tokens to return at each position, 0 to 20.
    pub top_logprobs: Option<i64>,
    /// Whether the prompt ends with the header of the assistant's turn (vLLM).
    pub add_generation_prompt: Option<bool>,
    /// Whether the last message is to be continued rather than answered (vLLM).
    pub continue_final_message: Option<bool>,
    /// Further variables of the chat template (vLLM).
    #[schema(value_type = Option<Object>)]
    pub chat_template_kwargs: Option<Map<String, Value>>,
    /// The functions that may be called.
    pub tools: Option<Vec<ToolDefinition>>,
    /// Whether and which functions are called: a word or an object.
    pub tool_choice: Option<Value>,
    /// Whether several functions may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// How long a reasoning model thinks.
    pub reasoning_effort: Option<String>,
    /// Most tokens that a reasoning model thinks (vLLM; `thinking_budget` for Qwen's API,
    /// `thinking_budget_tokens` for llama.cpp).
    #[serde(alias = "thinking_budget", alias = "thinking_budget_tokens")]
    pub thinking_token_budget: Option<i64>,
    /// Number of most likely tokens to return at each place of the prompt, 0 to 20 (vLLM).
    pub prompt_logprobs: Option<i64>,
    /// What a persona is to know: which greeting the conversation began with, and who the user is.
    pub persona: Option<SceneFields>,
}

/// `POST /v1/completions`, without the fields of [`SharedFields`](crate::dialects::shared::wire::SharedFields).
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct CompletionRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// One prompt or several, as text or as token ids.
    pub prompt: Option<TextOr<PromptElement>>,
    /// Largest number of tokens to generate.
    pub max_tokens: Option<i64>,
    /// Number of most likely tokens to return at each position.
    pub logprobs: Option<i64>,
    /// Whether the prompt is part of the answer.
    pub echo: Option<bool>,
    /// Answers of which the `n` likeliest are returned.
    pub best_of: Option<i64>,
    /// Text after the gap that the answer fills, for models that were trained to.
    pub suffix: Option<String>,
    /// Whether a text prompt gets the model's first token (vLLM).
    pub add_special_tokens: Option<bool>,
    /// Number of most likely tokens to return at each place of the prompt, 0 to 20 (vLLM).
    pub prompt_logprobs: Option<i64>,
}

/// One message of a conversation.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ChatMessage {
    /// `system`, `developer`, `user`, `assistant` or `tool`.
    pub role: Option<String>,
    /// The text.
    pub content: Option<TextOr<ContentPart>>,
    /// Name of the speaker.
    pub name: Option<String>,
    /// The calls that the assistant made.
    pub tool_calls: Option<Vec<ToolCall>>,
    /// The call that a tool message answers.
    pub tool_call_id: Option<String>,
    /// The assistant's refusal, which stands in for content.
    pub refusal: Option<String>,
    /// The assistant's reasoning before its answer.
    pub reasoning_content: Option<String>,
}

/// A call that the assistant made.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct ToolCall {
    /// The call's id, which the tool's answer repeats.
    pub id: Option<String>,
    /// The function and its arguments.
    pub function: Option<FunctionCall>,
    /// The custom tool and what it was given.
    pub custom: Option<CustomCall>,
}

/// The custom tool of a call.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct CustomCall {
    /// Name of the tool.
    pub name: String,
    /// What it was given: text.
    pub input: Option<String>,
}

/// The function of a call.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub(crate) struct FunctionCall {
    /// Name of the function.
    pub name: String,
    /// JSON text of an object.
    pub arguments: Option<String>,
}

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub(crate) struct ContentPart {
    /// `text`, `refusal`, `image_url`, …
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of a `text` part.
    pub text: Option<String>,
    /// The text of a `refusal` part.
    pub refusal: Option<String>,
}

/// What `/v1/completions` takes for a prompt: a text, or a list of texts, of token ids (one prompt), or
/// of lists of token ids.
pub(crate) type Prompt = TextOr<PromptElement>;

/// An element of a prompt list.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a token id or a list of token ids"
)]
pub(crate) enum PromptElement {
    /// A token id of the one prompt that the list is.
    Token(i64),
    /// A text.
    Text(String),
    /// The token ids of one prompt.
    Tokens(Vec<i64>),
}

/// `POST /tokenize` of a text; a conversation comes as a [`ChatCompletionRequest`].
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct TokenizeRequest {
    /// Text to tokenise.
    pub prompt: Option<String>,
    /// Whether the text gets the model's first token.
    pub add_special_tokens: Option<bool>,
    /// Whether to return the text of each token too.
    pub return_token_strs: Option<bool>,
}

/// `POST /detokenize`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct DetokenizeRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// The tokens to turn into text.
    pub tokens: Option<Vec<i64>>,
}
