//! Texts to token ids, and what else only the vocabulary can say of a request.

use matou_chat::{SpecialTokens, Tokenizer, TokenizerError};
use matou_engine::SamplingParams;

use crate::error::LlmError;
use crate::request::{GenerationOptions, PromptInput};

/// Tokenises a prompt that is used as it is. Control tokens in its text are parsed: whoever sends
/// it writes the whole prompt, template included.
///
/// # Errors
///
/// When the vocabulary cannot express the text.
pub fn tokenize_input(tokenizer: &Tokenizer, input: &PromptInput) -> Result<Vec<u32>, LlmError> {
    match input {
        PromptInput::Tokens(ids) => Ok(ids.clone()),
        PromptInput::Text {
            text,
            add_special_tokens,
        } => tokenizer
            .encode(text, SpecialTokens::Parse, *add_special_tokens)
            .map_err(|error| cannot_tokenize("prompt", &error)),
    }
}

/// Completes the sampling parameters with what only the vocabulary knows.
///
/// # Errors
///
/// When the vocabulary cannot express a word that is not to be said.
pub(crate) fn resolve_sampling(
    tokenizer: &Tokenizer,
    options: &GenerationOptions,
) -> Result<SamplingParams, LlmError> {
    let mut sampling = options.sampling.clone();
    if sampling.dry_multiplier > 0.0 {
        sampling.dry_sequence_breaker_ids = tokens_with(tokenizer, &options.dry_sequence_breakers);
    }
    sampling.banned_sequences = spellings(tokenizer, &options.bad_words)?;
    Ok(sampling)
}

/// The tokens of each word, at the beginning of a text and behind a space.
fn spellings(tokenizer: &Tokenizer, words: &[String]) -> Result<Vec<Vec<u32>>, LlmError> {
    let mut spellings = Vec::with_capacity(2 * words.len());
    for (i, word) in words.iter().enumerate() {
        let bare = match word.trim_start() {
            // White space is the word itself.
            "" => word,
            bare => bare,
        };
        for text in [bare, &format!(" {bare}")] {
            // Control tokens are parsed, as in a prompt.
            let ids = tokenizer.encode(text, SpecialTokens::Parse, false);
            spellings.push(ids.map_err(|error| {
                let message = format!("`bad_words[{i}]` cannot be tokenised: {error}.");
                LlmError::invalid(format!("bad_words[{i}]"), message)
            })?);
        }
    }
    Ok(spellings)
}

/// All tokens whose text contains one of `strings`.
fn tokens_with(tokenizer: &Tokenizer, strings: &[String]) -> Vec<u32> {
    let contains = |bytes: &[u8]| {
        strings
            .iter()
            .filter(|string| !string.is_empty())
            .any(|string| {
                bytes
                    .windows(string.len())
                    .any(|window| window == string.as_bytes())
            })
    };
    let vocabulary = 0..u32::try_from(tokenizer.vocab_size()).unwrap_or(u32::MAX);
    vocabulary
        .filter(|&id| tokenizer.token_bytes(id).is_some_and(contains))
        .collect()
}

pub(crate) fn cannot_tokenize(param: &str, error: &TokenizerError) -> LlmError {
    LlmError::invalid(param, format!("The prompt cannot be tokenised: {error}."))
}
