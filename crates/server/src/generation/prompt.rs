//! What is told about the tokens of a prompt, if their log-probabilities were asked for.

use std::sync::Arc;

use matou_chat::{Detokenizer, Tokenizer};
use matou_engine::TokenLogprobs;

use super::{TextGeneration, TokenLogprob};

/// A token at a place of the prompt, and how likely it was there.
#[derive(Debug, Clone, PartialEq)]
pub struct RankedToken {
    /// The token.
    pub token_id: u32,
    /// Its exact bytes.
    pub bytes: Vec<u8>,
    /// Natural logarithm of its probability.
    pub logprob: f32,
    /// Its place among all tokens, the likeliest one's being 1.
    pub rank: usize,
}

impl TextGeneration {
    /// Gives each token of the prompt its place in the prompt's text.
    pub(super) fn place_prompt(&self, logprobs: &[Option<TokenLogprobs>]) -> Vec<TokenLogprob> {
        let mut detokenizer = Detokenizer::new(Arc::clone(&self.tokenizer));
        let mut text_offset = 0;
        let place = |(&token_id, logprobs): (&u32, &Option<TokenLogprobs>)| {
            let token = self.describe(token_id, logprobs.as_ref());
            let placed = TokenLogprob {
                text_offset,
                ..token
            };
            text_offset += detokenizer.push(token_id).chars().count();
            placed
        };
        self.prompt_token_ids
            .iter()
            .zip(logprobs)
            .map(place)
            .collect()
    }
}

/// At each place of the prompt its own token, then the likeliest; nothing at the first.
pub(super) fn ranked(
    tokenizer: &Tokenizer,
    prompt: &[u32],
    logprobs: &[Option<TokenLogprobs>],
) -> Vec<Vec<RankedToken>> {
    let token = |token_id, logprob, rank| RankedToken {
        token_id,
        bytes: tokenizer.token_bytes(token_id).unwrap_or_default().to_vec(),
        logprob,
        rank,
    };
    let place = |(&own, place): (&u32, &Option<TokenLogprobs>)| {
        let Some(place) = place else {
            return Vec::new();
        };
        let top = place.top.iter().zip(1..);
        let top = top.map(|(&(id, logprob), rank)| token(id, logprob, rank));
        let own = std::iter::once(token(own, place.logprob, place.rank));
        own.chain(top).collect()
    };
    prompt.iter().zip(logprobs).map(place).collect()
}
