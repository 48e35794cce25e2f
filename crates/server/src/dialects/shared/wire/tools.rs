//! What clients send to have functions called.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An element of `tools`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ToolDefinition {
    /// `function`.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The function.
    pub function: Option<FunctionDefinition>,
}

/// A function that may be called.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct FunctionDefinition {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    #[schema(value_type = Option<Object>)]
    pub parameters: Option<Map<String, Value>>,
    /// Whether the arguments must satisfy the schema whatever the model would rather write.
    pub strict: Option<bool>,
}
