//! Tokenizers from `tokenizer.json`, and from the files beside it.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use serde::Deserialize as _;
use serde_json::Value;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::pre_tokenizers::metaspace::PrependScheme;
use tokenizers::{AddedToken, Encoding, Normalizer as _, PostProcessor as _, Token};

use super::added_tokens::AddedTokens;
use super::end_tokens::{EndTokens, TokenIds, is_end_of_turn};
use super::error::TokenizerError;
use super::files::{MAX_VOCAB_SIZE, read, read_json};
use super::generation_config::GenerationConfig;
use super::roles::is_structure;
use super::sentencepiece_model::sentencepiece_file;
use super::tekken::TEKKEN_FILE;
use super::token_table::{Spelling, TokenKind, TokenTable};
use super::{PieceModel, Tokenizer};

impl Tokenizer {
    /// A tokenizer from a `tokenizer.json` alone. That file does not say which tokens are BOS and
    /// EOS: prefer [`Tokenizer::from_folder`] where there are more files.
    ///
    /// # Errors
    /// [`TokenizerError::Read`], and [`TokenizerError::Invalid`] when the file is no tokenizer, or
    /// one whose decoder is not implemented.
    pub fn from_file(path: &Path) -> Result<Self, TokenizerError> {
        Self::from_file_with(path, &Value::Null, "")
    }

    /// The same with the tokens that `tokenizer_config.json` adds, for a model with this chat
    /// template, which tells what is structure and no text.
    fn from_file_with(path: &Path, config: &Value, template: &str) -> Result<Self, TokenizerError> {
        let bytes = read(path)?;
        let invalid = |message: String| TokenizerError::Invalid {
            origin: path.display().to_string(),
            message,
        };
        // The parser of the BPE model indexes by lengths that a malformed file can make wrong.
        let parsed = catch_unwind(AssertUnwindSafe(|| {
            tokenizers::Tokenizer::from_bytes(&bytes)
        }))
        .map_err(|_| invalid("the merges do not fit the vocabulary".to_owned()))?
        .map_err(|error| invalid(error.to_string()))?;
        from_parsed(&parsed, &config_tokens(config), template).map_err(invalid)
    }

    /// A tokenizer from a model's folder: `tokenizer.json`, or where there is none `tekken.json`, or
    /// else `tokenizer.model`; with BOS from `tokenizer_config.json` or `special_tokens_map.json`, and
    /// with the end tokens that these, `generation_config.json` and `config.json` state, as far as
    /// they exist.
    ///
    /// # Errors
    /// As [`Tokenizer::from_file`], for any of the files.
    pub fn from_folder(folder: &Path) -> Result<Self, TokenizerError> {
        Self::with_generation_config(folder, &GenerationConfig::from_folder(folder)?, "")
    }

    /// The same with a `generation_config.json` that has been read already, for a model with this
    /// chat template, which tells what is structure and no text.
    pub(crate) fn with_generation_config(
        folder: &Path,
        generation: &GenerationConfig,
        template: &str,
    ) -> Result<Self, TokenizerError> {
        let config = read_json(&folder.join("tokenizer_config.json"))?;
        let mut tokenizer = Self::main_file(folder, &config, template)?;
        let tokens_map = read_json(&folder.join("special_tokens_map.json"))?;
        let named = |key: &str| {
            let named = |file: &Value| tokenizer.token_to_id(token_text(&file[key])?);
            named(&config).or_else(|| named(&tokens_map))
        };
        let (bos, eos) = (named("bos_token"), named("eos_token"));
        let listed = [
            &generation.eos_token_ids[..],
            &end_tokens_of_config(folder)?,
        ]
        .concat();
        tokenizer.end_tokens = tokenizer.end_tokens.with_files(eos, listed);
        tokenizer.bos_token_id = bos.or(tokenizer.bos_token_id);
        tokenizer.apply_add_bos_token(&config);
        Ok(tokenizer)
    }

    /// The tokenizer of the first file there is, by what it can say.
    fn main_file(folder: &Path, config: &Value, template: &str) -> Result<Self, TokenizerError> {
        let json = folder.join("tokenizer.json");
        if json.exists() {
            return Self::from_file_with(&json, config, template);
        }
        let tekken = folder.join(TEKKEN_FILE);
        if tekken.exists() {
            return Self::from_tekken(&tekken);
        }
        match sentencepiece_file(folder) {
            Some(model) => {
                let added = read_json(&folder.join("added_tokens.json"))?;
                Self::from_sentencepiece(&model, &added_tokens(&added, config))
            }
            None => Err(TokenizerError::Invalid {
                origin: folder.display().to_string(),
                message: format!(
                    "there is no tokenizer in this folder: neither tokenizer.json nor {TEKKEN_FILE} nor tokenizer.model"
                ),
            }),
        }
    }

    /// `add_bos_token`, which the Llama classes of transformers put above the post-processor in
    /// `tokenizer.json`; other classes ignore it.
    fn apply_add_bos_token(&mut self, config: &Value) {
        let class = config["tokenizer_class"].as_str().unwrap_or_default();
        let Some(bos) = self.bos_token_id.filter(|_| class.starts_with("Llama")) else {
            return;
        };
        match config["add_bos_token"].as_bool() {
            Some(true) if !self.prefix.contains(&bos) => self.prefix.insert(0, bos),
            Some(false) => self.prefix.retain(|&id| id != bos),
            _ => {}
        }
    }
}

/// Takes the parts of the parsed file into a pipeline of ours.
fn from_parsed(
    parsed: &tokenizers::Tokenizer,
    config_tokens: &[(u32, AddedToken)],
    template: &str,
) -> Result<Tokenizer, String> {
    let decoder = DecodingRules::of(parsed.get_decoder())?;
    let added = added_of(parsed, config_tokens, template);
    let mut control = Vec::new();
    let mut user_defined = Vec::new();
    let mut user_defined_normalized = Vec::new();
    for (&id, token) in &added {
        if token.special {
            control.push((id, token.clone()));
        } else if token.normalized {
            let content = normalized(parsed, &token.content)?;
            let token = AddedToken {
                content,
                ..token.clone()
            };
            user_defined_normalized.push((id, token));
        } else {
            user_defined.push((id, token.clone()));
        }
    }
    let vocabulary = vocabulary(parsed, &added, decoder.spelling)?;
    let of_turns = (0..)
        .take(vocabulary.len())
        .filter(|&id| vocabulary.is_control(id))
        .filter(|&id| vocabulary.text(id).is_some_and(is_end_of_turn));
    let end_tokens = EndTokens::new(None, of_turns);
    let (prefix, suffix) = surroundings(parsed)?;
    let set = |tokens| AddedTokens::new(tokens).map_err(|error| error.to_string());
    Ok(Tokenizer {
        vocabulary,
        control: set(control)?,
        user_defined: set(user_defined)?,
        user_defined_normalized: set(user_defined_normalized)?,
        normalizer: parsed.get_normalizer().cloned(),
        pre_tokenizer: parsed.get_pre_tokenizer().cloned(),
        model: PieceModel::HuggingFace(Box::new(parsed.get_model().clone())),
        bos_token_id: prefix.first().copied(),
        prefix,
        suffix,
        end_tokens,
        adds_space_prefix: decoder.strips_space,
    })
}

/// The tokens that are found in a text as they stand, by id: those of the file, those that only the
/// config knows, and ordinary ones that are structure by their text (see [`super::roles`]), which
/// makes control tokens of them all.
fn added_of(
    parsed: &tokenizers::Tokenizer,
    config_tokens: &[(u32, AddedToken)],
    template: &str,
) -> BTreeMap<u32, AddedToken> {
    let mut added: BTreeMap<u32, AddedToken> =
        parsed.get_added_tokens_decoder().into_iter().collect();
    for (id, token) in config_tokens {
        let known = parsed.token_to_id(&token.content);
        let taken_by = parsed.id_to_token(*id);
        match (known, taken_by) {
            // The file knows it as well, perhaps as an ordinary token only.
            (Some(known), _) => {
                added.entry(known).or_insert_with(|| token.clone());
            }
            (None, None) => {
                added.entry(*id).or_insert_with(|| token.clone());
            }
            (None, Some(other)) => tracing::warn!(
                "tokenizer_config.json: {:?} has the id {id}, which is that of {other:?} in \
                 tokenizer.json; it is left out",
                token.content
            ),
        }
    }
    for token in added.values_mut() {
        token.special |= is_structure(&token.content, template);
    }
    for (text, id) in parsed.get_vocab(false) {
        if is_structure(&text, template) {
            added
                .entry(id)
                .or_insert_with(|| AddedToken::from(text, true));
        }
    }
    added
}

/// The tokens that `added_tokens_decoder` of `tokenizer_config.json` lists.
fn config_tokens(config: &Value) -> Vec<(u32, AddedToken)> {
    let listed = config["added_tokens_decoder"].as_object();
    let tokens = listed.into_iter().flatten().filter_map(|(id, token)| {
        let flag = |key: &str| token[key].as_bool();
        let special = flag("special").unwrap_or(false);
        let added = AddedToken::from(token["content"].as_str()?, special)
            .lstrip(flag("lstrip").unwrap_or(false))
            .rstrip(flag("rstrip").unwrap_or(false))
            .single_word(flag("single_word").unwrap_or(false))
            .normalized(flag("normalized").unwrap_or(!special));
        Some((id.parse().ok()?, added))
    });
    tokens.collect()
}

/// `text` as the tokenizer's normaliser leaves it.
fn normalized(parsed: &tokenizers::Tokenizer, text: &str) -> Result<String, String> {
    let mut text = tokenizers::NormalizedString::from(text);
    if let Some(normalizer) = parsed.get_normalizer() {
        normalizer
            .normalize(&mut text)
            .map_err(|error| error.to_string())?;
    }
    Ok(text.get().to_owned())
}

/// All tokens, with the added ones in the place of their ids.
fn vocabulary(
    parsed: &tokenizers::Tokenizer,
    added: &BTreeMap<u32, AddedToken>,
    spelling: Spelling,
) -> Result<TokenTable, String> {
    let model_tokens = parsed.get_vocab(false);
    let ids = model_tokens.values().chain(added.keys());
    let size = ids.max().map_or(0, |&id| id as usize + 1);
    if size > MAX_VOCAB_SIZE {
        return Err(format!(
            "the largest token id is {}, beyond the {MAX_VOCAB_SIZE} tokens that are supported",
            size - 1
        ));
    }
    let mut tokens = vec![("", TokenKind::Normal); size];
    for (text, &id) in &model_tokens {
        tokens[id as usize] = (text, TokenKind::Normal);
    }
    for (&id, token) in added {
        let kind = if token.special {
            TokenKind::Control
        } else {
            TokenKind::UserDefined
        };
        tokens[id as usize] = (&token.content, kind);
    }
    Ok(TokenTable::new(tokens, spelling))
}

/// What the post-processor puts before and after a text, found by letting it process a text of
/// one token that exists nowhere.
fn surroundings(parsed: &tokenizers::Tokenizer) -> Result<(Vec<u32>, Vec<u32>), String> {
    const TEXT: u32 = u32::MAX;
    let Some(post_processor) = parsed.get_post_processor() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let text = Encoding::from_tokens(vec![Token::new(TEXT, String::new(), (0, 0))], 0);
    let processed = post_processor
        .process(text, None, true)
        .map_err(|error| format!("post_processor: {error}"))?;
    let mut parts = processed.get_ids().split(|&id| id == TEXT);
    let mut part = || parts.next().unwrap_or_default().to_vec();
    Ok((part(), part()))
}

/// What has to be known of the `decoder` in a `tokenizer.json`.
struct DecodingRules {
    spelling: Spelling,
    /// A space at the very beginning of a text is no part of it.
    strips_space: bool,
}

impl DecodingRules {
    fn of(decoder: Option<&DecoderWrapper>) -> Result<Self, String> {
        let mut found = Self {
            spelling: Spelling::Literal,
            strips_space: false,
        };
        if let Some(decoder) = decoder {
            found.read(decoder)?;
        }
        Ok(found)
    }

    fn read(&mut self, decoder: &DecoderWrapper) -> Result<(), String> {
        match decoder {
            DecoderWrapper::Sequence(sequence) => {
                for step in sequence.get_decoders() {
                    self.read(step)?;
                }
            }
            DecoderWrapper::ByteLevel(_) => self.spelling = Spelling::ByteLevel,
            DecoderWrapper::Metaspace(metaspace) => {
                self.spelling = Spelling::SentencePiece;
                self.strips_space = metaspace.get_prepend_scheme() != PrependScheme::Never;
            }
            DecoderWrapper::Replace(_) | DecoderWrapper::ByteFallback(_) => {
                self.spelling = Spelling::SentencePiece;
            }
            DecoderWrapper::Strip(strip) => {
                self.strips_space |= strip.content == ' ' && strip.start > 0;
            }
            DecoderWrapper::Fuse(_) => {}
            DecoderWrapper::BPE(_) | DecoderWrapper::WordPiece(_) | DecoderWrapper::CTC(_) => {
                return Err(
                    "decoders of type BPEDecoder, WordPiece and CTC are not supported".to_owned(),
                );
            }
        }
        Ok(())
    }
}

/// Tokens that `added_tokens.json` and the `added_tokens_decoder` of `tokenizer_config.json` add to
/// a SentencePiece model. What the first lists is control text, unless the second knows better.
fn added_tokens(listed: &Value, config: &Value) -> Vec<(u32, String, bool)> {
    let mut tokens = BTreeMap::new();
    for (content, id) in listed.as_object().into_iter().flatten() {
        if let Some(id) = id.as_u64().and_then(|id| u32::try_from(id).ok()) {
            tokens.insert(id, (content.clone(), true));
        }
    }
    let decoder = config["added_tokens_decoder"].as_object();
    for (id, token) in decoder.into_iter().flatten() {
        if let (Ok(id), Some(content)) = (id.parse(), token["content"].as_str()) {
            let special = token["special"].as_bool().unwrap_or(false);
            tokens.insert(id, (content.to_owned(), special));
        }
    }
    let tokens = tokens.into_iter();
    tokens
        .map(|(id, (content, special))| (id, content, special))
        .collect()
}

/// The end tokens that `config.json` states; those of its text part, for a model that also sees and
/// states none for the whole.
fn end_tokens_of_config(folder: &Path) -> Result<Vec<u32>, TokenizerError> {
    let path = folder.join("config.json");
    let config = read_json(&path)?;
    let fields = [
        &config["eos_token_id"],
        &config["text_config"]["eos_token_id"],
    ];
    let Some(stated) = fields.into_iter().find(|field| !field.is_null()) else {
        return Ok(Vec::new());
    };
    let ids = TokenIds::deserialize(stated).map_err(|error| TokenizerError::Invalid {
        origin: path.display().to_string(),
        message: error.to_string(),
    })?;
    Ok(ids.into_vec())
}

/// A token in a config: its text, or an object with its `content`.
fn token_text(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}
