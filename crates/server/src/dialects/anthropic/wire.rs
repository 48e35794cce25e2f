//! Anthropic's JSON, field by field. As in the other dialects, every field of a request is optional
//! so that what is missing gets a message of its own, and unknown fields are skipped.

use crate::label::Label;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::dialects::shared::union::TextOr;

/// `POST /v1/messages`, and `POST /v1/messages/count_tokens` without `max_tokens`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct MessagesRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// The conversation so far, of users and assistant.
    pub messages: Option<Vec<Message>>,
    /// What the assistant is told before it: text, or blocks of text.
    pub system: Option<TextOr<Block>>,
    /// Largest number of tokens to generate.
    pub max_tokens: Option<i64>,
    /// Strings that end the answer.
    pub stop_sequences: Option<Vec<String>>,
    /// Whether the answer is streamed.
    pub stream: Option<bool>,
    /// Softmax temperature, 0 to 1; 0 is greedy.
    pub temperature: Option<f64>,
    /// Nucleus sampling.
    pub top_p: Option<f64>,
    /// Sample among the k most likely tokens.
    pub top_k: Option<i64>,
    /// The functions that may be called.
    pub tools: Option<Vec<Tool>>,
    /// Whether and which functions are called.
    pub tool_choice: Option<ToolChoice>,
    /// Whether the model thinks before it answers.
    pub thinking: Option<Thinking>,
    /// The form of the answer.
    pub output_config: Option<OutputConfig>,
    /// The end user, for the log.
    pub metadata: Option<Metadata>,
    /// Class of service; this server has one.
    pub service_tier: Option<String>,
    /// Leave to drop parts of a conversation that has become long. Nothing is dropped here, and the
    /// answer says so.
    pub context_management: Option<ContextManagement>,
    /// Servers with tools that Anthropic's own would call. Nothing here does: their tools are left
    /// out.
    pub mcp_servers: Option<Vec<Value>>,
}

/// What may be dropped from a conversation.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ContextManagement {
    /// The kinds of droppings, each with when and how much.
    pub edits: Option<Vec<Value>>,
}

/// One turn.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = AnthropicMessage)]
pub(crate) struct Message {
    /// `user`, `assistant`, or `system` for what the assistant is told on the way.
    pub role: Option<String>,
    /// Text, or blocks.
    pub content: Option<TextOr<Block>>,
}

/// A block of content; which fields it has depends on its type.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct Block {
    /// `text`, `document`, `search_result`, `thinking`, `redacted_thinking`, `tool_use` or
    /// `tool_result`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The text of `text`.
    pub text: Option<String>,
    /// The text of `thinking`.
    pub thinking: Option<String>,
    /// Names the call of `tool_use`.
    pub id: Option<String>,
    /// The function of `tool_use`.
    pub name: Option<String>,
    /// The arguments of `tool_use`.
    #[schema(value_type = Option<Object>)]
    pub input: Option<Map<String, Value>>,
    /// The call that `tool_result` answers.
    pub tool_use_id: Option<String>,
    /// What the tool gave, or a search found: text, or blocks of text.
    #[schema(no_recursion)]
    pub content: Option<TextOr<Block>>,
    /// Whether the tool failed.
    pub is_error: Option<bool>,
    /// The tool that `tool_reference` names.
    pub tool_name: Option<String>,
    /// What `document` holds, or where `search_result` was found.
    pub source: Option<Value>,
    /// The title of `document` and `search_result`.
    pub title: Option<String>,
    /// What to know about `document`.
    pub context: Option<String>,
    /// Whether passages of `document` and `search_result` are to be cited, which this server's models
    /// do not do.
    pub citations: Option<Citations>,
}

/// Whether passages are to be cited.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct Citations {
    /// Whether they are.
    pub enabled: Option<bool>,
}

/// A function that may be called.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = AnthropicTool)]
pub(crate) struct Tool {
    /// `custom`, or one that clients run: `bash_DATE`, `text_editor_DATE`, `memory_DATE`. Those that
    /// run on Anthropic's servers are left out.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    pub input_schema: Option<Map<String, Value>>,
    /// Whether the arguments must satisfy the schema whatever the model would rather write.
    pub strict: Option<bool>,
    /// Whether the model is only told about it once the result of a call refers to it.
    pub defer_loading: Option<bool>,
}

/// Whether and which functions are called.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ToolChoice {
    /// `auto`, `any`, `tool` or `none`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The function of `tool`.
    pub name: Option<String>,
    /// Whether to make one call at most.
    pub disable_parallel_tool_use: Option<bool>,
}

/// Whether the model thinks before it answers.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct Thinking {
    /// `enabled`, `adaptive` or `disabled`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Most tokens to think, of `enabled`.
    pub budget_tokens: Option<i64>,
}

/// The form of the answer.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct OutputConfig {
    /// A grammar for it.
    pub format: Option<OutputFormat>,
    /// How much trouble to take.
    pub effort: Option<String>,
}

/// A grammar of the answer.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct OutputFormat {
    /// `json_schema`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The schema.
    pub schema: Option<Value>,
}

/// Labels of the request.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct Metadata {
    /// The end user.
    pub user_id: Option<String>,
}

/// An answer, or what opens a streamed one.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct MessageResponse {
    /// The answer's id.
    pub id: String,
    /// `message`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// `assistant`.
    pub role: &'static str,
    /// The served model.
    pub model: String,
    /// What the model thought, said and called, in that order.
    pub content: Vec<ContentBlock>,
    /// `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`; null while it goes on.
    pub stop_reason: Option<&'static str>,
    /// The string of `stop_sequence`.
    pub stop_sequence: Option<String>,
    /// Token counts.
    pub usage: Usage,
    /// What was dropped from the conversation, where the request gave leave to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_management: Option<AppliedEdits>,
    /// That a model made the answer, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matou: Option<Label>,
}

/// What was dropped from a conversation: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct AppliedEdits {
    /// Always empty.
    #[schema(value_type = Vec<Value>)]
    pub applied_edits: [(); 0],
}

/// A block of an answer.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum ContentBlock {
    /// What the model thought.
    Thinking {
        /// The text.
        thinking: String,
        /// Proves at Anthropic that the text is the model's own; empty here.
        signature: &'static str,
    },
    /// What it said.
    Text {
        /// The text.
        text: String,
    },
    /// A call.
    ToolUse {
        /// Names the call.
        id: String,
        /// The function.
        name: String,
        /// The arguments.
        #[schema(value_type = Value)]
        input: Value,
    },
}

/// What an event adds to a block.
#[expect(clippy::enum_variant_names, reason = "the names on the wire")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum BlockDelta<'a> {
    /// More of what the model thinks.
    ThinkingDelta {
        /// The text.
        thinking: &'a str,
    },
    /// More of what it says.
    TextDelta {
        /// The text.
        text: &'a str,
    },
    /// More of a call's arguments.
    InputJsonDelta {
        /// JSON text.
        partial_json: &'a str,
    },
}

/// Token counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AnthropicUsage)]
pub(crate) struct Usage {
    /// Tokens of the prompt that were computed.
    pub input_tokens: usize,
    /// Always 0: what is cached costs nothing.
    pub cache_creation_input_tokens: usize,
    /// Tokens of the prompt that were found in the prefix cache.
    pub cache_read_input_tokens: usize,
    /// Generated tokens.
    pub output_tokens: usize,
}

/// `POST /v1/messages/count_tokens`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct TokenCount {
    /// Tokens of the prompt.
    pub input_tokens: usize,
}

/// `GET /v1/models`, for who sends `anthropic-version`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelPage {
    /// One entry for each name that is served.
    pub data: Vec<ModelInfo>,
    /// Whether there are others in the direction that was asked for.
    pub has_more: bool,
    /// The first entry's id.
    pub first_id: Option<String>,
    /// The last entry's id.
    pub last_id: Option<String>,
}

/// A served model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct ModelInfo {
    /// `model`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// Its name.
    pub id: String,
    /// The same: people read it as it is.
    pub display_name: String,
    /// When it was loaded, by RFC 3339.
    pub created_at: String,
    /// `active`.
    pub lifecycle: &'static str,
    /// Largest number of tokens of prompt and answer together.
    pub max_input_tokens: usize,
    /// The same: it is what both share.
    pub max_tokens: usize,
}

/// The events of a stream, each sent under the name that its type says.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum StreamEvent<'a> {
    /// Opens the answer.
    MessageStart {
        /// The answer without content.
        message: &'a MessageResponse,
    },
    /// Opens a block.
    ContentBlockStart {
        /// Which block.
        index: usize,
        /// The block without content.
        content_block: ContentBlock,
    },
    /// Adds to a block.
    ContentBlockDelta {
        /// Which block.
        index: usize,
        /// What is new.
        delta: BlockDelta<'a>,
    },
    /// Closes a block.
    ContentBlockStop {
        /// Which block.
        index: usize,
    },
    /// Says why the answer ended.
    MessageDelta {
        /// The reason.
        delta: MessageEnd,
        /// All token counts.
        usage: Usage,
        /// As of the whole answer.
        #[serde(skip_serializing_if = "Option::is_none")]
        context_management: Option<AppliedEdits>,
    },
    /// Closes the answer.
    MessageStop,
}

impl StreamEvent<'_> {
    /// The name under which the event is sent.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::MessageStart { .. } => "message_start",
            Self::ContentBlockStart { .. } => "content_block_start",
            Self::ContentBlockDelta { .. } => "content_block_delta",
            Self::ContentBlockStop { .. } => "content_block_stop",
            Self::MessageDelta { .. } => "message_delta",
            Self::MessageStop => "message_stop",
        }
    }
}

/// Why an answer ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct MessageEnd {
    /// `end_turn`, `max_tokens`, `stop_sequence` or `tool_use`.
    pub stop_reason: Option<&'static str>,
    /// The string of `stop_sequence`.
    pub stop_sequence: Option<String>,
}
