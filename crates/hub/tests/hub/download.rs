//! Downloads, against a model hub on this machine.

use std::path::Path;
use std::time::Duration;

use crate::support::{COMMIT, FakeHub, options, sha256};
use matou_hub::{Catalogue, HubError, HubOptions, ModelFiles, ModelRef, resolve};

const MODEL: &[u8] = b"the weights of a model";

async fn get(model: &str, options: &HubOptions) -> Result<ModelFiles, HubError> {
    resolve(
        &ModelRef::parse(model).unwrap(),
        &Catalogue::builtin(),
        options,
    )
    .await
}

async fn failure(model: &str, options: &HubOptions) -> String {
    get(model, options).await.unwrap_err().to_string()
}

/// Everything below a folder, as paths relative to it.
fn tree(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut pending = vec![folder.to_owned()];
    while let Some(next) = pending.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten().flatten() {
            match entry.file_type().unwrap().is_dir() {
                true => pending.push(entry.path()),
                false => found.push(
                    entry
                        .path()
                        .strip_prefix(folder)
                        .unwrap()
                        .display()
                        .to_string(),
                ),
            }
        }
    }
    found.sort();
    found
}

#[tokio::test]
async fn a_file_is_fetched_into_the_hugging_face_cache_and_found_there_the_next_time() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (options, _folder) = options(&hub.endpoint);
    let files = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(&files.weights).unwrap(), MODEL);
    assert_eq!((files.name.as_str(), files.is_gguf), ("me/mine", true));
    let digest = sha256(MODEL);
    assert_eq!(
        tree(&options.hub_cache),
        [
            format!(".locks/models--me--mine/{digest}.lock"),
            format!("models--me--mine/blobs/{digest}"),
            "models--me--mine/refs/main".to_owned(),
            format!("models--me--mine/snapshots/{COMMIT}/m.gguf"),
        ]
    );
    assert!(!hub.requests().is_empty());
    assert_eq!(get("hf:me/mine/m.gguf", &options).await.unwrap(), files);
    assert_eq!(hub.requests(), [""; 0]);
}

#[tokio::test]
async fn a_broken_download_goes_on_where_it_stopped() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    hub.set(|behaviour| behaviour.cuts = vec![5, 4]);
    let (options, _folder) = options(&hub.endpoint);
    let files = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(files.weights).unwrap(), MODEL);
    let last = MODEL.len() - 1;
    let ranges = [0, 5, 9].map(|start| format!("m.gguf bytes={start}-{last}"));
    assert_eq!(hub.downloads(), ranges);
}

#[tokio::test]
async fn a_download_given_up_is_resumed_by_the_next_run() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    hub.set(|behaviour| behaviour.cuts = vec![5, 0, 0, 0]);
    let (options, _folder) = options(&hub.endpoint);
    let message = failure("hf:me/mine/m.gguf", &options).await;
    assert!(message.contains("broke off at 5 of 22 bytes"), "{message}");
    hub.set(|behaviour| behaviour.cuts.clear());
    hub.requests();
    let files = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(files.weights).unwrap(), MODEL);
    assert_eq!(hub.downloads(), ["m.gguf bytes=5-21"]);
}

#[tokio::test]
async fn a_server_that_ignores_ranges_is_read_from_the_start() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    hub.set(|behaviour| (behaviour.cuts, behaviour.ignore_range) = (vec![5], true));
    let (options, _folder) = options(&hub.endpoint);
    let files = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(files.weights).unwrap(), MODEL);
}

#[tokio::test]
async fn bytes_that_are_not_what_the_hub_promised_never_reach_the_cache() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let forged = b"the weights of a trojan"[..MODEL.len()].to_vec();
    hub.set(|behaviour| drop(behaviour.forged.insert("m.gguf".to_owned(), forged.clone())));
    let (options, _folder) = options(&hub.endpoint);
    let message = failure("hf:me/mine/m.gguf", &options).await;
    let expected = format!(
        "m.gguf has SHA-256 {}, but the hub says {}",
        sha256(&forged),
        sha256(MODEL)
    );
    assert!(message.contains(&expected), "{message}");
    assert_eq!(tree(&options.hub_cache.join("models--me--mine")), [""; 0]);
}

#[tokio::test]
async fn a_file_of_the_cache_that_was_damaged_is_fetched_anew() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (options, _folder) = options(&hub.endpoint);
    let files = get("hf:me/mine/m.gguf", &options).await.unwrap();
    std::fs::write(&files.weights, "damaged").unwrap();
    let again = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(again.weights).unwrap(), MODEL);
}

#[tokio::test]
async fn damaged_bytes_that_no_revision_shows_yet_are_not_taken_over() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (options, _folder) = options(&hub.endpoint);
    let blobs = options.hub_cache.join("models--me--mine/blobs");
    std::fs::create_dir_all(&blobs).unwrap();
    std::fs::write(blobs.join(sha256(MODEL)), "damaged").unwrap();
    let files = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(files.weights).unwrap(), MODEL);
}

#[tokio::test]
async fn two_at_once_fetch_a_file_once() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (options, _folder) = options(&hub.endpoint);
    let (one, two) = tokio::join!(
        get("hf:me/mine/m.gguf", &options),
        get("hf:me/mine/m.gguf", &options)
    );
    assert_eq!(one.unwrap(), two.unwrap());
    assert_eq!(hub.downloads().len(), 1);
}

#[tokio::test]
async fn a_missing_file_is_answered_with_the_files_there_are() {
    let hub = FakeHub::start(&[("a.Q4_0.gguf", MODEL), ("README.md", b"")]).await;
    let (options, _folder) = options(&hub.endpoint);
    let message = failure("hf:me/mine/b.gguf", &options).await;
    assert!(
        message.contains("me/mine has no file `b.gguf` at revision `main`"),
        "{message}"
    );
    assert!(message.contains("hf:me/mine/a.Q4_0.gguf"), "{message}");
}

#[tokio::test]
async fn a_missing_repository_or_revision_is_named() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (options, _folder) = options(&hub.endpoint);
    for (model, expected) in [
        ("hf:me/other", "there is no repository me/other"),
        ("hf:me/other/m.gguf", "there is no repository me/other"),
        ("hf:me/mine@v9", "me/mine has no revision `v9`"),
        ("hf:me/mine/m.gguf@v9", "me/mine has no revision `v9`"),
    ] {
        let message = failure(model, &options).await;
        assert!(message.contains(expected), "{model}: {message}");
    }
}

#[tokio::test]
async fn a_gated_repository_needs_the_right_token() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    hub.set(|behaviour| behaviour.token = Some("secret".to_owned()));
    let (mut options, _folder) = options(&hub.endpoint);
    let message = failure("hf:me/mine/m.gguf", &options).await;
    assert!(
        message.contains("access refused (401): no token was sent"),
        "{message}"
    );
    assert!(message.contains("HF_TOKEN"), "{message}");
    options.token = Some("wrong".to_owned());
    let message = failure("hf:me/mine/m.gguf", &options).await;
    assert!(
        message.contains("access refused (403): the token that was sent does not give access"),
        "{message}"
    );
    assert!(
        !message.contains("wrong"),
        "the token must not be shown: {message}"
    );
    options.token = Some("secret".to_owned());
    assert!(get("hf:me/mine/m.gguf", &options).await.is_ok());
}

#[tokio::test]
async fn an_unreachable_hub_is_an_error_at_once() {
    let (mut options, _folder) = options("http://127.0.0.1:1");
    // Whoever tried again would wait for this.
    options.retry_delay = Duration::from_secs(24 * 60 * 60);
    for model in ["hf:me/mine/m.gguf", "hf:me/mine"] {
        let message = failure(model, &options).await;
        assert!(
            message.contains("http://127.0.0.1:1 cannot be reached"),
            "{message}"
        );
        assert!(message.contains("HF_ENDPOINT"), "{message}");
    }
}

#[tokio::test]
async fn a_hub_that_does_not_answer_a_connection_is_given_up_after_the_timeout() {
    // A listener whose queue is full accepts no further connection.
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut options, _folder) = options(&format!("https://{address}"));
    options.connect_timeout = Duration::from_millis(100);
    let message = failure("hf:me/mine/m.gguf", &options).await;
    assert!(message.contains("no connection within 0.1 s"), "{message}");
}

#[tokio::test]
async fn offline_only_what_is_on_disk_is_used() {
    let hub = FakeHub::start(&[("m.Q8_0.gguf", MODEL)]).await;
    let (mut options, _folder) = options(&hub.endpoint);
    options.offline = true;
    let message = failure("hf:me/mine", &options).await;
    assert!(message.contains("HF_HUB_OFFLINE"), "{message}");
    assert_eq!(hub.requests(), [""; 0]);
    options.offline = false;
    let files = get("hf:me/mine", &options).await.unwrap();
    hub.requests();
    options.offline = true;
    assert_eq!(get("hf:me/mine", &options).await.unwrap(), files);
    assert_eq!(hub.requests(), [""; 0]);
}

#[tokio::test]
async fn a_split_model_is_fetched_whole_and_opened_by_its_first_shard() {
    let shards = [
        ("m-00001-of-00002.gguf", &b"one"[..]),
        ("m-00002-of-00002.gguf", b"two"),
    ];
    let hub = FakeHub::start(&shards).await;
    for model in ["hf:me/mine", "hf:me/mine/m-00002-of-00002.gguf"] {
        let (options, _folder) = options(&hub.endpoint);
        let weights = get(model, &options).await.unwrap().weights;
        assert!(weights.ends_with("m-00001-of-00002.gguf"));
        for (name, bytes) in shards {
            assert_eq!(std::fs::read(weights.with_file_name(name)).unwrap(), bytes);
        }
    }
}

const INDEX: &[u8] = br#"{"weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}"#;
const FOLDER: [(&str, &[u8]); 6] = [
    ("config.json", b"{}"),
    (
        "generation_config.json",
        br#"{"do_sample": true, "temperature": 0.6, "top_p": 0.9}"#,
    ),
    ("tokenizer.json", b"{\"version\": \"1.0\"}"),
    ("model.safetensors.index.json", INDEX),
    ("model-1.safetensors", b"one"),
    ("model-2.safetensors", b"two"),
];

#[tokio::test]
async fn a_repository_in_hugging_face_layout_becomes_a_folder() {
    let hub = FakeHub::start(&FOLDER).await;
    let (options, _folder) = options(&hub.endpoint);
    let files = get("hf:me/mine", &options).await.unwrap();
    assert!(!files.is_gguf);
    for (name, bytes) in FOLDER {
        assert_eq!(
            std::fs::read(files.weights.join(name)).unwrap(),
            bytes,
            "{name}"
        );
    }
    // Only the catalogue has defaults; what the files say is read with the tokenizer.
    assert_eq!(files.defaults, None);
    hub.requests();
    assert_eq!(get("hf:me/mine", &options).await.unwrap(), files);
    assert_eq!(hub.requests(), [""; 0]);
}

#[tokio::test]
async fn a_folder_that_was_fetched_in_part_is_completed() {
    let hub = FakeHub::start(&FOLDER).await;
    let (options, _folder) = options(&hub.endpoint);
    let files = get("hf:me/mine", &options).await.unwrap();
    std::fs::remove_file(files.weights.join("model-2.safetensors")).unwrap();
    hub.requests();
    assert_eq!(get("hf:me/mine", &options).await.unwrap(), files);
    assert!(files.weights.join("model-2.safetensors").exists());
    assert_eq!(hub.downloads(), [""; 0], "the bytes are still in the cache");
}

#[tokio::test]
async fn refreshing_follows_a_branch_that_moved_and_without_a_hub_keeps_what_there_is() {
    let hub = FakeHub::start(&[("m.gguf", MODEL)]).await;
    let (mut options, _folder) = options(&hub.endpoint);
    let old = get("hf:me/mine/m.gguf", &options).await.unwrap();
    hub.set(|behaviour| {
        behaviour.commit = "f".repeat(40);
        behaviour
            .files
            .insert("m.gguf".to_owned(), b"better weights".to_vec());
    });
    assert_eq!(get("hf:me/mine/m.gguf", &options).await.unwrap(), old);
    options.refresh = true;
    let new = get("hf:me/mine/m.gguf", &options).await.unwrap();
    assert_eq!(std::fs::read(&new.weights).unwrap(), b"better weights");
    assert_eq!(
        std::fs::read(&old.weights).unwrap(),
        MODEL,
        "the old commit stays"
    );
    options.endpoint = Some("http://127.0.0.1:1".to_owned());
    assert_eq!(get("hf:me/mine/m.gguf", &options).await.unwrap(), new);
}

#[tokio::test]
async fn a_hub_cannot_write_outside_the_cache() {
    let hub = FakeHub::start(&[("m.gguf", MODEL), ("../../evil.gguf", MODEL)]).await;
    let (options, folder) = options(&hub.endpoint);
    assert!(
        get("hf:me/mine", &options)
            .await
            .unwrap()
            .weights
            .ends_with("m.gguf")
    );
    for etag in ["../../../evil", "", "a/b"] {
        hub.set(|behaviour| behaviour.etag = Some(etag.to_owned()));
        let (options, _folder) = crate::support::options(&hub.endpoint);
        let message = failure("hf:me/mine/m.gguf", &options).await;
        assert!(message.contains("is no ETag"), "{etag}: {message}");
    }
    hub.set(|behaviour| (behaviour.etag, behaviour.commit) = (None, "../../evil".to_owned()));
    let (options, _other) = crate::support::options(&hub.endpoint);
    assert!(
        failure("hf:me/mine/m.gguf", &options)
            .await
            .contains("is no commit")
    );
    assert!(
        tree(folder.path())
            .iter()
            .all(|path| !path.contains("evil"))
    );
}

#[tokio::test]
async fn a_small_file_is_checked_against_its_git_object_id() {
    let hub = FakeHub::start(&[("m.gguf", b"hello\n")]).await;
    let (right, wrong) = ("ce013625030ba8dba906f756967f9e9ca394464a", "a".repeat(40));
    hub.set(|behaviour| behaviour.etag = Some(wrong.clone()));
    let (options, folder) = options(&hub.endpoint);
    let message = failure("hf:me/mine/m.gguf", &options).await;
    assert!(
        message.contains(right) && message.contains(&wrong),
        "{message}"
    );
    let left = tree(folder.path());
    assert!(
        left.iter()
            .all(|path| !path.contains(&wrong) || path.contains("lock")),
        "{left:?}"
    );
    hub.set(|behaviour| behaviour.etag = Some(right.to_owned()));
    assert!(get("hf:me/mine/m.gguf", &options).await.is_ok());
}
