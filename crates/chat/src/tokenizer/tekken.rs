//! Mistral's `tekken.json`: byte-level BPE by ranks, as tiktoken does it.
//!
//! ```text
//! ids   0 ..  special tokens, some named in the file or known by heart, the others fillers
//!       n ..  the first tokens of `vocab`, by rank; the file has more than are used
//! ```
//!
//! Text never holds special tokens: only templates write them. The file is described by the PyPI
//! package `mistral-common` (`tokens/tokenizers/tekken.py`).

use std::collections::HashMap;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokenizers::AddedToken;

use super::added_tokens::AddedTokens;
use super::end_tokens::{EndTokens, is_end_of_turn};
use super::error::TokenizerError;
use super::files::{MAX_VOCAB_SIZE, read};
use super::pre_tokenizers;
use super::sentencepiece::SentencePiece;
use super::token_table::{Spelling, TokenKind, TokenTable, byte_level_characters, byte_level_text};
use super::{PieceModel, Tokenizer};

/// What the file is called.
pub(crate) const TEKKEN_FILE: &str = "tekken.json";

/// Begins a text, in every version.
const BOS: u32 = 1;
/// Ends a text.
const EOS: u32 = 2;

/// The special tokens of files that list none.
const SPECIAL_TOKENS: [&str; 20] = [
    "<unk>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
    "[AVAILABLE_TOOLS]",
    "[/AVAILABLE_TOOLS]",
    "[TOOL_RESULTS]",
    "[/TOOL_RESULTS]",
    "[TOOL_CALLS]",
    "[IMG]",
    "<pad>",
    "[IMG_BREAK]",
    "[IMG_END]",
    "[PREFIX]",
    "[MIDDLE]",
    "[SUFFIX]",
    "[SYSTEM_PROMPT]",
    "[/SYSTEM_PROMPT]",
    "[TOOL_CONTENT]",
];

/// The fields that matter.
#[derive(Deserialize)]
struct TekkenFile {
    config: TekkenConfig,
    vocab: Vec<TekkenToken>,
    special_tokens: Option<Vec<TekkenSpecialToken>>,
}

#[derive(Deserialize)]
struct TekkenConfig {
    pattern: String,
    default_vocab_size: usize,
    default_num_special_tokens: usize,
}

#[derive(Deserialize)]
struct TekkenToken {
    rank: usize,
    token_bytes: String,
}

#[derive(Deserialize)]
struct TekkenSpecialToken {
    rank: usize,
    token_str: String,
}

/// The version of a `tekken.json`, which decides how chats are written.
#[derive(Deserialize)]
struct VersionedFile {
    config: TekkenVersion,
}

#[derive(Deserialize)]
struct TekkenVersion {
    version: Option<String>,
}

impl Tokenizer {
    /// A tokenizer from a `tekken.json`.
    ///
    /// # Errors
    /// [`TokenizerError::Read`], and [`TokenizerError::Invalid`] when the file is no such tokenizer
    /// or contradicts itself.
    pub fn from_tekken(path: &Path) -> Result<Self, TokenizerError> {
        let invalid = |message| invalid(path, message);
        let file: TekkenFile =
            serde_json::from_slice(&read(path)?).map_err(|error| invalid(error.to_string()))?;
        file.into_tokenizer().map_err(invalid)
    }
}

/// The version that a `tekken.json` states, such as 7.
pub(crate) fn version(path: &Path) -> Result<Option<u32>, TokenizerError> {
    let file: VersionedFile =
        serde_json::from_slice(&read(path)?).map_err(|error| invalid(path, error.to_string()))?;
    let stated = file.config.version.unwrap_or_default();
    Ok(stated
        .strip_prefix('v')
        .and_then(|digits| digits.parse().ok()))
}

impl TekkenFile {
    fn into_tokenizer(self) -> Result<Tokenizer, String> {
        let special = self.special_tokens()?;
        let ordinary = self.ordinary_tokens(special.len())?;
        let spelled: Vec<(&str, TokenKind)> = special
            .iter()
            .map(|text| (text.as_str(), TokenKind::Control))
            .chain(
                ordinary
                    .iter()
                    .map(|text| (text.as_str(), TokenKind::Normal)),
            )
            .collect();
        let vocabulary = TokenTable::new(spelled, Spelling::ByteLevel);
        let of_turns = (0..).zip(&special).filter(|(_, text)| is_end_of_turn(text));
        let end_tokens = EndTokens::new(Some(EOS), of_turns.map(|(id, _)| id));
        let control = (0..).zip(&special);
        let control = control.map(|(id, text)| (id, AddedToken::from(text.as_str(), true)));
        let control = AddedTokens::new(control.collect()).map_err(|error| error.to_string())?;
        let mut pieces = HashMap::with_capacity(ordinary.len());
        for (rank, text) in ordinary.into_iter().enumerate() {
            // Ranks are far below 2^24, up to which an f32 tells whole numbers apart.
            let scored = ((special.len() + rank) as u32, -(rank as f32));
            if pieces.insert(text.into(), scored).is_some() {
                return Err(format!("the token of rank {rank} occurs twice"));
            }
        }
        Ok(Tokenizer {
            vocabulary,
            control,
            user_defined: AddedTokens::default(),
            user_defined_normalized: AddedTokens::default(),
            normalizer: None,
            pre_tokenizer: Some(
                pre_tokenizers::cut_at(&[&self.config.pattern])
                    .map_err(|error| format!("config.pattern: {error}"))?,
            ),
            model: PieceModel::SentencePiece(SentencePiece {
                pieces,
                byte_tokens: HashMap::new(),
                unknown_token: None,
                takes_whole_pieces: true,
            }),
            prefix: vec![BOS],
            suffix: Vec::new(),
            bos_token_id: Some(BOS),
            end_tokens,
            adds_space_prefix: false,
        })
    }

    /// The texts of all special tokens, by id.
    fn special_tokens(&self) -> Result<Vec<String>, String> {
        let count = self.config.default_num_special_tokens;
        let total = self.config.default_vocab_size;
        if total > MAX_VOCAB_SIZE || count > total || count <= EOS as usize {
            return Err(format!(
                "{count} special tokens in a vocabulary of {total} are not supported"
            ));
        }
        let mut texts: Vec<String> = (0..count).map(|id| format!("<SPECIAL_{id}>")).collect();
        let mut name = |rank: usize, text: &str| match texts.get_mut(rank) {
            Some(slot) => {
                text.clone_into(slot);
                Ok(())
            }
            None => Err(format!("special token {text:?} has rank {rank} of {count}")),
        };
        match &self.special_tokens {
            Some(tokens) => tokens
                .iter()
                .try_for_each(|token| name(token.rank, &token.token_str))?,
            None => (0..)
                .zip(SPECIAL_TOKENS)
                .try_for_each(|(rank, text)| name(rank, text))?,
        }
        Ok(texts)
    }

    /// The tokens of ordinary text by rank, in the byte-level alphabet.
    fn ordinary_tokens(&self, special: usize) -> Result<Vec<String>, String> {
        let count = self.config.default_vocab_size - special;
        let Some(tokens) = self.vocab.get(..count) else {
            return Err(format!(
                "config.default_vocab_size wants {count} tokens, but vocab has {}",
                self.vocab.len()
            ));
        };
        let alphabet = byte_level_characters();
        let decode = |(rank, token): (usize, &TekkenToken)| {
            if token.rank != rank {
                return Err(format!("vocab[{rank}] has rank {}", token.rank));
            }
            let bytes = STANDARD
                .decode(&token.token_bytes)
                .map_err(|error| format!("vocab[{rank}].token_bytes: {error}"))?;
            Ok(byte_level_text(&bytes, &alphabet))
        };
        tokens.iter().enumerate().map(decode).collect()
    }
}

fn invalid(path: &Path, message: String) -> TokenizerError {
    TokenizerError::Invalid {
        origin: path.display().to_string(),
        message,
    }
}
