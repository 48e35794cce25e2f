//! Text to token ids and back.
//!
//! A tokenizer comes from a `tokenizer.json`, Mistral's `tekken.json`, SentencePiece's
//! `tokenizer.model`, or from the vocabulary inside a GGUF file ([`GgufVocab`]); each of them becomes
//! the same pipeline:
//!
//! ```text
//! text ─▶ split at control tokens (only where they may be parsed)
//!      ─▶ split at user-defined tokens ─▶ normalise ─▶ split at normalised added tokens
//!      ─▶ pre-tokenise (regular expressions) ─▶ BPE, or SentencePiece by score ─▶ ids
//! ```
//!
//! The splitting is done here and not by the `tokenizers` crate, because control tokens have to
//! be parsed in one part of a prompt and not in another (see [`RenderedPrompt`]).
//!
//! Decoding never goes through that crate: each token's raw bytes are worked out once, at load,
//! so a token in a stream costs a slice.

mod added_tokens;
mod end_tokens;
mod error;
mod files;
mod generation_config;
mod gguf;
mod gguf_vocab;
mod hugging_face;
mod patterns;
mod pre_tokenizers;
mod roles;
mod sentencepiece;
mod sentencepiece_model;
mod tekken;
mod token_table;

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::{
    Model as _, ModelWrapper, Normalizer as _, OffsetReferential, OffsetType, PreTokenizedString,
    PreTokenizer as _, Token,
};

pub use error::TokenizerError;
pub use generation_config::GenerationConfig;
pub use gguf::UnknownPreTokenizer;
pub use gguf_vocab::GgufVocab;
pub(crate) use sentencepiece_model::versioned_file;
pub(crate) use tekken::{TEKKEN_FILE, version as tekken_version};

use crate::prompt::{RenderedPrompt, TemplateTokens};
use added_tokens::AddedTokens;
use end_tokens::EndTokens;
use sentencepiece::SentencePiece;
use token_table::TokenTable;

/// Whether the text of a control token, such as `<|im_end|>`, stands for that token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialTokens {
    /// It does: for text that the server or an operator wrote.
    Parse,
    /// It is ordinary text: for anything that a user wrote.
    Plain,
}

/// A model's tokenizer. Shared between threads; all methods take `&self`.
#[derive(Debug)]
pub struct Tokenizer {
    vocabulary: TokenTable,
    control: AddedTokens,
    user_defined: AddedTokens,
    user_defined_normalized: AddedTokens,
    normalizer: Option<NormalizerWrapper>,
    pre_tokenizer: Option<PreTokenizerWrapper>,
    model: PieceModel,
    /// What the model expects before and after a text of its own: often BOS and nothing.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    bos_token_id: Option<u32>,
    end_tokens: EndTokens,
    adds_space_prefix: bool,
}

/// What turns a pre-tokenised piece of text into ids.
#[derive(Debug)]
enum PieceModel {
    HuggingFace(Box<ModelWrapper>),
    SentencePiece(SentencePiece),
}

impl Tokenizer {
    /// Tokenises `text`. With `add_special_tokens`, also adds what the model expects around a
    /// text (usually BOS before it), by the rule that came with the tokenizer.
    ///
    /// # Errors
    /// [`TokenizerError::Encode`] when the vocabulary has no token for some character and no
    /// unknown token either, or when a regular expression gives up.
    pub fn encode(
        &self,
        text: &str,
        special: SpecialTokens,
        add_special_tokens: bool,
    ) -> Result<Vec<u32>, TokenizerError> {
        let ids = self.tokenize(text, special, None)?;
        if !add_special_tokens {
            return Ok(ids);
        }
        Ok([self.prefix.as_slice(), &ids, &self.suffix].concat())
    }

    /// Tokenises a rendered chat prompt: control tokens that the template wrote are parsed, those
    /// that a user wrote are ordinary text. Nothing is added: templates write their own BOS.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`].
    pub fn encode_prompt(&self, prompt: &RenderedPrompt) -> Result<Vec<u32>, TokenizerError> {
        self.tokenize(prompt.marked_text(), SpecialTokens::Parse, prompt.marker())
    }

    /// The pipeline of the module's drawing. `marker` breaks up control tokens that must not be
    /// parsed, and is no part of the text.
    fn tokenize(
        &self,
        text: &str,
        special: SpecialTokens,
        marker: Option<char>,
    ) -> Result<Vec<u32>, TokenizerError> {
        self.split_and_tokenize(text, special, marker)
            .map_err(|error| TokenizerError::Encode {
                message: error.to_string(),
            })
    }

    fn split_and_tokenize(
        &self,
        text: &str,
        special: SpecialTokens,
        marker: Option<char>,
    ) -> tokenizers::Result<Vec<u32>> {
        let mut text = PreTokenizedString::from(text);
        if special == SpecialTokens::Parse {
            text.split(|_, part| Ok(self.control.split(part)))?;
        }
        if let Some(marker) = marker {
            text.normalize(|part| {
                part.filter(|character| character != marker);
                Ok(())
            })?;
        }
        text.split(|_, part| Ok(self.user_defined.split(part)))?;
        if let Some(normalizer) = &self.normalizer {
            text.normalize(|part| normalizer.normalize(part))?;
        }
        text.split(|_, part| Ok(self.user_defined_normalized.split(part)))?;
        if let Some(pre_tokenizer) = &self.pre_tokenizer {
            pre_tokenizer.pre_tokenize(&mut text)?;
        }
        text.tokenize(|piece| self.tokenize_piece(piece.get()))?;
        let ids = text
            .get_splits(OffsetReferential::Original, OffsetType::None)
            .into_iter()
            .flat_map(|(_, _, tokens)| tokens.iter().flatten().map(|token| token.id))
            .collect();
        Ok(ids)
    }

    /// The tokens of a piece of ordinary text. Should the model's merges lead to a control token,
    /// that stretch is cut after its first character, and read again.
    fn tokenize_piece(&self, piece: &str) -> tokenizers::Result<Vec<Token>> {
        let mut tokens = Vec::new();
        for token in self.model.tokenize(piece)? {
            let (start, end) = token.offsets;
            let control = self.vocabulary.text(token.id).filter(|text| {
                // Unknown tokens, which are control tokens too, have other text behind them.
                self.is_special(token.id) && piece.get(start..end) == Some(*text)
            });
            match control.and_then(|text| text.char_indices().nth(1).map(|(cut, _)| (text, cut))) {
                Some((text, cut)) => {
                    tokens.extend(self.model.tokenize(&text[..cut])?);
                    tokens.extend(self.tokenize_piece(&text[cut..])?);
                }
                None => tokens.push(token),
            }
        }
        Ok(tokens)
    }

    /// The text of `ids`. Bytes that are no character become U+FFFD, and the space that
    /// SentencePiece puts before a text is dropped. Ids outside the vocabulary have no text.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> String {
        let mut bytes = Vec::new();
        for &id in ids {
            if !(skip_special_tokens && self.is_special(id)) {
                bytes.extend_from_slice(self.token_bytes(id).unwrap_or_default());
            }
        }
        let bytes = match bytes.strip_prefix(b" ") {
            Some(stripped) if self.adds_space_prefix => stripped,
            _ => &bytes,
        };
        String::from_utf8_lossy(bytes).into_owned()
    }

    /// The raw bytes that a token stands for, which need not be whole characters: the byte-level
    /// alphabet and `<0xNN>` are undone, SentencePiece's `▁` is a space.
    pub fn token_bytes(&self, id: u32) -> Option<&[u8]> {
        self.vocabulary.bytes(id)
    }

    /// Whether a token is a control token (BOS, end of turn, …), left out of decoded text.
    pub fn is_special(&self, id: u32) -> bool {
        self.vocabulary.is_control(id)
    }

    /// The id of a token by its text in the vocabulary, such as `<|im_end|>`.
    pub fn token_to_id(&self, token: &str) -> Option<u32> {
        self.vocabulary.id(token)
    }

    /// A token as the vocabulary spells it: in the byte-level alphabet, or with `▁`.
    pub fn id_to_token(&self, id: u32) -> Option<&str> {
        self.vocabulary.text(id)
    }

    /// One more than the largest id. A model's logits may have more rows than this.
    pub fn vocab_size(&self) -> usize {
        self.vocabulary.len()
    }

    /// The token that begins a text, if the model has one.
    pub fn bos_token_id(&self) -> Option<u32> {
        self.bos_token_id
    }

    /// The tokens that end an answer, each once: the tokenizer's own end-of-text token first, then
    /// what `generation_config.json` and `config.json` state, where the tokenizer came with a
    /// folder, then the tokens that are known to end a turn.
    pub fn eos_token_ids(&self) -> &[u32] {
        self.end_tokens.ids()
    }

    /// Whether a text begins with a space of SentencePiece's that was not in it.
    pub fn adds_space_prefix(&self) -> bool {
        self.adds_space_prefix
    }

    /// What a chat template has to know of this tokenizer.
    pub fn template_tokens(&self) -> TemplateTokens {
        let text = |id: Option<u32>| {
            id.and_then(|id| self.id_to_token(id))
                .unwrap_or_default()
                .to_owned()
        };
        TemplateTokens {
            bos_token: text(self.bos_token_id),
            eos_token: text(self.eos_token_ids().first().copied()),
            control_tokens: self.control.texts().map(str::to_owned).collect(),
        }
    }
}

impl PieceModel {
    fn tokenize(&self, text: &str) -> tokenizers::Result<Vec<Token>> {
        match self {
            PieceModel::HuggingFace(model) => model.tokenize(text),
            PieceModel::SentencePiece(model) => model.tokenize(text),
        }
    }
}
