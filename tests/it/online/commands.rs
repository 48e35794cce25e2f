//! The commands that are no server, on the default model.

use crate::bad_files::refusal;
use crate::commands::stdout;
use crate::harness::default_model;

#[test]
fn run_answers_on_standard_output() {
    let model = default_model().to_str().expect("UTF-8");
    let answer = stdout(&[
        "run",
        "-m",
        model,
        "What is the capital of France?",
        "--system",
        "You are a helpful assistant.",
        "--temperature",
        "0",
        "--max-tokens",
        "24",
    ]);
    assert!(answer.contains("Paris"), "{answer}");
}

#[test]
fn a_truncated_download_is_told_from_a_whole_one() {
    let whole = std::fs::read(default_model()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (name, length) in [("header.gguf", 1000), ("half.gguf", whole.len() / 2)] {
        let path = folder.path().join(name);
        std::fs::write(&path, &whole[..length]).unwrap();
        let errors = refusal(&path);
        assert!(errors.contains(name), "{errors}");
    }
}
