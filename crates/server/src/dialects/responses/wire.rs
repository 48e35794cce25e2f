//! OpenAI's JSON of responses, field by field. The sampling fields are those of
//! [`SharedFields`](crate::dialects::openai::wire::SharedFields).

use crate::label::Label;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use crate::dialects::shared::union::TextOr;
use crate::dialects::shared::wire::ChatTokenLogprob;

/// `POST /v1/responses`, without the fields that it shares with chat completions.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ResponsesRequest {
    /// Name of the model; the served one if missing.
    #[expect(dead_code, reason = "read at the door")]
    pub model: Option<String>,
    /// What to answer: text, or a list of items.
    pub input: Option<TextOr<InputItem>>,
    /// What the model is told first. Not handed on to the next response.
    pub instructions: Option<String>,
    /// The stored response that this one follows.
    pub previous_response_id: Option<String>,
    /// Whether the response is kept, to be followed or fetched; true if missing.
    pub store: Option<bool>,
    /// Largest number of tokens to generate.
    pub max_output_tokens: Option<i64>,
    /// The functions that may be called.
    pub tools: Option<Vec<Tool>>,
    /// Whether and which functions are called: a word or an object.
    pub tool_choice: Option<Value>,
    /// Whether several functions may be called at once.
    pub parallel_tool_calls: Option<bool>,
    /// The form of the answer.
    pub text: Option<TextConfig>,
    /// How long a reasoning model thinks.
    pub reasoning: Option<ReasoningConfig>,
    /// What to add to the response: `message.output_text.logprobs`, `reasoning.encrypted_content`.
    pub include: Option<Vec<String>>,
    /// Number of most likely tokens to return at each position, 0 to 20.
    pub top_logprobs: Option<i64>,
    /// `disabled`, or `auto`, which gives leave to drop parts of what is too long. Nothing is dropped.
    pub truncation: Option<String>,
    /// Whether to answer in the background, which this server does not do.
    pub background: Option<bool>,
    /// A stored conversation, which this server does not have.
    pub conversation: Option<Value>,
    /// A stored prompt, which this server does not have.
    pub prompt: Option<Value>,
    /// Most calls of built-in tools. This server has none.
    #[expect(dead_code, reason = "accepted: no call is ever more than it allows")]
    pub max_tool_calls: Option<i64>,
}

/// An item of the input; which fields it has depends on its type.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct InputItem {
    /// `message` (or nothing), `reasoning`, a call of a tool (`function_call`, `custom_tool_call`,
    /// `local_shell_call`, `shell_call`, `apply_patch_call`, `tool_search_call`), what it gave (the same
    /// with `_output`), or `additional_tools`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its id.
    pub id: Option<String>,
    /// How it ended.
    pub status: Option<String>,
    /// Of `message`: `system`, `developer`, `user` or `assistant`.
    pub role: Option<String>,
    /// Of `message` and `reasoning`: text, or parts.
    pub content: Option<TextOr<InputPart>>,
    /// Of calls and what they gave: names the call.
    pub call_id: Option<String>,
    /// The tool that is called.
    pub name: Option<String>,
    /// The group that the tool is in, if it is in one.
    pub namespace: Option<String>,
    /// The arguments of `function_call`, as JSON text; those of `tool_search_call`, an object.
    pub arguments: Option<Value>,
    /// What the tool of `custom_tool_call` is given.
    pub input: Option<String>,
    /// What `local_shell_call` and `shell_call` run.
    pub action: Option<Value>,
    /// What `apply_patch_call` changes.
    pub operation: Option<Value>,
    /// The tools that `additional_tools` brings, or `tool_search_output` has found.
    pub tools: Option<Vec<Tool>>,
    /// What the function gave: text, or parts.
    pub output: Option<TextOr<InputPart>>,
    /// Of `reasoning`: its text, sealed.
    pub encrypted_content: Option<String>,
}

/// A part of an item's content.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct InputPart {
    /// `input_text`, `output_text`, `reasoning_text` or `refusal`; nothing for what a command printed.
    #[serde(rename = "type", default)]
    pub kind: String,
    /// The text.
    pub text: Option<String>,
    /// The text of `refusal`.
    pub refusal: Option<String>,
    /// What a command printed.
    pub stdout: Option<String>,
    /// What it printed of errors.
    pub stderr: Option<String>,
    /// How it ended.
    pub outcome: Option<Value>,
}

impl InputPart {
    /// Whether it is what a command printed.
    pub(crate) fn is_printed(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some() || self.outcome.is_some()
    }
}

/// A function that may be called.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
#[schema(as = ResponseTool)]
pub(crate) struct Tool {
    /// `function`, `custom`, `namespace`, or one that clients run: `local_shell`, `shell`,
    /// `apply_patch`, `tool_search`. Those that run on OpenAI's servers are left out.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// Whether the arguments must satisfy the schema whatever the model would rather write.
    pub strict: Option<bool>,
    /// The form of what `custom` takes: any text, or a grammar's.
    pub format: Option<Value>,
    /// The tools of `namespace`.
    #[schema(no_recursion)]
    pub tools: Option<Vec<Tool>>,
    /// Who runs `tool_search`: `client` or `server`.
    pub execution: Option<String>,
    /// Whether a search has to find it first; those that are given can be called.
    #[expect(dead_code, reason = "accepted: a tool that is given has been found")]
    pub defer_loading: Option<bool>,
    /// Where `shell` runs.
    pub environment: Option<Value>,
}

/// The form of the answer.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct TextConfig {
    /// The grammar that it follows.
    pub format: Option<TextFormat>,
    /// How much is to be said: a hint that no model here takes.
    pub verbosity: Option<String>,
}

/// A grammar of the answer.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct TextFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The schema of `json_schema`.
    pub schema: Option<Value>,
}

/// How long a reasoning model thinks.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ReasoningConfig {
    /// In OpenAI's words.
    pub effort: Option<String>,
    /// Whether to sum up what was thought; the sum is then all of it.
    pub summary: Option<String>,
}

/// The fields that a response repeats as they came.
#[derive(Debug, Clone, Default, Deserialize)]
pub(crate) struct EchoedFields {
    pub input: Option<Value>,
    pub instructions: Option<Value>,
    pub metadata: Option<Value>,
    pub reasoning: Option<Value>,
    pub text: Option<Value>,
    pub tool_choice: Option<Value>,
    pub tools: Option<Value>,
    pub user: Option<Value>,
}

/// A response.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ResponseObject {
    /// Its id.
    pub id: String,
    /// `response`.
    pub object: &'static str,
    /// Unix time at which it began, in seconds.
    pub created_at: u64,
    /// `in_progress`, `completed`, `incomplete` or `failed`.
    pub status: &'static str,
    /// False: nothing runs in the background.
    pub background: bool,
    /// What went wrong, if something did.
    #[schema(value_type = Option<Value>)]
    pub error: Option<Value>,
    /// Why it is incomplete, if it is.
    #[schema(value_type = Option<Value>)]
    pub incomplete_details: Option<Value>,
    /// As in the request.
    #[schema(value_type = Option<Value>)]
    pub instructions: Option<Value>,
    /// As in the request.
    pub max_output_tokens: Option<usize>,
    /// The served model.
    pub model: String,
    /// What the model thought, said and called.
    pub output: Vec<OutputItem>,
    /// As in the request.
    pub parallel_tool_calls: bool,
    /// As in the request.
    pub previous_response_id: Option<String>,
    /// As in the request.
    #[schema(value_type = Value)]
    pub reasoning: Value,
    /// The one class of service there is.
    pub service_tier: &'static str,
    /// Whether it is kept.
    pub store: bool,
    /// The temperature that was used.
    pub temperature: f32,
    /// As in the request.
    #[schema(value_type = Value)]
    pub text: Value,
    /// As in the request.
    #[schema(value_type = Value)]
    pub tool_choice: Value,
    /// As in the request.
    #[schema(value_type = Value)]
    pub tools: Value,
    /// As in the request.
    pub top_logprobs: usize,
    /// The share of probability that was sampled from.
    pub top_p: f32,
    /// `disabled`.
    pub truncation: &'static str,
    /// Token counts, once it has ended.
    pub usage: Option<Usage>,
    /// As in the request.
    #[schema(value_type = Option<Value>)]
    pub user: Option<Value>,
    /// As in the request.
    #[schema(value_type = Value)]
    pub metadata: Value,
    /// That a model made the answer, and which.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matou: Option<Label>,
}

/// An item of the output.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(crate) enum OutputItem {
    /// What the model thought.
    Reasoning {
        /// The item's id.
        id: String,
        /// The text again, if a summary was asked for.
        summary: Vec<TextPart>,
        /// The text.
        content: Vec<TextPart>,
        /// The text, sealed, if that was asked for.
        #[serde(skip_serializing_if = "Option::is_none")]
        encrypted_content: Option<String>,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
    },
    /// What it said.
    Message {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// `assistant`.
        role: &'static str,
        /// The text, in one part.
        content: Vec<OutputText>,
    },
    /// A call.
    FunctionCall {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// Names the call.
        call_id: String,
        /// The function.
        name: String,
        /// The group that it is in, if it is in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// JSON text of an object.
        arguments: String,
    },
    /// A call of a tool that takes text.
    CustomToolCall {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// Names the call.
        call_id: String,
        /// The tool.
        name: String,
        /// The group that it is in, if it is in one.
        #[serde(skip_serializing_if = "Option::is_none")]
        namespace: Option<String>,
        /// What it is given.
        input: String,
    },
    /// A command for the client to run.
    LocalShellCall {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// Names the call.
        call_id: String,
        /// The command.
        #[schema(value_type = Value)]
        action: Value,
    },
    /// Commands for the client to run.
    ShellCall {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// Names the call.
        call_id: String,
        /// The commands.
        #[schema(value_type = Value)]
        action: Value,
    },
    /// A change of a file for the client to make.
    ApplyPatchCall {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// Names the call.
        call_id: String,
        /// The change.
        #[schema(value_type = Value)]
        operation: Value,
    },
    /// A search of the client's for further tools.
    ToolSearchCall {
        /// The item's id.
        id: String,
        /// `in_progress`, `completed` or `incomplete`.
        status: &'static str,
        /// Names the call.
        call_id: String,
        /// `client`.
        execution: &'static str,
        /// What to look for.
        #[schema(value_type = Value)]
        arguments: Value,
    },
}

impl OutputItem {
    /// The item's id.
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Reasoning { id, .. }
            | Self::Message { id, .. }
            | Self::FunctionCall { id, .. }
            | Self::CustomToolCall { id, .. }
            | Self::LocalShellCall { id, .. }
            | Self::ShellCall { id, .. }
            | Self::ApplyPatchCall { id, .. }
            | Self::ToolSearchCall { id, .. } => id,
        }
    }

    /// Says how the item stands.
    pub(crate) fn set_status(&mut self, now: &'static str) {
        match self {
            Self::Reasoning { status, .. }
            | Self::Message { status, .. }
            | Self::FunctionCall { status, .. }
            | Self::CustomToolCall { status, .. }
            | Self::LocalShellCall { status, .. }
            | Self::ShellCall { status, .. }
            | Self::ApplyPatchCall { status, .. }
            | Self::ToolSearchCall { status, .. } => *status = now,
        }
    }
}

/// A part of what was thought.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TextPart {
    /// `reasoning_text` or `summary_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The text.
    pub text: String,
}

/// A part of what was said.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct OutputText {
    /// `output_text`.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The text.
    pub text: String,
    /// Always empty: the model cites nothing.
    #[schema(value_type = Vec<Value>)]
    pub annotations: Vec<Value>,
    /// Log-probabilities, if asked for.
    pub logprobs: Vec<ChatTokenLogprob>,
}

/// Token counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = ResponseUsage)]
pub(crate) struct Usage {
    /// Tokens of the prompt.
    pub input_tokens: usize,
    /// How much of it was not computed again.
    pub input_tokens_details: InputTokensDetails,
    /// Generated tokens.
    pub output_tokens: usize,
    /// How they were used.
    pub output_tokens_details: OutputTokensDetails,
    /// Their sum.
    pub total_tokens: usize,
}

/// Details of the prompt's token count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct InputTokensDetails {
    /// Tokens found in the prefix cache.
    pub cached_tokens: usize,
}

/// Details of the answer's token count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct OutputTokensDetails {
    /// Tokens that the text of the reasoning is.
    pub reasoning_tokens: usize,
}
