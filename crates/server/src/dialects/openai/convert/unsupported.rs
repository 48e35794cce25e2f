//! Fields that are known and cannot be honoured yet: refused by name, never skipped.

use serde_json::Value;

use crate::dialects::openai::wire::UnsupportedFields;
use crate::error::ApiError;

/// Refuses the fields that ask for something this server cannot do. Values that ask for nothing
/// (`functions: []`, `best_of: 1`, `verbosity: "medium"`) pass.
///
/// # Errors
///
/// Names the first such field.
pub fn refuse_unsupported(fields: UnsupportedFields) -> Result<(), ApiError> {
    let refuse =
        |param: &str, value: Option<Value>, asks_for_nothing: fn(&Value) -> bool| match value {
            Some(value) if !asks_for_nothing(&value) => Err(ApiError::unsupported(
                param,
                format!("`{param}` is not supported by this server yet."),
            )),
            _ => Ok(()),
        };
    refuse("functions", fields.functions, empty)?;
    refuse("function_call", fields.function_call, |value| {
        value == "none" || value == "auto"
    })?;
    refuse("verbosity", fields.verbosity, |verbosity| {
        verbosity == "medium"
    })?;
    refuse("modalities", fields.modalities, |kinds| {
        *kinds == serde_json::json!(["text"])
    })?;
    refuse("audio", fields.audio, never)?;
    refuse("web_search_options", fields.web_search_options, never)?;
    refuse("suffix", fields.suffix, |suffix| suffix == "")?;
    refuse("best_of", fields.best_of, |count| *count == 1)?;
    refuse("use_beam_search", fields.use_beam_search, |wanted| {
        *wanted == false
    })?;
    refuse(
        "truncate_prompt_tokens",
        fields.truncate_prompt_tokens,
        never,
    )?;
    refuse("chat_template", fields.chat_template, never)?;
    refuse("documents", fields.documents, empty)
}

fn never(_: &Value) -> bool {
    false
}

fn empty(value: &Value) -> bool {
    value.as_array().is_some_and(Vec::is_empty)
        || value.as_object().is_some_and(serde_json::Map::is_empty)
}
