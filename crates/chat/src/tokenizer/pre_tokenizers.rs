//! The pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`.
//!
//! Each is a sequence of regular expressions; every one cuts the pieces that the one before left
//! (what matches and what lies between are both pieces). The expressions are those of the models'
//! own files; the names are those that llama.cpp's conversion script gives them.

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

/// `tokenizer.json` of GPT-2.
const GPT2: &str = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+";
/// `tokenizer.json` of Llama 3.
const LLAMA3: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// `tokenizer.json` of Qwen2.
const QWEN2: &str = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// `tekken.json` of Mistral Nemo, in the PyPI package `mistral-common`.
const TEKKEN: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";
/// `o200k_base` of the PyPI package `tiktoken`.
const GPT4O: &str = r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+";

/// llama.cpp's choice for vocabularies whose pre-tokenizer is not known.
const DEFAULT: &[&str] = &[r"[\p{P}\$\+<=>\^~\|]+", GPT2, r"\p{N}+", r"[0-9][0-9][0-9]"];

/// How a byte-level BPE vocabulary cuts text, and what else comes with that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PreTokenizer {
    patterns: &'static [&'static str],
    /// A piece that is a token as it stands is not built up by merges.
    pub(super) ignore_merges: bool,
    /// BOS is added where the file does not say.
    pub(super) adds_bos: bool,
    /// Text is brought into Unicode's composed form first.
    composes: bool,
}

impl PreTokenizer {
    /// The pre-tokenizer called `name`, `None` if it is not known.
    pub(super) fn named(name: &str) -> Option<Self> {
        let (patterns, ignore_merges, adds_bos, composes): (&[&str], _, _, _) = match name {
            "default" => (DEFAULT, false, false, false),
            "gpt-2" | "phi-2" | "mpt" | "olmo" | "jina-en" | "jina-es" | "jina-de" => {
                (&[GPT2], false, false, false)
            }
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "pixtral" => {
                (&[LLAMA3], true, true, false)
            }
            "smaug-bpe" | "dbrx" => (&[LLAMA3], false, false, false),
            "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" => {
                (&[r"\p{N}", GPT2], false, false, false)
            }
            "tekken" => (&[TEKKEN], true, true, false),
            "qwen2" | "deepseek-r1-qwen" => (&[QWEN2], false, false, true),
            "gpt-4o" | "llama4" => (&[GPT4O], false, false, false),
            _ => return None,
        };
        Some(Self {
            patterns,
            ignore_merges,
            adds_bos,
            composes,
        })
    }

    /// The pre-tokenizer for files that name none, or one that is not known.
    pub(super) fn fallback() -> Self {
        Self {
            patterns: DEFAULT,
            ignore_merges: false,
            adds_bos: false,
            composes: false,
        }
    }

    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.composes.then_some(NormalizerWrapper::NFC(NFC))
    }

    /// The steps, ending with the one that writes bytes in the byte-level alphabet.
    pub(super) fn build(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        cut_at(self.patterns)
    }
}

/// Cuts text by each of the regular expressions, then writes it in the byte-level alphabet.
pub(super) fn cut_at(patterns: &[&str]) -> tokenizers::Result<PreTokenizerWrapper> {
    let mut steps = Vec::new();
    for pattern in patterns {
        let pattern = SplitPattern::Regex((*pattern).to_owned());
        let split = Split::new(pattern, SplitDelimiterBehavior::Isolated, false)?;
        steps.push(PreTokenizerWrapper::Split(split));
    }
    let byte_level = ByteLevel::new(false, false, false);
    steps.push(PreTokenizerWrapper::ByteLevel(byte_level));
    Ok(PreTokenizerWrapper::Sequence(Sequence::new(steps)))
}
