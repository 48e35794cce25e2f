//! The wire types of responses to the server's own requests. Pure.

pub(super) mod calls;
mod input;
mod tools;

use matou_engine::SamplingParams;
use matou_grammar::GrammarSpec;
use serde_json::{Map, Value, json};

use super::wire::{InputItem, ResponsesRequest, TextConfig};
use crate::dialects::shared::convert::{
    generation_options, output_grammar, reasoning_effort, response_options,
};
use crate::dialects::shared::fields::{MAX_TOP_LOGPROBS, in_range, missing};
use crate::dialects::shared::union::TextOr;
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;
pub(super) use input::answer_message;
use matou_llm::request::{ChatCall, ChatRequest, OutputGrammar, SceneChoice};
use tools::OfferedTools;
pub(super) use tools::ToolForms;

/// What `include` may ask for of tools that run on OpenAI's servers: there is nothing of it here.
const OF_HOSTED_TOOLS: [&str; 6] = [
    "code_interpreter_call.outputs",
    "computer_call_output.output.image_url",
    "file_search_call.results",
    "message.input_image.image_url",
    "web_search_call.action.sources",
    "web_search_call.results",
];
/// What else it may ask for.
const LOGPROBS: &str = "message.output_text.logprobs";
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// A response that is asked for, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ResponsesCall {
    /// The conversation and how to answer it.
    pub chat: ChatCall,
    /// Whether the response is streamed.
    pub stream: bool,
    /// The conversation without the instructions: what the next response will follow.
    pub history: Vec<Value>,
    /// How the response is told.
    pub format: ResponseFormat,
    /// The forms of calls.
    pub forms: ToolForms,
}

/// How a response is told beyond its text.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ResponseFormat {
    /// Whether it is kept.
    pub store: bool,
    /// Whether log-probabilities were asked for.
    pub logprobs: bool,
    /// Whether what was thought is to be sealed.
    pub encrypted: bool,
    /// Whether what was thought is to be summed up.
    pub summary: bool,
}

/// Checks and converts a request that follows the messages `previous`.
///
/// # Errors
///
/// Names the first field that cannot be honoured, and why.
pub(crate) fn responses_call(
    wire: ResponsesRequest,
    mut shared: SharedFields,
    previous: &[Value],
    defaults: &SamplingParams,
) -> Result<ResponsesCall, ApiError> {
    refuse_unsupported(&wire, &shared)?;
    let include = Include::new(wire.include.as_deref().unwrap_or_default())?;
    // Responses are kept unless they are not to be.
    shared.delivery.store = None;
    let response = response_options(&shared.delivery)?;
    let mut options = generation_options(&shared, defaults)?;
    let max_tokens = in_range("max_output_tokens", wire.max_output_tokens, 1, i64::MAX)?;
    options.sampling.max_tokens = max_tokens.map(|n| n as usize).or(defaults.max_tokens);
    let top = in_range("top_logprobs", wire.top_logprobs, 0, MAX_TOP_LOGPROBS)?;
    let logprobs = include.logprobs || top.is_some_and(|top| top > 0);
    options.sampling.logprobs = logprobs.then_some(top.unwrap_or(0) as usize);
    let output = match text_format(wire.text.as_ref())? {
        Some(output) => Some(output),
        None => output_grammar(&shared.grammar)?,
    };
    let OfferedTools { offered, forms } = offered_tools(&wire)?;
    let choice = tools::choice(wire.tool_choice.as_ref())?;
    let parallel = wire.parallel_tool_calls.unwrap_or(true);
    let tools = offered.tool_use(choice, parallel)?;
    let reasoning = wire.reasoning.as_ref();
    let effort = reasoning.and_then(|reasoning| reasoning.effort.as_deref());
    let mut history = previous.to_vec();
    history.extend(input::messages(wire.input)?);
    let mut messages = Vec::with_capacity(history.len() + 1);
    if let Some(instructions) = wire.instructions {
        messages.push(json!({"role": "system", "content": instructions}));
    }
    messages.extend(history.iter().cloned());
    Ok(ResponsesCall {
        chat: ChatCall {
            request: ChatRequest {
                scene: SceneChoice::default(),
                messages,
                add_generation_prompt: true,
                continue_final_message: false,
                template_kwargs: Map::new(),
                tools,
                reasoning: reasoning_effort(effort)?,
            },
            options,
            output,
            thinking_budget: None,
        },
        stream: response.stream,
        history,
        format: ResponseFormat {
            store: wire.store.unwrap_or(true),
            logprobs,
            encrypted: include.encrypted,
            summary: reasoning
                .and_then(|reasoning| reasoning.summary.as_deref())
                .is_some_and(|summary| summary != "none"),
        },
        forms,
    })
}

/// The tools of a request, and those that its items bring along.
fn offered_tools(wire: &ResponsesRequest) -> Result<OfferedTools, ApiError> {
    let mut offered = OfferedTools::default();
    offered.add("tools", wire.tools.as_deref().unwrap_or_default(), None)?;
    let items: &[InputItem] = match &wire.input {
        Some(TextOr::List(items)) => items,
        _ => &[],
    };
    for (i, item) in items.iter().enumerate() {
        let brings = matches!(
            item.kind.as_deref(),
            Some("additional_tools" | "tool_search_output")
        );
        if let Some(tools) = item.tools.as_deref().filter(|_| brings) {
            offered.add(&format!("input[{i}].tools"), tools, None)?;
        }
    }
    Ok(offered)
}

fn refuse_unsupported(wire: &ResponsesRequest, shared: &SharedFields) -> Result<(), ApiError> {
    let refused = |param: &str, why: &str| {
        let message = format!("`{param}` is not supported: {why}.");
        Err(ApiError::unsupported(param, message))
    };
    if wire.background == Some(true) {
        return refused("background", "this server answers while the client waits");
    }
    if wire
        .conversation
        .as_ref()
        .is_some_and(|value| !value.is_null())
    {
        return refused(
            "conversation",
            "follow a response by its `previous_response_id`",
        );
    }
    if wire.prompt.as_ref().is_some_and(|value| !value.is_null()) {
        return refused("prompt", "this server stores no prompts");
    }
    one_of(
        "truncation",
        wire.truncation.as_deref(),
        &["auto", "disabled"],
    )?;
    let text = wire.text.as_ref();
    let verbosity = text.and_then(|text| text.verbosity.as_deref());
    one_of("text.verbosity", verbosity, &["low", "medium", "high"])?;
    if shared.delivery.n.is_some_and(|n| n != 1) {
        return refused("n", "a response is one answer");
    }
    if shared.delivery.timings == Some(true) {
        return refused("timings", "a response has no field for them");
    }
    let summary = wire
        .reasoning
        .as_ref()
        .and_then(|reasoning| reasoning.summary.as_deref());
    one_of(
        "reasoning.summary",
        summary,
        &["none", "auto", "concise", "detailed"],
    )
}

/// Checks a word that gives leave or hints at something: any that the API has will do.
fn one_of(param: &str, word: Option<&str>, words: &[&str]) -> Result<(), ApiError> {
    match word {
        Some(word) if !words.contains(&word) => {
            let words = words.join(", ");
            let message = format!("`{param}` must be one of {words}, got \"{word}\".");
            Err(ApiError::invalid(param, message))
        }
        _ => Ok(()),
    }
}

#[derive(Default)]
struct Include {
    logprobs: bool,
    encrypted: bool,
}

impl Include {
    fn new(names: &[String]) -> Result<Self, ApiError> {
        let mut include = Self::default();
        for (i, name) in names.iter().enumerate() {
            match name.as_str() {
                LOGPROBS => include.logprobs = true,
                ENCRYPTED => include.encrypted = true,
                name if OF_HOSTED_TOOLS.contains(&name) => {}
                other => {
                    let message = format!(
                        "`include` may have \"{LOGPROBS}\" and \"{ENCRYPTED}\", got \"{other}\"."
                    );
                    return Err(ApiError::unsupported(format!("include[{i}]"), message));
                }
            }
        }
        Ok(include)
    }
}

fn text_format(text: Option<&TextConfig>) -> Result<Option<OutputGrammar>, ApiError> {
    const PARAM: &str = "text.format";
    let Some(format) = text.and_then(|text| text.format.as_ref()) else {
        return Ok(None);
    };
    let spec = match (format.kind.as_deref(), &format.schema) {
        (None | Some("text"), _) => return Ok(None),
        (Some("json_object"), _) => GrammarSpec::JsonObject,
        (Some("json_schema"), Some(schema)) => GrammarSpec::JsonSchema(schema.clone()),
        (Some("json_schema"), None) => return Err(missing("text.format.schema")),
        (Some(other), _) => {
            let param = "text.format.type";
            let message =
                format!("`{param}` must be text, json_object or json_schema, got \"{other}\".");
            return Err(ApiError::invalid(param, message));
        }
    };
    let param = PARAM.to_owned();
    Ok(Some(OutputGrammar { param, spec }))
}
