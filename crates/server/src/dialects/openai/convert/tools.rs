//! `tools`, `tool_choice` and `parallel_tool_calls` to a [`ToolUse`].

use matou_chat::tools::Tool;
use serde_json::{Map, Value, json};

use crate::dialects::openai::wire::{ChatCompletionRequest, FunctionDefinition, ToolDefinition};
use crate::error::ApiError;
use crate::request::ToolUse;

/// Most tools of a request, as at OpenAI.
const MAX_TOOLS: usize = 128;

/// The tools that the model may or must call, if there are any.
pub(super) fn tool_use(wire: &ChatCompletionRequest) -> Result<Option<ToolUse>, ApiError> {
    let definitions = wire.tools.as_deref().unwrap_or_default();
    if definitions.len() > MAX_TOOLS {
        let message = format!(
            "`tools` may have at most {MAX_TOOLS} entries, got {}.",
            definitions.len()
        );
        return Err(ApiError::invalid("tools", message));
    }
    let functions: Result<Vec<Function>, ApiError> =
        definitions.iter().enumerate().map(function).collect();
    let mut functions = functions?;
    let (required, parallel) = match choice(wire.tool_choice.as_ref())? {
        Choice::None => return Ok(None),
        Choice::Auto if functions.is_empty() => return Ok(None),
        Choice::Auto => (false, true),
        Choice::Required => (true, true),
        Choice::Function(name) => {
            retain(&mut functions, &[name])?;
            (true, false)
        }
        Choice::Allowed { required, names } => {
            retain(&mut functions, &names)?;
            (required, true)
        }
    };
    if functions.is_empty() {
        let message = "`tool_choice` demands a call, but `tools` has no function to call.";
        return Err(ApiError::invalid("tool_choice", message));
    }
    let parallel = parallel && wire.parallel_tool_calls.unwrap_or(true);
    let is_strict = functions.iter().any(|function| function.strict);
    let (definitions, tools) = functions
        .into_iter()
        .map(|function| {
            // Free arguments are any object, unless the call is forced.
            let bound = required || function.strict;
            let parameters = function.parameters.filter(|_| bound);
            let tool = Tool {
                name: function.name,
                parameters: parameters.unwrap_or_else(|| json!({"type": "object"})),
            };
            (function.definition, tool)
        })
        .unzip();
    Ok(Some(ToolUse {
        definitions: Value::Array(definitions),
        tools,
        required,
        parallel,
        is_constrained: required || is_strict || !parallel,
    }))
}

struct Function {
    name: String,
    parameters: Option<Value>,
    strict: bool,
    /// As templates read it.
    definition: Value,
}

fn function((i, tool): (usize, &ToolDefinition)) -> Result<Function, ApiError> {
    if let Some(kind) = &tool.kind
        && kind != "function"
    {
        let message = format!("`tools[{i}]` is of type \"{kind}\"; only functions are supported.");
        return Err(ApiError::unsupported(format!("tools[{i}].type"), message));
    }
    let FunctionDefinition {
        name,
        description,
        parameters,
        strict,
    } = tool.function.clone().unwrap_or_default();
    let param = format!("tools[{i}].function.name");
    let name = name.unwrap_or_default();
    let is_name_character = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if name.is_empty() || !name.chars().all(is_name_character) {
        let message = format!(
            "`{param}` must be a name of letters, digits, `_`, `-` and `.`, got \"{name}\"."
        );
        return Err(ApiError::invalid(param, message));
    }
    let mut shown = Map::new();
    shown.insert("name".to_owned(), name.as_str().into());
    // Templates read all three without asking whether they are there.
    shown.insert(
        "description".to_owned(),
        description.unwrap_or_default().into(),
    );
    let parameters_shown = parameters.clone();
    let none = || json!({"type": "object", "properties": {}});
    shown.insert(
        "parameters".to_owned(),
        parameters_shown.unwrap_or_else(none),
    );
    Ok(Function {
        name,
        parameters,
        strict: strict.unwrap_or(false),
        definition: json!({"type": "function", "function": shown}),
    })
}

/// Keeps the functions that are named.
fn retain(functions: &mut Vec<Function>, names: &[String]) -> Result<(), ApiError> {
    let is_known = |name: &&String| functions.iter().any(|function| function.name == **name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let message = format!("`tool_choice` names \"{unknown}\", which is not among `tools`.");
        return Err(ApiError::invalid("tool_choice", message));
    }
    functions.retain(|function| names.contains(&function.name));
    Ok(())
}

enum Choice {
    Auto,
    None,
    Required,
    Function(String),
    Allowed { required: bool, names: Vec<String> },
}

fn choice(choice: Option<&Value>) -> Result<Choice, ApiError> {
    let name = |value: &Value| value["function"]["name"].as_str().map(str::to_owned);
    let understood = match choice {
        None => Some(Choice::Auto),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Some(Choice::Auto),
            "none" => Some(Choice::None),
            "required" => Some(Choice::Required),
            _ => None,
        },
        Some(value) if value["type"] == "function" => name(value).map(Choice::Function),
        Some(value) if value["type"] == "allowed_tools" => {
            let allowed = &value["allowed_tools"];
            let required = match allowed["mode"].as_str() {
                None | Some("auto") => Some(false),
                Some("required") => Some(true),
                Some(_) => None,
            };
            let names = allowed["tools"].as_array();
            let names = names.and_then(|tools| tools.iter().map(name).collect::<Option<_>>());
            required
                .zip(names)
                .map(|(required, names)| Choice::Allowed { required, names })
        }
        Some(_) => None,
    };
    understood.ok_or_else(|| {
        let message = "`tool_choice` must be \"auto\", \"none\", \"required\", a named function or \
                       `allowed_tools` with a mode and a list of functions.";
        ApiError::invalid("tool_choice", message)
    })
}
