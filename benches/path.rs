//! The whole path on a tiny model: what the house adds to the time that a model takes.
//!
//! ```text
//! cargo bench --bench path
//! ```

#![allow(missing_docs)] // what the macros of criterion make

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use matou_engine::{
    ClientId, Engine, EngineConfig, EngineEvent, GenerationRequest, SamplingParams,
};
use matou_llm::open::{OpenOptions, open};
use matou_model::{Checkpoint, LoadOptions, WeightFiles};
use matou_server::{AppState, app};
use matou_testkit::fixtures_dir;
use tower::ServiceExt;

/// Tokens of an answer.
const TOKENS: usize = 32;

fn options() -> OpenOptions {
    OpenOptions {
        kv_cache_memory: Some(16 << 20),
        threads: Some(1),
        ..OpenOptions::default()
    }
}

/// A request through the router: JSON in, template, tokens, text, JSON out.
fn request(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().expect("threads can be started");
    let folder = fixtures_dir().join("checkpoints/llama3.2");
    let loaded = runtime.block_on(open(folder.to_str(), &options()));
    let loaded = loaded.expect("the fixture is a model");
    let config = loaded
        .engine_config(&options(), EngineConfig::default())
        .expect("it fits");
    let (llm, _thread) = loaded.start(config, Vec::new()).expect("the engine starts");
    let router = app(AppState::new(llm));
    let body = format!(r#"{{"prompt": " t5 t6 t7", "max_tokens": {TOKENS}, "ignore_eos": true}}"#);
    criterion.bench_function("request of 32 tokens through the router", |bencher| {
        bencher.iter(|| {
            let request = axum::http::Request::post("/v1/completions")
                .header("content-type", "application/json")
                .header("host", "localhost")
                .body(axum::body::Body::from(body.clone()))
                .expect("a request");
            let response = runtime.block_on(router.clone().oneshot(request));
            let response = response.expect("the router answers");
            assert_eq!(response.status(), 200);
            let body = axum::body::to_bytes(response.into_body(), usize::MAX);
            black_box(runtime.block_on(body).expect("a body"))
        });
    });
}

/// A step of the engine: scheduling, sampling and events around a tiny model.
fn step(criterion: &mut Criterion) {
    let model = matou_testkit::scripted::ScriptedModel::new(256).with_reply(&[5, 6, 7]);
    let (engine, _thread) =
        Engine::start(Box::new(model), EngineConfig::default()).expect("the engine starts");
    let request = || GenerationRequest {
        request_id: "bench".to_owned(),
        prompt_token_ids: vec![1, 2, 3].into(),
        client: ClientId::default(),
        params: SamplingParams {
            temperature: 0.0,
            ignore_eos: true,
            max_tokens: Some(TOKENS),
            ..SamplingParams::default()
        },
        n: 1,
        priority: 0,
        cache_salt: None,
        adapter: None,
        num_open_tokens: 0,
    };
    criterion.bench_function(
        "32 steps of the engine around a model of 256 tokens",
        |bencher| {
            bencher.iter(|| {
                let mut generation = engine.submit(request()).expect("there is room");
                let mut tokens = 0;
                while let Some(event) = generation.blocking_next() {
                    tokens += usize::from(matches!(event, EngineEvent::Token { .. }));
                }
                assert_eq!(tokens, TOKENS);
            });
        },
    );
}

/// From files to a model that can run.
fn loading(criterion: &mut Criterion) {
    let files = WeightFiles::HuggingFace(fixtures_dir().join("checkpoints/llama3.2"));
    criterion.bench_function("loading a tiny checkpoint", |bencher| {
        bencher.iter(|| {
            let checkpoint = Checkpoint::open(&files).expect("the fixture is a model");
            black_box(checkpoint.load(&LoadOptions::default()).expect("it loads"))
        });
    });
}

criterion_group!(benches, request, step, loading);
criterion_main!(benches);
