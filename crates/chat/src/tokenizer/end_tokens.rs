//! Which tokens end an answer.
//!
//! One rule, whatever the files. All that is stated counts, and nothing replaces anything, since an
//! answer that ends where some file says that it does harms less than one that never ends. Each token
//! is listed once, in this order, of which the first is what templates call `eos_token`:
//!
//! 1. the tokenizer's own end of text: `eos_token` of `tokenizer_config.json` or else of
//!    `special_tokens_map.json`, then what the vocabulary itself states (`eos_token_id` of GGUF's and
//!    SentencePiece's; Tekken's is always the same);
//! 2. `eos_token_id` of `generation_config.json`;
//! 3. `eos_token_id` of `config.json`, or of the text part in it;
//! 4. the tokens that end a turn, by their role (GGUF's `eot_token_id` and `eom_token_id`) or by their
//!    text ([`is_end_of_turn`]).
//!
//! A file that is not there states nothing; one that cannot be read is an error that names it.

use serde::Deserialize;

/// Control tokens that end a turn, whether the model's files say so or not: they often name only
/// the end of the text. After the list in llama.cpp.
const END_OF_TURN: &[&str] = &[
    "<|eot_id|>",
    "<|im_end|>",
    "<|end|>",
    "<end_of_turn>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|eom_id|>",
    "<EOT>",
    "_<EOT>",
    "<｜end▁of▁sentence｜>",
];

/// Whether the control token `text` is known to end a turn.
pub(super) fn is_end_of_turn(text: &str) -> bool {
    END_OF_TURN.contains(&text)
}

/// The tokens that end an answer, in the order of the rule.
#[derive(Debug, Clone, Default)]
pub(super) struct EndTokens {
    /// What the vocabulary itself states.
    own: Option<u32>,
    ids: Vec<u32>,
}

impl EndTokens {
    /// What a vocabulary alone says: its end of text, and the tokens that end a turn.
    pub(super) fn new(own: Option<u32>, of_turns: impl IntoIterator<Item = u32>) -> Self {
        let ids = each_once(own.into_iter().chain(of_turns));
        Self { own, ids }
    }

    /// The same with what the files beside the tokenizer say: its end of text by name, and the lists
    /// of `generation_config.json` and `config.json` one after the other.
    pub(super) fn with_files(self, named: Option<u32>, listed: Vec<u32>) -> Self {
        let own = named.into_iter().chain(self.own);
        let ids = each_once(own.chain(listed).chain(self.ids));
        Self { ids, ..self }
    }

    pub(super) fn ids(&self) -> &[u32] {
        &self.ids
    }
}

fn each_once(all: impl Iterator<Item = u32>) -> Vec<u32> {
    let mut ids = Vec::new();
    for id in all {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

/// A field `eos_token_id`: a token id, a list of them, or nothing. Negative numbers stand for none.
#[derive(Debug, Default, Deserialize)]
#[serde(
    untagged,
    expecting = "eos_token_id is neither a token id nor a list of them"
)]
pub(super) enum TokenIds {
    One(i64),
    Several(Vec<i64>),
    #[default]
    None,
}

impl TokenIds {
    pub(super) fn into_vec(self) -> Vec<u32> {
        let ids = match self {
            Self::One(id) => vec![id],
            Self::Several(ids) => ids,
            Self::None => Vec::new(),
        };
        let ids = ids.into_iter();
        ids.filter_map(|id| u32::try_from(id).ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn token_ids_are_a_number_a_list_or_nothing() {
        let ids = |value: Value| serde_json::from_value(value).map(TokenIds::into_vec);
        assert_eq!(ids(json!(2)).unwrap(), [2]);
        assert_eq!(ids(json!([128_001, 128_009])).unwrap(), [128_001, 128_009]);
        assert!(ids(Value::Null).unwrap().is_empty());
        assert!(ids(json!(-1)).unwrap().is_empty());
        let error = ids(json!("</s>")).unwrap_err().to_string();
        assert!(error.contains("eos_token_id"), "{error}");
    }

    #[test]
    fn end_tokens_are_a_union_in_the_order_of_the_rule() {
        let vocabulary = EndTokens::new(Some(2), [7, 9, 7]);
        assert_eq!(vocabulary.ids(), [2, 7, 9]);
        let nothing_more = vocabulary.clone().with_files(None, Vec::new());
        assert_eq!(nothing_more.ids(), [2, 7, 9]);
        let listed = vocabulary.clone().with_files(None, vec![5, 9, 2]);
        assert_eq!(listed.ids(), [2, 5, 9, 7]);
        let named = vocabulary.with_files(Some(3), vec![5, 3, 9]);
        assert_eq!(named.ids(), [3, 2, 5, 9, 7]);
    }
}
