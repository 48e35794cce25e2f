//! Anthropic's wire types to the server's own requests. Pure.

mod documents;
mod messages;
mod text;
mod tools;

use matou_engine::SamplingParams;
use matou_grammar::GrammarSpec;
use serde_json::Map;

use super::wire::{MessagesRequest, OutputConfig, Thinking};
use crate::dialects::shared::fields::{in_range, missing, real, stop_strings};
use crate::error::ApiError;
use matou_llm::request::{
    ChatCall, ChatRequest, GenerationOptions, OutputGrammar, Reasoning, SceneChoice, TextOptions,
};

/// Where the budget is.
const BUDGET: &str = "thinking.budget_tokens";
/// How much trouble to take, at Anthropic and in the words of OpenAI.
const EFFORTS: [(&str, &str); 5] = [
    ("low", "low"),
    ("medium", "medium"),
    ("high", "high"),
    ("xhigh", "xhigh"),
    ("max", "xhigh"),
];

/// Checks and converts a request for an answer.
///
/// # Errors
///
/// Names the first field that cannot be honoured, and why.
pub(crate) fn messages_call(
    wire: MessagesRequest,
    defaults: &SamplingParams,
) -> Result<ChatCall, ApiError> {
    let Some(max_tokens) = in_range("max_tokens", wire.max_tokens, 1, i64::MAX)? else {
        return Err(missing("max_tokens"));
    };
    let budget = budget(wire.thinking.as_ref(), max_tokens)?;
    check_service_tier(wire.service_tier.as_deref())?;
    let temperature = real("temperature", wire.temperature, 0.0, 1.0)?;
    let top_p = real("top_p", wire.top_p, 0.0, 1.0)?.map(|p| p.max(f64::from(f32::MIN_POSITIVE)));
    let top_k = in_range("top_k", wire.top_k, 0, i64::MAX)?;
    let stop = wire.stop_sequences.clone().unwrap_or_default();
    let sampling = SamplingParams {
        temperature: temperature.map_or(defaults.temperature, |value| value as f32),
        top_p: top_p.map_or(defaults.top_p, |value| value as f32),
        top_k: match top_k {
            Some(k) => (k > 0).then_some(k as usize),
            None => defaults.top_k,
        },
        max_tokens: Some(max_tokens as usize),
        ..defaults.clone()
    };
    let output = wire
        .output_config
        .as_ref()
        .map(output_grammar)
        .transpose()?;
    let request = messages_request(wire)?;
    Ok(ChatCall {
        options: GenerationOptions {
            sampling,
            text: TextOptions {
                stop: stop_strings("stop_sequences", stop)?,
                continues_prompt: request.continue_final_message,
                ..TextOptions::default()
            },
            ..GenerationOptions::default()
        },
        request,
        output: output.flatten(),
        thinking_budget: budget,
    })
}

/// The conversation of a request, without how to answer it.
///
/// # Errors
///
/// Names the message that cannot be used, and why.
pub(crate) fn messages_request(wire: MessagesRequest) -> Result<ChatRequest, ApiError> {
    let reasoning = reasoning(&wire)?;
    let offered = tools::functions(&wire)?;
    let (choice, parallel) = tools::choice(wire.tool_choice.as_ref())?;
    let messages = messages::messages(wire.system, wire.messages)?;
    let last = messages.last().filter(|last| last["role"] == "assistant");
    // An answer that has begun is continued.
    let continue_final_message = last.is_some_and(|last| last.get("tool_calls").is_none());
    Ok(ChatRequest {
        scene: SceneChoice::default(),
        messages,
        add_generation_prompt: !continue_final_message,
        continue_final_message,
        template_kwargs: Map::new(),
        tools: offered.tool_use(choice, parallel)?,
        reasoning: Some(reasoning),
    })
}

/// Models do not think here unless they are told to, as at Anthropic. A budget and `adaptive` are
/// leave to think: no model has to.
fn reasoning(wire: &MessagesRequest) -> Result<Reasoning, ApiError> {
    let effort = effort(wire.output_config.as_ref())?;
    let thinks = match wire
        .thinking
        .as_ref()
        .map(|thinking| thinking.kind.as_str())
    {
        None | Some("disabled") => false,
        Some("enabled" | "adaptive") => true,
        Some(other) => {
            let message =
                format!("`thinking.type` must be enabled, adaptive or disabled, got \"{other}\".");
            return Err(ApiError::invalid("thinking.type", message));
        }
    };
    match (thinks, effort) {
        (true, None) => Ok(Reasoning::Adaptive),
        (true, Some(effort)) => Ok(Reasoning::Effort(effort.to_owned())),
        (false, _) => Ok(Reasoning::Off),
    }
}

/// The effort that was asked for, in the words of OpenAI.
fn effort(config: Option<&OutputConfig>) -> Result<Option<&'static str>, ApiError> {
    let Some(effort) = config.and_then(|config| config.effort.as_deref()) else {
        return Ok(None);
    };
    if let Some((_, word)) = EFFORTS.iter().find(|(name, _)| *name == effort) {
        return Ok(Some(word));
    }
    let message = format!(
        "`output_config.effort` must be one of {}, got \"{effort}\".",
        EFFORTS.map(|(name, _)| name).join(", ")
    );
    Err(ApiError::invalid("output_config.effort", message))
}

/// Most tokens to think, of thinking that has a budget: less than the answer may have in all.
fn budget(thinking: Option<&Thinking>, max_tokens: i64) -> Result<Option<usize>, ApiError> {
    let Some(thinking) = thinking.filter(|thinking| thinking.kind == "enabled") else {
        return Ok(None);
    };
    let Some(budget) = in_range(BUDGET, thinking.budget_tokens, 1, i64::MAX)? else {
        return Err(missing(BUDGET));
    };
    Ok(Some(budget.min(max_tokens - 1) as usize))
}

fn check_service_tier(tier: Option<&str>) -> Result<(), ApiError> {
    match tier {
        None | Some("auto" | "standard_only") => Ok(()),
        Some(tier) => {
            let message =
                format!("`service_tier` must be \"auto\" or \"standard_only\", got \"{tier}\".");
            Err(ApiError::invalid("service_tier", message))
        }
    }
}

fn output_grammar(config: &OutputConfig) -> Result<Option<OutputGrammar>, ApiError> {
    const PARAM: &str = "output_config.format";
    let Some(format) = &config.format else {
        return Ok(None);
    };
    match (format.kind.as_str(), &format.schema) {
        ("json_schema", Some(schema)) => Ok(Some(OutputGrammar {
            param: PARAM.to_owned(),
            spec: GrammarSpec::JsonSchema(schema.clone()),
        })),
        ("json_schema", None) => Err(missing("output_config.format.schema")),
        (other, _) => {
            let message = format!("`{PARAM}.type` must be \"json_schema\", got \"{other}\".");
            Err(ApiError::invalid(format!("{PARAM}.type"), message))
        }
    }
}
