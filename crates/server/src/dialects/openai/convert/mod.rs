//! OpenAI's wire types to the server's own requests. Pure: no model, no tokenizer, no clock.
//!
//! Every field is either carried over, harmless at the value it has, or refused with its name. The
//! ranges are OpenAI's; what only the engine can know (does it fit, is the token in the vocabulary)
//! is left to it.

mod chat;
mod completion;
mod sampling;
mod structured;
#[cfg(test)]
mod tests;
mod tools;

use matou_engine::SamplingParams;

pub(crate) use chat::reasoning_effort;
pub use chat::{chat_call, chat_request};
pub(crate) use completion::prompts;
pub use completion::{CompletionCall, completion_call};
use sampling::sampling_params;
pub(crate) use structured::output_grammar;
pub(crate) use tools::{allowed, functions, not_understood, word_choice};

use super::wire::{DeliveryFields, SharedFields};
pub(super) use crate::dialects::fields::token_ids;
use crate::dialects::fields::{MAX_TOP_LOGPROBS, count, in_range, logprobs, real, stop_strings};
use crate::dialects::union::TextOr;
use crate::error::ApiError;
use crate::request::{GenerationOptions, ResponseOptions, TextOptions};

/// Most answers to one prompt, as at OpenAI.
const MAX_N: i64 = 128;
/// What OpenAI allows for labels: how many, and how long a key and a value may be.
const MAX_METADATA: (usize, usize, usize) = (16, 64, 512);
/// Most words that a request may forbid: each is looked for at every token.
const MAX_BAD_WORDS: usize = 1024;
/// Strings that DRY does not look across unless told otherwise, as in llama.cpp.
const DRY_SEQUENCE_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// The options common to both endpoints, over the model's own `defaults`.
///
/// # Errors
///
/// Names the first parameter out of its range.
pub fn generation_options(
    fields: &SharedFields,
    defaults: &SamplingParams,
) -> Result<GenerationOptions, ApiError> {
    let (fields, delivery) = (&fields.sampling, &fields.delivery);
    refuse_unkept_promises(delivery)?;
    let n = in_range("n", delivery.n, 1, MAX_N)?.unwrap_or(1);
    let dry_sequence_breakers = match &fields.dry_sequence_breakers {
        Some(strings) => strings.clone(),
        None => DRY_SEQUENCE_BREAKERS.map(str::to_owned).to_vec(),
    };
    let priority = in_range(
        "priority",
        delivery.priority,
        i32::MIN.into(),
        i32::MAX.into(),
    )?;
    let stop = fields.stop.clone().map_or_else(Vec::new, TextOr::into_list);
    Ok(GenerationOptions {
        sampling: sampling_params(fields, defaults)?,
        dry_sequence_breakers,
        bad_words: bad_words(fields.bad_words.as_deref().unwrap_or_default())?,
        n: n as usize,
        priority: priority.unwrap_or(0) as i32,
        text: TextOptions {
            stop: stop_strings("stop", stop)?,
            include_stop_str_in_output: fields.include_stop_str_in_output.unwrap_or(false),
            tokens_as_ids: fields.return_tokens_as_token_ids.unwrap_or(false),
            keep_special_tokens: !fields.skip_special_tokens.unwrap_or(true),
            continues_prompt: false,
        },
    })
}

/// How the answer is to be sent.
///
/// # Errors
///
/// When options of a stream are given for an answer that is not streamed.
pub fn response_options(fields: &DeliveryFields) -> Result<ResponseOptions, ApiError> {
    let stream = fields.stream.unwrap_or(false);
    let timings = fields.timings.unwrap_or(false);
    let Some(options) = &fields.stream_options else {
        return Ok(ResponseOptions {
            stream,
            include_usage: false,
            timings,
        });
    };
    if !stream {
        let message = "`stream_options` is only allowed when `stream` is true.";
        return Err(ApiError::invalid("stream_options", message));
    }
    if options.include_obfuscation == Some(true) {
        let message =
            "`stream_options.include_obfuscation` is not supported: chunks have no padding.";
        return Err(ApiError::unsupported(
            "stream_options.include_obfuscation",
            message,
        ));
    }
    Ok(ResponseOptions {
        stream,
        include_usage: options.include_usage.unwrap_or(false),
        timings,
    })
}

/// The words that are not to be said.
fn bad_words(words: &[String]) -> Result<Vec<String>, ApiError> {
    if words.len() > MAX_BAD_WORDS {
        let message = format!(
            "`bad_words` may have at most {MAX_BAD_WORDS} words, got {}.",
            words.len()
        );
        return Err(ApiError::invalid("bad_words", message));
    }
    if words.iter().any(String::is_empty) {
        let message = "`bad_words` must not have an empty string in it.";
        return Err(ApiError::invalid("bad_words", message));
    }
    Ok(words.to_vec())
}

/// How many of the likeliest tokens to report at each place of the prompt.
fn prompt_logprobs(value: Option<i64>, stream: bool) -> Result<Option<usize>, ApiError> {
    let top = in_range("prompt_logprobs", value, 0, MAX_TOP_LOGPROBS)?;
    if top.is_some() && stream {
        let message = "`prompt_logprobs` cannot be streamed: leave out `stream`.";
        return Err(ApiError::invalid("prompt_logprobs", message));
    }
    Ok(top.map(|top| top as usize))
}

/// Refuses what the fields about keeping and billing could promise and this server would not do.
fn refuse_unkept_promises(fields: &DeliveryFields) -> Result<(), ApiError> {
    if fields.store == Some(true) {
        let message = "`store` is not supported: this server keeps no completions.";
        return Err(ApiError::unsupported("store", message));
    }
    if let Some(tier) = &fields.service_tier
        && !["auto", "default"].contains(&tier.as_str())
    {
        let message = format!(
            "`service_tier` must be \"auto\" or \"default\": this server has no tier \"{tier}\"."
        );
        return Err(ApiError::invalid("service_tier", message));
    }
    let (entries, key, value) = MAX_METADATA;
    if let Some(metadata) = &fields.metadata
        && (metadata.len() > entries
            || metadata
                .iter()
                .any(|(k, v)| k.chars().count() > key || v.chars().count() > value))
    {
        let message = format!(
            "`metadata` may have at most {entries} entries, with keys of at most {key} \
             and values of at most {value} characters."
        );
        return Err(ApiError::invalid("metadata", message));
    }
    Ok(())
}
