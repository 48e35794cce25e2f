//! Fields of requests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::structured::{ResponseFormat, StructuredOutputs};
use crate::dialects::shared::union::TextOr;

/// Fields that mean the same for chat and for completions.
#[derive(Debug, Clone, Default, ToSchema)]
pub(crate) struct SharedFields {
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
pub(crate) struct SamplingFields {
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
    /// How many of the newest tokens the penalties look at (llama.cpp); -1 for all, and all if missing.
    pub repeat_last_n: Option<i64>,
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
pub(crate) struct DeliveryFields {
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
    /// Only requests with the same share what is computed of their prompts (vLLM).
    pub cache_salt: Option<String>,
    /// Whether the answer tells how long it took (llama.cpp).
    pub timings: Option<bool>,
}

/// The grammar that an answer follows.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct GrammarFields {
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
pub(crate) struct StreamOptions {
    /// Whether a last chunk brings the token counts.
    pub include_usage: Option<bool>,
    /// Whether chunks are padded to hide their length; this server does not.
    pub include_obfuscation: Option<bool>,
}
