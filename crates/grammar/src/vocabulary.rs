//! The tokens of a model as a trie of byte strings, built once and shared by all grammars.

use std::sync::Arc;

use llguidance::toktrie::{ApproximateTokEnv, TokEnv, TokRxInfo, TokTrie};

use crate::GrammarError;

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VocabularyToken<'a> {
    /// Bytes of text; not necessarily whole characters.
    Text(&'a [u8]),
    /// A control token such as `<|im_end|>`. No text contains it, so no JSON string can; a Lark
    /// grammar asks for it as `<|im_end|>`, or by its id as `<[7]>`.
    Special(&'a str),
    /// An id that the model has but the tokenizer doesn't use. Never allowed.
    Unused,
}

/// The vocabulary of a model, ready for masks. Cheap to clone.
#[derive(Clone)]
pub struct Vocabulary {
    env: TokEnv,
}

impl Vocabulary {
    /// Builds the trie.
    ///
    /// `tokens` are in order of their ids, as many as the model has logits. `eos_token_ids` end a
    /// turn: they are allowed exactly where the grammar is complete.
    ///
    /// # Errors
    ///
    /// [`GrammarError::Vocabulary`] if there is no end-of-turn token, if one is outside the
    /// vocabulary, or if a token is longer than the trie can hold.
    pub fn new<'a>(
        tokens: impl IntoIterator<Item = VocabularyToken<'a>>,
        eos_token_ids: &[u32],
    ) -> Result<Self, GrammarError> {
        let words: Vec<Vec<u8>> = tokens.into_iter().map(trie_word).collect();
        let error = |reason: String| GrammarError::Vocabulary(reason);
        if words.len() > MAX_VOCABULARY {
            return Err(error(format!("it has more than {MAX_VOCABULARY} tokens")));
        }
        if let Some(long) = words.iter().position(|word| word.len() > MAX_TOKEN_BYTES) {
            return Err(error(format!(
                "token {long} has {} bytes, more than {MAX_TOKEN_BYTES}",
                words[long].len()
            )));
        }
        let Some(&first_eos) = eos_token_ids.first() else {
            return Err(error("the model has no end-of-turn token".to_owned()));
        };
        if let Some(id) = eos_token_ids.iter().find(|&&id| id as usize >= words.len()) {
            return Err(error(format!(
                "end-of-turn token {id} is outside a vocabulary of {} tokens",
                words.len()
            )));
        }
        let info = TokRxInfo::new(words.len() as u32, first_eos);
        let trie = TokTrie::from(&info, &words).with_eos_tokens(eos_token_ids);
        Ok(Self {
            env: Arc::new(ApproximateTokEnv::new(trie)),
        })
    }

    /// How many token ids there are.
    pub fn len(&self) -> usize {
        self.env.tok_trie().vocab_size()
    }

    /// True for a vocabulary without tokens (which [`Vocabulary::new`] never makes).
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub(crate) fn env(&self) -> &TokEnv {
        &self.env
    }
}

/// A node of the trie keeps a token id in 24 bits and its subtree's size in 22.
const MAX_VOCABULARY: usize = 1 << 21;
/// A node of the trie keeps its depth in 10 bits.
const MAX_TOKEN_BYTES: usize = 1000;

/// The bytes that stand for a token in the trie. 0xFF, which is in no UTF-8 text, marks the control
/// tokens; llguidance looks them up by a name in angle brackets.
fn trie_word(token: VocabularyToken<'_>) -> Vec<u8> {
    match token {
        VocabularyToken::Text(bytes) => bytes.to_vec(),
        VocabularyToken::Unused => Vec::new(),
        VocabularyToken::Special(name) => {
            let in_brackets = name.starts_with('<') && name.ends_with('>');
            let (open, close) = if in_brackets { ("", "") } else { ("<", ">") };
            let mut word = vec![TokTrie::SPECIAL_TOKEN_MARKER];
            word.extend_from_slice(format!("{open}{name}{close}").as_bytes());
            word
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vocabulary_needs_an_end_of_turn_token_inside_it() {
        let tokens = [VocabularyToken::Text(b"a"), VocabularyToken::Special("<e>")];
        assert!(Vocabulary::new(tokens, &[1]).is_ok());
        assert!(matches!(
            Vocabulary::new(tokens, &[]),
            Err(GrammarError::Vocabulary(_))
        ));
        assert!(matches!(
            Vocabulary::new(tokens, &[2]),
            Err(GrammarError::Vocabulary(_))
        ));
    }

    #[test]
    fn a_token_longer_than_the_trie_can_hold_is_an_error() {
        let long = vec![b' '; 5000];
        let tokens = [VocabularyToken::Text(&long), VocabularyToken::Special("e")];
        let error = Vocabulary::new(tokens, &[1]).err();
        assert!(matches!(error, Some(GrammarError::Vocabulary(reason)) if reason.contains("5000")));
    }
}
