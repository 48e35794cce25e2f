//! Files chosen by their quantisation: `hf:owner/repo:Q5_K_M`.

use crate::support::{FakeHub, options};
use matou_hub::{Catalogue, HubError, HubOptions, ModelFiles, ModelRef, resolve};

async fn get(model: &str, options: &HubOptions) -> Result<ModelFiles, HubError> {
    let model = ModelRef::parse(model).unwrap();
    resolve(&model, &Catalogue::builtin(), options).await
}

#[tokio::test]
async fn the_file_of_a_quantisation_is_fetched_and_found_on_disk_the_next_time() {
    let files = [
        ("m-Q4_K_M.gguf", &b"four"[..]),
        ("m-Q5_K_M.gguf", b"five"),
        ("m-Q8_0-00001-of-00002.gguf", b"eig"),
        ("m-Q8_0-00002-of-00002.gguf", b"ht"),
    ];
    let hub = FakeHub::start(&files).await;
    let (options, _folder) = options(&hub.endpoint);
    let five = get("hf:me/mine:q5_k_m", &options).await.unwrap();
    assert_eq!(std::fs::read(&five.weights).unwrap(), b"five");
    assert_eq!(five.name, "me/mine");
    let eight = get("hf:me/mine:Q8_0", &options).await.unwrap();
    assert!(eight.weights.ends_with("m-Q8_0-00001-of-00002.gguf"));
    let second = eight.weights.with_file_name("m-Q8_0-00002-of-00002.gguf");
    assert_eq!(std::fs::read(second).unwrap(), b"ht");
    hub.requests();
    assert_eq!(get("hf:me/mine:Q5_K_M", &options).await.unwrap(), five);
    assert_eq!(hub.requests(), [""; 0]);
}

#[tokio::test]
async fn a_quantisation_that_is_not_there_is_refused_with_those_that_are() {
    let hub = FakeHub::start(&[("m-Q8_0.gguf", b"m")]).await;
    let (options, _folder) = options(&hub.endpoint);
    let error = get("hf:me/mine:Q3_K_S", &options).await.unwrap_err();
    let message = error.to_string();
    let expected = "me/mine has no quantisation `Q3_K_S`; it has: Q8_0";
    assert!(message.contains(expected), "{message}");
}

#[tokio::test]
async fn a_catalogue_entry_may_name_a_quantisation() {
    let hub = FakeHub::start(&[("m-Q4_K_M.gguf", b"4"), ("m-Q8_0.gguf", b"8")]).await;
    let (options, folder) = options(&hub.endpoint);
    let path = folder.path().join("models.toml");
    let entry = r#"[[model]]
name = "mine"
description = "d"
family = "f"
parameters = "1B"
licence = "MIT"
context_length = 4096
size_gb = 1.0
sources = [{ hub = "me/mine", quantization = "Q8_0" }]
"#;
    std::fs::write(&path, entry).unwrap();
    let catalogue = Catalogue::builtin().with_user_file(&path).unwrap();
    let model = ModelRef::parse("mine").unwrap();
    let files = resolve(&model, &catalogue, &options).await.unwrap();
    assert!(files.weights.ends_with("m-Q8_0.gguf"));
}
