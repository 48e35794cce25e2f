//! What clients send to have functions called.

use serde::Deserialize;
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// An element of `tools`.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct ToolDefinition {
    /// `function` or `custom`. Tools of other types are left out.
    #[serde(rename = "type")]
    pub kind: Option<String>,
    /// The function.
    pub function: Option<FunctionDefinition>,
    /// The custom tool.
    pub custom: Option<CustomDefinition>,
}

/// A tool that takes text.
#[derive(Debug, Clone, Default, Deserialize, ToSchema)]
pub(crate) struct CustomDefinition {
    /// Its name.
    pub name: Option<String>,
    /// What it is for.
    pub description: Option<String>,
    /// The form of the text: any, or a grammar's, which the model is told about.
    pub format: Option<Value>,
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
