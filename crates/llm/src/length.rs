//! Texts that are too long, told before they are tokenised: that takes a second for some megabytes, and
//! cannot be interrupted.

use matou_chat::SpecialTokens;

use crate::error::LlmError;
use crate::llm::Llm;
use crate::prompt::tokenize_input;
use crate::request::PromptInput;
use crate::wanted::Wanted;

/// Bytes a token up to which a text is just tokenised. Prose has four or five, code three.
const USUAL_BYTES: usize = 16;
/// How much a tokenizer may shorten a text before it cuts it: composing decomposed Hangul makes three
/// bytes of nine.
const MAX_SHORTENING: usize = 3;
/// Bytes that are tokenised at a time while a suspicious text is measured.
const PIECE: usize = 64 << 10;
/// A text that is only counted may be this long whatever the context is.
const ALWAYS_COUNTED: usize = 1 << 20;

/// The longest text that may fit: all of it the longest of tokens.
fn most_bytes(llm: &Llm) -> usize {
    let tokens = llm.max_model_len().saturating_mul(llm.longest_token());
    tokens.saturating_mul(MAX_SHORTENING)
}

/// Checks that `text`, which came as `param`, may fit into the context.
///
/// # Errors
///
/// When it does not, with a number of tokens that it has at least; when it is no longer wanted.
pub fn check_length(llm: &Llm, text: &str, param: &str, wanted: &Wanted) -> Result<(), LlmError> {
    wanted.check()?;
    let context = llm.max_model_len();
    let too_long = |tokens| {
        Err(LlmError::context_length_exceeded_by_far(
            param, tokens, context,
        ))
    };
    if text.len() > most_bytes(llm) {
        return too_long(text.len() / llm.longest_token() / MAX_SHORTENING);
    }
    if text.len() <= context.saturating_mul(USUAL_BYTES) {
        return Ok(());
    }
    // Cutting a text changes how many tokens it is by a few at each cut.
    let enough = context + context / 8 + PIECE / 1024;
    let mut tokens = 0;
    let mut rest = text;
    while !rest.is_empty() {
        wanted.check()?;
        let (piece, after) = rest.split_at(rest.floor_char_boundary(PIECE));
        rest = after;
        // What cannot be tokenised is told when all of it is.
        let ids = llm.tokenizer().encode(piece, SpecialTokens::Parse, false);
        tokens += ids.map_or(0, |ids| ids.len());
        if tokens > enough {
            return too_long(tokens);
        }
    }
    Ok(())
}

/// Checks that `text`, which came as `param`, is not too long to have its tokens counted or listed:
/// it may be some times longer than what fits into the context.
///
/// # Errors
///
/// When it is, with the number of bytes.
pub fn check_countable(llm: &Llm, text: &str, param: &str) -> Result<(), LlmError> {
    let most = most_bytes(llm).max(ALWAYS_COUNTED);
    if text.len() <= most {
        return Ok(());
    }
    let message = format!(
        "`{param}` has {} bytes; at most {most} can be tokenised at a time.",
        text.len()
    );
    Err(LlmError::invalid(param, message))
}

/// Tokenises a prompt of which all has to fit into the context; it came as `param`.
///
/// # Errors
///
/// When it does not fit, and as of [`tokenize_input`]; when it is no longer wanted.
pub fn tokenize_fitting(
    llm: &Llm,
    input: &PromptInput,
    param: &str,
    wanted: &Wanted,
) -> Result<Vec<u32>, LlmError> {
    match input {
        PromptInput::Text { text, .. } => check_length(llm, text, param, wanted)?,
        PromptInput::Tokens(_) => wanted.check()?,
    }
    tokenize_input(llm.tokenizer(), input)
}
