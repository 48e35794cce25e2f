//! Prompts with a gap that the answer fills (fill-in-the-middle), for models that were trained to.
//!
//! The text before the gap and the text after it come with marks of their own, which are control
//! tokens; what follows the last mark is the answer. The marks are recognised by their names in the
//! vocabulary.

use matou_chat::{SpecialTokens, Tokenizer};

use crate::error::LlmError;
use crate::prompt::{cannot_tokenize, tokenize_input};
use crate::request::PromptInput;

/// The names of the marks before the prefix, before the suffix, and at the end, in different
/// vocabularies.
const MARKS: [[&str; 3]; 6] = [
    // Qwen 2.5 Coder, CodeGemma, Granite 4
    ["<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>"],
    // StarCoder, Granite, Refact
    ["<fim_prefix>", "<fim_suffix>", "<fim_middle>"],
    // SantaCoder
    ["<fim-prefix>", "<fim-suffix>", "<fim-middle>"],
    // DeepSeek Coder
    [
        "<\u{ff5c}fim\u{2581}begin\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}hole\u{ff5c}>",
        "<\u{ff5c}fim\u{2581}end\u{ff5c}>",
    ],
    // Code Llama
    ["\u{2581}<PRE>", "\u{2581}<SUF>", "\u{2581}<MID>"],
    // Codestral has the suffix first, so that the answer follows the prefix.
    ["[PREFIX]", "[SUFFIX]", ""],
];

/// Tokens with which models say that the gap is full, beside those that end every text.
const ENDS: [&str; 6] = [
    "\u{2581}<EOT>",
    "<|endoftext|>",
    "<|file_separator|>",
    "<|file_sep|>",
    "<|repo_name|>",
    "<|fim_pad|>",
];

/// A character that stands in front of a suffix while it is tokenised.
const FRONT: &str = "\u{263a}";

/// The tokens that stand around prefix and suffix.
struct Marks {
    prefix: u32,
    suffix: u32,
    /// Where the suffix comes last, what comes after it.
    middle: Option<u32>,
}

impl Marks {
    fn find(tokenizer: &Tokenizer) -> Option<Self> {
        let id = |name: &str| tokenizer.token_to_id(name);
        MARKS.iter().find_map(|[prefix, suffix, middle]| {
            Some(Self {
                prefix: id(prefix)?,
                suffix: id(suffix)?,
                middle: match *middle {
                    "" => None,
                    middle => Some(id(middle)?),
                },
            })
        })
    }
}

/// Whether the model has marks for gaps.
pub(crate) fn fills_gaps(tokenizer: &Tokenizer) -> bool {
    Marks::find(tokenizer).is_some()
}

/// The tokens with which this model may say that a gap is full.
pub(crate) fn gap_ends(tokenizer: &Tokenizer) -> Vec<u32> {
    let ids = ENDS.iter().filter_map(|name| tokenizer.token_to_id(name));
    ids.filter(|&id| tokenizer.is_special(id)).collect()
}

/// Tokenises a prompt and what comes after the gap that the answer fills.
///
/// # Errors
///
/// When the model has no marks for gaps, or when the vocabulary cannot express a text.
pub(crate) fn tokenize_gap(
    tokenizer: &Tokenizer,
    prefix: &PromptInput,
    suffix: &str,
) -> Result<Vec<u32>, LlmError> {
    let Some(marks) = Marks::find(tokenizer) else {
        let message = "`suffix` is not supported: this model was not trained to fill gaps.";
        return Err(LlmError::unsupported("suffix", message));
    };
    let prefix = tokenize_input(tokenizer, prefix)?;
    let suffix = continuation(tokenizer, suffix)?;
    // What begins every text stays in front.
    let begins = prefix.first().copied() == tokenizer.bos_token_id() && !prefix.is_empty();
    let (bos, prefix) = prefix.split_at(usize::from(begins));
    let prefix = [&[marks.prefix], prefix].concat();
    let suffix = [&[marks.suffix], &suffix[..]].concat();
    Ok(match marks.middle {
        Some(middle) => [bos, &prefix, &suffix, &[middle]].concat(),
        None => [bos, &suffix, &prefix].concat(),
    })
}

/// Tokenises a text that goes on where another ended: without the space that SentencePiece puts in
/// front, as the models were trained. Control tokens in it are text.
fn continuation(tokenizer: &Tokenizer, text: &str) -> Result<Vec<u32>, LlmError> {
    let encode = |text: &str| {
        tokenizer
            .encode(text, SpecialTokens::Plain, false)
            .map_err(|error| cannot_tokenize("suffix", &error))
    };
    if !tokenizer.adds_space_prefix() {
        return encode(text);
    }
    let front = encode(FRONT)?;
    let both = encode(&format!("{FRONT}{text}"))?;
    match both.strip_prefix(front.as_slice()) {
        Some(rest) => Ok(rest.to_vec()),
        None => encode(text),
    }
}

#[cfg(test)]
mod tests {
    use matou_chat::GgufVocab;

    use super::*;

    /// The first of the tokens that are a byte each.
    const BYTES: u32 = 3;
    /// The first of the marks.
    const FIRST: u32 = BYTES + 256;
    /// SentencePiece's space, a token of its own.
    const SPACE: u32 = FIRST + 3;

    /// A tokenizer of bytes with these marks.
    fn tokenizer(marks: [&str; 3], add_space_prefix: bool) -> Tokenizer {
        let bytes = (0..=255).map(|byte: u8| format!("<0x{byte:02X}>"));
        let names = ["<unk>", "<s>", "</s>"].map(str::to_owned).into_iter();
        let marks = marks.map(str::to_owned).into_iter();
        let tokens: Vec<String> = names
            .chain(bytes)
            .chain(marks)
            .chain(["\u{2581}".to_owned()])
            .collect();
        let types = [2, 3, 3].into_iter().chain([6; 256]).chain([3, 3, 3, 1]);
        Tokenizer::from_gguf(GgufVocab {
            model: "llama".to_owned(),
            scores: vec![0.0; tokens.len()],
            token_types: types.collect(),
            tokens,
            bos_token_id: Some(1),
            eos_token_id: Some(2),
            add_bos_token: Some(true),
            add_space_prefix: Some(add_space_prefix),
            ..GgufVocab::default()
        })
        .unwrap()
    }

    fn bytes(text: &str) -> Vec<u32> {
        text.bytes().map(|byte| BYTES + u32::from(byte)).collect()
    }

    fn text(text: &str) -> PromptInput {
        PromptInput::Text {
            text: text.to_owned(),
            add_special_tokens: true,
        }
    }

    #[test]
    fn prefix_suffix_and_middle_come_in_the_order_of_the_model() {
        let [first, second, third] = [FIRST, FIRST + 1, FIRST + 2];
        for marks in &MARKS[..5] {
            let tokenizer = tokenizer(*marks, false);
            assert!(fills_gaps(&tokenizer));
            let ids = tokenize_gap(&tokenizer, &text("ab"), "cd").unwrap();
            let expected = [
                &[1, first][..],
                &bytes("ab"),
                &[second],
                &bytes("cd"),
                &[third],
            ]
            .concat();
            assert_eq!(ids, expected, "{marks:?}");
        }
        // The suffix comes first, and nothing after the prefix.
        let tokenizer = tokenizer(["[PREFIX]", "[SUFFIX]", "[OTHER]"], false);
        let ids = tokenize_gap(&tokenizer, &text("ab"), "cd").unwrap();
        let expected = [&[1, second][..], &bytes("cd"), &[first], &bytes("ab")].concat();
        assert_eq!(ids, expected);
    }

    #[test]
    fn a_suffix_is_text_and_goes_on_where_the_gap_ends() {
        let [first, second, third] = [FIRST, FIRST + 1, FIRST + 2];
        let tokenizer = tokenizer(MARKS[4], true);
        let ids = tokenize_gap(&tokenizer, &text("a"), "b</s>").unwrap();
        let expected = [
            &[1, first, SPACE][..],
            &bytes("a"),
            &[second],
            &bytes("b</s>"),
            &[third],
        ]
        .concat();
        assert_eq!(ids, expected);
        // Without a token that begins every text, nothing is in front.
        let ids = tokenize_gap(&tokenizer, &PromptInput::Tokens(bytes("a")), "b").unwrap();
        assert_eq!(ids[..2], [first, BYTES + u32::from(b'a')]);
    }

    #[test]
    fn a_model_without_marks_fills_no_gaps() {
        let tokenizer = tokenizer(["<fim_prefix>", "<fim_suffix>", "<other>"], false);
        assert!(!fills_gaps(&tokenizer));
        let error = tokenize_gap(&tokenizer, &text("a"), "b").expect_err("there are no marks");
        assert_eq!(error.param.as_deref(), Some("suffix"));
    }

    #[test]
    fn what_ends_a_gap_is_a_control_token_of_the_vocabulary() {
        let tokenizer = tokenizer(["<|fim_pad|>", "<|file_sep|>", "<other>"], false);
        assert_eq!(gap_ends(&tokenizer), [FIRST + 1, FIRST]);
    }
}
