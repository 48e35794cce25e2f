//! `matou` on a GPU: any Vulkan device will do, such as Mesa's software one.

use matou_model::gpus;
use matou_testkit::gpu;
use serde_json::{Value, json};

use crate::harness::{Server, matou, run, tiny_model};

fn completion(i: u64) -> Value {
    json!({
        "prompt": (0..3 + 5 * i).map(|token| token * 7 % 100 + 3).collect::<Vec<u64>>(),
        "temperature": if i.is_multiple_of(2) { 0.0 } else { 0.9 }, "seed": i, "max_tokens": 12,
        "ignore_eos": true, "logprobs": 3, "stream": true,
    })
}

fn choices(chunks: Vec<Value>) -> Vec<Value> {
    let choices = |chunk: Value| chunk["choices"].clone();
    chunks.into_iter().map(choices).collect()
}

#[tokio::test]
async fn streams_on_a_gpu_give_byte_for_byte_what_each_gives_alone() {
    let Some(gpu) = gpu() else { return };
    let server = Server::start_model(&tiny_model(), &["--device", &gpu.to_string()]);
    let requests: Vec<Value> = (0..6).map(completion).collect();
    let mut alone = Vec::new();
    for request in &requests {
        alone.push(choices(server.stream_of("/v1/completions", request).await));
    }
    let streams = requests
        .iter()
        .map(|request| server.stream_of("/v1/completions", request));
    let together = futures_util::future::join_all(streams).await;
    let together: Vec<_> = together.into_iter().map(choices).collect();
    assert_eq!(together, alone);
    assert!(alone.iter().all(|chunks| chunks.len() > 6), "{alone:?}");
}

#[tokio::test]
async fn who_hangs_up_leaves_no_blocks_behind_on_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let server = Server::start_model(&tiny_model(), &["--device", &gpu.to_string()]);
    let mut body = completion(4);
    body["max_tokens"] = json!(400);
    let asked = server
        .client
        .post(format!("{}/v1/completions", server.url))
        .json(&body)
        .send();
    let mut response = asked.await.expect("an answer");
    response.chunk().await.expect("a chunk");
    server
        .wait_for("matou:kv_blocks_used", |used| used > 0.0)
        .await;
    drop(response);
    server
        .wait_for("matou:kv_blocks_used", |used| used == 0.0)
        .await;
    let (status, _) = server
        .post(
            "/v1/completions",
            &json!({"prompt": [5, 6], "max_tokens": 2}),
        )
        .await;
    assert_eq!(status, 200);
}

#[test]
fn what_does_not_fit_or_is_not_there_is_refused_with_numbers() {
    let model = tiny_model();
    let model = model.to_str().expect("a path in UTF-8");
    let refused = |extra: &[&str]| {
        let output = run(&[&["serve", model, "--port", "0"], extra].concat());
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let error = refused(&["--device", "gpu:99"]);
    assert!(
        error.contains("GPU") && error.contains("--device cpu"),
        "{error}"
    );
    let error = refused(&["--device", "tpu"]);
    assert!(error.contains("gpu:N"), "{error}");
    let Some(gpu) = gpu() else { return };
    let error = refused(&["--device", &gpu.to_string(), "--memory", "1MiB"]);
    assert!(
        error.contains("the budget is 1.0 MiB") && error.contains("raise --memory"),
        "{error}"
    );
}

/// A machine without any driver: it is served on the CPU, and told so to who asks for a GPU.
#[tokio::test]
async fn without_a_driver_the_cpu_serves_and_a_gpu_is_refused() {
    let nowhere = "/nonexistent/driver.json";
    let without = |args: &[&str]| {
        let mut command = matou(args);
        command.env("VK_DRIVER_FILES", nowhere);
        command.env("VK_ICD_FILENAMES", nowhere);
        command
    };
    let model = tiny_model();
    let model = model.to_str().expect("a path in UTF-8");
    let server = Server::spawn(without(&["serve", model, "--port", "0"]));
    let body = json!({"prompt": [5, 6], "max_tokens": 2});
    assert_eq!(server.post("/v1/completions", &body).await.0, 200);

    let output = without(&["devices"]).output().expect("matou starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("cpu"), "{text}");
    if cfg!(target_os = "linux") {
        assert!(!text.contains("gpu:0"), "{text}");
        let asked = without(&["serve", model, "--port", "0", "--device", "gpu"]).output();
        let asked = asked.expect("matou starts");
        let error = String::from_utf8_lossy(&asked.stderr).into_owned();
        assert!(!asked.status.success());
        assert!(error.contains("no GPU was found"), "{error}");
    }
}

#[test]
fn devices_are_listed() {
    let output = run(&["devices"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success());
    assert!(text.contains("auto:"), "{text}");
    for gpu in gpus() {
        assert!(text.contains(&format!("gpu:{}", gpu.index)), "{text}");
        assert!(text.contains(&gpu.name), "{text}");
    }
}
