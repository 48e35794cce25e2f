//! One answer in the making: tokens in, certain text out.

use std::collections::VecDeque;
use std::sync::Arc;

use matou_chat::{Detokenizer, StopStrings, Tokenizer};
use matou_engine::FinishReason;

use super::event::TokenLogprob;
use crate::request::{GenerationOptions, TextOptions};

/// One of the answers to a prompt.
#[derive(Clone)]
pub(super) struct Choice {
    detokenizer: Detokenizer,
    stop_strings: StopStrings,
    options: Arc<TextOptions>,
    /// No stop string is looked for before this many tokens.
    min_tokens: usize,
    /// Stop tokens that the client named: their text may be wanted, unlike an end-of-text token's.
    stop_token_ids: Arc<[u32]>,
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
pub(super) struct ChoiceUpdate {
    pub(super) text: String,
    pub(super) tokens: Vec<TokenLogprob>,
    pub(super) end: Option<ChoiceEnd>,
}

pub(super) struct ChoiceEnd {
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
            options: Arc::new(options.text.clone()),
            min_tokens: options.sampling.min_tokens,
            stop_token_ids: options.sampling.stop_token_ids.as_slice().into(),
            completion_tokens: 0,
            decoded: 0,
            emitted: 0,
            held: VecDeque::new(),
            finished: false,
        }
    }

    pub(super) fn push(&mut self, token_id: u32, logprob: Option<TokenLogprob>) -> ChoiceUpdate {
        // The engine may have sampled further before it heard that a stop string was met.
        if self.finished {
            return ChoiceUpdate::default();
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
    fn advance(&mut self, piece: String) -> ChoiceUpdate {
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

    fn stop_at(&mut self, mut text: String, stop: String) -> ChoiceUpdate {
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
        ChoiceUpdate { text, tokens, end }
    }

    pub(super) fn finish(&mut self, reason: FinishReason, stop_token: Option<u32>) -> ChoiceUpdate {
        if self.finished {
            return ChoiceUpdate::default();
        }
        self.completion_tokens += usize::from(stop_token.is_some());
        let mut rest = self.detokenizer.finish();
        let wanted = |token: &u32| {
            self.options.include_stop_str_in_output && self.stop_token_ids.contains(token)
        };
        if let Some(token) = stop_token.filter(wanted) {
            rest.push_str(&self.detokenizer.push(token));
        }
        let mut update = self.advance(rest);
        if update.end.is_none() {
            let held_back = self.stop_strings.finish();
            let ChoiceUpdate { text, tokens, .. } = self.release(held_back);
            update.text.push_str(&text);
            update.tokens.extend(tokens);
            update.end = Some(self.end(reason, None));
        }
        update
    }

    fn release(&mut self, text: String) -> ChoiceUpdate {
        self.emitted += text.chars().count();
        let complete = self
            .held
            .partition_point(|(_, text_end)| *text_end <= self.emitted);
        let tokens = self
            .held
            .drain(..complete)
            .map(|(token, _)| token)
            .collect();
        ChoiceUpdate {
            text,
            tokens,
            end: None,
        }
    }

    fn end(&mut self, reason: FinishReason, stop: Option<String>) -> ChoiceEnd {
        self.finished = true;
        ChoiceEnd {
            reason,
            stop,
            completion_tokens: self.completion_tokens,
        }
    }
}

#[cfg(test)]
mod tests {
    use matou_chat::GgufVocab;

    use super::*;

    /// The bytes of a snowman, then some letters.
    const SNOWMAN: [u32; 3] = [3, 4, 5];
    const A: u32 = 6;
    const B: u32 = 7;
    const END: u32 = 2;

    fn tokenizer() -> Arc<Tokenizer> {
        let tokens = [
            "<unk>", "<s>", "</s>", "<0xE2>", "<0x98>", "<0x83>", "a", "b",
        ];
        let vocab = GgufVocab {
            model: "llama".to_owned(),
            tokens: tokens.map(str::to_owned).to_vec(),
            scores: vec![0.0; tokens.len()],
            token_types: vec![2, 3, 3, 6, 6, 6, 1, 1],
            add_space_prefix: Some(false),
            ..GgufVocab::default()
        };
        Arc::new(Tokenizer::from_gguf(vocab).unwrap())
    }

    /// Runs `tokens` through a choice; what was emitted after each, and how it ended.
    fn run(options: TextOptions, tokens: &[u32]) -> (Vec<String>, Vec<usize>, ChoiceEnd) {
        let options = GenerationOptions {
            text: options,
            ..GenerationOptions::default()
        };
        let mut choice = Choice::new(&tokenizer(), &options);
        let (mut texts, mut offsets) = (Vec::new(), Vec::new());
        for &token_id in tokens {
            let logprob = TokenLogprob {
                bytes: Vec::new(),
                logprob: Some(-1.0),
                top: Vec::new(),
                text_offset: 0,
            };
            let update = choice.push(token_id, Some(logprob));
            texts.push(update.text);
            offsets.extend(update.tokens.iter().map(|token| token.text_offset));
            if let Some(end) = update.end {
                return (texts, offsets, end);
            }
        }
        let update = choice.finish(FinishReason::Stop, Some(END));
        texts.push(update.text);
        offsets.extend(update.tokens.iter().map(|token| token.text_offset));
        (texts, offsets, update.end.unwrap())
    }

    fn stopping_at(stop: &str) -> TextOptions {
        TextOptions {
            stop: vec![stop.to_owned()],
            ..TextOptions::default()
        }
    }

    #[test]
    fn a_character_of_several_tokens_comes_whole() {
        let [x, y, z] = SNOWMAN;
        let (texts, offsets, end) = run(TextOptions::default(), &[A, x, y, z, B]);
        assert_eq!(texts, ["a", "", "", "☃", "b", ""]);
        // Offsets count characters; the parts of one begin where it begins.
        assert_eq!(offsets, [0, 1, 1, 1, 2]);
        // The five tokens and the one that ended the text.
        assert_eq!(end.completion_tokens, 6);
    }

    #[test]
    fn a_character_that_is_never_completed_is_lossy_at_the_very_end_only() {
        let (texts, offsets, _) = run(TextOptions::default(), &[A, SNOWMAN[0], SNOWMAN[1]]);
        assert_eq!(texts, ["a", "", "", "\u{fffd}"]);
        assert_eq!(offsets, [0, 1, 1]);
    }

    #[test]
    fn log_probabilities_wait_for_their_text() {
        let (texts, offsets, end) = run(stopping_at("bba"), &[A, B, B, B, A, A]);
        assert_eq!(texts, ["a", "", "", "b", ""]);
        assert_eq!(offsets, [0, 1]);
        assert_eq!(
            (end.stop.as_deref(), end.completion_tokens),
            (Some("bba"), 5)
        );
    }

    #[test]
    fn what_began_like_a_stop_string_is_flushed_at_the_end() {
        let (texts, offsets, end) = run(stopping_at("bba"), &[A, B, B]);
        assert_eq!(texts, ["a", "", "", "bb"]);
        assert_eq!(offsets, [0, 1, 2]);
        assert_eq!((end.stop, end.completion_tokens), (None, 4));
    }

    #[test]
    fn a_wanted_stop_string_keeps_its_tokens() {
        let options = TextOptions {
            include_stop_str_in_output: true,
            ..stopping_at("ab")
        };
        let (texts, offsets, _) = run(options, &[B, A, B, B]);
        assert_eq!(texts, ["b", "", "ab"]);
        assert_eq!(offsets, [0, 1, 2]);
    }

    #[test]
    fn nothing_follows_the_end_of_a_choice() {
        let options = GenerationOptions {
            text: stopping_at("a"),
            ..GenerationOptions::default()
        };
        let mut choice = Choice::new(&tokenizer(), &options);
        assert!(choice.push(A, None).end.is_some());
        assert_eq!(choice.push(B, None).text, "");
        assert!(choice.finish(FinishReason::Length, None).end.is_none());
        assert_eq!(choice.completion_tokens, 1);
    }
}
