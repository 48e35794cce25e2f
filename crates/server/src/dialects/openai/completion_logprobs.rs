//! Log-probabilities as OpenAI's completions report them, and vLLM's shape for those of a prompt.

use std::fmt::Write as _;

use matou_llm::generation::{RankedToken, TokenLogprob};

use super::wire::{CompletionLogprobs, PromptLogprob, PromptLogprobs};
use crate::dialects::shared::logprobs::LEAST_LOGPROB;

/// The legacy shape: parallel lists, with the `top` likeliest tokens at each place. `shift` moves the
/// offsets, by the characters of an echoed prompt.
pub(super) fn completion(tokens: &[TokenLogprob], top: usize, shift: usize) -> CompletionLogprobs {
    let mut logprobs = CompletionLogprobs::default();
    for token in tokens {
        logprobs.tokens.push(text_or_bytes(&token.bytes));
        logprobs
            .token_logprobs
            .push(token.logprob.map(|logprob| logprob.max(LEAST_LOGPROB)));
        logprobs.top_logprobs.push(token.logprob.map(|logprob| {
            // The chosen token is listed even if it is not among the likeliest.
            let chosen = std::iter::once((&token.bytes, logprob));
            let top = token.top.iter().take(top);
            let top = top.map(|(bytes, logprob)| (bytes, *logprob));
            chosen
                .chain(top)
                .map(|(bytes, logprob)| (text_or_bytes(bytes), logprob.max(LEAST_LOGPROB)))
                .collect()
        }));
        logprobs.text_offset.push(shift + token.text_offset);
    }
    logprobs
}

/// vLLM's shape: by token id, the prompt's own token and the `top` likeliest at its place; null for
/// the first, which nothing predicts.
pub(super) fn prompt(places: &[Vec<RankedToken>], top: usize) -> PromptLogprobs {
    let entry = |token: &RankedToken| {
        let described = PromptLogprob {
            logprob: token.logprob.max(LEAST_LOGPROB),
            rank: token.rank,
            decoded_token: String::from_utf8_lossy(&token.bytes).into_owned(),
        };
        (token.token_id.to_string(), described)
    };
    let place = |tokens: &Vec<RankedToken>| match tokens.is_empty() {
        true => None,
        false => Some(
            tokens
                .iter()
                .take(top.saturating_add(1))
                .map(entry)
                .collect(),
        ),
    };
    places.iter().map(place).collect()
}

/// A token's text or, for a part of a character, `bytes:\xe2\x98`: the keys of a map must not
/// collide as lossy text would.
fn text_or_bytes(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let mut escaped = "bytes:".to_owned();
    for byte in bytes {
        write!(escaped, "\\x{byte:02x}").expect("a String takes every write");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn half_a_character() -> TokenLogprob {
        TokenLogprob {
            bytes: vec![0xe2, 0x98],
            logprob: Some(-0.5),
            top: vec![
                (vec![0xe2, 0x98], -0.5),
                (b" a".to_vec(), f32::NEG_INFINITY),
            ],
            text_offset: 3,
        }
    }

    #[test]
    fn legacy_logprobs_are_parallel_lists_whose_first_prompt_token_is_null() {
        let first = TokenLogprob {
            bytes: b"<s>".to_vec(),
            logprob: None,
            top: vec![],
            text_offset: 0,
        };
        let logprobs = completion(&[first, half_a_character()], 2, 10);
        assert_eq!(
            serde_json::to_string(&logprobs).unwrap(),
            concat!(
                r#"{"tokens":["<s>","bytes:\\xe2\\x98"],"token_logprobs":[null,-0.5],"#,
                r#""top_logprobs":[null,{" a":-9999.0,"bytes:\\xe2\\x98":-0.5}],"#,
                r#""text_offset":[10,13]}"#
            )
        );
    }
}
