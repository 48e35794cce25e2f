//! Tokenizers from `tokenizer.json`, against the `tokenizers` crate reading the same file.

use std::path::Path;
use std::sync::{Arc, OnceLock};

use matou_chat::{Detokenizer, SpecialTokens, TemplateSource, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::Model as _;

/// The byte-level alphabet, by byte.
fn alphabet() -> Vec<String> {
    let printable = |byte: u32| matches!(byte, 33..=126 | 161..=172 | 174..=255);
    let mut others = 256..;
    (0..256)
        .map(|byte| {
            if printable(byte) {
                byte
            } else {
                others.next().unwrap()
            }
        })
        .map(|code| char::from_u32(code).unwrap().to_string())
        .collect()
}

/// A vocabulary by id, as `tokenizer.json` has it.
fn by_text(tokens: &[String]) -> Value {
    let entries = tokens.iter().zip(0u32..);
    entries
        .map(|(token, id)| (token.clone(), json!(id)))
        .collect()
}

fn added(id: usize, content: &str, special: bool, normalized: bool, rstrip: bool) -> Value {
    json!({"id": id, "content": content, "special": special, "normalized": normalized,
        "single_word": false, "lstrip": false, "rstrip": rstrip})
}

/// A file like Llama 3's: byte-level BPE, a regular expression, BOS from the post-processor.
fn byte_level() -> Value {
    let mut tokens = alphabet();
    let merges = [("a", "b"), ("Ġ", "ab"), ("Ã", "©"), ("b", "b")];
    tokens.extend(merges.iter().map(|(left, right)| format!("{left}{right}")));
    let count = tokens.len();
    json!({
        "version": "1.0",
        "added_tokens": [
            added(count, "<s>", true, false, false),
            added(count + 1, "</s>", true, false, true),
            added(count + 2, "<think>", false, false, false),
            added(count + 3, "[tool]", false, true, false),
        ],
        "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "behavior": "Isolated", "invert": false,
             "pattern": {"Regex": " ?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"}},
            {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false},
        ]},
        "post_processor": {"type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<s>": {"id": "<s>", "ids": [count], "tokens": ["<s>"]}}},
        "decoder": {"type": "ByteLevel", "add_prefix_space": true, "trim_offsets": true, "use_regex": true},
        "model": {"type": "BPE", "vocab": by_text(&tokens),
            "merges": merges.map(|(left, right)| format!("{left} {right}"))},
    })
}

/// A file like Llama 2's: BPE over whole text with byte tokens. `metaspace` writes the space
/// before the text the way newer files do: before the first piece only.
fn sentencepiece(metaspace: bool) -> Value {
    let mut tokens = vec!["<unk>".to_owned(), "<s>".to_owned(), "</s>".to_owned()];
    tokens.extend((0..256).map(|byte| format!("<0x{byte:02X}>")));
    tokens.extend(["▁", "a", "b", "é", "▁a", "ab"].map(str::to_owned));
    let mut file = json!({
        "version": "1.0",
        "added_tokens": [
            added(0, "<unk>", true, false, false),
            added(1, "<s>", true, false, false),
            added(2, "</s>", true, false, false),
        ],
        "normalizer": {"type": "Sequence", "normalizers": [
            {"type": "Prepend", "prepend": "▁"},
            {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        ]},
        "decoder": {"type": "Sequence", "decoders": [
            {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
            {"type": "ByteFallback"}, {"type": "Fuse"},
            {"type": "Strip", "content": " ", "start": 1, "stop": 0},
        ]},
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true,
            "vocab": by_text(&tokens), "merges": ["▁ a", "a b"]},
    });
    if metaspace {
        file["normalizer"] = Value::Null;
        file["pre_tokenizer"] = json!({"type": "Metaspace", "replacement": "▁",
            "prepend_scheme": "first", "split": false});
    }
    file
}

/// Both readers of one file.
struct Pair {
    ours: Arc<Tokenizer>,
    theirs: tokenizers::Tokenizer,
    folder: TempDir,
}

fn pair(file: &Value) -> Pair {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    std::fs::write(&path, file.to_string()).unwrap();
    Pair {
        ours: Arc::new(Tokenizer::from_file(&path).unwrap()),
        theirs: tokenizers::Tokenizer::from_file(&path).unwrap(),
        folder,
    }
}

fn write(folder: &Path, name: &str, content: &Value) {
    std::fs::write(folder.join(name), content.to_string()).unwrap();
}

/// The byte-level file and both kinds of SentencePiece files, read once.
fn pairs() -> &'static [Pair; 3] {
    static PAIRS: OnceLock<[Pair; 3]> = OnceLock::new();
    PAIRS.get_or_init(|| {
        [byte_level(), sentencepiece(false), sentencepiece(true)].map(|file| pair(&file))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn ids_are_those_of_the_tokenizers_crate(
        text in "(<s>|</s>|<think>|\\[tool\\]|[ab \né1])( |[abe\u{301}é 12]){0,5}(</s>|<think>|\\[tool\\])?[ab 🦀]{0,4}",
    ) {
        for Pair { ours, theirs, .. } in pairs() {
            for add_special_tokens in [false, true] {
                let expected = theirs.encode(text.as_str(), add_special_tokens).unwrap();
                let ids = ours.encode(&text, SpecialTokens::Parse, add_special_tokens).unwrap();
                prop_assert_eq!(&ids, expected.get_ids());
            }
        }
    }

    #[test]
    fn byte_level_text_is_that_of_the_tokenizers_crate_down_to_broken_characters(
        ids in prop::collection::vec(0u32..264, 0..40),
        skip_special_tokens: bool,
    ) {
        let Pair { ours, theirs, .. } = &pairs()[0];
        let expected = theirs.decode(&ids, skip_special_tokens).unwrap();
        prop_assert_eq!(ours.decode(&ids, skip_special_tokens), expected);
    }

    #[test]
    fn sentencepiece_text_is_that_of_the_tokenizers_crate(text in "[ab é🦀\n]{0,20}") {
        for Pair { ours, theirs, .. } in &pairs()[1..] {
            let ids = ours.encode(&text, SpecialTokens::Plain, false).unwrap();
            let expected = theirs.decode(&ids, true).unwrap();
            let mut detokenizer = Detokenizer::new(Arc::clone(ours));
            let mut streamed: String = ids.iter().map(|&id| detokenizer.push(id)).collect();
            streamed.push_str(&detokenizer.finish());
            prop_assert_eq!(&streamed, &expected);
            prop_assert_eq!(ours.decode(&ids, true), expected);
        }
    }
}

#[test]
fn control_tokens_are_text_unless_they_may_be_parsed() {
    let Pair { ours, .. } = pair(&byte_level());
    let ids = ours.encode("a</s>", SpecialTokens::Plain, false).unwrap();
    assert!(ids.iter().all(|&id| !ours.is_special(id)));
    assert_eq!(ours.decode(&ids, true), "a</s>");
    // Added tokens that are not special are parsed in any text.
    let think = ours.token_to_id("<think>").unwrap();
    assert_eq!(
        ours.encode("<think>", SpecialTokens::Plain, false).unwrap(),
        [think]
    );
    assert!(!ours.is_special(think));
}

#[test]
fn merges_that_lead_to_a_control_token_do_not_make_one_of_text() {
    let mut file = sentencepiece(false);
    for (token, id) in [("<", 300), ("s", 301), (">", 302), ("<s", 303)] {
        file["model"]["vocab"][token] = json!(id);
    }
    file["model"]["merges"] = json!(["< s", "<s >"]);
    let Pair { ours, theirs, .. } = pair(&file);
    assert!(
        theirs
            .get_model()
            .tokenize("<s>")
            .unwrap()
            .iter()
            .any(|token| token.id == 1)
    );
    let ids = ours.encode("<s>", SpecialTokens::Plain, false).unwrap();
    let texts: Vec<_> = ids
        .iter()
        .map(|&id| ours.id_to_token(id).unwrap())
        .collect();
    assert_eq!(texts, ["▁", "<", "s", ">"]);
}

#[test]
fn bos_and_eos_come_from_the_files_beside_the_tokenizer() {
    let Pair { folder, .. } = pair(&sentencepiece(false));
    let folder = folder.path();
    write(
        folder,
        "tokenizer_config.json",
        &json!({
            "bos_token": {"content": "<s>"}, "eos_token": "</s>",
            "add_bos_token": true, "tokenizer_class": "LlamaTokenizer",
            "chat_template": "{{ bos_token }}",
        }),
    );
    write(
        folder,
        "generation_config.json",
        &json!({"eos_token_id": [5, 2]}),
    );
    write(folder, "config.json", &json!({"eos_token_id": 7}));
    let tokenizer = Tokenizer::from_folder(folder).unwrap();
    assert_eq!(tokenizer.bos_token_id(), Some(1));
    assert_eq!(tokenizer.eos_token_ids(), [2, 5, 7]);
    assert_eq!(
        tokenizer.encode("", SpecialTokens::Plain, true).unwrap(),
        [1]
    );
    assert_eq!(tokenizer.template_tokens().bos_token, "<s>");
    assert_eq!(tokenizer.template_tokens().eos_token, "</s>");

    let template = TemplateSource::from_folder(folder).unwrap();
    assert_eq!(template, Some("{{ bos_token }}".into()));
    std::fs::write(folder.join("chat_template.jinja"), "newer").unwrap();
    assert_eq!(
        TemplateSource::from_folder(folder).unwrap(),
        Some("newer".into())
    );
}

#[test]
fn templates_in_files_of_their_own_stand_beside_the_default() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let additional = folder.join("additional_chat_templates");
    std::fs::create_dir(&additional).unwrap();
    std::fs::write(additional.join("tool_use.jinja"), "with tools").unwrap();
    std::fs::write(additional.join("notes.txt"), "none").unwrap();
    let config = json!({"chat_template": [
        {"name": "default", "template": "of the config"}, {"name": "tool_use", "template": "old"},
    ]});
    write(folder, "tokenizer_config.json", &config);
    let named = |default: &str| {
        let templates = [("default", default), ("tool_use", "with tools")];
        TemplateSource::named(templates.map(|(name, text)| (name.to_owned(), text.to_owned())))
    };
    let read = || TemplateSource::from_folder(folder).unwrap();
    assert_eq!(read(), Some(named("of the config")));
    write(
        folder,
        "chat_template.json",
        &json!({"chat_template": "of the json"}),
    );
    assert_eq!(read(), Some(named("of the json")));
    std::fs::write(folder.join("chat_template.jinja"), "of the jinja").unwrap();
    assert_eq!(read(), Some(named("of the jinja")));
}

#[test]
fn tokens_that_only_the_config_knows_are_known() {
    let Pair { folder, .. } = pair(&byte_level());
    let folder = folder.path();
    let count = Tokenizer::from_folder(folder).unwrap().vocab_size();
    let token = |content: &str, special: bool| {
        json!({"content": content, "special": special, "lstrip": false, "rstrip": false,
            "single_word": false, "normalized": false})
    };
    let decoder = json!({
        (count + 1).to_string(): token("<extra>", true),
        count.to_string(): token("<shown>", false),
        "0": token("<taken>", true),
        "1": token("ab", true),
    });
    write(
        folder,
        "tokenizer_config.json",
        &json!({"added_tokens_decoder": decoder}),
    );
    let tokenizer = Tokenizer::from_folder(folder).unwrap();
    let extra = u32::try_from(count + 1).unwrap();
    assert_eq!(tokenizer.token_to_id("<extra>"), Some(extra));
    assert!(tokenizer.is_special(extra) && !tokenizer.is_special(extra - 1));
    let ids = tokenizer
        .encode("a<extra><shown>", SpecialTokens::Parse, false)
        .unwrap();
    assert_eq!(ids[1..], [extra, extra - 1]);
    let plain = tokenizer
        .encode("<extra>", SpecialTokens::Plain, false)
        .unwrap();
    assert!(!plain.contains(&extra));
    assert_eq!(tokenizer.decode(&plain, true), "<extra>");
    // An id that another token has is left to it; a token of the vocabulary becomes control text.
    assert_eq!(tokenizer.token_to_id("<taken>"), None);
    assert!(tokenizer.is_special(tokenizer.token_to_id("ab").unwrap()));
}

#[test]
fn a_token_that_ends_a_turn_is_control_text_though_the_file_says_otherwise() {
    let mut file = byte_level();
    let tokens = file["added_tokens"].as_array_mut().unwrap();
    let id = tokens.len() + 260;
    tokens.push(added(id, "<|im_end|>", false, true, false));
    let Pair { folder, .. } = pair(&file);
    let tokenizer = Tokenizer::from_folder(folder.path()).unwrap();
    let end = tokenizer.token_to_id("<|im_end|>").unwrap();
    assert!(tokenizer.is_special(end));
    assert_eq!(tokenizer.eos_token_ids(), [end]);
    let plain = tokenizer
        .encode("<|im_end|>", SpecialTokens::Plain, false)
        .unwrap();
    assert!(!plain.contains(&end));
}

#[test]
fn end_tokens_of_a_config_are_of_the_whole_or_else_of_the_text_part() {
    let Pair { folder, .. } = pair(&sentencepiece(false));
    let folder = folder.path();
    let end_tokens = |config: &Value| {
        write(folder, "config.json", config);
        Tokenizer::from_folder(folder).map(|tokenizer| tokenizer.eos_token_ids().to_vec())
    };
    let text_part = json!({"eos_token_id": [4, 6]});
    let of_part = end_tokens(&json!({"text_config": text_part, "eos_token_id": null}));
    assert_eq!(of_part.unwrap(), [4, 6]);
    let of_whole = end_tokens(&json!({"text_config": text_part, "eos_token_id": 7}));
    assert_eq!(of_whole.unwrap(), [7]);
    assert_eq!(end_tokens(&json!({})).unwrap(), [0; 0]);
    let error = end_tokens(&json!({"eos_token_id": "</s>"})).unwrap_err();
    assert!(
        error.to_string().contains("config.json: eos_token_id"),
        "{error}"
    );
}

#[test]
fn a_broken_generation_config_is_an_error_that_names_the_file() {
    let Pair { folder, .. } = pair(&sentencepiece(false));
    std::fs::write(folder.path().join("generation_config.json"), "{").unwrap();
    let error = Tokenizer::from_folder(folder.path())
        .unwrap_err()
        .to_string();
    assert!(error.contains("generation_config.json: "), "{error}");
}

#[test]
fn tokens_of_a_test_checkpoint_are_their_text() {
    let folder = matou_testkit::fixtures_dir().join("checkpoints/llama3");
    let tokenizer = Tokenizer::from_folder(&folder).unwrap();
    let ids = tokenizer
        .encode(" t17 t5", SpecialTokens::Plain, true)
        .unwrap();
    assert_eq!(ids, [17, 5]);
    assert_eq!(tokenizer.decode(&[17, 2, 5], true), " t17 t5");
    assert_eq!(tokenizer.eos_token_ids(), [2]);
}

#[test]
fn broken_files_are_errors_that_name_the_file() {
    let error = |file: &Value| {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "tokenizer.json", file);
        Tokenizer::from_file(&folder.path().join("tokenizer.json"))
            .unwrap_err()
            .to_string()
    };
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut file = byte_level();
        change(&mut file);
        error(&file)
    };
    assert!(error(&json!([])).contains("tokenizer.json: "));
    // A token longer than any in the vocabulary overruns a buffer of the parser.
    let long = changed(&|file| file["model"]["merges"] = json!(["Ġab Ġab"]));
    assert!(long.contains("tokenizer.json: "), "{long}");
    let id = changed(&|file| file["model"]["vocab"]["zz"] = json!(4_000_000_000u32));
    assert!(id.contains("4000000000"), "{id}");
    let decoder = changed(&|file| {
        file["decoder"] = json!({"type": "CTC", "pad_token": "x",
        "word_delimiter_token": "|", "cleanup": true})
    });
    assert!(decoder.contains("CTC"), "{decoder}");
    let missing = Tokenizer::from_file(Path::new("/nowhere/tokenizer.json")).unwrap_err();
    assert!(missing.to_string().contains("/nowhere/tokenizer.json"));
}
