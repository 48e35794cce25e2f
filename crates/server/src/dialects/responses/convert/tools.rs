//! The tools of a request to the functions that the model is offered, and back: a call of one is told
//! in the form in which its client looks for it.
//!
//! What a client runs is a tool, whatever its type. What runs on OpenAI's servers is left out.

use std::collections::BTreeMap;

use matou_llm::tools::functions::{Function, FunctionChoice};
use serde_json::{Value, json};

use crate::dialects::responses::wire::Tool;
use crate::dialects::shared::convert::{
    Offered, allowed, custom_function, not_understood, word_choice,
};
use crate::error::ApiError;

/// The namespace in which OpenAI puts functions that have none.
const DEFAULT_NAMESPACE: &str = "functions";

/// The form of a call that is no plain function's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ToolForm {
    /// A function of a group: its name there.
    Namespaced {
        /// The group.
        namespace: String,
        /// The function's own name.
        name: String,
    },
    /// A tool that takes text.
    Custom {
        /// The group that it is in, if it is in one.
        namespace: Option<String>,
        /// The tool's own name.
        name: String,
    },
    /// A command that the client runs.
    LocalShell,
    /// Commands that the client runs.
    Shell,
    /// A change of files that the client makes.
    ApplyPatch,
    /// A search of the client's for further tools.
    ToolSearch,
}

/// Forms by the name that the model is told; what is not among them is a plain function.
pub(crate) type ToolForms = BTreeMap<String, ToolForm>;

/// The tools that a request offers: as functions, and the forms of their calls.
#[derive(Debug, Default)]
pub(super) struct OfferedTools {
    pub(super) offered: Offered,
    pub(super) forms: ToolForms,
}

impl OfferedTools {
    /// Takes in the tools that the request has at `param`.
    pub(super) fn add(
        &mut self,
        param: &str,
        tools: &[Tool],
        namespace: Option<&str>,
    ) -> Result<(), ApiError> {
        for (i, tool) in tools.iter().enumerate() {
            let param = format!("{param}[{i}]");
            let kind = tool.kind.as_deref().unwrap_or("function");
            match kind {
                "namespace" => {
                    let tools = tool.tools.as_deref().unwrap_or_default();
                    self.add(&format!("{param}.tools"), tools, tool.name.as_deref())?;
                }
                "function" => self.function(&param, tool, namespace)?,
                "custom" => self.custom(&param, tool, namespace)?,
                _ => match run_by_clients(tool, kind) {
                    Some((form, function)) => {
                        self.forms.insert(function.name.clone(), form);
                        self.offered.functions.push(function);
                    }
                    None => self.offered.leave_out(kind),
                },
            }
        }
        Ok(())
    }

    fn function(
        &mut self,
        param: &str,
        tool: &Tool,
        namespace: Option<&str>,
    ) -> Result<(), ApiError> {
        let name = tool.name.clone().unwrap_or_default();
        let function = Function {
            name: offered_name(namespace, &name),
            description: tool.description.clone(),
            parameters: tool.parameters.clone().map(Value::Object),
            strict: tool.strict.unwrap_or(false),
        };
        function.check_name(&format!("{param}.name"))?;
        if let Some(namespace) = namespace {
            let namespace = namespace.to_owned();
            let form = ToolForm::Namespaced { namespace, name };
            self.forms.insert(function.name.clone(), form);
        }
        self.offered.functions.push(function);
        Ok(())
    }

    fn custom(
        &mut self,
        param: &str,
        tool: &Tool,
        namespace: Option<&str>,
    ) -> Result<(), ApiError> {
        let name = tool.name.clone().unwrap_or_default();
        let function = custom_function(
            offered_name(namespace, &name),
            tool.description.as_deref(),
            tool.format.as_ref(),
        );
        function.check_name(&format!("{param}.name"))?;
        let namespace = namespace.map(str::to_owned);
        let form = ToolForm::Custom { namespace, name };
        self.forms.insert(function.name.clone(), form);
        self.offered.functions.push(function);
        Ok(())
    }
}

/// What the model calls a function of a group, so that those of different groups are told apart.
pub(super) fn offered_name(namespace: Option<&str>, name: &str) -> String {
    match namespace {
        None | Some("" | DEFAULT_NAMESPACE) => name.to_owned(),
        Some(namespace) if namespace.ends_with("__") => format!("{namespace}{name}"),
        Some(namespace) => format!("{namespace}__{name}"),
    }
}

/// Tools that OpenAI's models know and clients run: the function that they are offered as.
fn run_by_clients(tool: &Tool, kind: &str) -> Option<(ToolForm, Function)> {
    let text = |description: &str| json!({"type": "string", "description": description});
    let number = |description: &str| json!({"type": "integer", "description": description});
    let words = |description: &str| json!({"type": "array", "items": {"type": "string"}, "description": description});
    let runs_elsewhere = |place: &Option<Value>| {
        let kind = place.as_ref().and_then(|place| place["type"].as_str());
        kind.is_some_and(|kind| kind != "local")
    };
    let (form, description, properties, required) = match kind {
        "local_shell" => (
            ToolForm::LocalShell,
            "Runs a command and returns what it prints.",
            json!({
                "command": words("The program and its arguments"),
                "working_directory": text("Where to run it"),
                "timeout_ms": number("How long it may take"),
            }),
            vec!["command"],
        ),
        "shell" if !runs_elsewhere(&tool.environment) => (
            ToolForm::Shell,
            "Runs commands in a shell and returns what they print.",
            json!({
                "commands": words("The commands, one line each"),
                "timeout_ms": number("How long they may take"),
                "max_output_length": number("Most characters to return"),
            }),
            vec!["commands"],
        ),
        "apply_patch" => (
            ToolForm::ApplyPatch,
            "Creates, changes or deletes a file.",
            json!({
                "type": {"type": "string", "enum": ["create_file", "update_file", "delete_file"]},
                "path": text("The file"),
                "diff": text("Of create_file and update_file: lines that begin with a space, - or +, \
                              in hunks that begin with @@"),
            }),
            vec!["type", "path"],
        ),
        "tool_search" if tool.execution.as_deref() == Some("client") => (
            ToolForm::ToolSearch,
            "Finds further tools, which can be called afterwards.",
            json!({"query": text("What the tool is to do"), "limit": number("Most tools to find")}),
            vec!["query"],
        ),
        _ => return None,
    };
    let parameters = match (&form, &tool.parameters) {
        (ToolForm::ToolSearch, Some(given)) => Value::Object(given.clone()),
        _ => json!({
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": false,
        }),
    };
    let function = Function {
        name: kind.to_owned(),
        description: Some(
            tool.description
                .as_deref()
                .unwrap_or(description)
                .to_owned(),
        ),
        parameters: Some(parameters),
        strict: false,
    };
    Some((form, function))
}

/// Which tools have to or may be called.
pub(super) fn choice(choice: Option<&Value>) -> Result<FunctionChoice, ApiError> {
    let name = |value: &Value| match (&value["name"], &value["type"]) {
        (Value::String(name), _) => Some(offered_name(value["namespace"].as_str(), name)),
        (_, Value::String(kind)) if kind != "function" && kind != "custom" => Some(kind.clone()),
        _ => None,
    };
    let understood = match choice {
        None => Some(FunctionChoice::Auto),
        Some(Value::String(word)) => word_choice(word),
        Some(value) if value["type"] == "allowed_tools" => allowed(value, name),
        Some(value) => name(value).map(FunctionChoice::Named),
    };
    understood.ok_or_else(not_understood)
}
