//! `tekken.json` and `tokenizer.model`, and the chats of models that have no template, against the
//! ids of `mistral-common`.

use std::path::PathBuf;

use matou_chat::{ChatTemplate, SpecialTokens, TemplateRequest, TemplateSource, Tokenizer};
use serde_json::{Map, Value, json};

/// Whole vocabularies may lie elsewhere: see the README of the fixtures.
fn folder() -> PathBuf {
    match std::env::var_os("MATOU_MISTRAL_FIXTURES") {
        Some(folder) => folder.into(),
        None => matou_testkit::fixtures_dir().join("mistral"),
    }
}

fn golden() -> Vec<Value> {
    let text = std::fs::read(folder().join("golden.json")).unwrap();
    serde_json::from_slice(&text).unwrap()
}

fn ids(value: &Value) -> Vec<u32> {
    serde_json::from_value(value.clone()).unwrap()
}

fn open(entry: &Value) -> (String, PathBuf, Tokenizer) {
    let name = entry["folder"].as_str().unwrap().to_owned();
    let folder = folder().join(&name);
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    (name, folder, tokenizer)
}

#[test]
fn texts_have_the_ids_of_tiktoken_and_sentencepiece() {
    for entry in golden() {
        let (name, _, tokenizer) = open(&entry);
        for case in entry["texts"].as_array().unwrap() {
            let text = case["text"].as_str().unwrap();
            let expected = ids(&case["ids"]);
            let plain = tokenizer.encode(text, SpecialTokens::Plain, false).unwrap();
            assert_eq!(plain, expected, "{name}: {text:?}");
            // A space of the text's own and the one put before it look the same.
            if !text.contains('▁') {
                assert_eq!(tokenizer.decode(&expected, true), text, "{name}");
            }
        }
        let with_bos = tokenizer.encode("Hi", SpecialTokens::Plain, true).unwrap();
        assert_eq!(
            (with_bos[0], tokenizer.eos_token_ids()[0]),
            (1, 2),
            "{name}"
        );
    }
}

#[test]
fn chats_have_the_ids_of_mistral_common() {
    for entry in golden() {
        let (name, folder, tokenizer) = open(&entry);
        let source = TemplateSource::from_folder(&folder).unwrap();
        // A tokenizer without a version may be anybody's.
        assert_eq!(source.is_none(), name == "spm-v1");
        let source = source.or_else(|| TemplateSource::mistral(1)).unwrap();
        let template = ChatTemplate::new(source, tokenizer.template_tokens()).unwrap();
        for chat in entry["chats"].as_array().unwrap() {
            let tools = Some(&chat["tools"]).filter(|tools| name != "spm-v1" && !tools.is_null());
            let prompt = template
                .render(&TemplateRequest {
                    messages: chat["messages"].as_array().unwrap(),
                    tools,
                    add_generation_prompt: true,
                    continue_final_message: false,
                    kwargs: &Map::new(),
                })
                .unwrap();
            let actual = tokenizer.encode_prompt(&prompt).unwrap();
            assert_eq!(actual, ids(&chat["ids"]), "{name}: {}", prompt.text());
        }
    }
}

#[test]
fn tokens_can_be_added_to_a_sentencepiece_model() {
    let model = folder().join("spm-v1/tokenizer.model");
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(model, folder.path().join("tokenizer.model")).unwrap();
    let plain = Tokenizer::from_folder(folder.path()).unwrap();
    let count = plain.vocab_size() as u32;
    let config = json!({
        "eos_token": "<|im_end|>",
        "added_tokens_decoder": {
            count.to_string(): {"content": "<|im_end|>", "special": true},
            (count + 1).to_string(): {"content": "<tool>", "special": false},
        },
    });
    let path = folder.path().join("tokenizer_config.json");
    std::fs::write(path, config.to_string()).unwrap();
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let encode = |text, special| tokenizer.encode(text, special, false).unwrap();
    assert_eq!(tokenizer.eos_token_ids()[0], count);
    assert_eq!(encode("<|im_end|>", SpecialTokens::Parse), [count]);
    assert!(!encode("<|im_end|>", SpecialTokens::Plain).contains(&count));
    assert_eq!(encode("<tool>", SpecialTokens::Plain), [count + 1]);
    assert_eq!(tokenizer.decode(&[count + 1], true), "<tool>");
}

#[test]
fn broken_files_are_refused_with_words() {
    let folder = tempfile::tempdir().unwrap();
    let message = || {
        Tokenizer::from_folder(folder.path())
            .unwrap_err()
            .to_string()
    };
    assert!(message().contains("neither tokenizer.json nor tekken.json"));
    let tekken = folder.path().join("tekken.json");
    let cases = [
        (json!({}), "missing field"),
        (tekken_of(2, 9, 3), "default_vocab_size wants 6 tokens"),
        (tekken_of(6, 9, 1), "1 special tokens"),
        (tekken_of(6, 1 << 40, 3), "not supported"),
        (tekken_of(6, 9, 30), "30 special tokens"),
    ];
    for (file, expected) in cases {
        std::fs::write(&tekken, file.to_string()).unwrap();
        assert!(message().contains(expected), "{}", message());
    }
    std::fs::remove_file(&tekken).unwrap();
    std::fs::write(folder.path().join("tokenizer.model"), b"\x0a\xff\xff").unwrap();
    assert!(message().contains("tokenizer.model"), "{}", message());
}

/// A file of so many tokens that says so much of itself.
fn tekken_of(tokens: usize, vocab_size: u64, special: u64) -> Value {
    let vocab: Vec<Value> = (0..tokens)
        .map(|rank| json!({"rank": rank, "token_bytes": "YQ=="}))
        .collect();
    json!({
        "config": {"pattern": ".", "default_vocab_size": vocab_size, "default_num_special_tokens": special},
        "vocab": vocab, "special_tokens": [],
    })
}
