//! Calls in the forms of the different tools: to items of the output, and from items that are
//! replayed to the functions that the model knows.

use serde_json::{Map, Value, json};

use super::tools::{ToolForm, ToolForms, offered_name};
use crate::dialects::responses::wire::{InputItem, OutputItem};
use crate::dialects::shared::calls::WholeCall;
use crate::dialects::shared::convert::{custom_arguments, custom_input};
use crate::dialects::shared::fields::required;
use crate::error::ApiError;

/// What an item under way says of itself.
const IN_PROGRESS: &str = "in_progress";

/// A call as chat templates read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::dialects::responses) struct TemplateCall {
    pub(super) id: String,
    pub(super) name: String,
    /// JSON text of an object.
    pub(super) arguments: String,
}

/// Whether a call of the function `name` can only be told when its arguments are whole.
pub(in crate::dialects::responses) fn is_whole(forms: &ToolForms, name: &str) -> bool {
    !matches!(forms.get(name), None | Some(ToolForm::Namespaced { .. }))
}

/// The item that a call of a function opens; its arguments follow.
pub(in crate::dialects::responses) fn function_item(
    forms: &ToolForms,
    id: String,
    call_id: String,
    called: String,
) -> OutputItem {
    let (namespace, name) = match forms.get(&called) {
        Some(ToolForm::Namespaced { namespace, name }) => (Some(namespace.clone()), name.clone()),
        _ => (None, called),
    };
    OutputItem::FunctionCall {
        id,
        status: IN_PROGRESS,
        call_id,
        name,
        namespace,
        arguments: String::new(),
    }
}

/// The item that a whole call is. `item_id` makes an id with a prefix.
pub(in crate::dialects::responses) fn whole_item(
    forms: &ToolForms,
    call: WholeCall,
    item_id: impl Fn(&str) -> String,
) -> OutputItem {
    let call_id = call.id;
    let status = IN_PROGRESS;
    let arguments: Value = match serde_json::from_str(&call.arguments) {
        Ok(arguments) => arguments,
        Err(_) if call.arguments.trim().is_empty() => json!({}),
        // Cut off: nothing that the model wrote is lost.
        Err(_) => json!({"INVALID_JSON": call.arguments}),
    };
    match forms.get(&call.name) {
        Some(ToolForm::Custom { namespace, name }) => OutputItem::CustomToolCall {
            id: item_id("ctc"),
            status,
            call_id,
            name: name.clone(),
            namespace: namespace.clone(),
            input: custom_input(&call.arguments),
        },
        Some(ToolForm::LocalShell) => {
            let mut action = json!({
                "type": "exec", "command": [], "env": {}, "timeout_ms": null,
                "working_directory": null,
            });
            merge(&mut action, arguments);
            let id = item_id("lsh");
            OutputItem::LocalShellCall {
                id,
                status,
                call_id,
                action,
            }
        }
        Some(ToolForm::Shell) => {
            let mut action = json!({
                "commands": [], "timeout_ms": null, "max_output_length": null,
            });
            merge(&mut action, arguments);
            let id = item_id("sh");
            OutputItem::ShellCall {
                id,
                status,
                call_id,
                action,
            }
        }
        Some(ToolForm::ApplyPatch) => OutputItem::ApplyPatchCall {
            id: item_id("apc"),
            status,
            call_id,
            operation: arguments,
        },
        Some(ToolForm::ToolSearch) => OutputItem::ToolSearchCall {
            id: item_id("tsc"),
            status,
            call_id,
            execution: "client",
            arguments,
        },
        None | Some(ToolForm::Namespaced { .. }) => {
            let mut item = function_item(forms, item_id("fc"), call_id, call.name);
            if let OutputItem::FunctionCall { arguments, .. } = &mut item {
                *arguments = call.arguments;
            }
            item
        }
    }
}

/// The call that an item of an earlier output is, if it is one.
pub(super) fn of_output(item: &OutputItem) -> Option<TemplateCall> {
    let (id, name, arguments) = match item {
        OutputItem::Reasoning { .. } | OutputItem::Message { .. } => return None,
        OutputItem::FunctionCall {
            call_id,
            name,
            namespace,
            arguments,
            ..
        } => {
            let name = offered_name(namespace.as_deref(), name);
            (call_id, name, arguments.clone())
        }
        OutputItem::CustomToolCall {
            call_id,
            name,
            namespace,
            input,
            ..
        } => {
            let name = offered_name(namespace.as_deref(), name);
            (call_id, name, custom_arguments(input))
        }
        OutputItem::LocalShellCall {
            call_id, action, ..
        } => (call_id, "local_shell".to_owned(), given(action)),
        OutputItem::ShellCall {
            call_id, action, ..
        } => (call_id, "shell".to_owned(), given(action)),
        OutputItem::ApplyPatchCall {
            call_id, operation, ..
        } => (call_id, "apply_patch".to_owned(), operation.to_string()),
        OutputItem::ToolSearchCall {
            call_id, arguments, ..
        } => (call_id, "tool_search".to_owned(), arguments.to_string()),
    };
    Some(TemplateCall {
        id: id.clone(),
        name,
        arguments,
    })
}

/// The call that a replayed item at `param` is, if it is one.
pub(super) fn of_input(param: &str, item: &InputItem) -> Result<Option<TemplateCall>, ApiError> {
    let object = |value: &Option<Value>| value.clone().unwrap_or_else(|| json!({}));
    let (name, arguments) = match item.kind.as_deref() {
        Some("function_call") => {
            let name = required(item.name.as_deref(), param, "name")?;
            let arguments = match required(item.arguments.as_ref(), param, "arguments")? {
                // What is called with nothing.
                Value::String(text) if text.trim().is_empty() => "{}".to_owned(),
                Value::String(text) => text.clone(),
                other => other.to_string(),
            };
            (offered_name(item.namespace.as_deref(), name), arguments)
        }
        Some("custom_tool_call") => {
            let name = required(item.name.as_deref(), param, "name")?;
            let input = required(item.input.as_deref(), param, "input")?;
            let name = offered_name(item.namespace.as_deref(), name);
            (name, custom_arguments(input))
        }
        Some("local_shell_call") => ("local_shell".to_owned(), given(&object(&item.action))),
        Some("shell_call") => ("shell".to_owned(), given(&object(&item.action))),
        Some("apply_patch_call") => {
            let operation = object(&item.operation);
            ("apply_patch".to_owned(), operation.to_string())
        }
        Some("tool_search_call") => {
            let arguments = object(&item.arguments);
            ("tool_search".to_owned(), arguments.to_string())
        }
        _ => return Ok(None),
    };
    let id = item.call_id.clone().or_else(|| item.id.clone());
    let id = required(id, param, "call_id")?;
    Ok(Some(TemplateCall {
        id,
        name,
        arguments,
    }))
}

/// The fields of an action that its call gave.
fn given(action: &Value) -> String {
    let fields = action.as_object().into_iter().flatten();
    let given: Map<String, Value> = fields
        .filter(|(name, value)| {
            let is_empty = value.as_object().is_some_and(Map::is_empty);
            *name != "type" && !value.is_null() && !is_empty
        })
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    Value::Object(given).to_string()
}

fn merge(action: &mut Value, arguments: Value) {
    if let (Value::Object(action), Value::Object(arguments)) = (action, arguments) {
        action.extend(arguments);
    }
}
