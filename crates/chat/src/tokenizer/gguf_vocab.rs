//! The vocabulary inside a GGUF file, as plain data.
//!
//! This crate does not read GGUF files: who does hands over the metadata as JSON.

use serde_json::{Map, Value};

use super::error::TokenizerError;
use super::roles::is_structure;
use super::token_table::{TokenKind, byte_token};

/// The tokenizer metadata of a GGUF file (`tokenizer.ggml.*`), as plain data.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct GgufVocab {
    /// `model`: `gpt2` (byte-level BPE) or `llama` (SentencePiece).
    pub model: String,
    /// `pre`: the name of the pre-tokenizer of a `gpt2` vocabulary.
    pub pre: Option<String>,
    /// `tokens`: the text of every token, by id.
    pub tokens: Vec<String>,
    /// `scores`: the score of every token, of `llama` vocabularies.
    pub scores: Vec<f32>,
    /// `token_type`: 1 normal, 2 unknown, 3 control, 4 user-defined, 5 unused, 6 byte. May be
    /// empty: then all are normal.
    pub token_types: Vec<i32>,
    /// `merges`: pairs separated by a space, best first, of `gpt2` vocabularies.
    pub merges: Vec<String>,
    /// `bos_token_id`: begins a text.
    pub bos_token_id: Option<u32>,
    /// `eos_token_id`: ends a text.
    pub eos_token_id: Option<u32>,
    /// `eot_token_id`: ends a turn of a chat.
    pub eot_token_id: Option<u32>,
    /// `eom_token_id`: ends a message that awaits a tool's answer.
    pub eom_token_id: Option<u32>,
    /// `unknown_token_id`: stands for what has no token.
    pub unknown_token_id: Option<u32>,
    /// `add_bos_token`: whether a text begins with BOS. `None`: what the kind of vocabulary does.
    pub add_bos_token: Option<bool>,
    /// `add_eos_token`: whether a text ends with EOS.
    pub add_eos_token: Option<bool>,
    /// `add_space_prefix`: whether a space is put before a text, of `llama` vocabularies.
    pub add_space_prefix: Option<bool>,
}

pub(super) const NORMAL: i32 = 1;
const UNKNOWN: i32 = 2;
pub(super) const CONTROL: i32 = 3;
pub(super) const USER_DEFINED: i32 = 4;
const BYTE: i32 = 6;

impl GgufVocab {
    /// Takes the vocabulary out of the metadata of a GGUF file under `tokenizer.`, given as JSON with
    /// keys in full. `None` if there is none, or one that is no vocabulary (`no_vocab`). An entry of
    /// another type than it should have counts as missing.
    pub fn take_from(metadata: &mut Map<String, Value>) -> Option<Self> {
        let mut take = |key: &str| metadata.remove(&format!("tokenizer.ggml.{key}"));
        let model = take("model").and_then(text)?;
        if matches!(model.as_str(), "no_vocab" | "none") {
            return None;
        }
        let score = |score: Value| Some(score.as_f64().map_or(f32::NAN, |score| score as f32));
        let kind = |kind: Value| Some(i32::try_from(kind.as_i64()?).unwrap_or(0));
        Some(Self {
            model,
            pre: take("pre").and_then(text),
            tokens: list(take("tokens"), text),
            scores: list(take("scores"), score),
            token_types: list(take("token_type"), kind),
            merges: list(take("merges"), text),
            bos_token_id: id(take("bos_token_id")),
            eos_token_id: id(take("eos_token_id")),
            eot_token_id: id(take("eot_token_id")),
            eom_token_id: id(take("eom_token_id")),
            unknown_token_id: id(take("unknown_token_id")),
            add_bos_token: take("add_bos_token").and_then(|flag| flag.as_bool()),
            add_eos_token: take("add_eos_token").and_then(|flag| flag.as_bool()),
            add_space_prefix: take("add_space_prefix").and_then(|flag| flag.as_bool()),
        })
    }

    /// Checks lengths and ids, so that nothing below has to.
    pub(super) fn validate(&self) -> Result<(), TokenizerError> {
        let count = self.tokens.len();
        if count == 0 {
            return Err(invalid("tokenizer.ggml.tokens is empty"));
        }
        let lengths = [
            ("scores", self.scores.len()),
            ("token_type", self.token_types.len()),
        ];
        for (key, length) in lengths {
            if length != 0 && length != count {
                return Err(invalid(format!(
                    "tokenizer.ggml.{key} has {length} entries for {count} tokens"
                )));
            }
        }
        let ids = [
            ("bos_token_id", self.bos_token_id),
            ("eos_token_id", self.eos_token_id),
            ("eot_token_id", self.eot_token_id),
            ("eom_token_id", self.eom_token_id),
            ("unknown_token_id", self.unknown_token_id),
        ];
        for (key, id) in ids {
            if let Some(id) = id.filter(|&id| id as usize >= count) {
                return Err(invalid(format!(
                    "tokenizer.ggml.{key} is {id}, but there are {count} tokens"
                )));
            }
        }
        Ok(())
    }

    /// Types as control tokens what is structure by its text and by the chat template, whatever the
    /// file says (see [`super::roles`]).
    pub(super) fn settle_kinds(&mut self, template: &str) {
        let structure: Vec<usize> = (0..self.tokens.len())
            .filter(|&id| self.kind(id) != TokenKind::Control)
            .filter(|&id| is_structure(&self.tokens[id], template))
            .collect();
        if !structure.is_empty() {
            self.token_types.resize(self.tokens.len(), NORMAL);
        }
        for id in structure {
            self.token_types[id] = CONTROL;
        }
    }

    /// The byte that a token of a `llama` vocabulary stands for, by its text unless its type says
    /// that it is something else.
    pub(super) fn byte(&self, id: usize) -> Option<u8> {
        match self.token_types.get(id) {
            Some(&(BYTE | NORMAL)) | None => byte_token(&self.tokens[id]),
            _ => None,
        }
    }

    pub(super) fn kind(&self, id: usize) -> TokenKind {
        match self.token_types.get(id) {
            Some(&CONTROL | &UNKNOWN) => TokenKind::Control,
            Some(&USER_DEFINED) => TokenKind::UserDefined,
            _ => TokenKind::Normal,
        }
    }
}

fn text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text),
        _ => None,
    }
}

fn id(value: Option<Value>) -> Option<u32> {
    value?.as_u64().and_then(|id| u32::try_from(id).ok())
}

/// The elements of an array; none if it is no array, or one of something else.
fn list<T>(value: Option<Value>, element: impl Fn(Value) -> Option<T>) -> Vec<T> {
    let elements = match value {
        Some(Value::Array(values)) => values.into_iter().map(element).collect(),
        _ => None,
    };
    elements.unwrap_or_default()
}

pub(super) fn invalid(message: impl Into<String>) -> TokenizerError {
    TokenizerError::Invalid {
        origin: "GGUF vocabulary".to_owned(),
        message: message.into(),
    }
}
