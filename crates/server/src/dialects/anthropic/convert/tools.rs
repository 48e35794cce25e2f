//! The tools of a request to the functions that the model is offered.
//!
//! Some tools of Anthropic's run at the client and are only named in a request: their models know
//! what they take. Here they are offered as functions with the arguments that Anthropic documents;
//! a call of one looks like any other.

use matou_llm::tools::functions::{Function, FunctionChoice};
use serde_json::{Value, json};

use super::messages::referenced_tools;
use crate::dialects::anthropic::wire::{MessagesRequest, Tool, ToolChoice};
use crate::dialects::shared::convert::Offered;
use crate::dialects::shared::fields::missing;
use crate::error::ApiError;

/// The functions of a request. What runs on Anthropic's servers, or on others that they would call, is
/// left out: nobody can call it here. A tool whose loading is deferred waits until it is referred to.
pub(super) fn functions(wire: &MessagesRequest) -> Result<Offered, ApiError> {
    let mut offered = Offered::default();
    if wire
        .mcp_servers
        .as_ref()
        .is_some_and(|servers| !servers.is_empty())
    {
        offered.leave_out("mcp_servers");
    }
    let referenced = referenced_tools(wire.messages.as_deref().unwrap_or_default());
    let tools = wire.tools.as_deref().unwrap_or_default();
    let is_loaded = |tool: &Tool| {
        let name = tool.name.as_ref();
        tool.defer_loading != Some(true) || name.is_some_and(|name| referenced.contains(name))
    };
    let loaded = tools.iter().enumerate().filter(|(_, tool)| is_loaded(tool));
    for (i, tool) in loaded {
        let kind = tool.kind.as_deref().unwrap_or("custom");
        let function = match run_by_clients(kind) {
            Some((description, parameters)) => Function {
                name: tool.name.clone().unwrap_or_default(),
                description: Some(
                    tool.description
                        .as_deref()
                        .unwrap_or(description)
                        .to_owned(),
                ),
                parameters: Some(parameters),
                strict: false,
            },
            None if kind == "custom" => custom(i, tool)?,
            None => {
                offered.leave_out(tool.name.as_deref().unwrap_or(kind));
                continue;
            }
        };
        function.check_name(&format!("tools[{i}].name"))?;
        offered.functions.push(function);
    }
    Ok(offered)
}

fn custom(i: usize, tool: &Tool) -> Result<Function, ApiError> {
    let Some(schema) = tool.input_schema.clone() else {
        return Err(missing(&format!("tools[{i}].input_schema")));
    };
    Ok(Function {
        name: tool.name.clone().unwrap_or_default(),
        description: tool.description.clone(),
        parameters: Some(Value::Object(schema)),
        strict: tool.strict.unwrap_or(false),
    })
}

/// What a tool that runs at the client is for, and the schema of what it takes. Types end in the date
/// of their version.
fn run_by_clients(kind: &str) -> Option<(&'static str, Value)> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let object = |properties: Value, required: &[&str]| json!({"type": "object", "properties": properties, "required": required});
    let (name, date) = kind.rsplit_once('_')?;
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    match name {
        "bash" => Some((
            "Runs a command in a shell that keeps its state between calls.",
            object(
                json!({
                    "command": text("The command"),
                    "restart": {"type": "boolean", "description": "Starts the shell anew instead"},
                }),
                &[],
            ),
        )),
        "text_editor" => Some((
            "Shows and edits text files.",
            object(
                editing(&["view", "create", "str_replace", "insert"]),
                &["command", "path"],
            ),
        )),
        "memory" => {
            let mut properties = editing(&[
                "view",
                "create",
                "str_replace",
                "insert",
                "delete",
                "rename",
            ]);
            properties["old_path"] = text("Of rename: the file or folder");
            properties["new_path"] = text("Of rename: its new place");
            let schema = object(properties, &["command"]);
            Some(("Keeps notes in files below /memories.", schema))
        }
        _ => None,
    }
}

/// What the commands of an editor take.
fn editing(commands: &[&str]) -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    json!({
        "command": {"type": "string", "enum": commands},
        "path": text("The file or folder"),
        "view_range": {
            "type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2,
            "description": "First and last line to show, from 1; -1 is the end",
        },
        "file_text": text("Of create: what the file is to hold"),
        "old_str": text("Of str_replace: the text to replace, which the file has once"),
        "new_str": text("Of str_replace: what takes its place"),
        "insert_line": {
            "type": "integer",
            "description": "Of insert: the line after which to insert, 0 for the top",
        },
        "insert_text": text("Of insert: the text"),
    })
}

/// Which function, and whether several may be called.
pub(super) fn choice(choice: Option<&ToolChoice>) -> Result<(FunctionChoice, bool), ApiError> {
    let Some(choice) = choice else {
        return Ok((FunctionChoice::Auto, true));
    };
    let function = match (choice.kind.as_str(), &choice.name) {
        ("auto", _) => FunctionChoice::Auto,
        ("any", _) => FunctionChoice::Required,
        ("none", _) => FunctionChoice::None,
        ("tool", Some(name)) => FunctionChoice::Named(name.clone()),
        ("tool", None) => return Err(missing("tool_choice.name")),
        (other, _) => {
            let message =
                format!("`tool_choice.type` must be auto, any, tool or none, got \"{other}\".");
            return Err(ApiError::invalid("tool_choice.type", message));
        }
    };
    Ok((function, !choice.disable_parallel_tool_use.unwrap_or(false)))
}
