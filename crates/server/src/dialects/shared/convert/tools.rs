//! `tools` and `tool_choice`, as both of OpenAI's chat APIs and Ollama's have them.

use std::collections::BTreeSet;

use matou_llm::tools::functions::{Function, FunctionChoice};
use serde_json::Value;

use super::custom::custom_function;
use super::offered::Offered;
use crate::dialects::shared::wire::ToolDefinition;
use crate::error::ApiError;

/// The functions that `tools` offer.
pub(crate) fn functions(tools: &[ToolDefinition]) -> Result<Offered, ApiError> {
    let mut offered = Offered::default();
    for (i, tool) in tools.iter().enumerate() {
        match tool.kind.as_deref() {
            None | Some("function") => offered.functions.push(function(i, tool)?),
            Some("custom") => offered.functions.push(custom(i, tool)?),
            Some(other) => offered.leave_out(other),
        }
    }
    Ok(offered)
}

/// The names of the custom tools among `tools`.
pub(crate) fn custom_names(tools: &[ToolDefinition]) -> BTreeSet<String> {
    let custom = tools
        .iter()
        .filter(|tool| tool.kind.as_deref() == Some("custom"));
    custom
        .filter_map(|tool| tool.custom.as_ref()?.name.clone())
        .collect()
}

fn function(i: usize, tool: &ToolDefinition) -> Result<Function, ApiError> {
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

fn custom(i: usize, tool: &ToolDefinition) -> Result<Function, ApiError> {
    let definition = tool.custom.clone().unwrap_or_default();
    let function = custom_function(
        definition.name.unwrap_or_default(),
        definition.description.as_deref(),
        definition.format.as_ref(),
    );
    function.check_name(&format!("tools[{i}].custom.name"))?;
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
