//! `POST /v1/completions` to prompts and options.

use matou_engine::SamplingParams;
use matou_llm::request::{GenerationOptions, OutputGrammar, PromptInput};

use crate::dialects::openai::wire::{CompletionRequest, Prompt, PromptElement};
use crate::dialects::shared::convert::{
    MAX_N, ResponseOptions, generation_options, output_grammar, prompt_logprobs, response_options,
};
use crate::dialects::shared::fields::{MAX_TOP_LOGPROBS, count, in_range, token_ids};
use crate::dialects::shared::wire::SharedFields;
use crate::error::ApiError;

/// Most tokens of a completion that does not say, as at OpenAI.
const DEFAULT_MAX_TOKENS: usize = 16;

/// A text completion that is asked for, checked.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct CompletionCall {
    /// What to continue.
    pub prompts: Vec<PromptInput>,
    /// How to continue it.
    pub options: GenerationOptions,
    /// The grammar that each answer has to follow.
    pub output: Option<OutputGrammar>,
    /// How many answers to each prompt are generated; `options.n` of them are returned.
    pub best_of: usize,
    /// What comes after the gap that an answer fills.
    pub suffix: Option<String>,
    /// Whether the prompt is part of the answer.
    pub echo: bool,
    /// How many of the likeliest tokens to report at each place of the prompt.
    pub prompt_logprobs: Option<usize>,
    /// How to send the answer.
    pub response: ResponseOptions,
}

/// Checks and converts a completion request.
///
/// # Errors
///
/// Names the first parameter that cannot be honoured, and why.
pub(crate) fn completion_call(
    wire: CompletionRequest,
    shared: &SharedFields,
    defaults: &SamplingParams,
) -> Result<CompletionCall, ApiError> {
    let response = response_options(&shared.delivery)?;
    let echo = wire.echo.unwrap_or(false);
    let mut options = generation_options(shared, defaults)?;
    options.text.continues_prompt = true;
    let sampling = &mut options.sampling;
    sampling.max_tokens = Some(count("max_tokens", wire.max_tokens)?.unwrap_or(DEFAULT_MAX_TOKENS));
    sampling.logprobs =
        in_range("logprobs", wire.logprobs, 0, MAX_TOP_LOGPROBS)?.map(|top| top as usize);
    let prompt_logprobs = prompt_logprobs(wire.prompt_logprobs, response.stream)?;
    // Either may need more than the other; each answer is cut to what was asked for.
    sampling.prompt_logprobs = sampling.logprobs.filter(|_| echo).max(prompt_logprobs);
    if sampling.max_tokens == Some(0) && !echo {
        return Err(ApiError::invalid(
            "max_tokens",
            "`max_tokens` must be at least 1 unless `echo` is true, got 0.",
        ));
    }
    let best_of = in_range("best_of", wire.best_of, 1, MAX_N)?.map_or(options.n, |n| n as usize);
    if best_of < options.n {
        let message = format!(
            "`best_of` ({best_of}) must not be less than `n` ({}).",
            options.n
        );
        return Err(ApiError::invalid("best_of", message));
    }
    if best_of > options.n && response.stream {
        let message = "`best_of` cannot be streamed: the best answer is known at the end.";
        return Err(ApiError::invalid("best_of", message));
    }
    Ok(CompletionCall {
        best_of,
        suffix: wire.suffix.filter(|suffix| !suffix.is_empty()),
        prompts: prompts(wire.prompt, wire.add_special_tokens.unwrap_or(true))?,
        options,
        output: output_grammar(&shared.grammar)?,
        echo,
        prompt_logprobs,
        response,
    })
}

/// The prompts, by the four shapes that OpenAI takes.
pub(crate) fn prompts(
    prompt: Option<Prompt>,
    add_special_tokens: bool,
) -> Result<Vec<PromptInput>, ApiError> {
    let text = |text| PromptInput::Text {
        text,
        add_special_tokens,
    };
    let elements = match prompt {
        None => return Err(ApiError::invalid("prompt", "`prompt` is missing.")),
        Some(Prompt::Text(prompt)) => return Ok(vec![text(prompt)]),
        Some(Prompt::List(elements)) => elements,
    };
    if elements.is_empty() {
        return Err(ApiError::invalid(
            "prompt",
            "`prompt` must not be an empty list.",
        ));
    }
    if matches!(elements[0], PromptElement::Token(_)) {
        let ids: Option<Vec<i64>> = elements
            .iter()
            .map(|element| {
                if let PromptElement::Token(id) = element {
                    Some(*id)
                } else {
                    None
                }
            })
            .collect();
        let ids = token_ids("prompt", Some(&ids.ok_or_else(mixed)?))?;
        return Ok(vec![PromptInput::Tokens(ids.unwrap_or_default())]);
    }
    let of_text = matches!(elements[0], PromptElement::Text(_));
    let input = |(i, element)| match element {
        PromptElement::Text(prompt) if of_text => Ok(text(prompt)),
        PromptElement::Tokens(ids) if !of_text => {
            let ids = token_ids(&format!("prompt[{i}]"), Some(&ids))?;
            Ok(PromptInput::Tokens(ids.unwrap_or_default()))
        }
        _ => Err(mixed()),
    };
    elements.into_iter().enumerate().map(input).collect()
}

fn mixed() -> ApiError {
    let message = "`prompt` must be a string, or a list of only strings, only token ids or only \
                   token id lists.";
    ApiError::invalid("prompt", message)
}
