use std::path::{Path, PathBuf};

use matou_engine::{EngineConfig, SamplingParams};
use matou_hub::ModelFiles;

use super::*;
use crate::error::ErrorKind;
use crate::open::OpenOptions;

const ANYBODY: ClientId = ClientId::ANYBODY;

fn folder(name: &str) -> PathBuf {
    matou_testkit::fixtures_dir().join("checkpoints").join(name)
}

fn config(path: &Path, name: &str) -> ModelConfig {
    let spec = ModelSpec {
        files: ModelFiles {
            name: name.to_owned(),
            weights: path.to_owned(),
            is_gguf: false,
            defaults: None,
            context_length: None,
        },
        names: Vec::new(),
        options: OpenOptions {
            threads: Some(1),
            ..OpenOptions::default()
        },
        limits: EngineConfig::default(),
    };
    ModelConfig {
        inspected: Inspected::new(spec).unwrap(),
        pinned: false,
        keep_alive: KeepAlive::Forever,
        adapters: Vec::new(),
    }
}

fn options(memory: u64) -> ModelsOptions {
    ModelsOptions {
        memory,
        kv_cache_part: 1.0,
        any_name: false,
        max_queue_len: 4,
    }
}

/// Two models, of which one has room.
fn two() -> (Models, u64) {
    let configs = || {
        vec![
            config(&folder("llama2"), "a"),
            config(&folder("llama3"), "b"),
        ]
    };
    let needs = plan(&configs(), &options(1 << 40));
    let largest = needs
        .into_iter()
        .map(|share| share.unwrap().0)
        .max()
        .unwrap();
    (Models::new(configs(), &options(largest)), largest)
}

fn states(models: &Models) -> Vec<ModelState> {
    models.list().into_iter().map(|model| model.state).collect()
}

const LOADED: ModelState = ModelState::Loaded { expires_in: None };

async fn answer(lease: &Lease) -> Vec<u32> {
    use matou_engine::{EngineEvent, GenerationRequest};
    let mut generation = lease
        .engine()
        .submit(GenerationRequest {
            request_id: "test".to_owned(),
            prompt_token_ids: vec![1, 20, 30].into(),
            params: SamplingParams {
                max_tokens: Some(8),
                ignore_eos: true,
                ..SamplingParams::greedy()
            },
            n: 1,
            client: ANYBODY,
            priority: 0,
            cache_salt: None,
            adapter: None,
            num_open_tokens: 0,
        })
        .unwrap();
    let mut tokens = Vec::new();
    while let Some(event) = generation.next().await {
        if let EngineEvent::Token { token_id, .. } = event {
            tokens.push(token_id);
        }
    }
    tokens
}

#[tokio::test(flavor = "multi_thread")]
async fn models_come_and_go_under_a_budget_and_answer_the_same() {
    let (models, budget) = two();
    assert_eq!(
        states(&models),
        [ModelState::Unloaded, ModelState::Unloaded]
    );
    let mut answers = Vec::new();
    for round in 0..3 {
        for name in ["a", "b"] {
            let lease = models.acquire(Some(name), ANYBODY, None).await.unwrap();
            assert_eq!(lease.name(), name);
            let tokens = answer(&lease).await;
            assert_eq!(tokens.len(), 8);
            answers.push(tokens);
            let (used, all) = models.memory();
            assert!(used <= all && all == budget, "{used} of {all}");
            let there = states(&models)
                .iter()
                .filter(|state| **state == LOADED)
                .count();
            assert_eq!(there, 1, "round {round}");
        }
    }
    assert_eq!(answers[..2], answers[4..]);
    let counted = models.status(Some("b")).unwrap();
    assert_eq!(counted.loads, 3);
    let (stats, _) = counted.engine.unwrap();
    assert_eq!(
        stats.generation_tokens, 24,
        "what was counted before is counted on"
    );
    models.shut_down(Duration::from_secs(10)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_for_one_model_load_it_once_and_what_runs_is_not_cut() {
    let (models, _) = two();
    let all = (0..4).map(|_| models.acquire(Some("a"), ANYBODY, None));
    let leases = futures_util::future::join_all(all).await;
    assert!(leases.iter().all(Result::is_ok));
    assert_eq!(models.status(Some("a")).unwrap().loads, 1);
    let other = models.clone();
    let waiting =
        tokio::spawn(async move { other.acquire(Some("b"), ANYBODY, None).await.map(drop) });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished(), "the other is in use");
    let lease = leases[0].as_ref().unwrap();
    assert_eq!(answer(lease).await.len(), 8);
    drop(leases);
    waiting.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_had_is_told_with_its_reason() {
    let (models, budget) = two();
    let kind = |result: Result<Lease, LlmError>| result.map(drop).unwrap_err().kind;
    let unknown = models.acquire(Some("c"), ANYBODY, None).await;
    assert_eq!(kind(unknown), ErrorKind::ModelNotFound);
    assert!(
        models
            .acquire(Some("a:latest"), ANYBODY, None)
            .await
            .is_ok()
    );
    assert!(models.acquire(None, ANYBODY, None).await.is_ok());

    models.replace(
        vec![config(&folder("llama2"), "a")],
        &options(budget / 1000),
    );
    models.unload(Some("a")).unwrap();
    while models.status(Some("a")).unwrap().state == ModelState::Unloading {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let error = models
        .acquire(Some("a"), ANYBODY, None)
        .await
        .map(drop)
        .unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable { retry_after: None });
    assert!(error.message.contains("the budget is"), "{error}");
    let gone = models.acquire(Some("b"), ANYBODY, None).await;
    assert_eq!(kind(gone), ErrorKind::ModelNotFound);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_vanishes_fails_its_own_requests_alone_and_is_tried_again() {
    let copy = tempfile::tempdir().unwrap();
    for entry in folder("llama2").read_dir().unwrap().flatten() {
        std::fs::copy(entry.path(), copy.path().join(entry.file_name())).unwrap();
    }
    let configs = vec![
        config(copy.path(), "gone"),
        config(&folder("llama3"), "there"),
    ];
    let models = Models::new(configs, &options(1 << 33));
    let weights = copy.path().join("model.safetensors");
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::remove_file(&weights).unwrap();
    let error = models
        .acquire(Some("gone"), ANYBODY, None)
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(
        error.kind,
        ErrorKind::Unavailable {
            retry_after: Some(_)
        }
    ));
    assert!(error.message.contains("`gone` cannot be loaded"), "{error}");
    assert!(matches!(states(&models)[0], ModelState::Failed { .. }));
    assert!(models.acquire(Some("there"), ANYBODY, None).await.is_ok());
    std::fs::write(&weights, bytes).unwrap();
    let failed = models.acquire(Some("gone"), ANYBODY, None).await;
    assert!(failed.is_err(), "it is left alone for a while");
    // As if the pause were over.
    models.0.lock().models[0].failure.as_mut().unwrap().until = Duration::ZERO;
    let lease = models.acquire(Some("gone"), ANYBODY, None).await.unwrap();
    // What is in memory needs its file no more.
    std::fs::remove_file(&weights).unwrap();
    assert_eq!(answer(&lease).await.len(), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_goes_when_it_is_told_to_or_when_its_time_is_over() {
    let (models, _) = two();
    drop(
        models
            .acquire(Some("a"), ANYBODY, Some(KeepAlive::For(Duration::ZERO)))
            .await
            .unwrap(),
    );
    let gone = |name: &'static str| {
        let models = models.clone();
        async move {
            while models.status(Some(name)).unwrap().state != ModelState::Unloaded {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    gone("a").await;
    let lease = models.acquire(Some("b"), ANYBODY, None).await.unwrap();
    assert!(models.unload(Some("b")).unwrap());
    assert_eq!(answer(&lease).await.len(), 8, "what runs is finished");
    drop(lease);
    gone("b").await;
    assert!(
        !models.unload(Some("b")).unwrap(),
        "it is not there any more"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_served_in_the_same_way_stays_in_memory_when_the_rest_changes() {
    let models = Models::new(vec![config(&folder("llama2"), "a")], &options(1 << 33));
    models.load(Some("a")).await.unwrap();
    let before = models.resident(Some("a")).unwrap().unwrap();
    let both = vec![
        config(&folder("llama3"), "b"),
        config(&folder("llama2"), "a"),
    ];
    models.replace(both, &options(1 << 32));
    let after = models.resident(Some("a")).unwrap().unwrap();
    assert!(std::sync::Arc::ptr_eq(&before, &after));
    assert_eq!(
        models.acquire(None, ANYBODY, None).await.unwrap().name(),
        "b"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_whose_engine_has_ended_is_loaded_again_after_a_pause() {
    let (models, _) = two();
    let lease = models.acquire(Some("a"), ANYBODY, None).await.unwrap();
    // Nobody has told the models.
    lease.engine().shutdown();
    lease.engine().ended().await;
    let error = models.acquire(Some("a"), ANYBODY, None).await;
    let error = error.map(drop).unwrap_err();
    assert!(error.message.contains("engine has stopped"), "{error}");
    drop(lease);
    assert!(models.acquire(Some("b"), ANYBODY, None).await.is_ok());
    // As if the pause were over.
    models.0.lock().models[0].failure.as_mut().unwrap().until = Duration::ZERO;
    let lease = models.acquire(Some("a"), ANYBODY, None).await.unwrap();
    assert_eq!(answer(&lease).await.len(), 8);
    assert_eq!(models.status(Some("a")).unwrap().loads, 2);
}

fn adapted(name: &str, adapter: &str) -> AdapterConfig {
    let path = matou_testkit::fixtures_dir().join("lora").join(adapter);
    AdapterConfig::open(name.to_owned(), &path).unwrap()
}

fn persona(name: &str, model: Option<&str>) -> std::sync::Arc<matou_persona::Persona> {
    let matou = serde_json::json!({"model": model, "sampling": {"temperature": 0.25}});
    let card = serde_json::json!({
        "spec": "chara_card_v2", "data": {"name": name, "extensions": {"matou": matou}},
    });
    matou_persona::Persona::read(card.to_string().as_bytes(), "x.json")
        .unwrap()
        .into()
}

/// A persona speaks with an adapter, which belongs to a model: one name brings all three.
#[tokio::test(flavor = "multi_thread")]
async fn a_persona_brings_its_adapter_and_that_its_model() {
    let with = ModelConfig {
        adapters: vec![adapted("style", "llama3.2-qv")],
        ..config(&folder("llama3.2"), "b")
    };
    let models = Models::new(
        vec![config(&folder("llama2"), "a"), with],
        &options(1 << 40),
    );
    let (used, _) = models.memory();
    assert_eq!(used, 0);
    models.set_personas(vec![
        persona("Ada", Some("style")),
        persona("Bea", None),
        persona("Cleo", Some("nowhere")),
        // Another's id is its own, whatever this one is called.
        persona("ada", Some("a")),
    ]);
    let names: Vec<(String, Option<String>)> = models
        .names()
        .into_iter()
        .map(|named| (named.name, named.parent))
        .collect();
    let told = |name: &str, parent: Option<&str>| (name.to_owned(), parent.map(str::to_owned));
    assert_eq!(
        names[..5],
        [
            told("a", None),
            told("b", None),
            told("style", Some("b")),
            told("ada", Some("style")),
            told("bea", Some("a")),
        ]
    );
    for name in ["ada", "Ada", "ada:latest"] {
        let lease = models.acquire(Some(name), ANYBODY, None).await.unwrap();
        assert_eq!(lease.name(), "ada");
        assert_eq!(lease.model_name(), "style");
        assert_eq!(lease.card().names, ["b"]);
        assert!(lease.adapter().is_some());
        assert_eq!(lease.default_sampling().temperature, 0.25);
    }
    assert_eq!(states(&models), [ModelState::Unloaded, LOADED]);
    let lost = models
        .acquire(Some("cleo"), ANYBODY, None)
        .await
        .err()
        .unwrap();
    assert!(lost.message.contains("nowhere"), "{lost}");
    assert!(matches!(lost.kind, ErrorKind::Unavailable { .. }));
    // What goes with its model is loaded again with it.
    let loaded = async || {
        let lease = models.acquire(Some("style"), ANYBODY, None).await.unwrap();
        lease.adapter().unwrap().id()
    };
    let first = loaded().await;
    assert_eq!(loaded().await, first);
    assert!(models.unload(Some("style")).unwrap());
    assert_ne!(loaded().await, first);
}

/// An adapter that a request brought stays over a change of the configuration, with its model; one of
/// the configuration goes with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_configuration_takes_its_own_adapters_along() {
    let base = |adapters: Vec<AdapterConfig>| {
        vec![ModelConfig {
            adapters,
            ..config(&folder("llama3.2"), "b")
        }]
    };
    let models = Models::new(base(vec![adapted("one", "llama3.2-qv")]), &options(1 << 40));
    let brought = adapted("two", "llama3.2-qkvo");
    models.load_adapter(brought, None, false).await.unwrap();
    let names = |models: &Models| -> Vec<String> {
        models
            .adapters()
            .into_iter()
            .map(|adapter| adapter.name)
            .collect()
    };
    assert_eq!(names(&models), ["one", "two"]);
    models.replace(
        base(vec![adapted("three", "llama3.2-regex")]),
        &options(1 << 40),
    );
    assert_eq!(names(&models), ["two", "three"]);
    let loaded = async || {
        let lease = models.acquire(Some("three"), ANYBODY, None).await.unwrap();
        lease.adapter().unwrap().id()
    };
    // What has not changed stays in memory.
    let id = loaded().await;
    models.replace(
        base(vec![adapted("three", "llama3.2-regex")]),
        &options(1 << 40),
    );
    assert_eq!(loaded().await, id);
    models.acquire(Some("two"), ANYBODY, None).await.unwrap();
    assert!(models.acquire(Some("one"), ANYBODY, None).await.is_err());
    // A name of the configuration is not a request's.
    models.replace(
        base(vec![adapted("two", "llama3.2-regex")]),
        &options(1 << 40),
    );
    assert_eq!(names(&models), ["two"]);
    models.replace(vec![config(&folder("llama2"), "a")], &options(1 << 40));
    assert_eq!(names(&models), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_there_is_no_memory_for_is_refused_with_the_numbers() {
    let configs = || vec![config(&folder("llama3.2"), "b")];
    let planned = |configs: &[ModelConfig]| plan(configs, &options(1 << 40))[0].as_ref().unwrap().0;
    let enough = planned(&configs());
    let adapter = adapted("x", "llama3.2-qkvo");
    let beside = adapter.memory_bytes();
    let with = ModelConfig {
        adapters: vec![adapter],
        ..config(&folder("llama3.2"), "b")
    };
    assert_eq!(
        planned(&[with]),
        enough + beside,
        "the plan has the adapters in it"
    );
    let models = Models::new(configs(), &options(enough));
    models.load(Some("b")).await.unwrap();
    let refused = models
        .load_adapter(adapted("x", "llama3.2-qkvo"), None, false)
        .await;
    let refused = refused.unwrap_err();
    assert!(refused.message.contains("are in use"), "{refused}");
    assert!(models.adapters().is_empty());
    assert_eq!(models.memory().0, enough);
}

/// It would be loaded for nothing.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_of_a_model_on_a_gpu_is_refused_before_that_is_loaded() {
    let models = Models::new(vec![config(&folder("llama3.2"), "b")], &options(1 << 40));
    let facts = ModelFacts {
        device: "a card".to_owned(),
        device_kind: "discrete",
        ..(*models.list()[0].facts).clone()
    };
    models.0.lock().models[0].facts = Arc::new(facts);
    let refused = models.load_adapter(adapted("x", "llama3.2-qv"), None, false);
    let refused = refused.await.unwrap_err();
    assert!(refused.message.contains("--device cpu"), "{refused}");
    assert!(models.adapters().is_empty());
    assert_eq!(states(&models), [ModelState::Unloaded]);
}

/// Files of an adapter may be replaced between the start and the first request for it.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_whose_files_have_changed_is_loaded_as_it_is_or_refused() {
    let fixture = |name: &str| matou_testkit::fixtures_dir().join("lora").join(name);
    let own = tempfile::tempdir().unwrap();
    let put = |name: &str| {
        for file in ["adapter_config.json", "adapter_model.safetensors"] {
            std::fs::copy(fixture(name).join(file), own.path().join(file)).unwrap();
        }
    };
    put("llama3.2-qkvo");
    let with = ModelConfig {
        adapters: vec![AdapterConfig::open("own".to_owned(), own.path()).unwrap()],
        ..config(&folder("llama3.2"), "b")
    };
    let models = Models::new(vec![with], &options(1 << 40));
    let load = async || models.load(Some("own")).await;
    std::fs::write(own.path().join("adapter_model.safetensors"), "x").unwrap();
    let refused = load().await.unwrap_err();
    assert!(refused.message.contains("adapter_model"), "{refused}");
    // A larger one, for which no memory was set aside.
    put("llama3.2-patterns");
    let refused = load().await.unwrap_err();
    assert!(refused.message.contains("it has changed"), "{refused}");
    put("llama3.2-qv");
    load().await.unwrap();
    models.load(Some("b")).await.unwrap();
}

/// Whoever asked may go away: an adapter is there and loaded, or it is not there.
#[tokio::test(flavor = "multi_thread")]
async fn an_adapter_that_cannot_be_loaded_leaves_what_was_before() {
    let models = Models::new(vec![config(&folder("llama3.2"), "b")], &options(1 << 40));
    let load = async |name: &str, adapter: &str, replaces: bool| {
        models
            .load_adapter(adapted(name, adapter), None, replaces)
            .await
    };
    load("x", "llama3.2-qv", false).await.unwrap();
    let (used, _) = models.memory();
    assert!(
        load("x", "refuse-wrong-base", false).await.is_err(),
        "its name is taken"
    );
    assert!(load("x", "refuse-wrong-base", true).await.is_err());
    models.load(Some("x")).await.unwrap();
    assert_eq!(models.memory().0, used);
    let gone = models.load_adapter(adapted("y", "refuse-wrong-base"), None, false);
    // Begun, and then nobody waits for it any more.
    let outcome = futures_util::FutureExt::now_or_never(gone);
    assert!(outcome.is_none_or(|outcome| outcome.is_err()));
    for _ in 0..500 {
        if models.adapters().len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(models.adapters().len(), 1);
    assert_eq!(models.memory().0, used);
}
