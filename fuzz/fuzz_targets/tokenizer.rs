//! Any bytes as one of the files of a tokenizer or of a template; what can be built is used.
#![no_main]

use std::path::PathBuf;
use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use matou_chat::{ChatTemplate, SpecialTokens, TemplateRequest, TemplateSource, Tokenizer};
use serde_json::{Map, json};

static FOLDER: LazyLock<PathBuf> = LazyLock::new(matou_fuzz::folder);

const TOKENIZER: &[u8] = include_bytes!("../../tests/fixtures/checkpoints/llama2/tokenizer.json");
const TEXT: &str = "Hello <s> wörld\n\n [INST] 12345 你好 </s>";

fuzz_target!(
    init: matou_fuzz::quiet(),
    |data: &[u8]| {
        let Some((choice, data)) = data.split_first() else {
            return;
        };
        let files: &[(&str, &[u8])] = match choice % 9 {
            0 => &[("tokenizer.json", data)],
            1 => &[("tekken.json", data)],
            2 => &[("tokenizer.model.v3", data)],
            3 => &[("tokenizer.json", TOKENIZER), ("tokenizer_config.json", data)],
            4 => &[("tokenizer.json", TOKENIZER), ("special_tokens_map.json", data)],
            5 => &[("tokenizer.json", TOKENIZER), ("chat_template.jinja", data)],
            6 => &[("tokenizer.json", TOKENIZER), ("generation_config.json", data)],
            7 => &[("tokenizer.json", TOKENIZER), ("config.json", data)],
            _ => &[("tokenizer.json", TOKENIZER), ("chat_template.json", data)],
        };
        matou_fuzz::fill(&FOLDER, files);
        let Ok(tokenizer) = Tokenizer::from_folder(&FOLDER) else {
            return;
        };
        if let Ok(ids) = tokenizer.encode(TEXT, SpecialTokens::Parse, true) {
            tokenizer.decode(&ids, false);
        }
        let Ok(Some(source)) = TemplateSource::from_folder(&FOLDER) else {
            return;
        };
        let Ok(template) = ChatTemplate::new(source, tokenizer.template_tokens()) else {
            return;
        };
        let prompt = template.render(&TemplateRequest {
            messages: &[json!({"role": "user", "content": TEXT})],
            tools: None,
            add_generation_prompt: true,
            continue_final_message: false,
            kwargs: &Map::new(),
        });
        if let Ok(prompt) = prompt {
            let _ = tokenizer.encode_prompt(&prompt);
        }
    }
);
