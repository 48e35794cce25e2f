//! The commands that are no server.

use serde_json::Value;

use crate::harness::{run, tiny_model};

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
fn bench_prints_a_json_line_a_figure() {
    let tiny = tiny_model();
    let lines = stdout(&[
        "bench",
        tiny.to_str().expect("UTF-8"),
        "--json",
        "--prompt",
        "40",
        "--generate",
        "3",
        "--depth",
        "5",
        "--batch",
        "1,2",
        "--reps",
        "2",
    ]);
    let figures: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let tests: Vec<_> = figures
        .iter()
        .map(|figure| figure["test"].as_str().expect("a name"))
        .collect();
    assert_eq!(tests, ["pp40", "tg3@d5", "tg3@d5 batch 2"]);
    for figure in &figures {
        assert_eq!(figure["engine"], "matou");
        assert_eq!(figure["runs"].as_array().expect("runs").len(), 2);
        assert!(figure["tokens_per_s"].as_f64().expect("a number") > 0.0);
    }
}

#[test]
fn help_explains_every_command() {
    for command in ["serve", "chat", "run", "pull", "list", "bench"] {
        let help = stdout(&[command, "--help"]);
        assert!(help.contains("Usage: matou"), "{help}");
    }
}
