//! The functions that a request offers and which of them it wants called, whatever dialect it came
//! in, to a [`ToolUse`].

use matou_chat::tools::Tool;
use serde_json::{Map, Value, json};

use crate::error::LlmError;
use crate::request::ToolUse;

/// Most tools of a request, as at OpenAI.
const MAX_TOOLS: usize = 128;

/// A function that may be called.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of its arguments.
    pub parameters: Option<Value>,
    /// Whether the arguments must satisfy the schema whatever the model would rather write.
    pub strict: bool,
}

/// Which functions have to or may be called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FunctionChoice {
    /// As the model likes.
    Auto,
    /// None.
    None,
    /// At least one.
    Required,
    /// This one.
    Named(String),
    /// Some of these, if any.
    Allowed {
        /// One of them has to be called.
        required: bool,
        /// Their names.
        names: Vec<String>,
    },
}

impl Function {
    /// Checks the function's name, which the request has at `param`.
    pub fn check_name(&self, param: &str) -> Result<(), LlmError> {
        let name = &self.name;
        let is_name_character = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
        if !name.is_empty() && name.chars().all(is_name_character) {
            return Ok(());
        }
        let message = format!(
            "`{param}` must be a name of letters, digits, `_`, `-` and `.`, got \"{name}\"."
        );
        Err(LlmError::invalid(param, message))
    }

    /// The function as chat templates read it.
    fn definition(&self) -> Value {
        let mut shown = Map::new();
        shown.insert("name".to_owned(), self.name.as_str().into());
        // Templates read all three without asking whether they are there.
        let description = self.description.clone().unwrap_or_default();
        shown.insert("description".to_owned(), description.into());
        let none = || json!({"type": "object", "properties": {}});
        let parameters = self.parameters.clone().unwrap_or_else(none);
        shown.insert("parameters".to_owned(), parameters);
        json!({"type": "function", "function": shown})
    }
}

/// The tools that the model may or must call, if there are any. `parallel` says whether the request
/// lets several be called at once.
///
/// # Errors
///
/// When the choice names a function that there is not, or demands one of none.
pub fn tool_use(
    mut functions: Vec<Function>,
    choice: FunctionChoice,
    parallel: bool,
) -> Result<Option<ToolUse>, LlmError> {
    if functions.len() > MAX_TOOLS {
        let message = format!(
            "`tools` may have at most {MAX_TOOLS} entries, got {}.",
            functions.len()
        );
        return Err(LlmError::invalid("tools", message));
    }
    let (required, several) = match choice {
        FunctionChoice::None => return Ok(None),
        FunctionChoice::Auto if functions.is_empty() => return Ok(None),
        FunctionChoice::Auto => (false, true),
        FunctionChoice::Required => (true, true),
        FunctionChoice::Named(name) => {
            retain(&mut functions, &[name])?;
            (true, false)
        }
        FunctionChoice::Allowed { required, names } => {
            retain(&mut functions, &names)?;
            (required, true)
        }
    };
    if functions.is_empty() {
        let message = "`tool_choice` demands a call, but `tools` has no function to call.";
        return Err(LlmError::invalid("tool_choice", message));
    }
    let parallel = parallel && several;
    let is_strict = functions.iter().any(|function| function.strict);
    let (definitions, tools) = functions
        .into_iter()
        .map(|function| {
            let definition = function.definition();
            // Free arguments are any object, unless the call is forced. Who names none takes none.
            let parameters = match required || function.strict {
                true => function.parameters.unwrap_or_else(|| json!({})),
                false => json!({"type": "object"}),
            };
            let tool = Tool {
                name: function.name,
                parameters,
            };
            (definition, tool)
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

/// Keeps the functions that are named.
fn retain(functions: &mut Vec<Function>, names: &[String]) -> Result<(), LlmError> {
    let is_known = |name: &&String| functions.iter().any(|function| function.name == **name);
    if let Some(unknown) = names.iter().find(|name| !is_known(name)) {
        let message = format!("`tool_choice` names \"{unknown}\", which is not among `tools`.");
        return Err(LlmError::invalid("tool_choice", message));
    }
    functions.retain(|function| names.contains(&function.name));
    Ok(())
}
