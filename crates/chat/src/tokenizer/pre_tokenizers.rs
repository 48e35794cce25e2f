//! The pre-tokenizers that GGUF files name in `tokenizer.ggml.pre`.
//!
//! Each is a sequence of regular expressions ([`super::patterns`]); every one cuts the pieces that
//! the one before left (what matches and what lies between are both pieces). The names are those that
//! llama.cpp's conversion script gives them.

use tokenizers::normalizers::NormalizerWrapper;
use tokenizers::normalizers::unicode::NFC;
use tokenizers::pre_tokenizers::PreTokenizerWrapper;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::pre_tokenizers::split::{Split, SplitPattern};
use tokenizers::tokenizer::SplitDelimiterBehavior;

use super::patterns::{
    BAILING, BLOOM, CHAMELEON, DEEPSEEK_CODER, DEEPSEEK_LLM, DEEPSEEK_V3, DEFAULT, DIGIT,
    EXAONE_MOE, FALCON, GPT2, GPT4O, JAIS2, LLAMA3, MINICPM5, QWEN2, QWEN35, SEED_CODER, TEKKEN,
};

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
    /// The pre-tokenizer for files that name none.
    pub(super) const FALLBACK: Self = Self::of(DEFAULT);

    const fn of(patterns: &'static [&'static str]) -> Self {
        Self {
            patterns,
            ignore_merges: false,
            adds_bos: false,
            composes: false,
        }
    }

    /// The pre-tokenizer called `name`, `None` if it is not known.
    pub(super) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "default" => Self::FALLBACK,
            "llama-bpe" | "llama3" | "llama-v3" | "falcon3" | "falcon-h1" | "pixtral"
            | "midm-2.0" | "lfm2" | "jina-v5-nano" => Self {
                ignore_merges: true,
                adds_bos: true,
                ..Self::of(&[LLAMA3])
            },
            "tekken" => Self {
                ignore_merges: true,
                adds_bos: true,
                ..Self::of(&[TEKKEN])
            },
            "minicpm5" => Self {
                ignore_merges: true,
                ..Self::of(MINICPM5)
            },
            "chameleon" => Self {
                adds_bos: true,
                ..Self::of(CHAMELEON)
            },
            "qwen2" | "deepseek-r1-qwen" => Self {
                composes: true,
                ..Self::of(&[QWEN2])
            },
            "qwen35" => Self {
                composes: true,
                ..Self::of(&[QWEN35])
            },
            name => Self::of(patterns_of(name)?),
        })
    }

    pub(super) fn normalizer(&self) -> Option<NormalizerWrapper> {
        self.composes.then_some(NormalizerWrapper::NFC(NFC))
    }

    /// The steps, ending with the one that writes bytes in the byte-level alphabet.
    pub(super) fn build(&self) -> tokenizers::Result<PreTokenizerWrapper> {
        cut_at(self.patterns)
    }
}

/// The expressions of the pre-tokenizers that are nothing else.
fn patterns_of(name: &str) -> Option<&'static [&'static str]> {
    Some(match name {
        "gpt-2" | "phi-2" | "mpt" | "olmo" | "jais" | "trillion" | "gigachat" | "a.x-4.0"
        | "mellum" | "exaone4" | "granite-docling" | "modern-bert" | "roberta-bpe" | "jina-en"
        | "jina-es" | "jina-de" | "jina-v1-en" | "jina-v2-es" | "jina-v2-de" | "jina-v2-code" => {
            &[GPT2]
        }
        "smollm" | "starcoder" | "refact" | "command-r" | "codeshell" | "exaone" | "minerva-7b"
        | "mellum2" => &[DIGIT, GPT2],
        "smaug-bpe" | "dbrx" | "chatglm-bpe" | "glm4" => &[LLAMA3],
        "stablelm2" | "hunyuan" | "megrez" | "solar-open" | "grok-2" | "kormo" | "f2llmv2" => {
            &[QWEN2]
        }
        "gpt-4o" | "llama4" | "kanana2" | "talkie" | "minimax-m2" => &[GPT4O],
        "deepseek-llm" => DEEPSEEK_LLM,
        "deepseek-coder" => DEEPSEEK_CODER,
        "deepseek-v3" | "hunyuan-dense" | "joyai-llm" | "hy_v4" => DEEPSEEK_V3,
        "falcon" => FALCON,
        "bloom" | "poro-chat" | "gpt3-finnish" => &[BLOOM],
        "viking" => &[BLOOM, DIGIT],
        "seed-coder" => &[SEED_CODER],
        "bailingmoe" | "bailingmoe2" | "llada-moe" => &[BAILING],
        "exaone-moe" => &[EXAONE_MOE],
        "jais-2" => &[JAIS2],
        _ => return None,
    })
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

#[cfg(test)]
mod tests {
    use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer as _};

    use super::*;

    /// The pieces that a pre-tokenizer cuts a text into.
    fn pieces(name: &str, text: &str) -> Vec<String> {
        let steps = PreTokenizer::named(name).unwrap().build().unwrap();
        let mut cut = PreTokenizedString::from(text);
        steps.pre_tokenize(&mut cut).unwrap();
        let splits = cut.get_splits(OffsetReferential::Original, OffsetType::Byte);
        splits
            .into_iter()
            .map(|(_, (start, end), _)| text[start..end].to_owned())
            .collect()
    }

    #[test]
    fn every_name_cuts_a_text_into_pieces_that_join_to_it() {
        let text = "Hello, world's 12345 th\u{ed}ngs!\r\n\r\n  \u{4f60}\u{597d}\u{ff0c}\u{ac00}\u{3042}  \t<x> \u{1f980}a\u{301} ";
        let mut names = 0;
        for name in NAMES.split_whitespace() {
            assert_eq!(pieces(name, text).concat(), text, "{name}");
            assert!(pieces(name, text).len() > 3, "{name}");
            names += 1;
        }
        assert!(names > 70, "{names}");
        assert_eq!(PreTokenizer::named("not-known"), None);
    }

    /// The names that llama.cpp knows, but for those of architectures that are not loaded and that
    /// spell bytes in another way.
    const NAMES: &str = "default minicpm5 llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral \
        midm-2.0 lfm2 jina-v5-nano deepseek-llm deepseek-coder deepseek-v3 falcon mpt starcoder \
        gpt-2 phi-2 jina-es jina-de gigachat jina-v2-es jina-v2-de a.x-4.0 mellum modern-bert jais-2 \
        jina-v1-en jina-v2-code roberta-bpe refact command-r qwen2 deepseek-r1-qwen kormo f2llmv2 \
        qwen35 stablelm2 olmo dbrx smaug-bpe poro-chat glm4 chatglm-bpe viking jais tekken smollm \
        codeshell bloom gpt3-finnish exaone exaone4 exaone-moe chameleon minerva-7b megrez gpt-4o \
        llama4 kanana2 talkie trillion granite-docling bailingmoe \
        bailingmoe2 llada-moe seed-coder hunyuan hunyuan-dense hy_v4 joyai-llm grok-2 minimax-m2 \
        solar-open mellum2";

    #[test]
    fn digits_are_cut_as_the_model_learned_them() {
        let digits = |name: &str| pieces(name, "1234567").join("|");
        assert_eq!(digits("gpt-2"), "1234567");
        assert_eq!(digits("refact"), "1|2|3|4|5|6|7");
        assert_eq!(digits("llama-bpe"), "123|456|7");
        assert_eq!(digits("deepseek-v3"), "123|456|7");
        assert_eq!(digits("seed-coder"), "1|2|3|4|5|6|7");
        assert_eq!(digits("viking"), "1|2|3|4|5|6|7");
        assert_eq!(digits("poro-chat"), "1234567");
        assert_eq!(digits("minicpm5"), "123|456|7");
    }

    #[test]
    fn words_lines_and_blanks_are_cut_as_the_model_learned_them() {
        assert_eq!(
            pieces("deepseek-coder", "if x:\n  return y"),
            ["if", " x", ":", "\n", " ", " return", " y"]
        );
        assert_eq!(
            pieces("deepseek-llm", "it's \u{43c}\u{438}\u{440}.  "),
            ["it", "'", "s", " \u{43c}\u{438}\u{440}", ".", "  "]
        );
        assert_eq!(pieces("seed-coder", "a!!\n\nb"), ["a", "!!", "\n\n", "b"]);
        assert_eq!(pieces("llama-bpe", "a!!\n\nb"), ["a", "!!\n\n", "b"]);
        assert_eq!(pieces("bloom", "a b, c."), ["a", " b", ",", " c", "."]);
        assert_eq!(pieces("exaone-moe", "go on now!"), ["go on now", "!"]);
        assert_eq!(pieces("chameleon", "a  b"), ["a", "  ", "b"]);
    }
}
