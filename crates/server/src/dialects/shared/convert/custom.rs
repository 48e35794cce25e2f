//! Tools that take text instead of arguments, as both of OpenAI's chat APIs have them: offered as a
//! function of one argument.

use matou_llm::tools::functions::Function;
use serde_json::{Value, json};

/// The argument that holds the text.
const INPUT: &str = "input";

/// The function that a custom tool is offered as. A `format` with a grammar is described: the text is
/// not held to it.
pub(crate) fn custom_function(
    name: String,
    description: Option<&str>,
    format: Option<&Value>,
) -> Function {
    let mut described = description.unwrap_or_default().to_owned();
    // OpenAI's two APIs nest the grammar differently.
    let grammar = format.map(|format| format.get("grammar").unwrap_or(format));
    if let Some(definition) = grammar.and_then(|grammar| grammar["definition"].as_str()) {
        let syntax = grammar.and_then(|grammar| grammar["syntax"].as_str());
        let syntax = syntax.unwrap_or("lark");
        described.push_str(&format!(
            "\n\nThe input follows this grammar ({syntax}):\n{definition}"
        ));
    }
    let input = json!({"type": "string", "description": "All that the tool takes, as text"});
    Function {
        name,
        description: Some(described.trim_start().to_owned()),
        parameters: Some(json!({
            "type": "object",
            "properties": {INPUT: input},
            "required": [INPUT],
            "additionalProperties": false,
        })),
        strict: false,
    }
}

/// The arguments with which `input` is a call of the function.
pub(crate) fn custom_arguments(input: &str) -> String {
    json!({INPUT: input}).to_string()
}

/// The text in the arguments of a call. Arguments that were cut off, or are something else, are the
/// text themselves: nothing that the model wrote is lost.
pub(crate) fn custom_input(arguments: &str) -> String {
    let parsed: Option<Value> = serde_json::from_str(arguments).ok();
    match parsed.as_ref().and_then(|arguments| arguments.get(INPUT)) {
        Some(Value::String(input)) => input.clone(),
        Some(other) => other.to_string(),
        None => arguments.to_owned(),
    }
}
