//! `--chat-template`: another template than the model's own, from a file or by the name of a format
//! that many models share.

use std::fs::File;
use std::io::Read;

use matou_chat::TemplateSource;

/// Formats by name: what models that come without a template were trained on. Each is the plain
/// conversation, without tools or thoughts.
const TEMPLATES: [(&str, &str); 8] = [
    ("alpaca", include_str!("chat_templates/alpaca.jinja")),
    ("gemma", include_str!("chat_templates/gemma.jinja")),
    ("llama2", include_str!("chat_templates/llama2.jinja")),
    ("llama3", include_str!("chat_templates/llama3.jinja")),
    ("mistral", include_str!("chat_templates/mistral.jinja")),
    ("phi3", include_str!("chat_templates/phi3.jinja")),
    ("vicuna", include_str!("chat_templates/vicuna.jinja")),
    ("zephyr", include_str!("chat_templates/zephyr.jinja")),
];

/// The longest templates of published models have some tens of KiB.
const MAX_BYTES: u64 = 1 << 20;

/// The template that `text` names: one of the list, one that the text side knows anyway, or else a file.
pub(super) fn read(text: &str) -> Result<TemplateSource, String> {
    let listed = TEMPLATES.iter().find(|(name, _)| *name == text);
    let known = listed.map(|(_, template)| TemplateSource::from(*template));
    if let Some(known) = known.or_else(|| TemplateSource::known(text)) {
        return Ok(known);
    }
    let wrong = |reason: String| {
        let names = TEMPLATES.map(|(name, _)| name).join(", ");
        format!(
            "`{text}`: {reason}; it is the path of a Jinja file, or one of {names}, chatml, \
             mistral-v1 to mistral-v13"
        )
    };
    let file = File::open(text).map_err(|error| wrong(error.to_string()))?;
    let mut template = String::new();
    file.take(MAX_BYTES + 1)
        .read_to_string(&mut template)
        .map_err(|error| wrong(error.to_string()))?;
    if template.len() as u64 > MAX_BYTES {
        return Err(wrong(format!("the file has more than {MAX_BYTES} bytes")));
    }
    if template.trim().is_empty() {
        return Err(wrong("the file is empty".to_owned()));
    }
    Ok(template.into())
}

#[cfg(test)]
mod tests {
    use matou_chat::{ChatTemplate, TemplateRequest, TemplateTokens};
    use serde_json::{Map, json};

    use super::*;

    /// A conversation of four messages in the template of that name.
    fn rendered(name: &str) -> String {
        let tokens = TemplateTokens {
            bos_token: "<s>".to_owned(),
            eos_token: "</s>".to_owned(),
            ..TemplateTokens::default()
        };
        let template = ChatTemplate::new(read(name).unwrap(), tokens).unwrap();
        let messages = [
            ("system", "S"),
            ("user", "A"),
            ("assistant", "B"),
            ("user", "C"),
        ];
        let messages = messages.map(|(role, content)| json!({"role": role, "content": content}));
        let request = TemplateRequest {
            messages: &messages,
            tools: None,
            add_generation_prompt: true,
            continue_final_message: false,
            kwargs: &Map::new(),
        };
        template.render(&request).unwrap().text()
    }

    #[test]
    fn the_templates_that_have_a_name_write_what_their_models_were_trained_on() {
        for (name, expected) in [
            (
                "alpaca",
                "<s>S\n\n### Instruction:\nA\n\n### Response:\nB</s>\n\n\
                 ### Instruction:\nC\n\n### Response:\n",
            ),
            (
                "chatml",
                "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nA<|im_end|>\n\
                 <|im_start|>assistant\nB<|im_end|>\n<|im_start|>user\nC<|im_end|>\n\
                 <|im_start|>assistant\n",
            ),
            (
                "gemma",
                "<s><start_of_turn>user\nS\n\nA<end_of_turn>\n<start_of_turn>model\nB<end_of_turn>\n\
                 <start_of_turn>user\nC<end_of_turn>\n<start_of_turn>model\n",
            ),
            (
                "llama2",
                "<s>[INST] <<SYS>>\nS\n<</SYS>>\n\nA [/INST] B </s><s>[INST] C [/INST]",
            ),
            (
                "llama3",
                "<s><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\nA<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\nB<|eot_id|>\
                 <|start_header_id|>user<|end_header_id|>\n\nC<|eot_id|>\
                 <|start_header_id|>assistant<|end_header_id|>\n\n",
            ),
            ("mistral", "<s>[INST] A[/INST] B</s>[INST] S\n\nC[/INST]"),
            (
                "phi3",
                "<|system|>\nS<|end|>\n<|user|>\nA<|end|>\n<|assistant|>\nB<|end|>\n\
                 <|user|>\nC<|end|>\n<|assistant|>\n",
            ),
            (
                "vicuna",
                "<s>S\n\nUSER: A\nASSISTANT: B</s>\nUSER: C\nASSISTANT:",
            ),
            (
                "zephyr",
                "<|system|>\nS</s>\n<|user|>\nA</s>\n<|assistant|>\nB</s>\n<|user|>\nC</s>\n\
                 <|assistant|>\n",
            ),
        ] {
            assert_eq!(rendered(name), expected, "{name}");
        }
    }

    #[test]
    fn a_template_is_read_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mine.jinja");
        std::fs::write(&path, "{{ messages[0].content }}").unwrap();
        let read = read(path.to_str().unwrap());
        assert_eq!(read, Ok("{{ messages[0].content }}".into()));
    }

    #[test]
    fn what_is_no_template_is_refused_with_the_names_of_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        for wrong in [
            "chat-ml".to_owned(),
            folder.path().to_str().unwrap().to_owned(),
            file("empty", b" \n"),
            file("binary", &[0xff, 0xfe]),
            file("long", &vec![b'x'; MAX_BYTES as usize + 1]),
        ] {
            let message = read(&wrong).unwrap_err();
            assert!(message.contains("alpaca, gemma"), "{wrong}: {message}");
        }
    }
}
