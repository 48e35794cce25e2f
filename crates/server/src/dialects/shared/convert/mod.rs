//! Fields that several dialects have in common to the requests of [`matou_llm::request`]. Pure.
//!
//! Every field is either carried over, harmless at the value it has, or refused with its name. The
//! ranges are OpenAI's; what only the engine can know (does it fit, is the token in the vocabulary)
//! is left to it.

mod custom;
mod offered;
mod sampling;
mod structured;
mod tools;

use std::sync::Arc;

use matou_engine::SamplingParams;
use matou_llm::request::{GenerationOptions, Reasoning, TextOptions};

pub(crate) use custom::{custom_arguments, custom_function, custom_input};
pub(crate) use offered::Offered;
use sampling::sampling_params;
pub(crate) use structured::output_grammar;
pub(crate) use tools::{allowed, custom_names, functions, not_understood, word_choice};

use super::fields::{MAX_TOP_LOGPROBS, in_range, no_longer_than, no_more_than, stop_strings};
use super::union::TextOr;
use super::wire::{DeliveryFields, SharedFields};
use crate::error::ApiError;

/// How an answer is sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct ResponseOptions {
    /// As a stream of chunks.
    pub stream: bool,
    /// With a last chunk that brings the token counts.
    pub include_usage: bool,
    /// With how long it took.
    pub timings: bool,
}

/// How long OpenAI lets a model think.
const REASONING_EFFORTS: [&str; 6] = ["none", "minimal", "low", "medium", "high", "xhigh"];
/// Most answers to one prompt, as at OpenAI.
pub(crate) const MAX_N: i64 = 128;
/// What OpenAI allows for labels: how many, and how long a key and a value may be.
const MAX_METADATA: (usize, usize, usize) = (16, 64, 512);
/// OpenAI's classes of service. Whichever is wished for, there is one here, and answers say so.
const SERVICE_TIERS: [&str; 5] = ["auto", "default", "flex", "scale", "priority"];
/// Most words that a request may forbid, and bytes of each: each is looked for at every token.
const MAX_BAD_WORDS: (usize, usize) = (1024, 256);
/// Most strings that DRY does not look across, and bytes of each: each is looked for in every token of
/// the vocabulary, of which none is longer.
const MAX_BREAKERS: (usize, usize) = (64, 256);
/// Most messages of a conversation: the longest contexts hold no more.
pub(crate) const MAX_MESSAGES: usize = 1 << 14;
/// Longest salt of the prefix cache, in bytes.
const MAX_SALT: usize = 1024;
/// Most bytes of JSON that the variables of a chat template may be.
pub(crate) const MAX_TEMPLATE_KWARGS: usize = 256 << 10;
/// Strings that DRY does not look across unless told otherwise, as in llama.cpp.
const DRY_SEQUENCE_BREAKERS: [&str; 4] = ["\n", ":", "\"", "*"];

/// The options common to both endpoints, over the model's own `defaults`.
///
/// # Errors
///
/// Names the first parameter out of its range.
pub(crate) fn generation_options(
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
    no_more_than(
        "dry_sequence_breakers",
        &dry_sequence_breakers,
        MAX_BREAKERS.0,
    )?;
    no_longer_than(
        "dry_sequence_breakers",
        &dry_sequence_breakers,
        MAX_BREAKERS.1,
    )?;
    if delivery
        .cache_salt
        .as_ref()
        .is_some_and(|salt| salt.len() > MAX_SALT)
    {
        let message = format!("`cache_salt` may have at most {MAX_SALT} bytes.");
        return Err(ApiError::invalid("cache_salt", message));
    }
    let stop = fields.stop.clone().map_or_else(Vec::new, TextOr::into_list);
    Ok(GenerationOptions {
        sampling: sampling_params(fields, defaults)?,
        dry_sequence_breakers,
        bad_words: bad_words(fields.bad_words.as_deref().unwrap_or_default())?,
        n: n as usize,
        priority: priority.unwrap_or(0) as i32,
        cache_salt: delivery.cache_salt.as_deref().map(Arc::from),
        text: TextOptions {
            stop: stop_strings("stop", stop)?,
            include_stop_str_in_output: fields.include_stop_str_in_output.unwrap_or(false),
            tokens_as_ids: fields.return_tokens_as_token_ids.unwrap_or(false),
            keep_special_tokens: !fields.skip_special_tokens.unwrap_or(true),
            continues_prompt: false,
        },
        // Whose request it is, is not the request's to say.
        ..GenerationOptions::default()
    })
}

/// How the answer is to be sent.
///
/// # Errors
///
/// When options of a stream are given for an answer that is not streamed.
pub(crate) fn response_options(fields: &DeliveryFields) -> Result<ResponseOptions, ApiError> {
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
    no_more_than("bad_words", words, MAX_BAD_WORDS.0)?;
    no_longer_than("bad_words", words, MAX_BAD_WORDS.1)?;
    if words.iter().any(String::is_empty) {
        let message = "`bad_words` must not have an empty string in it.";
        return Err(ApiError::invalid("bad_words", message));
    }
    Ok(words.to_vec())
}

/// How many of the likeliest tokens to report at each place of the prompt.
pub(crate) fn prompt_logprobs(value: Option<i64>, stream: bool) -> Result<Option<usize>, ApiError> {
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
        && !SERVICE_TIERS.contains(&tier.as_str())
    {
        let tiers = SERVICE_TIERS.join(", ");
        let message = format!("`service_tier` must be one of {tiers}, got \"{tier}\".");
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

/// How long the model is to think.
pub(crate) fn reasoning_effort(effort: Option<&str>) -> Result<Option<Reasoning>, ApiError> {
    match effort {
        None => Ok(None),
        Some("none") => Ok(Some(Reasoning::Off)),
        Some(effort) if REASONING_EFFORTS.contains(&effort) => {
            Ok(Some(Reasoning::Effort(effort.to_owned())))
        }
        Some(effort) => {
            let message = format!(
                "`reasoning_effort` must be one of {}, got \"{effort}\".",
                REASONING_EFFORTS.join(", ")
            );
            Err(ApiError::invalid("reasoning_effort", message))
        }
    }
}
