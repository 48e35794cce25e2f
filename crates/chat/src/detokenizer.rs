//! Tokens to text, one token at a time.
//!
//! A character may be spread over several tokens (byte-level pieces, `<0xNN>` byte tokens). Bytes
//! are therefore collected until they are whole characters; only then do they become text. Each
//! token costs its own bytes: nothing is decoded twice.

use std::sync::Arc;

use crate::tokenizer::Tokenizer;

/// Turns a stream of token ids into a stream of text that is final as soon as it is returned.
///
/// The pieces joined together are what [`Tokenizer::decode`] gives for all tokens at once.
#[derive(Debug, Clone)]
pub struct Detokenizer {
    tokenizer: Arc<Tokenizer>,
    /// The beginning of a character whose end has not arrived: at most three bytes.
    incomplete: Vec<u8>,
    keep_special_tokens: bool,
    /// The next text is the first one, and its SentencePiece space is not part of it.
    at_start: bool,
}

impl Detokenizer {
    /// For a text of its own, such as an assistant's message: the space that SentencePiece puts
    /// before the first word is dropped, as [`Tokenizer::decode`] does.
    pub fn new(tokenizer: Arc<Tokenizer>) -> Self {
        let at_start = tokenizer.adds_space_prefix();
        Self {
            tokenizer,
            incomplete: Vec::new(),
            keep_special_tokens: false,
            at_start,
        }
    }

    /// For text that continues a prompt, as in `/v1/completions`: the space before the first
    /// word separates it from the prompt and is kept.
    pub fn continuing(tokenizer: Arc<Tokenizer>) -> Self {
        Self {
            at_start: false,
            ..Self::new(tokenizer)
        }
    }

    /// Control tokens appear as their text instead of being left out.
    pub fn keep_special_tokens(mut self) -> Self {
        self.keep_special_tokens = true;
        self
    }

    /// Takes the next token; returns the text that it made final, often empty. Ids outside the
    /// vocabulary have no text.
    pub fn push(&mut self, token_id: u32) -> String {
        if !self.keep_special_tokens && self.tokenizer.is_special(token_id) {
            return String::new();
        }
        let Some(mut bytes) = self.tokenizer.token_bytes(token_id) else {
            return String::new();
        };
        if self.at_start && !bytes.is_empty() {
            bytes = bytes.strip_prefix(b" ").unwrap_or(bytes);
            self.at_start = false;
        }
        self.incomplete.extend_from_slice(bytes);
        let complete = complete_length(&self.incomplete);
        let text = String::from_utf8_lossy(&self.incomplete[..complete]).into_owned();
        self.incomplete.drain(..complete);
        text
    }

    /// Ends the text: a character that was never completed becomes U+FFFD.
    pub fn finish(&mut self) -> String {
        let bytes = std::mem::take(&mut self.incomplete);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// How many of `bytes` can be decoded now: all but a character at the end that may still be
/// completed. Bytes that no continuation could make valid are not waited for.
fn complete_length(bytes: &[u8]) -> usize {
    // A character has at most four bytes, so an incomplete one starts within the last three.
    let first = bytes.len().saturating_sub(3);
    for start in first..bytes.len() {
        if let Err(error) = std::str::from_utf8(&bytes[start..])
            && error.valid_up_to() == 0
            && error.error_len().is_none()
        {
            return start;
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::complete_length;

    #[test]
    fn the_beginning_of_a_character_is_held_back() {
        let crab = "🦀".as_bytes();
        for length in 1..4 {
            assert_eq!(complete_length(&crab[..length]), 0);
            assert_eq!(complete_length(&[b"ab", &crab[..length]].concat()), 2);
        }
        assert_eq!(complete_length(crab), 4);
    }

    #[test]
    fn bytes_that_cannot_become_a_character_are_not_waited_for() {
        assert_eq!(complete_length(&[0x80, 0x80]), 2);
        assert_eq!(complete_length(&[0xC0]), 1);
        // 0xED 0xA0 would be a surrogate.
        assert_eq!(complete_length(&[0xED, 0xA0]), 2);
        // An interrupted character, then the beginning of another.
        assert_eq!(complete_length(&[0xF0, 0x9F, 0xE6]), 2);
    }
}
