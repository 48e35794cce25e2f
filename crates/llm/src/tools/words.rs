//! Tools in prompts and in grammars.
//!
//! A model whose template knows tools reads them there and writes calls in the notation that the
//! template shows. Any other is told in words, and its answers are held to one notation by a
//! grammar: a JSON object that names the function. That is so with `tool_choice: auto` too, where
//! an answer may be text that does not begin like JSON.

use matou_chat::ChatTemplate;
use matou_chat::tools::{CallGrammar, CallPolicy, ToolFormat};
use matou_grammar::GrammarSpec;
use serde_json::{Value, json};

use crate::error::LlmError;
use crate::request::{ChatRequest, OutputGrammar, ToolUse};

/// The notation of calls that a template shows its model, or the generic one.
pub(crate) fn tool_format(template: &ChatTemplate) -> ToolFormat {
    // The architecture decides for templates of models that this server does not run.
    ToolFormat::detect(template.source(), "").unwrap_or(ToolFormat::GenericJson)
}

/// The grammar of an answer to `request`, whether it may call tools or has to follow `output`.
/// `special_token` tells the id of a control token.
///
/// # Errors
///
/// When the two cannot be had together.
pub(crate) fn answer_grammar(
    format: ToolFormat,
    tools: Option<&ToolUse>,
    output: Option<OutputGrammar>,
    special_token: impl Fn(&str) -> Option<u32>,
) -> Result<Option<OutputGrammar>, LlmError> {
    let Some(tools) = tools else {
        return Ok(output);
    };
    let policy = |required| CallPolicy {
        required,
        parallel: tools.parallel,
    };
    let schema = match &output {
        // A forced call leaves no text that the output's grammar could hold for.
        _ if tools.required => None,
        None => None,
        Some(output) => Some(match &output.spec {
            GrammarSpec::JsonSchema(schema) => schema.clone(),
            GrammarSpec::JsonObject => json!({"type": "object"}),
            _ => {
                let param = &output.param;
                let message = format!("`{param}` and `tools` cannot both be given.");
                return Err(LlmError::invalid(param, message));
            }
        }),
    };
    let is_constrained = tools.is_constrained || format == ToolFormat::GenericJson;
    if schema.is_none() && !is_constrained {
        return Ok(None);
    }
    let required = tools.required || schema.is_some();
    let CallGrammar {
        mut lark,
        mut schemas,
    } = format.grammar(&tools.tools, policy(required), special_token);
    if let Some(schema) = schema {
        let rules = lark.lines().map(|line| match line.strip_prefix("start:") {
            Some(rule) => format!("calls:{rule}\nstart: calls | answer"),
            None => line.to_owned(),
        });
        lark = rules.collect::<Vec<_>>().join("\n");
        schemas.push(("answer".to_owned(), schema));
    }
    Ok(Some(OutputGrammar {
        param: "tools".to_owned(),
        spec: GrammarSpec::Lark {
            source: lark,
            schemas,
        },
    }))
}

/// The same conversation for a template that knows no tools: they are described, calls are the text
/// that the model wrote, and results are what the user says.
pub(crate) fn in_words(request: &ChatRequest) -> ChatRequest {
    let mut messages: Vec<Value> = Vec::with_capacity(request.messages.len());
    let mut after_result = false;
    for message in &request.messages {
        let is_result = message["role"] == "tool";
        let message = message_in_words(message);
        // Many templates insist on turns that alternate.
        let joins = (is_result || after_result) && message["role"] == "user";
        match (messages.last_mut(), message["content"].as_str()) {
            (Some(last), Some(more)) if joins && last["role"] == "user" => {
                let before = text_of(&last["content"]);
                last["content"] = format!("{before}\n\n{more}").into();
            }
            _ => messages.push(message),
        }
        after_result = is_result;
    }
    if let Some(tools) = &request.tools {
        introduce(&mut messages, &instruction(tools));
    }
    ChatRequest {
        messages,
        tools: None,
        ..request.clone()
    }
}

fn instruction(tools: &ToolUse) -> String {
    let several = match tools.parallel {
        true => " To call several, answer with a list of such objects.",
        false => " Make one call at most.",
    };
    let otherwise = match tools.required {
        true => "You have to make a call now.",
        false => "If no function is needed, answer in plain text.",
    };
    format!(
        "You can call functions. To call one, answer with nothing but a JSON object of the form \
         {{\"name\": FUNCTION, \"arguments\": {{…}}}}.{several} {otherwise} The functions are:\n{}",
        tools.definitions
    )
}

/// Puts `text` into the system's message, or before the user's first words: not every template
/// has a place for the system's.
fn introduce(messages: &mut Vec<Value>, text: &str) {
    let with_role = |role: &str| messages.iter().position(|message| message["role"] == role);
    let content = with_role("system")
        .or_else(|| with_role("user"))
        .and_then(|place| messages[place].get_mut("content"));
    match content {
        Some(Value::String(content)) => *content = format!("{text}\n\n{content}"),
        Some(Value::Array(parts)) => parts.insert(0, json!({"type": "text", "text": text})),
        _ => messages.insert(0, json!({"role": "user", "content": text})),
    }
}

fn message_in_words(message: &Value) -> Value {
    if message["role"] == "tool" {
        let content = text_of(&message["content"]);
        return json!({"role": "user", "content": format!("Result of the call: {content}")});
    }
    let Some(calls) = message["tool_calls"].as_array() else {
        return message.clone();
    };
    let call = |call: &Value| {
        let function = &call["function"];
        let arguments = function["arguments"].as_str().unwrap_or("{}");
        format!(
            "{{\"name\": {}, \"arguments\": {arguments}}}",
            function["name"]
        )
    };
    let calls: Vec<String> = calls.iter().map(call).collect();
    let calls = match calls.as_slice() {
        [call] => call.clone(),
        calls => format!("[{}]", calls.join(", ")),
    };
    let content = match text_of(&message["content"]) {
        text if text.is_empty() => calls,
        text => format!("{text}\n{calls}"),
    };
    json!({"role": "assistant", "content": content})
}

/// The text of a message's content, whichever form it has.
fn text_of(content: &Value) -> String {
    match content {
        Value::Array(parts) => parts
            .iter()
            .filter_map(|part| part["text"].as_str())
            .collect(),
        content => content.as_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::request::SceneChoice;

    #[test]
    fn a_history_in_words_keeps_its_text_and_alternates() {
        let call = json!({"id": "c", "function": {"name": "f", "arguments": "{\"x\":1}"}});
        let request = ChatRequest {
            scene: SceneChoice::default(),
            messages: vec![
                json!({"role": "user", "content": "go"}),
                json!({"role": "assistant", "content": "Well.", "tool_calls": [call, call]}),
                json!({"role": "tool", "content": "1"}),
                json!({"role": "tool", "content": [{"type": "text", "text": "2"}]}),
                json!({"role": "user", "content": "and?"}),
            ],
            add_generation_prompt: true,
            continue_final_message: false,
            template_kwargs: Map::new(),
            tools: None,
            reasoning: None,
        };
        let call = r#"{"name": "f", "arguments": {"x":1}}"#;
        assert_eq!(
            in_words(&request).messages,
            [
                json!({"role": "user", "content": "go"}),
                json!({"role": "assistant", "content": format!("Well.\n[{call}, {call}]")}),
                json!({"role": "user",
                    "content": "Result of the call: 1\n\nResult of the call: 2\n\nand?"}),
            ]
        );
    }
}
