//! One answer in the making: tokens in, certain text out.

use std::collections::VecDeque;
use std::sync::Arc;

use matou_chat::{Detokenizer, StopStrings, Tokenizer};
use matou_engine::FinishReason;

use super::TokenLogprob;
use crate::request::{GenerationOptions, TextOptions};

/// One of the answers to a prompt.
#[derive(Clone)]
pub(super) struct Choice {
    detokenizer: Detokenizer,
    stop_strings: StopStrings,
    options: TextOptions,
    /// No stop string is looked for before this many tokens.
    min_tokens: usize,
    /// Stop tokens that the client named: their text may be wanted, unlike an end-of-text token's.
    stop_token_ids: Vec<u32>,
    completion_tokens: usize,
    /// Characters that came out of the detokenizer, and how many of them were emitted.
    decoded: usize,
    emitted: usize,
    /// Log-probabilities whose text is still held back, each with the place where its text ends.
    held: VecDeque<(TokenLogprob, usize)>,
    pub(super) finished: bool,
}

/// What a token, or the end, brought to a choice.
#[derive(Default)]
pub(super) struct News {
    pub(super) text: String,
    pub(super) tokens: Vec<TokenLogprob>,
    pub(super) end: Option<End>,
}

pub(super) struct End {
    pub(super) reason: FinishReason,
    pub(super) stop: Option<String>,
    pub(super) completion_tokens: usize,
}

impl Choice {
    pub(super) fn new(tokenizer: &Arc<Tokenizer>, options: &GenerationOptions) -> Self {
        let mut detokenizer = if options.text.continues_prompt {
            Detokenizer::continuing(Arc::clone(tokenizer))
        } else {
            Detokenizer::new(Arc::clone(tokenizer))
        };
        if options.text.keep_special_tokens {
            detokenizer = detokenizer.keep_special_tokens();
        }
        Self {
            detokenizer,
            stop_strings: StopStrings::new(&options.text.stop),
            options: options.text.clone(),
            min_tokens: options.sampling.min_tokens,
            stop_token_ids: options.sampling.stop_token_ids.clone(),
            completion_tokens: 0,
            decoded: 0,
            emitted: 0,
            held: VecDeque::new(),
            finished: false,
        }
    }

    pub(super) fn push(&mut self, token_id: u32, logprob: Option<TokenLogprob>) -> News {
        // The engine may have sampled further before it heard that a stop string was met.
        if self.finished {
            return News::default();
        }
        self.completion_tokens += 1;
        let piece = self.detokenizer.push(token_id);
        if let Some(logprob) = logprob {
            let placed = TokenLogprob {
                text_offset: self.decoded,
                ..logprob
            };
            self.held
                .push_back((placed, self.decoded + piece.chars().count()));
        }
        self.advance(piece)
    }

    /// Takes decoded text through the stop strings and releases what is certain.
    fn advance(&mut self, piece: String) -> News {
        self.decoded += piece.chars().count();
        if self.completion_tokens <= self.min_tokens {
            return self.release(piece);
        }
        let result = self.stop_strings.push(&piece);
        match result.stopped {
            None => self.release(result.text),
            Some(stop) => self.stop_at(result.text, stop),
        }
    }

    fn stop_at(&mut self, mut text: String, stop: String) -> News {
        if self.options.include_stop_str_in_output {
            text.push_str(&stop);
        }
        self.emitted += text.chars().count();
        // Tokens of which some text is emitted stay, those of the stop string itself go.
        let emitted = self.emitted;
        let held = std::mem::take(&mut self.held).into_iter();
        let tokens = held
            .map(|(token, _)| token)
            .take_while(|token| token.text_offset < emitted);
        let tokens = tokens.collect();
        let end = Some(self.end(FinishReason::Stop, Some(stop)));
        News { text, tokens, end }
    }

    pub(super) fn finish(&mut self, reason: FinishReason, stop_token: Option<u32>) -> News {
        if self.finished {
            return News::default();
        }
        self.completion_tokens += usize::from(stop_token.is_some());
        let mut rest = self.detokenizer.finish();
        let wanted = |token: &u32| {
            self.options.include_stop_str_in_output && self.stop_token_ids.contains(token)
        };
        if let Some(token) = stop_token.filter(wanted) {
            rest.push_str(&self.detokenizer.push(token));
        }
        let mut news = self.advance(rest);
        if news.end.is_none() {
            let held_back = self.stop_strings.finish();
            let News { text, tokens, .. } = self.release(held_back);
            news.text.push_str(&text);
            news.tokens.extend(tokens);
            news.end = Some(self.end(reason, None));
        }
        news
    }

    fn release(&mut self, text: String) -> News {
        self.emitted += text.chars().count();
        let complete = self
            .held
            .partition_point(|(_, text_end)| *text_end <= self.emitted);
        let tokens = self
            .held
            .drain(..complete)
            .map(|(token, _)| token)
            .collect();
        News {
            text,
            tokens,
            end: None,
        }
    }

    fn end(&mut self, reason: FinishReason, stop: Option<String>) -> End {
        self.finished = true;
        End {
            reason,
            stop,
            completion_tokens: self.completion_tokens,
        }
    }
}
