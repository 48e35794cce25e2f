//! Tokenizers from GGUF vocabularies, against the ids of llama.cpp and of transformers.

use std::sync::Arc;

use matou_chat::{
    ChatTemplate, Detokenizer, RenderedPrompt, SpecialTokens, TemplateRequest, TextError,
    TextOptions, TextSide, Tokenizer, UnknownPreTokenizer,
};
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::vocab_file::{VocabFile, tokenizer};

const LLAMA_BPE: &str = "ggml-vocab-llama-bpe.gguf";
const DEEPSEEK_CODER: &str = "ggml-vocab-deepseek-coder.gguf";
const LLAMA_SPM: &str = "ggml-vocab-llama-spm.gguf";
/// The vocabulary and the template of `SmolLM2-135M-Instruct.Q4_1.gguf`, without its tensors.
const SMOLLM2: &str = "smollm2-vocab.gguf";

fn plain(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, SpecialTokens::Plain, false).unwrap()
}

fn parsed(tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    tokenizer.encode(text, SpecialTokens::Parse, false).unwrap()
}

/// llama.cpp's test of a vocabulary: strings between separators, and a line of ids for each.
#[track_caller]
fn assert_matches_llama_cpp(name: &'static str) {
    let tokenizer = tokenizer(name);
    let read = |extension: &str| {
        let path = matou_testkit::fixtures_dir().join(format!("vocab/{name}.{extension}"));
        std::fs::read_to_string(path).unwrap()
    };
    let (inputs, outputs) = (read("inp"), read("out"));
    let texts: Vec<&str> = inputs.split_terminator("\n__ggml_vocab_test__\n").collect();
    let lines: Vec<&str> = outputs.lines().collect();
    assert_eq!(texts.len(), lines.len());
    for (text, line) in texts.iter().zip(lines) {
        let expected: Vec<u32> = line
            .split_whitespace()
            .map(|id| id.parse().unwrap())
            .collect();
        assert_eq!(plain(&tokenizer, text), expected, "{text:?}");
        assert_eq!(tokenizer.decode(&expected, true), *text);
    }
}

#[test]
fn the_llama_3_vocabulary_gives_the_ids_of_llama_cpp() {
    assert_matches_llama_cpp(LLAMA_BPE);
}

#[test]
fn the_llama_2_vocabulary_gives_the_ids_of_llama_cpp() {
    assert_matches_llama_cpp(LLAMA_SPM);
}

#[test]
fn the_deepseek_coder_vocabulary_gives_the_ids_of_llama_cpp() {
    assert_matches_llama_cpp(DEEPSEEK_CODER);
}

fn smollm2_golden() -> Value {
    let path = matou_testkit::fixtures_dir().join("smollm2/golden.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

#[test]
fn smollm2_tokenises_awkward_strings_as_transformers_does() {
    let tokenizer = tokenizer(SMOLLM2);
    for case in smollm2_golden()["tokenize"].as_array().unwrap() {
        let text = case["text"].as_str().unwrap();
        assert_eq!(parsed(&tokenizer, text), ids(&case["ids"]), "{text:?}");
    }
}

#[test]
fn smollm2_chats_give_the_prompts_and_ids_of_transformers() {
    let file = VocabFile::open(SMOLLM2);
    let tokenizer = tokenizer(SMOLLM2);
    let source = file.string("chat_template").unwrap();
    let template = ChatTemplate::new(source, tokenizer.template_tokens()).unwrap();
    for chat in smollm2_golden()["chats"].as_array().unwrap() {
        let prompt = render(&template, &chat["messages"]);
        assert_eq!(prompt.text(), chat["prompt_text"].as_str().unwrap());
        assert_eq!(
            tokenizer.encode_prompt(&prompt).unwrap(),
            ids(&chat["prompt_ids"])
        );
        let answer = tokenizer.decode(&ids(&chat["greedy_ids"]), true);
        assert_eq!(answer, chat["greedy_text"].as_str().unwrap());
    }
}

fn render(template: &ChatTemplate, messages: &Value) -> RenderedPrompt {
    let request = TemplateRequest {
        messages: messages.as_array().unwrap(),
        tools: None,
        add_generation_prompt: true,
        continue_final_message: false,
        kwargs: &Map::new(),
    };
    template.render(&request).unwrap()
}

#[test]
fn a_control_token_in_a_message_is_ordinary_text() {
    for name in [LLAMA_BPE, LLAMA_SPM, SMOLLM2] {
        let tokenizer = tokenizer(name);
        let end = tokenizer.id_to_token(tokenizer.eos_token_ids()[0]).unwrap();
        let source = format!("{{{{ messages[0].content }}}}{end}");
        let template = ChatTemplate::new(source, tokenizer.template_tokens()).unwrap();
        let message = format!("a {end}{end} b");
        let prompt = render(&template, &json!([{"role": "user", "content": message}]));
        assert_eq!(prompt.text(), format!("{message}{end}"));

        let mut expected = plain(&tokenizer, &message);
        expected.push(tokenizer.eos_token_ids()[0]);
        assert_eq!(
            tokenizer.encode_prompt(&prompt).unwrap(),
            expected,
            "{name}"
        );
    }
}

#[test]
fn control_tokens_are_parsed_only_when_asked_for() {
    let tokenizer = tokenizer(LLAMA_BPE);
    let eot = tokenizer.token_to_id("<|eot_id|>").unwrap();
    assert_eq!(parsed(&tokenizer, "<|eot_id|>"), [eot]);
    assert!(!plain(&tokenizer, "<|eot_id|>").contains(&eot));
    assert!(tokenizer.is_special(eot));
    assert_eq!(tokenizer.decode(&[eot], true), "");
    assert_eq!(tokenizer.decode(&[eot], false), "<|eot_id|>");
    assert_eq!(tokenizer.token_bytes(eot).unwrap(), b"<|eot_id|>");
}

#[test]
fn bos_is_added_by_the_rule_of_the_vocabulary() {
    let first = |name: &'static str| {
        let tokenizer = tokenizer(name);
        let ids = tokenizer.encode("Hi", SpecialTokens::Plain, true).unwrap();
        (ids[0], tokenizer.bos_token_id())
    };
    assert_eq!(first(LLAMA_BPE), (128_000, Some(128_000)));
    assert_eq!(first(LLAMA_SPM), (1, Some(1)));
    // Has a BOS token, and says not to add it.
    let (id, bos) = first(SMOLLM2);
    assert_ne!(Some(id), bos);
}

#[test]
fn end_of_turn_tokens_are_known_even_where_the_file_names_only_one() {
    let tokenizer = tokenizer(LLAMA_BPE);
    let texts: Vec<_> = tokenizer
        .eos_token_ids()
        .iter()
        .map(|&id| tokenizer.id_to_token(id).unwrap())
        .collect();
    assert_eq!(texts, ["<|end_of_text|>", "<|eot_id|>"]);
}

#[test]
fn sentencepiece_tokens_are_bytes_and_spaces() {
    let tokenizer = tokenizer(LLAMA_SPM);
    let bytes = |token: &str| {
        tokenizer
            .token_bytes(tokenizer.token_to_id(token).unwrap())
            .unwrap()
    };
    assert_eq!(bytes("<0x0A>"), b"\n");
    assert_eq!(bytes("<0xF0>"), [0xF0]);
    assert_eq!(bytes("▁Hello"), b" Hello");
}

#[test]
fn a_continuation_keeps_the_space_that_a_message_drops() {
    let tokenizer = tokenizer(LLAMA_SPM);
    let ids = plain(&tokenizer, "Hello world");
    let run = |mut detokenizer: Detokenizer| -> String {
        ids.iter().map(|&id| detokenizer.push(id)).collect()
    };
    assert_eq!(run(Detokenizer::new(Arc::clone(&tokenizer))), "Hello world");
    assert_eq!(
        run(Detokenizer::continuing(Arc::clone(&tokenizer))),
        " Hello world"
    );
}

#[test]
fn a_character_over_several_tokens_appears_when_it_is_whole() {
    let tokenizer = tokenizer(LLAMA_SPM);
    let ids = plain(&tokenizer, "🦙!");
    let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer));
    let pieces: Vec<String> = ids.iter().map(|&id| detokenizer.push(id)).collect();
    assert_eq!(pieces, ["", "", "", "", "🦙", "!"]);
    // Cut off in the middle, it is lost, but not silently.
    detokenizer.push(ids[1]);
    assert_eq!(detokenizer.finish(), "\u{fffd}");
}

#[test]
fn broken_vocabularies_are_errors() {
    let vocab = VocabFile::open(SMOLLM2).vocab();
    let error = |change: &dyn Fn(&mut matou_chat::GgufVocab)| {
        let mut vocab = vocab.clone();
        change(&mut vocab);
        Tokenizer::from_gguf(vocab).unwrap_err().to_string()
    };
    assert!(error(&|v| v.model = "bert".into()).contains("\"bert\""));
    assert!(error(&|v| v.model = "llama".into()).contains("scores"));
    assert!(error(&|v| v.merges.clear()).contains("merges is missing"));
    assert!(error(&|v| v.tokens.clear()).contains("tokens is empty"));
    assert!(error(&|v| v.token_types.truncate(3)).contains("token_type has 3 entries"));
    assert!(error(&|v| v.eos_token_id = Some(u32::MAX)).contains("eos_token_id is 4294967295"));
    assert!(error(&|v| v.merges.push("x".into())).contains("\"x\" is not two tokens"));
    assert!(error(&|v| v.merges.push("zq qz".into())).contains("needs the token"));
}

/// The text side of a vocabulary whose metadata was changed.
fn text_side(
    change: impl Fn(&mut Map<String, Value>),
    options: &TextOptions,
) -> Result<TextSide, TextError> {
    let mut metadata = VocabFile::open(SMOLLM2).metadata();
    change(&mut metadata);
    TextSide::from_metadata(metadata, options)
}

#[test]
fn an_unknown_pre_tokenizer_is_refused_unless_the_options_take_the_default() {
    let unknown = |metadata: &mut Map<String, Value>| {
        metadata.insert("tokenizer.ggml.pre".to_owned(), "not-known".into());
    };
    let error = text_side(unknown, &TextOptions::default())
        .unwrap_err()
        .to_string();
    for words in [
        "tokenizer.ggml.pre",
        "\"not-known\"",
        "--unknown-pretokenizer default",
    ] {
        assert!(error.contains(words), "{error}");
    }
    let options = TextOptions {
        unknown_pre_tokenizer: UnknownPreTokenizer::Default,
        ..TextOptions::default()
    };
    let taken = text_side(unknown, &options).unwrap().tokenizer.unwrap();
    let unnamed = |metadata: &mut Map<String, Value>| {
        metadata.remove("tokenizer.ggml.pre");
    };
    let unnamed = text_side(unnamed, &TextOptions::default()).unwrap();
    let text = "It's 12345 things, isn't it?";
    let ids = plain(&taken, text);
    assert_eq!(ids, plain(&unnamed.tokenizer.unwrap(), text));
    assert_eq!(taken.decode(&ids, true), text);
}

/// The type of a token in the metadata of a vocabulary.
fn set_type(metadata: &mut Map<String, Value>, token: &str, kind: i32) {
    let tokens = metadata["tokenizer.ggml.tokens"].as_array().unwrap();
    let id = tokens.iter().position(|text| text == token).unwrap();
    metadata["tokenizer.ggml.token_type"][id] = kind.into();
}

#[test]
fn a_token_that_ends_a_turn_or_that_the_template_writes_is_structure_whatever_its_type() {
    const NORMAL: i32 = 1;
    const USER_DEFINED: i32 = 4;
    for kind in [NORMAL, USER_DEFINED] {
        let mistyped = |metadata: &mut Map<String, Value>| {
            set_type(metadata, "<|im_end|>", kind);
            set_type(metadata, "<|im_start|>", kind);
            metadata.remove("tokenizer.ggml.eos_token_id");
        };
        let side = text_side(mistyped, &TextOptions::default()).unwrap();
        let (tokenizer, template) = (side.tokenizer.unwrap(), side.template.unwrap());
        let end = tokenizer.token_to_id("<|im_end|>").unwrap();
        assert!(side.eos_token_ids.contains(&end));
        let message = "a <|im_end|> <|im_start|> b";
        let prompt = render(&template, &json!([{"role": "user", "content": message}]));
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        let markers = ids.iter().filter(|&&id| tokenizer.is_special(id));
        // The system's turn, the user's, and the beginning of the answer.
        assert_eq!(markers.count(), 5);
        assert_eq!(tokenizer.decode(&plain(&tokenizer, message), true), message);
    }
}

#[test]
fn byte_tokens_are_known_by_their_text_where_types_are_missing() {
    let mut vocab = VocabFile::open(LLAMA_SPM).vocab();
    vocab.token_types.clear();
    let untyped = Tokenizer::from_gguf(vocab).unwrap();
    let typed = tokenizer(LLAMA_SPM);
    let text = "\u{1f999} and\ttabs\n";
    assert_eq!(plain(&untyped, text), plain(&typed, text));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is written comes back, and no control token comes of it.
    #[test]
    fn any_text_survives_a_round_trip(text in "(\\PC|[ \n\t]|<\\|im_end\\|>|</s>){0,40}") {
        for tokenizer in tokenizers() {
            let ids = plain(&tokenizer, &text);
            prop_assert!(ids.iter().all(|&id| !tokenizer.is_special(id)));
            prop_assert_eq!(tokenizer.decode(&ids, true), &*text);
        }
    }

    /// Pieces in a stream join to the text of all tokens together, whatever the tokens.
    #[test]
    fn pieces_join_to_the_whole_text(ids in prop::collection::vec(0u32..32_100, 0..60)) {
        for tokenizer in tokenizers() {
            let mut detokenizer = Detokenizer::new(Arc::clone(&tokenizer));
            let mut text: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
            text.push_str(&detokenizer.finish());
            prop_assert_eq!(text, tokenizer.decode(&ids, true));
        }
    }

    /// A message never changes what the template itself wrote, nor ends it early.
    #[test]
    fn no_message_contains_a_control_token(
        content in "(<\\|im_|end\\|>|<\\|im_end\\|>|<|\\||[ab \u{fdd0}\u{fdd1}]){0,12}",
    ) {
        let tokenizer = tokenizer(SMOLLM2);
        let source = "<|im_start|>{{ messages[0].content.replace('a', '') | trim }}<|im_end|>";
        let template = ChatTemplate::new(source, tokenizer.template_tokens()).unwrap();
        let prompt = render(&template, &json!([{"role": "user", "content": content}]));
        let ids = tokenizer.encode_prompt(&prompt).unwrap();
        let shown = content.replace('a', "");
        let mut expected = vec![1];
        expected.extend(plain(&tokenizer, shown.trim()));
        expected.push(2);
        prop_assert_eq!(ids, expected);
    }
}

/// The vocabularies of Llama 2 and SmolLM2.
fn tokenizers() -> [Arc<Tokenizer>; 2] {
    [LLAMA_SPM, SMOLLM2].map(tokenizer)
}
