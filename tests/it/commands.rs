//! The commands that are no server.

use serde_json::json;

use crate::harness::{Server, matou, run, tiny_model};

/// What a command prints, which must succeed.
pub(crate) fn stdout(args: &[&str]) -> String {
    let output = run(args);
    assert!(
        output.status.success(),
        "{args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
fn list_shows_the_default_model() {
    assert!(stdout(&["list"]).contains("smollm2-135m-instruct"));
}

#[test]
fn show_tells_what_a_model_is_without_loading_it() {
    let tiny = tiny_model();
    let tiny = tiny.to_str().expect("UTF-8");
    let shown = stdout(&["show", tiny]);
    for part in [
        "LlamaForCausalLM: 2 layers",
        "F32 100.0 %",
        "</s> (2)",
        "512 tokens",
    ] {
        assert!(shown.contains(part), "{part:?} is not in {shown}");
    }
    let quantized = stdout(&["show", tiny, "--quantize", "q8_0"]);
    assert!(quantized.contains("Q8_0 100.0 %"), "{quantized}");
}

#[test]
fn a_checkpoint_is_quantised_as_it_loads() {
    let tiny = tiny_model();
    let tiny = tiny.to_str().expect("UTF-8");
    let question = [
        "run",
        "-m",
        tiny,
        " t17",
        "--temperature",
        "0",
        "--max-tokens",
        "4",
    ];
    let answer = stdout(&[&question[..], &["--quantize", "q8_0"]].concat());
    assert!(!answer.trim().is_empty());
    let output = run(&[&question[..], &["--quantize", "q9"]].concat());
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && message.contains("q4_k_m"),
        "{message}"
    );
}

#[test]
fn an_answer_comes_without_a_log_of_how_it_was_made() {
    let tiny = tiny_model();
    let tiny = tiny.to_str().expect("UTF-8");
    let mut command = matou(&["run", "-m", tiny, " t17", "--max-tokens", "4"]);
    let output = command.env_remove("RUST_LOG").output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_variable_stands_for_a_flag_that_is_not_given() {
    let tiny = tiny_model();
    let tiny = tiny.to_str().expect("UTF-8");
    let shown = |args: &[&str], variables: &[(&str, &str)]| {
        let output = matou(args).envs(variables.iter().copied()).output();
        String::from_utf8(output.expect("matou starts").stdout).expect("UTF-8")
    };
    let variables = [
        ("MATOU_MODEL", tiny),
        ("MATOU_QUANTIZE", "q8_0"),
        ("MATOU_THREADS", ""),
    ];
    let by_variable = shown(&["show"], &variables);
    assert!(by_variable.contains("Q8_0 100.0 %"), "{by_variable}");
    let by_flag = shown(&["show", "--quantize", "q4_0"], &variables);
    assert!(by_flag.contains("Q4_0"), "{by_flag}");
}

#[test]
fn another_chat_template_takes_the_place_of_the_models_own() {
    let tiny = tiny_model();
    let tiny = tiny.to_str().expect("UTF-8");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("mine.jinja");
    let file = file.to_str().expect("UTF-8");
    std::fs::write(file, "{{ messages[0].content }}").unwrap();
    let shown = stdout(&["show", tiny, "--chat-template", file]);
    assert!(shown.contains("25 characters"), "{shown}");
    std::fs::write(file, "{% if %}").unwrap();
    for (template, reason) in [(file, "chat template"), ("chat-ml", "chatml")] {
        let output = run(&["run", "-m", tiny, "Hi", "--chat-template", template]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{template} was taken");
        assert!(message.contains(reason), "{message}");
    }
}

#[tokio::test]
async fn a_model_answers_under_several_names_or_under_any() {
    let names = [
        "--served-model-name",
        "main,side",
        "--served-model-name",
        "third",
    ];
    let body = |model: &str| json!({"model": model, "prompt": " t5", "max_tokens": 1});
    let server = Server::start_model(&tiny_model(), &names);
    for model in ["main", "side", "third"] {
        let (status, answer) = server.post("/v1/completions", &body(model)).await;
        assert_eq!((status, &answer["model"]), (200, &json!("main")));
    }
    assert_eq!(server.post("/v1/completions", &body("other")).await.0, 404);
    drop(server);
    let any = [&names[..2], &["--any-model-name"]].concat();
    let server = Server::start_model(&tiny_model(), &any);
    let (status, answer) = server.post("/v1/completions", &body("claude-haiku")).await;
    assert_eq!((status, &answer["model"]), (200, &json!("main")));
}

#[test]
fn help_explains_every_command() {
    for command in ["serve", "chat", "run", "pull", "list", "bench"] {
        let help = stdout(&[command, "--help"]);
        assert!(help.contains("Usage: matou"), "{help}");
    }
}
