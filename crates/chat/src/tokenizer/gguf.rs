//! Tokenizers from the vocabulary inside a GGUF file.

use std::collections::HashMap;

use tokenizers::models::bpe::{BPE, Vocab};
use tokenizers::normalizers::{NormalizerWrapper, Prepend, Replace, Sequence};
use tokenizers::{AddedToken, ModelWrapper};

use super::added_tokens::AddedTokens;
use super::end_tokens::{EndTokens, is_end_of_turn};
use super::error::TokenizerError;
use super::gguf_vocab::{GgufVocab, invalid};
use super::pre_tokenizers::PreTokenizer;
use super::sentencepiece::SentencePiece;
use super::token_table::{Spelling, TokenKind, TokenTable};
use super::{PieceModel, Tokenizer};

/// What is done about a `tokenizer.ggml.pre` that is not known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UnknownPreTokenizer {
    /// The vocabulary is refused.
    #[default]
    Refuse,
    /// Text is cut as llama.cpp does by default, with a warning in the log.
    Default,
}

impl Tokenizer {
    /// A tokenizer from the vocabulary of a GGUF file. A pre-tokenizer that is not known is refused.
    ///
    /// # Errors
    /// [`TokenizerError::UnsupportedModel`] for other kinds of vocabularies,
    /// [`TokenizerError::UnknownPreTokenizer`], and [`TokenizerError::Invalid`] when the metadata
    /// contradicts itself or lacks something.
    pub fn from_gguf(vocab: GgufVocab) -> Result<Self, TokenizerError> {
        Self::from_gguf_with(vocab, "", UnknownPreTokenizer::Refuse)
    }

    /// The same for a model with this chat template, which tells what is structure and no text.
    ///
    /// # Errors
    /// As [`Tokenizer::from_gguf`], but for what `unknown` allows.
    pub(crate) fn from_gguf_with(
        mut vocab: GgufVocab,
        template: &str,
        unknown: UnknownPreTokenizer,
    ) -> Result<Self, TokenizerError> {
        vocab.validate()?;
        vocab.settle_kinds(template);
        match vocab.model.as_str() {
            "gpt2" => byte_level(&vocab, pre_tokenizer(&vocab, unknown)?),
            "llama" => sentencepiece(&vocab),
            _ => Err(TokenizerError::UnsupportedModel { model: vocab.model }),
        }
    }
}

/// The pre-tokenizer of a `gpt2` vocabulary.
fn pre_tokenizer(
    vocab: &GgufVocab,
    unknown: UnknownPreTokenizer,
) -> Result<PreTokenizer, TokenizerError> {
    let name = vocab.pre.as_deref().unwrap_or_default();
    match PreTokenizer::named(name) {
        Some(known) => return Ok(known),
        None if name.is_empty() => tracing::warn!(
            "there is no tokenizer.ggml.pre: text is cut as llama.cpp does by default, and answers \
             may be worse"
        ),
        None if unknown == UnknownPreTokenizer::Default => tracing::warn!(
            pre = name,
            "tokenizer.ggml.pre is not known: text is cut as llama.cpp does by default, and answers \
             may be worse"
        ),
        None => {
            let name = name.to_owned();
            return Err(TokenizerError::UnknownPreTokenizer { name });
        }
    }
    Ok(PreTokenizer::FALLBACK)
}

impl GgufVocab {
    fn vocabulary(&self, spelling: Spelling) -> TokenTable {
        let texts = self.tokens.iter().map(String::as_str);
        let kinds = (0..self.tokens.len()).map(|id| self.kind(id));
        TokenTable::new(texts.zip(kinds), spelling)
    }

    fn added_tokens(&self, wanted: TokenKind) -> Result<AddedTokens, TokenizerError> {
        let tokens = (0..).zip(&self.tokens);
        let tokens = tokens.filter(|&(id, _)| self.kind(id as usize) == wanted);
        let special = wanted == TokenKind::Control;
        AddedTokens::new(
            tokens
                .map(|(id, text)| (id, AddedToken::from(text.as_str(), special)))
                .collect(),
        )
    }

    /// The end of text, and the tokens that end a turn.
    fn end_tokens(&self) -> EndTokens {
        let named = [self.eot_token_id, self.eom_token_id];
        let known = (0..).zip(&self.tokens).filter_map(|(id, text)| {
            let ends = self.kind(id as usize) == TokenKind::Control && is_end_of_turn(text);
            ends.then_some(id)
        });
        EndTokens::new(self.eos_token_id, named.into_iter().flatten().chain(known))
    }

    /// The parts that both kinds of vocabulary have in common.
    fn tokenizer(
        &self,
        model: PieceModel,
        spelling: Spelling,
        adds_bos: bool,
    ) -> Result<Tokenizer, TokenizerError> {
        let when = |wanted: bool, id: Option<u32>| id.filter(|_| wanted).into_iter().collect();
        Ok(Tokenizer {
            vocabulary: self.vocabulary(spelling),
            control: self.added_tokens(TokenKind::Control)?,
            user_defined: self.added_tokens(TokenKind::UserDefined)?,
            user_defined_normalized: AddedTokens::default(),
            normalizer: None,
            pre_tokenizer: None,
            model,
            prefix: when(self.add_bos_token.unwrap_or(adds_bos), self.bos_token_id),
            suffix: when(self.add_eos_token.unwrap_or(false), self.eos_token_id),
            bos_token_id: self.bos_token_id,
            end_tokens: self.end_tokens(),
            adds_space_prefix: false,
        })
    }
}

/// A `gpt2` vocabulary: byte-level BPE by a list of merges.
fn byte_level(vocab: &GgufVocab, pre_tokenizer: PreTokenizer) -> Result<Tokenizer, TokenizerError> {
    if vocab.merges.is_empty() {
        return Err(invalid(
            "tokenizer.ggml.merges is missing, which a \"gpt2\" vocabulary needs",
        ));
    }
    let mut ids: Vocab = vocab.tokens.iter().cloned().zip(0..).collect();
    let is_control = |id: u32| vocab.kind(id as usize) == TokenKind::Control;
    let mut merges = Vec::with_capacity(vocab.merges.len());
    for merge in &vocab.merges {
        let (left, right) = split_merge(merge)?;
        let tokens = [left, right, &[left, right].concat()];
        let tokens = tokens.map(|token| id_in_merge(&ids, token, merge));
        let tokens = tokens.into_iter().collect::<Result<Vec<_>, _>>()?;
        // No text can be merged into a control token.
        if !tokens.into_iter().any(is_control) {
            merges.push((left.to_owned(), right.to_owned()));
        }
    }
    ids.retain(|_, &mut id| !is_control(id));
    let model = BPE::builder()
        .vocab_and_merges(ids, merges)
        .ignore_merges(pre_tokenizer.ignore_merges)
        .build()
        .map_err(|error| invalid(format!("tokenizer.ggml.merges: {error}")))?;
    let steps = pre_tokenizer
        .build()
        .map_err(|error| invalid(format!("tokenizer.ggml.pre: {error}")))?;
    let model = PieceModel::HuggingFace(Box::new(ModelWrapper::BPE(model)));
    Ok(Tokenizer {
        normalizer: pre_tokenizer.normalizer(),
        pre_tokenizer: Some(steps),
        ..vocab.tokenizer(model, Spelling::ByteLevel, pre_tokenizer.adds_bos)?
    })
}

/// The two tokens of a merge.
fn split_merge(merge: &str) -> Result<(&str, &str), TokenizerError> {
    // The first token is never empty, so a space at the very beginning belongs to it.
    let separator = merge.char_indices().skip(1).find(|&(_, c)| c == ' ');
    separator
        .map(|(index, _)| (&merge[..index], &merge[index + 1..]))
        .ok_or_else(|| {
            invalid(format!(
                "tokenizer.ggml.merges: {merge:?} is not two tokens"
            ))
        })
}

/// The id of a token that `merge` needs or makes: the builder of the BPE model relies on it.
fn id_in_merge(ids: &Vocab, token: &str, merge: &str) -> Result<u32, TokenizerError> {
    ids.get(token).copied().ok_or_else(|| {
        invalid(format!(
            "tokenizer.ggml.merges: {merge:?} needs the token {token:?}, which is missing"
        ))
    })
}

/// A `llama` vocabulary: SentencePiece by scores, with byte tokens for what is not in it.
fn sentencepiece(vocab: &GgufVocab) -> Result<Tokenizer, TokenizerError> {
    if vocab.scores.is_empty() {
        return Err(invalid(
            "tokenizer.ggml.scores is missing, which a \"llama\" vocabulary needs",
        ));
    }
    let mut byte_tokens = HashMap::new();
    let mut pieces = HashMap::new();
    for (id, (text, &score)) in (0..).zip(vocab.tokens.iter().zip(&vocab.scores)) {
        match vocab.byte(id as usize) {
            Some(byte) => {
                byte_tokens.insert(byte, id);
            }
            None if vocab.kind(id as usize) != TokenKind::Control => {
                pieces.insert(text.as_str().into(), (id, score));
            }
            None => {}
        }
    }
    let model = PieceModel::SentencePiece(SentencePiece {
        pieces,
        byte_tokens,
        unknown_token: vocab.unknown_token_id,
        takes_whole_pieces: false,
    });
    let add_space_prefix = vocab.add_space_prefix.unwrap_or(true);
    Ok(Tokenizer {
        normalizer: Some(sentencepiece_normalizer(add_space_prefix)?),
        adds_space_prefix: add_space_prefix,
        ..vocab.tokenizer(model, Spelling::SentencePiece, true)?
    })
}

/// Puts a space before each piece of text between control tokens, and writes spaces as `▁`.
fn sentencepiece_normalizer(add_space_prefix: bool) -> Result<NormalizerWrapper, TokenizerError> {
    let spaces = Replace::new(" ", "▁").map_err(|error| invalid(error.to_string()))?;
    let mut steps = vec![NormalizerWrapper::Replace(spaces)];
    if add_space_prefix {
        let prefix = Prepend::new("▁".to_owned());
        steps.insert(0, NormalizerWrapper::Prepend(prefix));
    }
    Ok(NormalizerWrapper::Sequence(Sequence::new(steps)))
}
