//! What a model may be asked, whatever wire format it came in.
//!
//! A server's converters make these from their wire types and refuse what they cannot express. What is
//! here has been checked against the documented ranges; only the engine knows whether it fits.

use std::sync::Arc;

use matou_chat::tools::Tool;
use matou_engine::{ClientId, SamplingParams};
use matou_grammar::GrammarSpec;
use matou_model::Adapter;
use serde_json::{Map, Value};

/// A conversation to be answered.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Messages as chat templates read them.
    pub messages: Vec<Value>,
    /// Whether the prompt ends with the header of the assistant's turn.
    pub add_generation_prompt: bool,
    /// Whether the last message is continued rather than answered.
    pub continue_final_message: bool,
    /// Further variables of the template.
    pub template_kwargs: Map<String, Value>,
    /// The tools that may be called.
    pub tools: Option<ToolUse>,
    /// Whether and how long a reasoning model is to think.
    pub reasoning: Option<Reasoning>,
    /// What a persona that answers is to know.
    pub scene: SceneChoice,
}

/// What a client says of itself to a persona.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SceneChoice {
    /// Which of its greetings the conversation begins with, from 0.
    pub greeting: usize,
    /// What it calls the user.
    pub user: Option<String>,
}

/// Whether and how long a reasoning model is to think.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reasoning {
    /// Not at all, if the model lets itself be told.
    Off,
    /// As long as it likes; a model that cannot is the wrong one.
    On,
    /// As long as it likes, if it can.
    Adaptive,
    /// This long, in the words of OpenAI, if it can.
    Effort(String),
}

/// A conversation and how to answer it. [`ChatCall::new`] asks for an answer as the model likes.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatCall {
    /// The conversation.
    pub request: ChatRequest,
    /// How to answer it.
    pub options: GenerationOptions,
    /// The grammar that the answer has to follow.
    pub output: Option<OutputGrammar>,
    /// Most tokens to think, of a model that does.
    pub thinking_budget: Option<usize>,
}

impl ChatCall {
    /// Asks for an answer to `messages`, without tools, sampled by `sampling`; the model thinks as it
    /// likes.
    pub fn new(messages: Vec<Value>, sampling: SamplingParams) -> Self {
        Self {
            request: ChatRequest {
                messages,
                add_generation_prompt: true,
                continue_final_message: false,
                template_kwargs: Map::new(),
                tools: None,
                reasoning: None,
                scene: SceneChoice::default(),
            },
            options: GenerationOptions {
                sampling,
                ..GenerationOptions::default()
            },
            output: None,
            thinking_budget: None,
        }
    }
}

/// Tools, and what a request demands of calls.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// The list of tools as chat templates read it.
    pub definitions: Value,
    /// The same tools with the schemas that arguments have to satisfy.
    pub tools: Vec<Tool>,
    /// There must be a call.
    pub required: bool,
    /// There may be several calls.
    pub parallel: bool,
    /// A grammar has to see to it that the schemas are satisfied and that the number is kept.
    pub is_constrained: bool,
}

/// A prompt that goes to the model as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PromptInput {
    /// Text to be tokenised. Control tokens in it are parsed: the caller writes the whole prompt.
    Text {
        /// The text.
        text: String,
        /// Whether it gets the model's first token.
        add_special_tokens: bool,
    },
    /// Token ids.
    Tokens(Vec<u32>),
}

/// How to generate, the same for each prompt of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerationOptions {
    /// What the engine obeys.
    pub sampling: SamplingParams,
    /// Strings that DRY does not look for repetitions across; the tokens that contain one are found
    /// when the prompt is tokenised.
    pub dry_sequence_breakers: Vec<String>,
    /// Words that are not said; their tokens are found when the prompt is tokenised.
    pub bad_words: Vec<String>,
    /// Number of answers to each prompt.
    pub n: usize,
    /// Who asks: clients take turns.
    pub client: ClientId,
    /// Requests with a lower value are served first.
    pub priority: i32,
    /// Only requests with the same share what the prefix cache holds.
    pub cache_salt: Option<Arc<str>>,
    /// What is computed with beside the model's weights.
    pub adapter: Option<Arc<Adapter>>,
    /// Leading tokens of the prompt that are no secret of whoever asks.
    pub num_open_tokens: usize,
    /// What becomes of the tokens.
    pub text: TextOptions,
}

impl Default for GenerationOptions {
    /// One answer, sampled from the model's distribution as it is.
    fn default() -> Self {
        Self {
            sampling: SamplingParams::default(),
            dry_sequence_breakers: Vec::new(),
            bad_words: Vec::new(),
            n: 1,
            client: ClientId::default(),
            priority: 0,
            cache_salt: None,
            adapter: None,
            num_open_tokens: 0,
            text: TextOptions::default(),
        }
    }
}

/// A grammar that answers have to follow.
#[derive(Debug, Clone, PartialEq)]
pub struct OutputGrammar {
    /// The field of the request that asks for it.
    pub param: String,
    /// What it says.
    pub spec: GrammarSpec,
}

/// How generated tokens become text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TextOptions {
    /// Strings that end an answer.
    pub stop: Vec<String>,
    /// Whether the stop string or stop token that was met is part of the text.
    pub include_stop_str_in_output: bool,
    /// Whether control tokens appear in the text.
    pub keep_special_tokens: bool,
    /// Whether log-probabilities name tokens by their ids, as `token_id:17`.
    pub tokens_as_ids: bool,
    /// Whether the text continues its prompt, so that a space before its first word counts.
    pub continues_prompt: bool,
}
