//! What clients send to have an answer follow a grammar.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

/// OpenAI's `response_format`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ResponseFormat {
    /// `text`, `json_object` or `json_schema`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The schema of `json_schema`.
    pub json_schema: Option<JsonSchemaFormat>,
    /// The schema of `json_object`, as llama.cpp takes it.
    pub schema: Option<Value>,
}

/// A named schema. It is enforced whether or not it says `strict`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct JsonSchemaFormat {
    /// The schema itself.
    pub schema: Option<Value>,
}

/// vLLM's `structured_outputs`: one of these.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct StructuredOutputs {
    /// A schema, or its JSON text.
    pub json: Option<Value>,
    /// A regex for the whole answer.
    pub regex: Option<String>,
    /// The possible answers.
    pub choice: Option<Vec<String>>,
    /// A grammar, in GBNF or Lark.
    pub grammar: Option<String>,
    /// Any JSON object.
    pub json_object: Option<bool>,
    /// Structured passages inside of free text, which this server does not have.
    pub structural_tag: Option<Value>,
}
