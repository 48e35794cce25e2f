//! What clients send.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::structured::{ResponseFormat, StructuredOutputs};
use super::tools::ToolDefinition;
use crate::dialects::union::TextOr;

/// `POST /v1/chat/completions`, without the fields of [`SharedFields`].
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ChatCompletionRequest {
    /// Name of the model; the served one if missing.
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
}

/// `POST /v1/completions`, without the fields of [`SharedFields`].
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct CompletionRequest {
    /// Name of the model; the served one if missing.
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

/// Fields that mean the same for chat and for completions.
#[derive(Debug, Clone, Default, ToSchema)]
pub struct SharedFields {
    /// How tokens are chosen.
    #[serde(flatten)]
    pub sampling: SamplingFields,
    /// What becomes of the answer.
    #[serde(flatten)]
    pub delivery: DeliveryFields,
    /// The grammar of the answer.
    #[serde(flatten)]
    pub grammar: GrammarFields,
}

/// How tokens are chosen, and which of them are text.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct SamplingFields {
    /// Strings that end the answer.
    pub stop: Option<TextOr<String>>,
    /// Seed of the random choices.
    pub seed: Option<i64>,
    /// Softmax temperature; 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Penalty of tokens that occurred in the answer.
    pub presence_penalty: Option<f64>,
    /// Penalty of tokens by how often they occurred in the answer.
    pub frequency_penalty: Option<f64>,
    /// What to add to the logits of single tokens, by token id.
    pub logit_bias: Option<BTreeMap<String, f64>>,
    /// Sample among the k most likely tokens; 0 or -1 for all.
    pub top_k: Option<i64>,
    /// Drop tokens less likely than this share of the most likely one.
    pub min_p: Option<f64>,
    /// Locally typical sampling.
    pub typical_p: Option<f64>,
    /// Keep tokens within this many standard deviations of the best logit.
    pub top_n_sigma: Option<f64>,
    /// Range of the entropy-dependent temperature.
    pub dynatemp_range: Option<f64>,
    /// Exponent of the entropy-dependent temperature.
    pub dynatemp_exponent: Option<f64>,
    /// Chance of excluding the top choices.
    pub xtc_probability: Option<f64>,
    /// Probability above which a token is a top choice.
    pub xtc_threshold: Option<f64>,
    /// Strength of the penalty on repeated sequences; 0 is off.
    pub dry_multiplier: Option<f64>,
    /// Growth of that penalty with the sequence's length.
    pub dry_base: Option<f64>,
    /// Longest repetition that is not penalised.
    pub dry_allowed_length: Option<i64>,
    /// How many tokens back repetitions are looked for; -1 for all.
    pub dry_penalty_last_n: Option<i64>,
    /// Strings that a repeated sequence does not reach across.
    pub dry_sequence_breakers: Option<Vec<String>>,
    /// Mirostat: 0 is off, 2 is version 2.
    pub mirostat: Option<i64>,
    /// Mirostat's target surprise.
    pub mirostat_tau: Option<f64>,
    /// Mirostat's learning rate.
    pub mirostat_eta: Option<f64>,
    /// Divides the logits of tokens that occurred, in the prompt too; 1 is off.
    #[serde(alias = "repeat_penalty")]
    pub repetition_penalty: Option<f64>,
    /// Whether to go on past the end-of-text tokens.
    pub ignore_eos: Option<bool>,
    /// Number of tokens before which the answer does not end.
    pub min_tokens: Option<i64>,
    /// Further tokens that end the answer.
    pub stop_token_ids: Option<Vec<i64>>,
    /// The only tokens that may be sampled.
    pub allowed_token_ids: Option<Vec<i64>>,
    /// Words that are not said (vLLM).
    pub bad_words: Option<Vec<String>>,
    /// Whether the stop string that was met is part of the answer.
    pub include_stop_str_in_output: Option<bool>,
    /// Whether log-probabilities name tokens by their ids, as `token_id:17` (vLLM).
    pub return_tokens_as_token_ids: Option<bool>,
    /// Whether control tokens are left out of the text.
    pub skip_special_tokens: Option<bool>,
}

/// How many answers there are, and what becomes of them.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct DeliveryFields {
    /// How many answers to generate for each prompt.
    pub n: Option<i64>,
    /// Whether the answer is streamed.
    pub stream: Option<bool>,
    /// Options of a streamed answer.
    pub stream_options: Option<StreamOptions>,
    /// The end user, for the log.
    pub user: Option<String>,
    /// Labels for the log.
    pub metadata: Option<BTreeMap<String, String>>,
    /// Whether to keep the answer; this server keeps none.
    pub store: Option<bool>,
    /// Class of service; this server has one.
    pub service_tier: Option<String>,
    /// Requests with a lower value are served first.
    pub priority: Option<i64>,
    /// Whether the answer tells how long it took (llama.cpp).
    pub timings: Option<bool>,
}

/// The grammar that an answer follows.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct GrammarFields {
    /// The form of the answer.
    pub response_format: Option<ResponseFormat>,
    /// The grammar of the answer (vLLM).
    pub structured_outputs: Option<StructuredOutputs>,
    /// A JSON schema, or its text (vLLM, older).
    pub guided_json: Option<Value>,
    /// A regex for the whole answer (vLLM, older).
    pub guided_regex: Option<String>,
    /// The possible answers (vLLM, older).
    pub guided_choice: Option<Vec<String>>,
    /// A grammar in GBNF or Lark (vLLM, older).
    pub guided_grammar: Option<String>,
    /// A grammar in GBNF or Lark (llama.cpp).
    pub grammar: Option<String>,
    /// A JSON schema (llama.cpp).
    pub json_schema: Option<Value>,
}

/// Options of a streamed answer.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct StreamOptions {
    /// Whether a last chunk brings the token counts.
    pub include_usage: Option<bool>,
    /// Whether chunks are padded to hide their length; this server does not.
    pub include_obfuscation: Option<bool>,
}

/// One message of a conversation.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct ChatMessage {
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
pub struct ToolCall {
    /// The call's id, which the tool's answer repeats.
    pub id: Option<String>,
    /// The function and its arguments.
    pub function: FunctionCall,
}

/// The function of a call.
#[derive(Debug, Clone, Deserialize, ToSchema)]
pub struct FunctionCall {
    /// Name of the function.
    pub name: String,
    /// JSON text of an object.
    pub arguments: Option<String>,
}

/// One part of a message's content.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
pub struct ContentPart {
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
pub type Prompt = TextOr<PromptElement>;

/// An element of a prompt list.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(
    untagged,
    expecting = "expected a string, a token id or a list of token ids"
)]
pub enum PromptElement {
    /// A token id of the one prompt that the list is.
    Token(i64),
    /// A text.
    Text(String),
    /// The token ids of one prompt.
    Tokens(Vec<i64>),
}

/// `POST /tokenize` of a text; a conversation comes as a [`ChatCompletionRequest`].
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct TokenizeRequest {
    /// Text to tokenise.
    pub prompt: Option<String>,
    /// Whether the text gets the model's first token.
    pub add_special_tokens: Option<bool>,
    /// Whether to return the text of each token too.
    pub return_token_strs: Option<bool>,
}

/// `POST /detokenize`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub struct DetokenizeRequest {
    /// Name of the model; the served one if missing.
    pub model: Option<String>,
    /// The tokens to turn into text.
    pub tokens: Option<Vec<i64>>,
}
