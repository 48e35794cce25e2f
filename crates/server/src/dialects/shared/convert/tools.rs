//! `tools` and `tool_choice`, as both of OpenAI's chat APIs and Ollama's have them.

use matou_llm::tools::functions::{Function, FunctionChoice};
use serde_json::Value;

use crate::dialects::shared::wire::ToolDefinition;
use crate::error::ApiError;

/// The functions that `tools` is.
pub(crate) fn functions(tools: &[ToolDefinition]) -> Result<Vec<Function>, ApiError> {
    tools.iter().enumerate().map(function).collect()
}

fn function((i, tool): (usize, &ToolDefinition)) -> Result<Function, ApiError> {
    if let Some(kind) = &tool.kind
        && kind != "function"
    {
        let message = format!("`tools[{i}]` is of type \"{kind}\"; only functions are supported.");
        return Err(ApiError::unsupported(format!("tools[{i}].type"), message));
    }
    let definition = tool.function.clone().unwrap_or_default();
    let function = Function {
        name: definition.name.unwrap_or_default(),
        description: definition.description,
        parameters: definition.parameters.map(Value::Object),
        strict: definition.strict.unwrap_or(false),
    };
    function.check_name(&format!("tools[{i}].function.name"))?;
    Ok(function)
}

/// The choices that are one word, the same in both of OpenAI's chat APIs.
pub(crate) fn word_choice(word: &str) -> Option<FunctionChoice> {
    match word {
        "auto" => Some(FunctionChoice::Auto),
        "none" => Some(FunctionChoice::None),
        "required" => Some(FunctionChoice::Required),
        _ => None,
    }
}

/// A mode and a list of tools, whose names `name` finds.
pub(crate) fn allowed(
    allowed: &Value,
    name: impl Fn(&Value) -> Option<String>,
) -> Option<FunctionChoice> {
    let required = match &allowed["mode"] {
        Value::Null => false,
        mode => match mode.as_str()? {
            "auto" => false,
            "required" => true,
            _ => return None,
        },
    };
    let names = allowed["tools"].as_array()?;
    let names = names.iter().map(name).collect::<Option<_>>()?;
    Some(FunctionChoice::Allowed { required, names })
}

pub(crate) fn not_understood() -> ApiError {
    let message = "`tool_choice` must be \"auto\", \"none\", \"required\", a named function or \
                   `allowed_tools` with a mode and a list of functions.";
    ApiError::invalid("tool_choice", message)
}
