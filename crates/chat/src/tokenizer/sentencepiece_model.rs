//! SentencePiece's own files: `tokenizer.model`, a protocol buffer.
//!
//! It says what the vocabulary of a GGUF file of the kind `llama` says, and goes the same way
//! ([`GgufVocab`]). The fields are those of `sentencepiece_model.proto` in google/sentencepiece.

use std::path::{Path, PathBuf};

use prost::Message;
use tokenizers::AddedToken;

use super::Tokenizer;
use super::added_tokens::AddedTokens;
use super::error::TokenizerError;
use super::files::{MAX_VOCAB_SIZE, read};
use super::gguf_vocab::{CONTROL, GgufVocab, NORMAL, USER_DEFINED};

/// `ModelProto`.
#[derive(Message)]
struct ModelProto {
    #[prost(message, repeated, tag = "1")]
    pieces: Vec<Piece>,
    #[prost(message, optional, tag = "2")]
    trainer: Option<TrainerSpec>,
    #[prost(message, optional, tag = "3")]
    normalizer: Option<NormalizerSpec>,
}

/// `SentencePiece`. Its types have the numbers of GGUF's token types.
#[derive(Message)]
struct Piece {
    #[prost(string, optional, tag = "1")]
    piece: Option<String>,
    #[prost(float, optional, tag = "2")]
    score: Option<f32>,
    #[prost(int32, optional, tag = "3")]
    kind: Option<i32>,
}

/// `TrainerSpec`, with the defaults of the schema.
#[derive(Message)]
struct TrainerSpec {
    #[prost(int32, optional, tag = "3")]
    model_type: Option<i32>,
    #[prost(int32, optional, tag = "40")]
    unk_id: Option<i32>,
    #[prost(int32, optional, tag = "41")]
    bos_id: Option<i32>,
    #[prost(int32, optional, tag = "42")]
    eos_id: Option<i32>,
}

/// `NormalizerSpec`.
#[derive(Message)]
struct NormalizerSpec {
    #[prost(string, optional, tag = "1")]
    name: Option<String>,
    #[prost(bytes = "vec", optional, tag = "2")]
    precompiled_charsmap: Option<Vec<u8>>,
    #[prost(bool, optional, tag = "3")]
    add_dummy_prefix: Option<bool>,
    #[prost(bool, optional, tag = "4")]
    remove_extra_whitespaces: Option<bool>,
    #[prost(bool, optional, tag = "5")]
    escape_whitespaces: Option<bool>,
}

/// `TrainerSpec.ModelType.BPE`; 1 is unigram.
const BPE: i32 = 2;

/// The SentencePiece model in a folder. Mistral's carry the version of their chat format after the
/// name; the latest is taken.
pub(crate) fn sentencepiece_file(folder: &Path) -> Option<PathBuf> {
    versioned_file(folder)
        .map(|(_, path)| path)
        .or_else(|| Some(folder.join("tokenizer.model")).filter(|path| path.exists()))
}

/// A file such as `tokenizer.model.v3` in a folder, with its version.
pub(crate) fn versioned_file(folder: &Path) -> Option<(u32, PathBuf)> {
    let entries = std::fs::read_dir(folder).ok()?;
    let versioned = entries.filter_map(|entry| {
        let path = entry.ok()?.path();
        Some((file_version(path.file_name()?.to_str()?)?, path))
    });
    versioned.max()
}

/// 7 for `tokenizer.model.v7`, and for `tokenizer.model.v7m1` of a model that sees images.
fn file_version(name: &str) -> Option<u32> {
    let (_, version) = name.split_once(".model.v")?;
    version.split('m').next()?.parse().ok()
}

impl Tokenizer {
    /// A tokenizer from a `tokenizer.model`, with tokens added to it: id, text, and whether it is a
    /// control token.
    ///
    /// # Errors
    /// [`TokenizerError::Read`], and [`TokenizerError::Invalid`] when the file is no SentencePiece
    /// model, or one of a kind that is not supported.
    pub fn from_sentencepiece(
        path: &Path,
        added: &[(u32, String, bool)],
    ) -> Result<Self, TokenizerError> {
        let invalid = |message| TokenizerError::Invalid {
            origin: path.display().to_string(),
            message,
        };
        let bytes = read(path)?;
        let model =
            ModelProto::decode(bytes.as_slice()).map_err(|error| invalid(error.to_string()))?;
        let mut vocab = model.into_vocab().map_err(invalid)?;
        // These are looked for in the normalised text, where others are in the text itself.
        let mut in_pieces = Vec::new();
        for ((id, text), kind) in (0..).zip(&vocab.tokens).zip(&mut vocab.token_types) {
            if *kind == USER_DEFINED {
                *kind = NORMAL;
                let text = text.replace(' ', "▁");
                in_pieces.push((id, AddedToken::from(text, false)));
            }
        }
        add_tokens(&mut vocab, added).map_err(invalid)?;
        let mut tokenizer = Self::from_gguf(vocab).map_err(|error| invalid(error.to_string()))?;
        tokenizer.user_defined_normalized = AddedTokens::new(in_pieces)?;
        Ok(tokenizer)
    }
}

/// Puts tokens in the place of their ids, or behind the last.
fn add_tokens(vocab: &mut GgufVocab, added: &[(u32, String, bool)]) -> Result<(), String> {
    for (id, text, special) in added {
        let index = *id as usize;
        if index >= MAX_VOCAB_SIZE {
            return Err(format!("the added token {text:?} has id {id}"));
        }
        if index >= vocab.tokens.len() {
            vocab.tokens.resize(index + 1, String::new());
            vocab.scores.resize(index + 1, 0.0);
            vocab.token_types.resize(index + 1, CONTROL);
        } else if vocab.tokens[index] == *text && !special {
            // A piece that is listed once more, as older files do with `<unk>`.
            continue;
        }
        vocab.tokens[index].clone_from(text);
        vocab.token_types[index] = if *special { CONTROL } else { USER_DEFINED };
    }
    Ok(())
}

impl ModelProto {
    fn into_vocab(self) -> Result<GgufVocab, String> {
        if self.pieces.len() > MAX_VOCAB_SIZE {
            return Err(format!("{} pieces are too many", self.pieces.len()));
        }
        let trainer = self.trainer.unwrap_or_default();
        match trainer.model_type {
            Some(BPE) => {}
            other => {
                return Err(format!(
                    "a SentencePiece model of type {} is not supported, BPE (2) is; a tokenizer.json of the same model may be",
                    other.unwrap_or(1)
                ));
            }
        }
        let normalizer = self.normalizer.unwrap_or_default();
        normalizer.check()?;
        let count = self.pieces.len();
        // -1 stands for none.
        let id = |stated: Option<i32>, default: u32| match stated {
            Some(id) => u32::try_from(id).ok(),
            None => Some(default),
        };
        let in_range = |id: Option<u32>| id.filter(|&id| (id as usize) < count);
        let mut vocab = GgufVocab {
            model: "llama".to_owned(),
            unknown_token_id: in_range(id(trainer.unk_id, 0)),
            bos_token_id: in_range(id(trainer.bos_id, 1)),
            eos_token_id: in_range(id(trainer.eos_id, 2)),
            add_space_prefix: Some(normalizer.add_dummy_prefix.unwrap_or(true)),
            ..GgufVocab::default()
        };
        for piece in self.pieces {
            vocab.tokens.push(piece.piece.unwrap_or_default());
            vocab.scores.push(piece.score.unwrap_or(0.0));
            vocab.token_types.push(piece.kind.unwrap_or(NORMAL));
        }
        Ok(vocab)
    }
}

impl NormalizerSpec {
    /// Refuses what the models of these families don't do.
    fn check(&self) -> Result<(), String> {
        let rewrites = self
            .precompiled_charsmap
            .as_ref()
            .is_some_and(|map| !map.is_empty());
        if rewrites || self.remove_extra_whitespaces.unwrap_or(true) {
            return Err(format!(
                "the normaliser {:?}, which rewrites characters or drops spaces, is not supported; a tokenizer.json of the same model may be",
                self.name.as_deref().unwrap_or_default()
            ));
        }
        if self.escape_whitespaces == Some(false) {
            return Err("spaces that are not escaped are not supported".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_read_from_the_name() {
        assert_eq!(file_version("tokenizer.model.v3"), Some(3));
        assert_eq!(
            file_version("mistral_instruct_tokenizer_241114.model.v7m1"),
            Some(7)
        );
        assert_eq!(file_version("tokenizer.model"), None);
        assert_eq!(file_version("tokenizer.model.vx"), None);
    }
}
